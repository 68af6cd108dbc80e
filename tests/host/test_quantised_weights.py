"""The demo model in every precision: one model to what was made with it; what a UNet of quantised weights can do."""

import re
from dataclasses import replace

import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, predict, run, sample
from comfyui_videop2p.tests.host.quantised import FOUR_BITS, KINDS, demo_in
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.host.model.identity import base_of, fingerprint_of, full_fingerprint_of, identity_of
from comfyui_videop2p.videop2p_core.host.storage import official_checkpoint as foreign
from comfyui_videop2p.videop2p_core.storage import artifacts as weights

QUERY = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
KEY = QUERY.replace("to_q", "to_k")
OUTER = "diffusion_model.output_blocks.6.1.transformer_blocks.0.attn1.to_q.weight"  # on which more depends
UNREAD = "scaled float8_e4m3fn"  # a kind that shows in no name of a file of earlier versions


def inflated(kind, changed=None):
    with torch.inference_mode():
        return run("InflateUNet", model=demo_in(kind, changed=changed))[0]


@pytest.fixture(scope="module")
def models():
    return {kind: inflated(kind) for kind in [*KINDS, FOUR_BITS]}


def written(model, **changes):
    """A tuning that says it was made on the MODEL and changes nothing."""
    none = torch.zeros(0)
    return replace(
        Tuning({}, none, none, base_model=base_of(model), fingerprint=fingerprint_of(model)),
        **changes,
    )


def load(model, tuning, folders):
    weights.save(tuning, folders / "tunings" / "tuning.safetensors")
    return run("LoadTuning", model=model, tuning_name="tuning.safetensors")[0]


def refused(sentence):
    return pytest.raises(ValueError, match=sentence)


def fine_tuned(share, seed=0, of=lambda name: True):
    """Weights changed by a share of their root mean square."""

    def changed(state):
        generator = torch.Generator().manual_seed(seed)
        return {
            name: weight + share * weight.square().mean().sqrt() * torch.randn(weight.shape, generator=generator)
            if of(name)
            else weight
            for name, weight in state.items()
        }

    return changed


def with_lora(state):
    """As a LoRA merged into a checkpoint leaves it: of rank 2, in attention alone."""
    generator = torch.Generator().manual_seed(0)
    result = dict(state)
    for name, weight in state.items():
        if ".attn" in name and weight.ndim == 2:
            up, down = (torch.randn(size, 2, generator=generator) for size in weight.shape)
            change = up @ down.T
            result[name] = weight + 0.03 * change * weight.square().mean().sqrt() / change.square().mean().sqrt()
    return result


# --- one model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", KINDS)
def test_a_tuning_fits_its_model_in_every_other_precision(models, folders, made):
    tuning = written(models[made])
    for kind in KINDS:
        assert load(models[kind], tuning, folders)
        assert base_of(models[kind], tuning) == base_of(models[made])


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", UNREAD, "Q8_0", "Q4_0"])
def test_an_inversion_is_edited_in_another_precision(models, inverting, inversion, clip, kind):
    (edited,), *_ = sample(models[kind], inversion, control(clip)[0])
    assert edited["samples"].isfinite().all() and identity_of(models[kind]) != inversion.base_model
    assert identity_of(models[kind], inversion) == inversion.base_model
    image = run("InflateUNet", model=models[kind], frames_read="first")[0]
    made, base = re.escape(inversion.base_model), base_of(models["float16"])
    with refused(f"was made with {made}, but the model connected is {base}, frames reading first, temp"):
        sample(image, inversion, control(clip)[0])


PATCH = torch.randn(128, 128, generator=torch.Generator().manual_seed(0)) / 10


