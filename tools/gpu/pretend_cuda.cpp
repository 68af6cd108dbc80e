// A pretend CUDA device for machines without one.
//
// Tensors of the pretend device carry the dispatch key CUDA and the device cuda:N, but their storage is host memory.
// Every kernel registered for CUDA is replaced by one boxed function, `pretend`, which
//   1. refuses an operator whose tensors live on different devices, as a real device does (exceptions: what copies
//      between devices, CPU tensors of no dimension, CPU indices into a device tensor);
//   2. refuses a CPU random generator on device tensors, and draws from a generator of the device's own otherwise;
//   3. gives the CPU kernel CPU tensors over the same memory (no copy), and makes device tensors of what comes back.
// Memory of the pretend device is counted, and a limit may be set, beyond which torch.OutOfMemoryError is raised.
#include <torch/library.h>
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

namespace pretend_state { thread_local c10::DeviceIndex current_device = 0; }
namespace {
using pretend_state::current_device;
using c10::Device;
using c10::DeviceType;
using c10::IValue;
using c10::Storage;
using at::Tensor;

constexpr int MOST_DEVICES = 4;
int devices = 1;
std::atomic<int64_t> held[MOST_DEVICES], peak[MOST_DEVICES], limit[MOST_DEVICES];
std::atomic<int64_t> calls{0}, syncs{0};
std::mutex notes_mutex;
std::map<std::string, int64_t> notes;  // what a real device would do slowly, how often
bool noting = true;

void note(const std::string& what) {
  if (!noting) return;
  std::lock_guard<std::mutex> lock(notes_mutex);
  ++notes[what];
}

// --- the guard: which device is the current one, no streams -----------------------------------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device d) const override {
    Device old(DeviceType::CUDA, current_device);
    if (d.index() >= 0) current_device = d.index();
    return old;
  }
  Device getDevice() const override { return Device(DeviceType::CUDA, pretend_state::current_device); }
  void setDevice(Device d) const override { if (d.index() >= 0) current_device = d.index(); }
  void uncheckedSetDevice(Device d) const noexcept override { if (d.index() >= 0) current_device = d.index(); }
  c10::Stream getStream(Device d) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, Device(DeviceType::CUDA, d.index() < 0 ? current_device : d.index()));
  }
  c10::Stream getNewStream(Device d, int) const override { return getStream(d); }
  c10::Stream exchangeStream(c10::Stream s) const noexcept override { return getStream(s.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return devices; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};

// --- memory -----------------------------------------------------------------------------------------------------------

struct Hold {  // keeps the storage whose memory another storage shows; counted where it is the device's own memory
  Storage inner;
  int64_t bytes;
  int device;
};

std::mutex holds_mutex;
std::map<const void*, Hold*> holds;  // of the device's own memory, by where it lies

void uncount(Hold* hold) {
  if (hold->device >= 0) held[hold->device] -= hold->bytes;
  hold->device = -1;
}

void let_go(void* ctx) {
  auto* hold = static_cast<Hold*>(ctx);
  {
    std::lock_guard<std::mutex> lock(holds_mutex);
    auto own = holds.find(hold->inner.data());
    if (own != holds.end() && own->second == hold) holds.erase(own);
    uncount(hold);
  }
  delete hold;
}

std::atomic<void (*)(int, int64_t)> make_room;  // what is asked to let go of so many bytes of a device, where any is

void check_room(int64_t bytes, int device) {
  int64_t most = limit[device];
  auto ask = make_room.load();
  if (ask && most > 0 && held[device] + bytes > most) ask(device, held[device] + bytes - most);
  if (most > 0 && held[device] + bytes > most) {
    C10_THROW_ERROR(OutOfMemoryError, "CUDA out of memory (pretend device): tried to allocate " +
        std::to_string(bytes) + " bytes, " + std::to_string(held[device]) + " of " + std::to_string(most) + " in use");
  }
}

Storage device_storage(const Storage& cpu, int device) {
  int64_t bytes = cpu.nbytes();
  check_room(bytes, device);
  int64_t now = (held[device] += bytes);
  int64_t top = peak[device];
  while (now > top && !peak[device].compare_exchange_weak(top, now)) {}
  auto* hold = new Hold{cpu, bytes, device};
  { std::lock_guard<std::mutex> lock(holds_mutex); holds[cpu.data()] = hold; }
  c10::DataPtr data(const_cast<void*>(cpu.data()), hold, &let_go, Device(DeviceType::CUDA, device));
  return Storage(Storage::use_byte_size_t(), bytes, std::move(data), nullptr, false);
}

Tensor tensor_over(Storage storage, c10::DispatchKey key, const Tensor& like) {
  Tensor out = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  auto* impl = out.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(like.sizes(), like.strides());
  impl->set_storage_offset(like.storage_offset());
  if (like.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return out;
}

// --- one call ---------------------------------------------------------------------------------------------------------

struct Seen { Tensor device, cpu; };

struct Call {
  const c10::FunctionSchema& schema;
  std::string name;
  int device = -1;
  std::vector<Seen> tensors;
  std::vector<std::pair<Storage, Storage>> storages;  // device, cpu over its memory
  std::vector<std::pair<Storage, Storage>> made;      // cpu, device

  bool one_of(std::initializer_list<const char*> names) const {
    for (auto* n : names) if (name == n) return true;
    return false;
  }

  void look(const Tensor& t, bool may_be_elsewhere) {
    if (!t.defined()) return;
    if (t.is_cuda()) {
      if (device >= 0 && device != t.device().index() && !copies()) mixed(t, Device(DeviceType::CUDA, device));
      if (device < 0) device = t.device().index();
      return;
    }
    if (t.device().type() == DeviceType::CPU && t.dim() > 0 && !may_be_elsewhere) on_cpu = t;
    if (t.device().type() == DeviceType::CPU && t.dim() > 0 && may_be_elsewhere && !copies())
      note("CPU indices into a device tensor (copied, waits): " + name);
    if (t.device().type() == DeviceType::CPU && t.dim() == 0 && !copies() &&
        !t.unsafeGetTensorImpl()->is_wrapped_number())
      note("CPU tensor of no dimension beside device tensors: " + name);
  }
  Tensor on_cpu;

  bool copies() const {
    return one_of({"aten::copy_", "aten::_foreach_copy_", "aten::_copy_from", "aten::_copy_from_and_resize"});
  }

  [[noreturn]] void mixed(const Tensor& t, Device other) const {
    std::ostringstream says;
    says << "Expected all tensors to be on the same device, but found at least two devices, " << other << " and "
         << t.device() << "! (pretend device, operator " << name << ", tensor of shape " << t.sizes() << ")";
    TORCH_CHECK(false, says.str());
  }

  Storage cpu_storage(const Storage& own) {
    for (auto& [d, c] : storages) if (d.is_alias_of(own)) return c;
    auto* impl = own.unsafeGetStorageImpl();
    c10::DataPtr data(impl->mutable_data(), new Hold{own, 0, -1}, &let_go, Device(DeviceType::CPU));
    Storage cpu(Storage::use_byte_size_t(), impl->nbytes(), std::move(data), c10::GetCPUAllocator(), true);
    storages.emplace_back(own, cpu);
    return cpu;
  }

  Tensor to_cpu(const Tensor& t) {
    if (!t.defined() || !t.is_cuda()) return t;
    for (auto& seen : tensors) if (seen.device.is_same(t)) return seen.cpu;
    Tensor cpu = tensor_over(cpu_storage(t.storage()), c10::DispatchKey::CPU, t);
    tensors.push_back({t, cpu});
    return cpu;
  }

  Tensor to_device(const Tensor& t) {
    if (!t.defined() || t.is_cuda() || t.device().type() != DeviceType::CPU) return t;
    for (auto& seen : tensors) if (seen.cpu.is_same(t)) return seen.device;
    for (auto& own : given_cpu) if (own.is_same(t)) return t;
    for (auto& [d, c] : storages) if (c.is_alias_of(t.storage())) return tensor_over(d, c10::DispatchKey::CUDA, t);
    for (auto& [c, d] : made) if (c.is_alias_of(t.storage())) return tensor_over(d, c10::DispatchKey::CUDA, t);
    if (t.scalar_type() == at::kDouble) note("float64 made on the device (MPS has none): " + name);
    Storage d = device_storage(t.storage(), device);
    made.emplace_back(t.storage(), d);
    return tensor_over(d, c10::DispatchKey::CUDA, t);
  }
  std::vector<Tensor> given_cpu;

  // What an operator wrote: sizes and memory that it changed.
  void settle() {
    for (auto& [own, cpu] : storages) {
      if (cpu.data() == own.data() && cpu.nbytes() == own.nbytes()) continue;
      auto* impl = own.unsafeGetStorageImpl();
      Storage fresh(Storage::use_byte_size_t(), cpu.nbytes(),
                    cpu.unsafeGetStorageImpl()->set_data_ptr(c10::DataPtr(nullptr, Device(DeviceType::CPU))),
                    c10::GetCPUAllocator(), true);
      int at = own.device().index();
      check_room(fresh.nbytes(), at);
      int64_t now = (held[at] += fresh.nbytes());
      if (now > peak[at]) peak[at] = now;
      int64_t bytes = fresh.nbytes();
      void* data = fresh.mutable_data();
      impl->set_data_ptr_noswap(c10::DataPtr(data, new Hold{fresh, bytes, at}, &let_go, own.device()));
      impl->set_nbytes(bytes);
    }
    for (auto& seen : tensors) {
      if (seen.cpu.sizes() == seen.device.sizes() && seen.cpu.strides() == seen.device.strides() &&
          seen.cpu.storage_offset() == seen.device.storage_offset()) continue;
      auto* impl = seen.device.unsafeGetTensorImpl();
      impl->set_sizes_and_strides(seen.cpu.sizes(), seen.cpu.strides());
      impl->set_storage_offset(seen.cpu.storage_offset());
    }
  }
};

std::mutex generators_mutex;
std::set<c10::GeneratorImpl*> device_generators;
at::Generator own_generators[MOST_DEVICES];

at::Generator& own_generator(int device) {
  if (!own_generators[device].defined()) own_generators[device] = at::detail::createCPUGenerator(0xC0DA + device);
  return own_generators[device];
}

IValue each(const IValue& value, const std::function<Tensor(const Tensor&)>& change) {
  if (value.isTensor()) return change(value.toTensor());
  if (value.isTensorList()) {
    c10::List<Tensor> out;
    for (const Tensor& t : value.toTensorList()) out.push_back(change(t));
    return out;
  }
  if (value.isList()) {
    auto list = value.toList();
    auto type = list.elementType();
    if (type->kind() == c10::TypeKind::OptionalType) {  // Tensor?[]
      c10::List<std::optional<Tensor>> out;
      bool tensors = false;
      for (const IValue& v : list.vec()) if (v.isTensor()) tensors = true;
      if (!tensors) return value;
      for (const IValue& v : list.vec())
        out.push_back(v.isTensor() ? std::optional<Tensor>(change(v.toTensor())) : std::nullopt);
      return out;
    }
  }
  return value;
}

// --- what torch asks the CUDA library at run time ----------------------------------------------------------------------

std::mutex pinned_mutex;
std::map<const char*, size_t> pinned;  // page-locked memory of the host: start, bytes

void unpin(void* data) {
  { std::lock_guard<std::mutex> lock(pinned_mutex); pinned.erase(static_cast<const char*>(data)); }
  std::free(data);
}

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* data = n ? std::aligned_alloc(64, (n + 63) / 64 * 64) : nullptr;
    if (data) { std::lock_guard<std::mutex> lock(pinned_mutex); pinned[static_cast<const char*>(data)] = n; }
    return {data, data, &unpin, Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &unpin; }
  void copy_data(void* to, const void* from, std::size_t n) const override { default_copy_data(to, from, n); }
};

struct Hooks final : at::CUDAHooksInterface {
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex i) const override {
    return own_generator(i < 0 ? pretend_state::current_device : i);
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    auto made = at::detail::createCPUGenerator(0);
    std::lock_guard<std::mutex> lock(generators_mutex);
    device_generators.insert(made.unsafeGetGeneratorImpl());
    return made;
  }
  Device getDeviceFromPtr(void*) const override { return Device(DeviceType::CUDA, pretend_state::current_device); }
  bool isPinnedPtr(const void* data) const override {
    std::lock_guard<std::mutex> lock(pinned_mutex);
    auto* at = static_cast<const char*>(data);
    auto next = pinned.upper_bound(at);
    if (next == pinned.begin()) return false;
    --next;
    return at < next->first + next->second;
  }
  at::Allocator* getPinnedMemoryAllocator() const override { static PinnedAllocator one; return &one; }
  c10::DeviceIndex current_device() const override { return pretend_state::current_device; }
  c10::DeviceIndex deviceCount() const override { return devices; }
  void setCurrentDevice(c10::DeviceIndex d) const override { pretend_state::current_device = d; }
  c10::DeviceIndex getCurrentDevice() const override { return pretend_state::current_device; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex d) const override { return swap_to(d); }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex d) const override { return swap_to(d); }
  int getNumGPUs() const override { return devices; }
  long versionCuDNN() const override { return 92400; }
  long versionRuntimeCuDNN() const override { return 92400; }
  long versionCUDART() const override { return 13000; }
  std::string showConfig() const override { return "pretend device"; }
  static c10::DeviceIndex swap_to(c10::DeviceIndex d) {
    auto old = pretend_state::current_device;
    if (d >= 0) pretend_state::current_device = d;
    return old;
  }
};

