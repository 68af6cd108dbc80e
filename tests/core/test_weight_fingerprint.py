"""A model is recognised in whatever precision its weights are loaded; what is no more than near to it is not."""

from functools import partial

import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion import weight_fingerprint as fingerprint
from comfyui_videop2p.videop2p_core.diffusion.weight_fingerprint import Verdict, apart, likeness, row, together

WEIGHTS = 32
CAST = {
    "fp32": [torch.float32], "fp16": [torch.float16], "bf16": [torch.bfloat16], "e4m3": [torch.float8_e4m3fn],
    "e5m2": [torch.float8_e5m2], "bf16 of fp16": [torch.float16, torch.bfloat16],
    "e4m3 of bf16": [torch.bfloat16, torch.float8_e4m3fn], "e5m2 of fp16": [torch.float16, torch.float8_e5m2],
    "fp16 of e4m3": [torch.float8_e4m3fn, torch.float16],
}  # fmt: skip
BLOCKS = {"8 bits": 8, "6 bits": 6, "5 bits": 5, "4 bits": 4}
KINDS = [*CAST, *BLOCKS, "8 bits at one scale", "scaled e4m3"]


@pytest.fixture(scope="module")
def weights():
    """Of a network: some wide, some narrow, some with a few large values."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for number in range(WEIGHTS):
        weight = torch.randn(8, 128, generator=generator) * 0.2 / (1 + number / 4)
        weight[0, number] *= 8 * (number % 3 == 0) + 1
        result.append(weight)
    return result


def in_blocks(weight, bits, size=32):
    """(values, expected error) of whole numbers under a scale of 16 bits for so many values."""
    blocks = weight.reshape(-1, size)
    scale = blocks.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)
    values = ((blocks / scale).round() * scale).flatten()
    return values, partial(fingerprint.packed_error, bits=bits + 16 / size)


def kept_as(kind, weight):
    if kind in CAST:
        for dtype in CAST[kind]:
            weight = weight.to(dtype)
        return weight.float().flatten(), lambda values: 0.0
    if kind in BLOCKS:
        return in_blocks(weight, BLOCKS[kind])
    if kind == "scaled e4m3":
        scale = weight.abs().max() / 448
        values = (weight / scale).to(torch.float8_e4m3fn).float().flatten() * scale
        return values, partial(fingerprint.scaled_error, kind=torch.float8_e4m3fn)
    return in_blocks(weight, int(kind[0]), weight.numel())


def fingerprint_of(weights, kind="fp32"):
    rows = []
    for weight in weights:
        values, error = kept_as(kind, weight)
        values = values[fingerprint.places(len(values))]
        rows.append(fingerprint.row(values, error(values)))
    return torch.stack(rows)


def changed(weights, share, every=1):
    """As a fine-tuning may: by a share of their root mean square, in one of so many weights."""
    generator = torch.Generator().manual_seed(1)
    return [
        weight + (number % every == 0) * share * weight.square().mean().sqrt() * noise
        for number, weight in enumerate(weights)
        for noise in [torch.randn(weight.shape, generator=generator)]
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_the_same_in_every_two_precisions(weights, kind):
    made = fingerprint_of(weights, kind)
    verdicts = {other: likeness(made, fingerprint_of(weights, other)).verdict for other in KINDS}
    assert verdicts == dict.fromkeys(KINDS, Verdict.SAME)
    assert likeness(made, made).difference == 0


@pytest.mark.parametrize("share", [0.001, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("every", [1, 4], ids=["all weights", "one of four"])
def test_a_fine_tuning_is_another_model_as_far_as_the_precision_can_tell(weights, share, every):
    tuned = changed(weights, share, every)
    other = {"fp32": 0.001, "fp16": 0.001, "bf16": 0.01, "bf16 of fp16": 0.01, "8 bits": 0.03, "6 bits": 0.1}
    doubtful = {"bf16": 0.001, "e4m3": 0.03, "e5m2": 0.1}
    for kind in other | doubtful:
        for made, loaded in ((weights, tuned), (tuned, weights)):
            found = likeness(fingerprint_of(made), fingerprint_of(loaded, kind)).verdict
            if share >= other.get(kind, torch.inf):
                assert found is Verdict.OTHER, kind
            elif share >= doubtful.get(kind, torch.inf):
                assert found is not Verdict.SAME, kind


def test_two_loads_in_8_bits_are_told_apart_as_ever(weights):
    one, other = (fingerprint_of(each, "e4m3") for each in (weights, changed(weights, 0.02)))
    assert likeness(one, other).verdict is not Verdict.SAME


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fp32"])
def test_an_unrelated_model_is_another_in_every_precision(weights, kind):
    made = fingerprint_of(weights)
    assert likeness(made, fingerprint_of(weights[::-1], kind)).verdict is Verdict.OTHER
    assert likeness(made, fingerprint_of(changed(weights, 0.5), kind)).verdict is Verdict.OTHER


def test_what_cannot_be_told_is_uncertain(weights):
    made = fingerprint_of(weights)
    rows = [in_blocks(weight, 2)[0] for weight in weights]
    two_bits = torch.stack([fingerprint.row(row[:128], fingerprint.packed_error(row[:128], 2)) for row in rows])
    assert likeness(fingerprint_of([weight.flatten()[:128] for weight in weights]), two_bits).verdict is (
        Verdict.UNCERTAIN
    )
    unreadable = torch.stack([fingerprint.unreadable()] * WEIGHTS)
    assert likeness(made, unreadable).verdict is Verdict.UNCERTAIN
    # What is left of the weights tells as much as it can.
    assert likeness(made, torch.cat([unreadable[: WEIGHTS // 2], made[WEIGHTS // 2 :]])).verdict is Verdict.SAME
    other = fingerprint_of(changed(weights, 0.01))
    assert likeness(made, torch.cat([unreadable[: WEIGHTS // 2], other[WEIGHTS // 2 :]])).verdict is Verdict.OTHER


def test_rounded_at_random_to_8_bits_it_may_be_the_same(weights):
    generator = torch.Generator().manual_seed(0)
    rounded = [
        (weight * (1 + (torch.rand(weight.shape, generator=generator) - 0.5) / 12)).to(torch.float8_e4m3fn).float()
        for weight in weights
    ]
    assert likeness(fingerprint_of(weights), fingerprint_of(rounded)).verdict is Verdict.UNCERTAIN


def test_what_cannot_be_compared_is_another(weights):
    made = fingerprint_of(weights)
    assert likeness(made, made[1:]).verdict is Verdict.OTHER
    broken = made.clone()
    broken[3, 5] = torch.nan
    assert likeness(made, broken).verdict is Verdict.OTHER


def test_places_are_runs_that_lie_within_blocks():
    assert fingerprint.places(5).tolist() == [0, 1, 2, 3, 4]
    assert fingerprint.places(130).tolist() == list(range(128))
    for length in (160, 4096, 320 * 320 + 7):
        runs = fingerprint.places(length).split(fingerprint.RUN)
        assert len(runs) == fingerprint.RUNS and runs[-1][-1] < length
        assert all(run[0] % fingerprint.RUN == 0 and (run.diff() == 1).all() for run in runs)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 2, 129)])
def test_what_is_no_fingerprint_is_named(shape):
    with pytest.raises(ValueError, match="the fingerprint of its model has shape"):
        fingerprint.check_fingerprint(torch.zeros(shape))
    fingerprint.check_fingerprint(None)


def test_the_fingerprint_of_two_models_is_taken_apart_again():
    one, other = (torch.stack([row(torch.full((5,), value))] * rows) for value, rows in ((1.0, 2), (2.0, 3)))
    for parts in ((one, other), (other, one[:0])):
        assert all(map(torch.equal, apart(together(*parts)), parts))
    for wrong in (one, together(one, together(one, other))):
        with pytest.raises(ValueError, match="of a pair of models is of [13]: invert the clip again"):
            apart(wrong)