def patched(model, delta, strength=1.0, key=KEY):
    patched = model.clone()
    assert patched.add_patches({key: ("diff", (delta,))}, strength) == [key]
    return patched


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_a_lora_is_the_same_in_another_precision(models, inverting, dtype):
    model = models["float16"]
    styled = patched(model, PATCH.half())
    inversion = run("DDIMInvert", **inverting | {"model": styled, "steps": 1})[0]
    for kind in ("float16", "bfloat16"):
        again = patched(models[kind], PATCH.half().to(dtype))
        assert identity_of(again, inversion) == inversion.base_model != identity_of(again)
        for other in (
            models[kind], patched(models[kind], PATCH, 0.5), patched(models[kind], PATCH, key=QUERY),
            patched(models[kind], PATCH + 0.05 * PATCH.roll(1)), patched(again, PATCH),
        ):  # fmt: skip
            assert identity_of(other, inversion) != inversion.base_model


def test_the_base_model_is_known_with_loras_on_it_and_loaded(models, clip, latent):
    for kind in ("float8_e4m3fn", "Q4_0"):
        before = fingerprint_of(models[kind])
        styled = patched(models[kind], PATCH)
        with torch.inference_mode():
            assert not torch.allclose(predict(styled, clip, latent), predict(models[kind], clip, latent), atol=1e-3)
            predict(styled, clip, latent)  # which leaves it loaded
        assert torch.equal(fingerprint_of(styled), before) and torch.equal(fingerprint_of(models[kind]), before)
        assert base_of(styled) == base_of(models[kind])
        assert len(full_fingerprint_of(styled)) == len(before) + 2


# --- another model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.1])
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "Q8_0"])
def test_a_fine_tuned_checkpoint_is_another(models, folders, kind, share):
    other = inflated(kind, fine_tuned(share))
    for made in ("float32", "bfloat16", kind):
        with refused(
            rf"was made on {base_of(models[made])}, but the model connected is {base_of(other)}, whose .* differ"
        ):
            load(other, written(models[made]), folders)


def test_a_lora_merged_into_the_checkpoint_makes_it_another(models, folders):
    for kind in ("bfloat16", "int8"):
        with refused(r"whose weights differ by \d"):
            load(inflated(kind, with_lora), written(models["float16"]), folders)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unrelated_checkpoint_is_another_in_every_precision(models, folders, kind):
    other = inflated(kind, fine_tuned(1.0))
    with refused(r"whose weights differ by \d\d %: load the checkpoint that it was tuned on$"):
        load(other, written(models["float16"]), folders)


def test_where_a_precision_cannot_tell_it_is_named(models, folders):
    other = inflated("float8_e4m3fn", fine_tuned(0.02))
    with refused("which may be another checkpoint or what float8_e4m3fn has left of this one: .* in half precision$"):
        load(other, written(models["float16"]), folders)
    unread = written(models["float16"])
    unread.fingerprint[:, 0] = torch.inf
    with refused("weights of one of the two are quantised in a way that cannot be compared: .* in half precision$"):
        load(models["bfloat16"], unread, folders)
    # Finer differences than it can hold are none.
    assert load(inflated("Q4_0", fine_tuned(0.01)), written(models["float16"]), folders)


# --- files of earlier versions ----------------------------------------------------------------------------------------

NAMES = {"float16": "DemoSD15 fdec528c", "bfloat16": "DemoSD15 3a270766", "float8_e4m3fn": "DemoSD15 f61e5b76"}


def test_a_name_alone_is_understood_where_the_model_has_it_or_had_it_in_less(models, folders):
    for kind, name in NAMES.items():
        assert base_of(models[kind]) == name
        old = written(models[kind], fingerprint=None)
        for fits in {kind, "float16", "float32"}:
            assert load(models[fits], old, folders)
    old = written(models["float16"], fingerprint=None)
    with refused(
        "was made on DemoSD15 fdec528c, but the model connected is DemoSD15 3a270766, and what an earlier version "
        "saved knows it in one precision alone, which may be another than bfloat16: load the checkpoint that it was "
        "tuned on in the precision that it had then$"
    ):
        load(models["bfloat16"], old, folders)
    for kind in KINDS:
        assert load(models[kind], written(models[kind], fingerprint=None), folders)
    with refused("the model connected is DemoSD15 fdec528c: load the checkpoint that it was tuned on$"):
        load(models["float16"], replace(old, base_model="SDXL 12345678"), folders)


# --- what they can do -------------------------------------------------------------------------------------------------