// A copy between main memory and the device: without non_blocking the program waits for it and for all before it, and so
// it does where what was computed goes to memory that is not page-locked.
void note_copy(const Tensor& to, const Tensor& from, bool non_blocking) {
  if (to.is_cuda() == from.is_cuda() || !to.numel()) return;
  const Tensor& here = to.is_cuda() ? from : to;
  bool locked = at::detail::getCUDAHooks().isPinnedPtr(here.const_data_ptr());
  if (!non_blocking || (to.is_cpu() && !locked)) {
    note(std::string("waits for the device: a copy ") + (to.is_cuda() ? "from" : "to") + " main memory");
  } else if (!locked) {
    note("copy from memory that is not page-locked");
  }
}

std::string stack_name(const c10::OperatorHandle& op) {
  return op.schema().name();
}

void pretend(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::AutoDispatchBelowADInplaceOrView below;
  ++calls;
  Call call{op.schema(), stack_name(op)};
  const size_t n = op.schema().arguments().size();
  const size_t start = stack->size() - n;
  bool indexes = call.one_of({"aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_",
                              "aten::_index_put_impl_", "aten::_unsafe_index_put"});
  std::optional<Device> asked;
  for (size_t i = 0; i < n; ++i) {
    IValue& value = (*stack)[start + i];
    bool elsewhere = call.copies() || (indexes && op.schema().arguments()[i].name() == "indices");
    each(value, [&](const Tensor& t) { call.look(t, elsewhere); return t; });
    if (value.isDevice()) asked = value.toDevice();
  }
  if (call.device < 0 && asked && asked->type() == DeviceType::CUDA)
    call.device = asked->index() < 0 ? current_device : asked->index();
  if (call.device < 0) call.device = current_device;
  if (call.on_cpu.defined() && !call.copies()) call.mixed(call.on_cpu, Device(DeviceType::CUDA, call.device));
  if (call.one_of({"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero",
                   "aten::masked_select"})) {
    ++syncs;
    note("waits for the device: " + call.name);
  }

  if (call.name == "aten::copy_")
    note_copy((*stack)[start].toTensor(), (*stack)[start + 1].toTensor(), (*stack)[start + 2].toBool());

  torch::jit::Stack inner;
  for (size_t i = 0; i < n; ++i) {
    const IValue& value = (*stack)[start + i];
    const auto& argument = op.schema().arguments()[i];
    if (value.isDevice()) {
      inner.emplace_back(Device(DeviceType::CPU));
    } else if (argument.type()->str() == "Generator?" || argument.type()->str() == "Generator") {
      if (value.isNone()) {
        inner.emplace_back(own_generator(call.device));
      } else {
        std::lock_guard<std::mutex> lock(generators_mutex);
        TORCH_CHECK(device_generators.count(value.toGenerator().unsafeGetGeneratorImpl()),
                    "Expected a 'cuda' device type for generator but found 'cpu' (pretend device, ", call.name, ")");
        inner.push_back(value);
      }
    } else if (argument.name() == "pin_memory" && value.isBool()) {
      inner.emplace_back(false);
    } else {
      inner.push_back(each(value, [&](const Tensor& t) {
        if (t.defined() && !t.is_cuda()) call.given_cpu.push_back(t);
        return call.to_cpu(t);
      }));
    }
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &inner);
  call.settle();
  for (auto& seen : call.tensors)
    if (seen.device.scalar_type() == at::kDouble || seen.device.is_complex())
      note("float64 or complex numbers on the device (MPS has none): " + call.name);
  torch::jit::drop(*stack, n);
  for (const IValue& value : inner)
    stack->push_back(each(value, [&](const Tensor& t) { return call.to_device(t); }));
}

