"""Tuning and inversion of a ComfyUI MODEL as a node runs them: in inference mode, the MODEL left as it was."""

import gc
import hashlib
import weakref
from contextlib import contextmanager
from pathlib import Path

import comfy.model_management
import comfy.supported_models
import pytest
import torch
from comfyui_videop2p.tests.parity.model import OFFICIAL, image_model, weights
from comfyui_videop2p.videop2p_core.diffusion import inversion, tuning
from comfyui_videop2p.videop2p_core.diffusion import null_text as null_text_of_clip
from comfyui_videop2p.videop2p_core.diffusion.inversion import InversionSettings
from comfyui_videop2p.videop2p_core.diffusion.tuning import TuningSettings
from comfyui_videop2p.videop2p_core.host.comfy.denoiser import SOURCE, model_sigmas, prediction_of, run
from comfyui_videop2p.videop2p_core.host.model import gradients
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate, temporal_of
from comfyui_videop2p.videop2p_core.host.model.temporal_layers import temporal_patcher
from comfyui_videop2p.videop2p_core.host.source import inversion as host_inversion
from comfyui_videop2p.videop2p_core.host.source import tuning as host_tuning

REFERENCE = Path(__file__).parents[1] / "reference"
FRAMES = 2
ATTENTION = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"


def inflated():
    """As loaders make it: weights that are inference tensors, a way to load them again."""
    with torch.inference_mode():
        model = image_model(REFERENCE)
        return inflate(model, OFFICIAL, temporal_patcher(model, weights(REFERENCE)[1]))


@pytest.fixture
def model():
    return inflated()