def in_numbers(model):
    """A MODEL of just the weights that a quantised one's come to, in float32."""
    return inflated("float32", lambda _: dict(foreign.Weights(model, patched=False)))


def tuned(model, clip, latent, steps=2):
    return run(
        "TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=latent, steps=steps, learning_rate=1e-3
    )


# int8 layers quantise what they are given as well; 7 % of a gradient norm were measured.
EXACT, ROUGH = (1e-4, 1e-3), (1e-2, 0.2)
OFF = {"float8_e4m3fn": EXACT, UNREAD: EXACT, "nvfp4": EXACT, "Q4_0": EXACT, "rotated int8": ROUGH}


@pytest.mark.parametrize(
    "kind, off",
    [
        pytest.param(*item, marks=() if item[0] in (UNREAD, "rotated int8") else pytest.mark.slow)
        for item in OFF.items()
    ],
)
def test_a_quantised_model_is_tuned_as_its_numbers_are(models, clip, latent, kind, off):
    model = models[kind]
    result, learnt, _ = tuned(model, clip, latent)
    _, expected, _ = tuned(in_numbers(model), clip, latent)
    torch.testing.assert_close(learnt.losses, expected.losses, rtol=off[0], atol=0)
    torch.testing.assert_close(learnt.grad_norms, expected.grad_norms, rtol=off[1], atol=0)
    assert learnt.deltas.keys() == expected.deltas.keys() and learnt.temporal.keys() == expected.temporal.keys()
    assert all(delta.any() and delta.dtype == torch.float32 for delta in learnt.deltas.values())
    before, after = (predict(each, clip, latent) for each in (model, result))
    assert after.isfinite().all() and not torch.allclose(before, after, atol=1e-3)
    assert identity_of(model) != identity_of(result)


def test_a_lora_is_there_while_a_gguf_model_is_tuned(models, clip, latent):
    generator = torch.Generator().manual_seed(0)
    for key in (OUTER, OUTER.replace("to_q", "to_v")):
        patch = torch.randn(64, 64, generator=generator)
        packed, numbers = models["Q4_0"], in_numbers(models["Q4_0"])
        given = packed, patched(packed, patch, key=key), patched(numbers, patch, key=key)
        bare, with_it, expected = (tuned(model, clip, latent, steps=1)[1].losses[0].item() for model in given)
        assert with_it == pytest.approx(expected, rel=1e-4) != pytest.approx(bare, rel=1e-3)


@pytest.mark.parametrize("kind", [UNREAD, "int8", "Q4_0", FOUR_BITS])
def test_null_texts_are_found_through_quantised_layers(models, inverting, kind):
    asked = inverting | {"model": models[kind], "steps": 1, "method": "shared null-text", "inner_steps": 3}
    (losses,) = run("DDIMInvert", **asked)[0].losses
    assert losses[0] > losses[1] > losses[2]


def test_what_cannot_be_unpacked_is_not_tuned(models, folders, inverting, clip, tuning):
    model = models[FOUR_BITS]
    before_any_work = refused(
        r"weights are quantised in a way \(Params4bit\) that can be neither trained nor tuned: load"
    )
    with before_any_work:
        run("TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=inverting["latent"], steps=1)
    with before_any_work:
        load(model, tuning[1], folders)


def test_the_official_code_reads_and_writes_what_is_not_quantised(models, folders, tuning):
    for kind, name in (("float8_e4m3fn", "float8_e4m3fn"), (UNREAD, "8 bits under scales"), ("Q4_0", "Q4_0")):
        with refused(rf"the connected model's weights are quantised \({name}\), which hides what .* half precision"):
            foreign.load(folders / "nothing", models[kind])
    for kind in (UNREAD, "Q8_0"):
        layout, own = foreign.Layout(models[kind]), foreign.Weights(models[kind], patched=False)
        exact = foreign.Weights(models["float32"], patched=False)
        assert layout.shapes == foreign.Layout(models["float32"]).shapes
        for name in (QUERY, KEY):
            name = name.removeprefix("diffusion_model.")
            assert 0 < (own[name] - exact[name]).norm() < 0.04 * exact[name].norm()