int64_t sdp_choice(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool,
                   std::optional<double>, bool) { return 0; }  // the plain formula

// Attention by the plain formula; told is what would make the fused kernels of a real device refuse or pad.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& mask, double dropout,
                 bool causal, std::optional<double> scale, bool gqa) {
  for (const Tensor* t : {&k, &v})
    TORCH_CHECK(t->device() == q.device(), "Expected all tensors to be on the same device, but found ", q.device(),
                " and ", t->device(), " (pretend device, scaled_dot_product_attention)");
  TORCH_CHECK(!mask || !mask->defined() || mask->device() == q.device(),
              "Expected all tensors to be on the same device (pretend device, attention mask)");
  TORCH_CHECK(q.dtype() == k.dtype() && q.dtype() == v.dtype(),
              "Expected query, key, and value to have the same dtype, but got ", q.dtype(), ", ", k.dtype(), ", ",
              v.dtype());
  const int64_t unit = q.scalar_type() == at::kFloat ? 4 : 8;
  auto says = [&](const std::string& what) {
    std::ostringstream out;
    out << "attention " << what << ": q " << q.sizes() << " k " << k.sizes() << " v " << v.sizes() << " " << q.dtype();
    note(out.str());
  };
  if (q.dim() == 4 && q.size(0) * q.size(1) > 65535) says("of more than 65535 rows x heads");
  if (q.dim() == 4 && q.size(0) > 65535) says("of more than 65535 rows");
  if (q.size(-1) % unit || v.size(-1) % unit) says("with channels that no fused kernel takes");
  if (q.size(-1) > 256) says("with more than 256 channels a head");
  if (mask && mask->defined()) says("with a mask " + std::to_string(mask->size(-1)));
  if (q.scalar_type() == at::kDouble) says("in float64");
  for (const Tensor* t : {&q, &k, &v}) {
    if (t->stride(-1) != 1 && t->size(-1) > 1) says("with strided channels");
    if (reinterpret_cast<uintptr_t>(t->const_data_ptr()) % 16) says("of memory that is not aligned to 16 bytes");
  }
  return std::get<0>(at::_scaled_dot_product_attention_math(q, k, v, mask, dropout, causal, std::nullopt, scale, gqa));
}

