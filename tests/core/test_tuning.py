import math

import pytest
import torch
from comfyui_videop2p.tests.core.sd_schedule import alphas_cumprod, sigmas_of
from comfyui_videop2p.videop2p_core.diffusion import schedule, tuning
from comfyui_videop2p.videop2p_core.diffusion.tuning import TuningSettings
from torch import nn
from torch.utils.checkpoint import checkpoint

FRAMES, CHANNELS, SIDE = 3, 4, 5
TRAINED = {
    "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight",
    "input_blocks.1.1.transformer_blocks.0.attn_temp.to_out.0.bias",
    "middle_block.1.transformer_blocks.0.attn2.to_q.weight",
    "middle_block.1.transformer_blocks.0.attn_temp.to_k.weight",
    "output_blocks.3.1.transformer_blocks.0.attn1.to_q.weight",
}
LEFT = {
    "input_blocks.1.1.transformer_blocks.0.attn1.to_k.weight",
    "middle_block.1.transformer_blocks.0.norm_temp.weight",
    "output_blocks.3.1.transformer_blocks.0.ff.net.0.proj.weight",
}


@pytest.fixture
def table():
    return sigmas_of(alphas_cumprod(torch.float32))


@pytest.fixture
def clip():
    return torch.randn(FRAMES, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


class Toy:
    """A denoiser with a tensor under every name, each of which moves the prediction."""

    def __init__(self, checkpointing=False):
        generator = torch.Generator().manual_seed(7)
        self.parameters = {
            name: nn.Parameter(torch.randn(CHANNELS, CHANNELS, generator=generator) * 0.3)
            for name in sorted(TRAINED | LEFT)
        }
        self.checkpointing = checkpointing

    def layer(self, z, weight):
        return z + torch.tanh(torch.einsum("fchw,cd->fdhw", z, weight))

    def __call__(self, x, sigma, source):
        z = x / (1 + sigma**2).sqrt()
        for weight in self.parameters.values():
            z = checkpoint(self.layer, z, weight, use_reentrant=False) if self.checkpointing else self.layer(z, weight)
        return x - sigma * z * 0.1


def tune(clip, table, toy=None, **settings):
    toy = toy or Toy()
    options = {name: settings.pop(name) for name in ("timesteps", "noises", "progress") if name in settings}
    settings = TuningSettings(**{"steps": 4, "learning_rate": 1e-2} | settings)
    return toy, tuning.tune(toy, toy.parameters, clip, table, None, settings, **options)


def test_the_queries_and_the_temporal_attention_learn_and_nothing_else(clip, table):
    before = {name: value.detach().clone() for name, value in Toy().parameters.items()}
    toy, tuned = tune(clip, table)
    assert {name for name, value in toy.parameters.items() if not torch.equal(value, before[name])} == TRAINED
    assert set(tuned.deltas) == {name for name in TRAINED if "attn_temp" not in name}
    for name, delta in tuned.deltas.items():
        torch.testing.assert_close(before[name] + delta, toy.parameters[name].detach())
    assert set(tuned.temporal) == {name for name in TRAINED | LEFT if "_temp." in name}
    for name, value in tuned.temporal.items():
        assert torch.equal(value, toy.parameters[name])
    assert all(toy.parameters[name].grad is None for name in LEFT)


def test_names_of_both_layouts_are_known():
    assert set(tuning.trained_names(TRAINED | LEFT)) == TRAINED
    block = "up_blocks.3.attentions.2.transformer_blocks.0"
    trained = [f"{block}.attn1.to_q.weight", f"{block}.attn_temp.to_v.weight"]
    assert tuning.trained_names([*trained, f"{block}.norm_temp.bias", f"{block}.attn2.to_q_lora.weight"]) == trained


def test_frozen_down_blocks_learn_nothing(clip, table):
    before = {name: value.detach().clone() for name, value in Toy().parameters.items()}
    toy, tuned = tune(clip, table, freeze_down_blocks=True)
    changed = {name for name, value in toy.parameters.items() if not torch.equal(value, before[name])}
    assert changed == {name for name in TRAINED if not name.startswith("input_blocks")}
    assert tuned.freeze_down_blocks
    down = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.weight"
    assert tuning.trained_names([down]) == [down]
    assert tuning.trained_names([down], freeze_down_blocks=True) == []


def test_a_run_is_decided_by_its_seed(clip, table):
    _, first = tune(clip, table, seed=3)
    _, again = tune(clip, table, seed=3)
    _, other = tune(clip, table, seed=4)
    assert torch.equal(first.losses, again.losses)
    assert all(torch.equal(first.deltas[name], again.deltas[name]) for name in first.deltas)
    assert not torch.equal(first.losses, other.losses)


def drawn(clip, table):
    """(timesteps, noises [4, *clip])"""
    timesteps, noises = tuning.draw(4, clip, len(table), seed=3)
    return timesteps, torch.stack([*noises])


@pytest.mark.parametrize("shape", [(1, 4, 2, 2), (8, 4, 16, 16), (3, 4, 6, 10)])
def test_noises_drawn_one_by_one_are_those_of_one_draw(shape):
    """So that a seed gives the tuning that it always gave; true of clips of a multiple of 16 values."""
    generator = torch.Generator().manual_seed(3)
    expected = torch.randint(1000, (7,), generator=generator), torch.randn(7, *shape, generator=generator)
    timesteps, noises = tuning.draw(7, torch.empty(shape), 1000, seed=3)
    assert torch.equal(timesteps, expected[0]) and torch.equal(torch.stack([*noises]), expected[1])


def test_no_noise_is_drawn_before_its_turn(table):
    """Those of this run would take 400 TB."""
    timesteps, noises = tuning.draw(10_000, torch.empty(16, 4, 12_500, 12_500, device="meta"), 1000, seed=0)
    assert len(timesteps) == 10_000 and iter(noises) is noises


def test_the_drawn_timesteps_and_noises_can_be_given(clip, table):
    timesteps, noises = drawn(clip, table)
    assert timesteps.min() >= 0 and timesteps.max() < 1000 and noises.shape == (4, *clip.shape)
    _, seeded = tune(clip, table, seed=3)
    _, given = tune(clip, table, seed=99, timesteps=timesteps, noises=noises)
    assert torch.equal(seeded.losses, given.losses)


def test_tuning_is_its_formulas_written_out(clip, table):
    timesteps, noises = drawn(clip, table)
    toy = Toy()
    trained = [toy.parameters[name] for name in sorted(TRAINED)]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    losses, norms = [], []
    for t, noise in zip(timesteps, noises, strict=True):
        sigma = table[t]
        a = 1 / (1 + sigma**2)
        x = (a.sqrt() * clip + (1 - a).sqrt() * noise) * (1 + sigma**2).sqrt()
        eps = (x - toy(x, sigma, None)) / sigma
        loss = ((eps - noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward(inputs=trained)
        norm = torch.stack([value.grad.norm() for value in trained]).norm()
        if norm > 1:
            for value in trained:
                value.grad /= norm
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
    found, tuned = tune(clip, table, timesteps=timesteps, noises=noises)
    torch.testing.assert_close(tuned.losses, torch.tensor(losses))
    torch.testing.assert_close(tuned.grad_norms, torch.tensor(norms))
    for name in TRAINED:
        torch.testing.assert_close(found.parameters[name], toy.parameters[name], rtol=1e-4, atol=1e-5)


def test_checkpointing_changes_no_number(clip, table):
    kept_toy, kept = tune(clip, table)
    again_toy, again = tune(clip, table, Toy(checkpointing=True))
    assert torch.equal(kept.losses, again.losses)
    assert all(torch.equal(kept_toy.parameters[name], again_toy.parameters[name]) for name in TRAINED)


def test_the_loss_falls(clip, table):
    timesteps, noises = torch.full((40,), 500), torch.zeros(40, *clip.shape) + 0.3
    _, tuned = tune(clip, table, steps=40, timesteps=timesteps, noises=noises)
    assert tuned.losses[-1] < 0.6 * tuned.losses[0]
    assert tuned.steps == 40 and tuned.frames == FRAMES


@pytest.mark.parametrize("prediction", schedule.PREDICTIONS)
def test_a_perfect_denoiser_has_no_loss_in_any_prediction(clip, prediction):
    noise, sigma = torch.randn_like(clip), torch.tensor(0.6)
    assert tuning.tuning_loss(lambda x, *_: clip, clip, noise, sigma, None, prediction=prediction) == 0
    wrong = tuning.tuning_loss(lambda x, *_: clip + 1, clip, noise, sigma, None, prediction=prediction)
    torch.testing.assert_close(wrong, schedule.prediction_weight(sigma, prediction) ** 2)


def test_progress_hears_every_step_and_may_stop_the_work(clip, table):
    class Interrupted(Exception):
        pass

    heard = []

    def progress(losses):
        heard.append([*losses])
        if len(losses) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        tune(clip, table, progress=progress)
    assert [len(losses) for losses in heard] == [1, 2] and heard[0] == heard[1][:1]


def test_what_cannot_be_tuned_is_named(clip, table):
    with pytest.raises(ValueError, match="no attention queries"):
        tuning.tune(Toy(), {"conv.weight": torch.zeros(1)}, clip, table, None, TuningSettings())
    with pytest.raises(ValueError, match="both the timesteps and the noises"):
        tune(clip, table, timesteps=torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="2 timesteps and noises of shape .* do not fit 4 steps"):
        tune(clip, table, timesteps=torch.zeros(2, dtype=torch.long), noises=torch.zeros(2, *clip.shape))


@pytest.mark.parametrize("rate", [0.0, -1e-3, 1e38, math.inf, math.nan])
def test_a_learning_rate_that_trains_to_no_numbers_is_named_first(clip, table, rate):
    toy = Counting()
    with pytest.raises(ValueError, match=f"the learning rate is {rate:g}: ".replace("+", r"\+")):
        tune(clip, table, toy, learning_rate=rate, steps=1)
    assert not toy.forwards


@pytest.mark.parametrize("seed", [-1, -(2**63) - 1, 2**64])
def test_a_seed_out_of_range_is_named_first(clip, table, seed):
    toy = Counting()
    with pytest.raises(ValueError, match=f"the seed is {seed}: give a whole number from 0 to 18446744073709551615"):
        tune(clip, table, toy, seed=seed)
    assert not toy.forwards
    assert tune(clip, table, seed=2**64 - 1)[1].seed == 2**64 - 1


def test_a_last_step_that_gave_no_numbers_gives_no_tuning(clip, table):
    """No loss of a later step would show it."""
    toy = Toy()

    def spoil(losses):
        if len(losses) == 4:
            toy.parameters[max(TRAINED)].detach()[0, 0] = math.nan

    with pytest.raises(ValueError, match="step 4 of the tuning gave values that are not numbers.*lower the learning"):
        tune(clip, table, toy, progress=spoil)


def test_a_tuning_cannot_be_changed(clip, table):
    _, tuned = tune(clip, table)
    with pytest.raises(TypeError):
        tuned.deltas["x"] = torch.zeros(1)
    with pytest.raises(AttributeError):
        tuned.losses = torch.zeros(1)


def test_a_probed_loss_that_falls_no_more_is_flat():
    falling = [0.98**n for n in range(40)]
    assert not any(tuning.is_flat(falling[:n], 30) for n in range(40))
    level = falling[:10] + [falling[9]] * 9
    assert [tuning.is_flat(level[:n], 30) for n in range(20)] == [False] * 13 + [True] * 7
    assert not tuning.is_flat([1.0, 1.0], 11) and tuning.is_flat([1.0, 1.0], 10)
    worse_then_better = [1.0, 1.2, 1.1, 0.98]
    assert not tuning.is_flat(worse_then_better, 30)


def test_a_probe_weighs_every_noise_level_alike(clip, table):
    timesteps, noises = tuning.probe_draw(clip, 1000)
    assert timesteps.tolist() == [125, 375, 625, 875] and noises.shape == (tuning.PROBES, *clip.shape)
    losses = [
        tuning.tuning_loss(Toy(), clip, noise, table[t], None) for t, noise in zip(timesteps, noises, strict=True)
    ]
    probed = tuning.probed_loss(Toy(), clip, table, None)
    assert probed == pytest.approx(torch.stack(losses).detach().prod().item() ** (1 / tuning.PROBES), rel=1e-5)
    assert tuning.probed_loss(lambda x, *_: clip, clip, table, None) == 0


def test_the_running_mean_is_corrected_for_its_start():
    assert tuning.running_mean([2.0, 2.0, 2.0]) == pytest.approx([2, 2, 2])
    assert tuning.running_mean([0.0, 1.0], smooth=0.5) == pytest.approx([0, 2 / 3])


class Counting(Toy):
    forwards = 0

    def __call__(self, *given):
        self.forwards += 1
        return super().__call__(*given)


def test_patience_costs_its_probes_and_changes_no_number(clip, table):
    toy, tuned = tune(clip, table, Counting(), steps=25, patience=1000)
    plain_toy, plain = tune(clip, table, Counting(), steps=25)
    assert plain_toy.forwards == 25 and toy.forwards == 25 + tuning.PROBES * (1 + 25 // tuning.PROBED_EVERY)
    assert torch.equal(tuned.losses, plain.losses) and torch.equal(tuned.grad_norms, plain.grad_norms)
    assert all(torch.equal(toy.parameters[name], plain_toy.parameters[name]) for name in TRAINED)


def test_a_patient_run_ends_early_and_keeps_what_it_learnt(clip, table):
    def perfect(x, sigma, source):
        return clip + 0 * toy(x, sigma, source)

    toy = Toy()
    tuned = tuning.tune(perfect, toy.parameters, clip, table, None, TuningSettings(steps=100, patience=30))
    assert tuned.steps == len(tuned.grad_norms) == 30
    assert any(delta.any() for delta in tuned.deltas.values())  # weight decay alone


def test_where_a_patient_run_ends_is_no_chance(clip, table):
    """Whatever noise its steps happen to draw: the losses of the steps themselves, even their running mean, differ by
    more between seeds than they fall."""
    runs = [tune(clip, table, steps=400, seed=seed, patience=40)[1] for seed in range(6)]
    ends = [tuned.steps for tuned in runs]
    assert 150 < min(ends) and max(ends) <= 1.2 * min(ends) < 400


def test_a_tensor_that_no_gradient_reaches_is_named(clip, table):
    """A layer that computes with a copy of its weight, as where weights are streamed to a device."""
    toy, name = Toy(), sorted(TRAINED)[0]
    parameter = toy.parameters[name]
    toy.parameters = {**toy.parameters, name: parameter.detach().clone()}
    trained = {**toy.parameters, name: parameter}
    with pytest.raises(ValueError, match=f"no gradient reached 1 of the {len(TRAINED)} tensors to be tuned .{name}"):
        tuning.tune(toy, trained, clip, table, None, TuningSettings(steps=2, learning_rate=1e-2))
