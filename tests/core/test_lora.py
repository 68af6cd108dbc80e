import pytest
import torch
from comfyui_videop2p.videop2p_core.storage import lora

SINGULAR = torch.tensor([4.0, 2.0, 1.0, 0.5])


@pytest.fixture
def deltas():
    """Two weights of 6 x 4; of the first the singular values are known."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(size, 4, generator=generator))[0] for size in (6, 4))
    return {"a.to_q.weight": (u * SINGULAR) @ v.T, "b.to_q.weight": torch.randn(6, 4, generator=generator)}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_lost_is_the_tail_of_the_singular_values(deltas, rank):
    found = lora.low_rank(deltas, rank)
    expected = SINGULAR[rank:].norm() / SINGULAR.norm()
    assert found.errors["a.to_q.weight"] == pytest.approx(expected.item(), rel=1e-5)
    assert found.rank == rank


def test_the_error_reported_is_that_of_what_a_loader_adds(deltas):
    found = lora.low_rank(deltas, 2)
    names = {"a.to_q.weight": "down_blocks.0.a.to_q.weight", "b.to_q.weight": "mid_block.b.to_q.weight"}
    tensors = lora.lora_tensors(found, names)
    layers = {"a.to_q.weight": "lora_unet_down_blocks_0_a_to_q", "b.to_q.weight": "lora_unet_mid_block_b_to_q"}
    assert len(tensors) == 3 * len(layers)
    lost = {}
    for name, layer in layers.items():
        up, down, alpha = (tensors[f"{layer}.{part}"] for part in ("lora_up.weight", "lora_down.weight", "alpha"))
        lost[name] = deltas[name] - alpha / len(down) * up @ down
        assert found.errors[name] == pytest.approx((lost[name].norm() / deltas[name].norm()).item(), rel=1e-5)
    lost, whole = (torch.stack(list(part.values())).norm() for part in (lost, deltas))
    assert found.error == pytest.approx((lost / whole).item(), rel=1e-5)


def test_at_full_rank_nothing_is_lost_and_no_rank_is_higher(deltas):
    found = lora.low_rank(deltas, 100)
    assert found.rank == 4 and found.error < 1e-6
    for name, (up, down) in found.factors.items():
        torch.testing.assert_close(up @ down, deltas[name])


def test_a_weight_that_did_not_change_loses_nothing(deltas):
    found = lora.low_rank(deltas | {"c.to_q.weight": torch.zeros(6, 4)}, 4)
    assert found.errors["c.to_q.weight"] == 0


def test_every_weight_is_told_of(deltas):
    steps = []
    lora.low_rank(deltas, 1, steps.append)
    assert steps == [0, 1]


def test_no_rank_and_no_deltas_are_named(deltas):
    with pytest.raises(ValueError, match="a rank of at least 1, not 0"):
        lora.low_rank(deltas, 0)
    with pytest.raises(ValueError, match="no deltas"):
        lora.low_rank({}, 1)