void record_stream(Tensor&, c10::Stream) {}

at::Generator generator_of(int64_t device) { return own_generator(device); }

std::vector<torch::Library> libraries;
}  // namespace

TORCH_LIBRARY(pretend_cuda, m) {
  m.def("generator_of(int device) -> Generator?", TORCH_FN(generator_of));
}

extern "C" {
void pretend_pin(const char* data, size_t bytes) { std::lock_guard<std::mutex> lock(pinned_mutex); pinned[data] = bytes; }
void pretend_unpin(const char* data) { std::lock_guard<std::mutex> lock(pinned_mutex); pinned.erase(data); }
int pretend_install(const char* names, int count) {
  devices = count;
  static Hooks hooks;  // torch made its own at the first question: answer in its place
  auto& real = at::detail::getCUDAHooks();
  *reinterpret_cast<void**>(const_cast<at::CUDAHooksInterface*>(&real)) = *reinterpret_cast<void**>(&hooks);
  static Guard guard;
  c10::impl::device_guard_impl_registry[static_cast<size_t>(DeviceType::CUDA)].store(&guard);
  std::map<std::string, std::vector<std::string>> by_space;
  std::istringstream lines(names);
  int done = 0;
  for (std::string line; std::getline(lines, line);) {
    auto cut = line.find("::");
    by_space[line.substr(0, cut)].push_back(line.substr(cut + 2));
  }
  for (auto key : {c10::DispatchKey::CUDA, c10::DispatchKey::AutogradCUDA}) {
    libraries.emplace_back(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
    libraries.back().impl("scaled_dot_product_attention", TORCH_FN(attention));
  }
  for (auto& [space, ops] : by_space) {
    libraries.emplace_back(torch::Library::IMPL, space, c10::DispatchKey::CUDA, __FILE__, __LINE__);
    for (auto& name : ops) {
      if (name == "_fused_sdp_choice") libraries.back().impl(name.c_str(), TORCH_FN(sdp_choice));
      else if (name == "record_stream") libraries.back().impl(name.c_str(), TORCH_FN(record_stream));
      else libraries.back().impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&pretend>());
      ++done;
    }
  }
  return done;
}
int64_t pretend_held(int device) { return held[device]; }
int64_t pretend_peak(int device) { return peak[device]; }
void pretend_reset_peak(int device) { peak[device] = held[device].load(); }
void pretend_limit(int device, int64_t bytes) { limit[device] = bytes; }
void pretend_unmap(const void* data) {  // whoever still has it: what it holds is no longer the device's
  std::lock_guard<std::mutex> lock(holds_mutex);
  auto own = holds.find(data);
  if (own != holds.end()) uncount(own->second);
}
void pretend_under_pressure(void (*ask)(int, int64_t)) { make_room = ask; }
int pretend_current() { return current_device; }
void pretend_set_current(int device) { current_device = device; }
int64_t pretend_calls() { return calls; }
void pretend_tell(const char* what) { note(what); }
void pretend_note(int on) { noting = on; }
const char* pretend_notes() {
  static std::string text;
  std::lock_guard<std::mutex> lock(notes_mutex);
  text.clear();
  for (auto& [what, times] : notes) text += std::to_string(times) + "\t" + what + "\n";
  notes.clear();
  return text.c_str();
}
}