@pytest.fixture
def clip():
    """(positive, negative, latent) as they come from nodes."""
    generator = torch.Generator().manual_seed(0)
    width = weights(REFERENCE)[0]["input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    with torch.inference_mode():
        texts = torch.randn(2, 1, 7, width, generator=generator)
        latent = torch.randn(FRAMES, 4, 8, 8, generator=generator)
        return [[texts[0], {}]], [[texts[1], {"pooled_output": texts[1, :, 0]}]], latent


def fingerprint(model):
    """Every weight and buffer of the MODEL and its temporal layers, and all that is patched into it."""
    digest = hashlib.sha256()
    for module in (model.model, temporal_of(model).model):
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    options = model.model_options["transformer_options"]
    for patched in (
        model.object_patches,
        model.patches,
        model.wrappers,
        model.attachments,
        model.model_options,
        options,
    ):
        digest.update(repr(sorted(patched)).encode())
    return digest.hexdigest()


def reload(model):
    """The host takes a clone's patches off the shared weights when it loads the MODEL again."""
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([model, *model.get_nested_additional_models()])


def tune(model, clip, progress=None, **settings):
    with torch.inference_mode():
        settings = TuningSettings(**{"steps": 2, "learning_rate": 1e-3, "seed": 1} | settings)
        return host_tuning.tune_latent(model, clip[0], clip[2], settings, progress=progress)


def null_text(model, clip, progress=None, **settings):
    with torch.inference_mode():
        settings = InversionSettings(**{"steps": 2, "inner_steps": 3} | settings)
        return host_inversion.invert_latent(model, *clip, settings, progress=progress)


def test_tuning_learns_and_leaves_the_model_as_it_was(model, clip):
    before = fingerprint(model)
    tuned = tune(model, clip)
    assert fingerprint(model) == before
    assert all(parameter.grad is None for parameter in model.model.parameters())
    assert all(delta.any() for delta in tuned.deltas.values())
    assert tuned.deltas.keys() | tuned.temporal.keys() >= set(
        tuning.trained_names([*model.model.diffusion_model.state_dict(), *temporal_of(model).model.state_dict()])
    )


def test_the_tuned_model_holds_the_tuning(model, clip):
    before = fingerprint(model)
    tuned = tune(model, clip)
    applied = host_tuning.with_tuning(model, tuned)
    sigmas = model_sigmas(model)

    def loss(denoise, z0, sigmas):
        timesteps, noises = tuning.draw(2, z0, len(sigmas), seed=1)
        return tuning.tuning_loss(denoise, z0, next(noises).to(z0), sigmas[timesteps[0]].to(z0), SOURCE).item()

    with torch.inference_mode():
        untuned = run(model, clip[0], clip[0], clip[2], sigmas, loss)
        now = run(applied, clip[0], clip[0], clip[2], sigmas, loss)
    assert untuned == pytest.approx(tuned.losses[0].item(), rel=1e-5)
    assert now < untuned
    weight = weights(REFERENCE)[0][ATTENTION.removeprefix("diffusion_model.")]
    torch.testing.assert_close(
        comfy.utils.get_attr(applied.model, ATTENTION).cpu(),
        weight + tuned.deltas[ATTENTION.removeprefix("diffusion_model.")],
    )
    for name, value in temporal_of(applied).model.state_dict().items():
        assert torch.equal(value.cpu(), tuned.temporal[name])
    reload(model)
    assert fingerprint(model) == before


def test_a_tuning_can_go_on_from_a_tuning(model, clip):
    first = tune(model, clip)
    second = tune(host_tuning.with_tuning(model, first), clip)
    assert second.losses[0] < first.losses[0]


def test_checkpointing_changes_no_number(model, clip):
    kept, recomputed = tune(model, clip), tune(model, clip, checkpointing=True)
    assert torch.equal(kept.losses, recomputed.losses)
    assert all(torch.equal(kept.deltas[name], recomputed.deltas[name]) for name in kept.deltas)
    assert all(torch.equal(kept.temporal[name], recomputed.temporal[name]) for name in kept.temporal)
    kept, recomputed = null_text(model, clip), null_text(model, clip, checkpointing=True)
    assert torch.equal(kept.null, recomputed.null) and kept.losses == recomputed.losses


def test_checkpointing_keeps_less(model, clip):
    def kept(checkpointing):
        seen = {}

        def remember(tensor):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        def algorithm(copy, denoise, z0, sigmas):
            null = clip[1][0][0].clone().requires_grad_()
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
                return denoise(z0, sigmas[0], null).sum().requires_grad

        sigmas = model_sigmas(model)[[500, 0]]
        assert gradients.run_differentiable(model, *clip, sigmas, algorithm, checkpointing=checkpointing)
        return sum(seen.values())

    assert kept(True) < 0.5 * kept(False)


@pytest.mark.parametrize("method", inversion.METHODS)
def test_every_method_inverts_and_leaves_the_model_as_it_was(model, clip, method):
    before = fingerprint(model)
    inverted = null_text(model, clip, method=method, rounds=int(method != inversion.VIRTUAL), cfg=2.0)
    assert inverted.trajectory.shape == (3, FRAMES, 4, 8, 8)
    torch.testing.assert_close(inverted.trajectory[0], model.model.process_latent_in(clip[2]))
    with torch.inference_mode():
        reconstruction = host_inversion.reconstruct(model, *clip[:2], inverted)
    assert reconstruction.shape == (2, FRAMES, 4, 8, 8) and reconstruction.isfinite().all()
    assert fingerprint(model) == before


def test_null_text_allocates_no_gradient_of_a_weight(model, clip, monkeypatch):
    differentiable_copy, looked_at, with_gradient = gradients.differentiable_copy, [], []

    @contextmanager
    def watched(model):
        with differentiable_copy(model) as copy:
            yield copy
            looked_at.extend([*copy.model.parameters(), *temporal_of(copy).model.parameters()])
            with_gradient.extend(weight for weight in looked_at if weight.requires_grad or weight.grad is not None)

    monkeypatch.setattr(gradients, "differentiable_copy", watched)
    inverted = null_text(model, clip)
    assert len(looked_at) > 100 and not with_gradient
    assert [losses[-1] < losses[0] for losses in inverted.losses] == [True, True]


@pytest.mark.parametrize("algorithm", [tune, null_text])
def test_the_copy_is_gone_when_the_work_is_done(model, clip, algorithm, monkeypatch):
    deep_copy, copies = gradients._deep_copy, []

    def watched(model):
        duplicate = deep_copy(model)
        copies.extend(map(weakref.ref, duplicate.model.modules()))
        return duplicate

    monkeypatch.setattr(gradients, "_deep_copy", watched)
    gc.collect()
    gc.disable()  # Python would collect it in the end, but the next node may need the memory first
    try:
        algorithm(model, clip)
        assert len(copies) > 100 and not [copy for copy in copies if copy()]
    finally:
        gc.enable()


@pytest.mark.parametrize("algorithm", [tune, null_text])
def test_interruption_stops_within_a_step_and_leaves_the_model_as_it_was(model, clip, algorithm):
    before, heard = fingerprint(model), []

    def interrupt(*step):
        heard.append(step)
        comfy.model_management.interrupt_current_processing()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        algorithm(model, clip, progress=interrupt)
    assert len(heard) == 1
    assert fingerprint(model) == before
    assert tune(model, clip).steps == 2  # and nothing of it is left behind


def test_a_failure_leaves_the_model_as_it_was(model, clip):
    before = fingerprint(model)

    def fail(*args):
        raise MemoryError("no memory left")

    with pytest.raises(MemoryError):
        tune(model, clip, progress=fail)
    assert fingerprint(model) == before


def test_a_model_without_a_way_to_load_it_again_is_copied(clip):
    reloaded, copied = inflated(), inflated()
    copied.cached_patcher_init = None
    before = fingerprint(copied)
    expected = tune(reloaded, clip)
    found = tune(copied, clip)
    assert fingerprint(copied) == before
    assert torch.equal(found.losses, expected.losses)
    # loaded: a patch in its weights, its forwards and an attribute replaced
    delta = torch.full_like(comfy.utils.get_attr(copied.model, ATTENTION), 0.05)
    patched = [model.clone() for model in (reloaded, copied)]
    for model in patched:
        assert model.add_patches({ATTENTION: ("diff", (delta,))}) == [ATTENTION]
        model.set_model_compute_dtype(torch.float32)
    reload(patched[1])
    loaded = fingerprint(patched[1])
    expected, found = (tune(model, clip) for model in patched)
    assert fingerprint(patched[1]) == loaded
    assert torch.equal(found.losses, expected.losses)
    reload(copied)
    assert fingerprint(copied) == before


def test_a_patch_that_stops_gradients_is_named(model, clip):
    with torch.inference_mode():
        weight = torch.ones(1, device=model.load_device)
    model.set_model_attn2_output_patch(lambda n, options: n * weight)
    with pytest.raises(RuntimeError, match="another node's patch on this model holds weights"):
        null_text(model, clip)


def test_where_no_other_node_patched_the_model_none_is_blamed(model, clip, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a variable has been modified by an inplace operation")

    monkeypatch.setattr(null_text_of_clip, "optimise_null_text", fail)
    with pytest.raises(RuntimeError, match="^a variable has been modified by an inplace operation$"):
        null_text(model, clip)
    model.set_model_output_block_patch(lambda h, skip, options: (h, skip))
    with pytest.raises(RuntimeError, match="another node's patch on this model writes into what it is given"):
        null_text(model, clip)


def test_half_precision_learns_in_float32(clip):
    def load(disable_dynamic=False):
        model = image_model(REFERENCE)
        model.model.diffusion_model.half()
        model.model.diffusion_model.dtype = torch.float16
        model.cached_patcher_init = (load, ())
        return model

    with torch.inference_mode():
        half = load()
        half = inflate(half, OFFICIAL, temporal_patcher(half, weights(REFERENCE)[1], dtype=torch.float16))
    before = fingerprint(half)
    # weights that float16 holds exactly, so both compute the same
    found, expected = tune(half, clip), tune(inflated(), clip)
    assert fingerprint(half) == before
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-4, atol=0)
    assert all(delta.dtype == torch.float32 and delta.any() for delta in found.deltas.values())


def test_what_cannot_run_is_said_before_it_starts(model, clip):
    with pytest.raises(ValueError, match="put Inflate UNet before it"):
        tune(image_model(REFERENCE), clip)
    positive, negative, latent = clip
    with pytest.raises(ValueError, match="the negative input holds no text embedding"):
        null_text(model, (positive, [], latent))
    with pytest.raises(ValueError, match="'magic' is not an inversion method"):
        null_text(model, clip, method="magic")
    with pytest.raises(ValueError, match="the negative input holds 2: connect"):
        null_text(model, (positive, [*negative, *negative], latent))
    wrong = tuning.Tuning({"nowhere.attn1.to_q.weight": torch.zeros(1)}, torch.zeros(1), torch.zeros(1))
    with pytest.raises(ValueError, match="does not fit this model: nowhere.attn1.to_q.weight and 0 more"):
        host_tuning.with_tuning(model, wrong)


@pytest.mark.parametrize(
    "kind, prediction", [("EPS", "eps"), ("V_PREDICTION", "v"), ("CONST", "flow"), ("X0", "x0"), ("COSMOS_RFLOW", "x0")]
)
def test_predictions_of_the_host_are_known(model, kind, prediction):
    mixin = getattr(comfy.model_sampling, kind)
    sampling = type("ModelSampling", (comfy.model_sampling.ModelSamplingDiscrete, mixin), {})()
    model.add_object_patch("model_sampling", sampling)
    assert prediction_of(model) == prediction


def test_an_unknown_prediction_is_named(model):
    model.add_object_patch(
        "model_sampling",
        type("ModelSampling", (comfy.model_sampling.ModelSamplingContinuousEDM, comfy.model_sampling.EDM), {})(),
    )
    with pytest.raises(ValueError, match="EDM cannot be inverted or tuned"):
        prediction_of(model)
