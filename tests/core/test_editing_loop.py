import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.diffusion.editing_loop import edit_clip, source_branch, target_branch
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion

STEPS, FRAMES = 4, 2
SIGMAS = torch.tensor([9.0, 4.0, 2.0, 1.0, 0.5])


def inversion(method):
    torch.manual_seed(0)
    return Inversion(
        method=method,
        trajectory=torch.randn(STEPS + 1, FRAMES, 4, 6, 8),
        sigmas=SIGMAS,
        source=torch.randn(1, 3, 5),
        initial_null=torch.zeros(1, 3, 5),
        null=torch.randn(STEPS, 1, 3, 5) if method in inversions.NULL_TEXT_METHODS else None,
    )


class Recorded:
    """A denoiser that remembers its calls: a half of x for the source, a third for target 0, a quarter for target 1."""

    def __init__(self):
        self.calls = []

    def __call__(self, sigma, asked):
        self.calls += [(branch.step, branch.target) for branch, _ in asked]
        return [x / (2 if branch.target is None else 3 + branch.target) for branch, x in asked]


def test_the_source_is_denoised_first_and_once_for_all_targets():
    denoise = Recorded()
    edit_clip(denoise, inversion(inversions.NEGATIVE_PROMPT), targets=2)
    assert denoise.calls == [(step, branch) for step in range(STEPS) for branch in (None, 0, 1)]


@pytest.mark.parametrize("method", inversions.METHODS)
def test_several_targets_equal_each_alone(method):
    both = edit_clip(Recorded(), inversion(method), targets=2)[1]
    assert torch.equal(both[0], edit_clip(Recorded(), inversion(method), targets=1)[1][0])
    assert not torch.equal(*both)


def test_the_direct_method_puts_the_source_back_on_its_path():
    inverted, states = inversion(inversions.DIRECT), []
    source, _ = edit_clip(Recorded(), inverted, progress=lambda step, x, targets: states.append(x))
    torch.testing.assert_close(source, inverted.trajectory[0])
    for step, x in enumerate(states):
        torch.testing.assert_close(x, schedule.to_x(inverted.latent_after(step), SIGMAS[step + 1]))


def test_the_direct_method_leaves_the_source_out_where_no_target_looks_at_it():
    denoise = Recorded()
    edit_clip(denoise, inversion(inversions.DIRECT), source_needed=lambda step: step < 2)
    assert denoise.calls == [(0, None), (0, 0), (1, None), (1, 0), (2, 0), (3, 0)]


def test_other_methods_need_the_source_at_every_step():
    denoise = Recorded()
    edit_clip(denoise, inversion(inversions.NEGATIVE_PROMPT), source_needed=lambda step: False)
    assert denoise.calls == [(step, branch) for step in range(STEPS) for branch in (None, 0)]


def test_without_a_mask_the_target_is_whole_and_at_zero_it_is_the_source():
    left = torch.zeros(FRAMES, 6, 8)
    left[:, :, :4] = 1
    source, (whole, masked) = edit_clip(Recorded(), inversion(inversions.DIRECT), 2, end_step=lambda step: [None, left])
    assert torch.equal(masked[..., 4:], source[..., 4:])
    assert not torch.equal(whole[..., 4:], source[..., 4:])
    assert not torch.equal(masked[..., :4], source[..., :4])


def test_the_same_prediction_for_both_branches_gives_the_source():
    source, (target,) = edit_clip(lambda sigma, asked: [x / 2 for _, x in asked], inversion(inversions.NEGATIVE_PROMPT))
    assert torch.equal(source, target)


@pytest.mark.parametrize("method", inversions.NULL_TEXT_METHODS)
def test_decoupled_guidance_keeps_the_optimised_null_text_to_the_source(method):
    inverted = inversion(method)
    for step in range(STEPS):
        source, target = source_branch(inverted, step), target_branch(inverted, step, 0)
        assert torch.equal(source.null, inverted.null[step]) and source.cfg == inverted.cfg
        assert torch.equal(target.null, inverted.initial_null) and target.cfg == inverted.cfg
        assert torch.equal(target_branch(inverted, step, 0, coupled=True).null, inverted.null[step])


@pytest.mark.parametrize("method", [inversions.DIRECT, inversions.NEGATIVE_PROMPT, inversions.PROXIMAL])
def test_without_optimised_null_texts_the_source_takes_one_conditional_prediction(method):
    branch = source_branch(inversion(method), 0)
    assert branch.cfg == 1 and branch.null is None


def test_proximal_guidance_has_the_source_prompt_for_the_targets_null_text():
    inverted = inversion(inversions.PROXIMAL)
    branch = target_branch(inverted, 0, 0)
    assert branch.proximal and torch.equal(branch.null, inverted.source)
    assert not target_branch(inversion(inversions.DIRECT), 0, 0).proximal


# --- the exact source -------------------------------------------------------------------------------------------------


class Toy:
    """A network that looks at its conditioning: denoised of z under a label."""

    def __init__(self):
        generator = torch.Generator().manual_seed(2)
        self.mix = 0.4 * torch.randn(4, 4, generator=generator)
        self.calls = []

    def __call__(self, x, sigma, conditioning):
        self.calls.append(sigma.item())
        z = x / (1 + sigma**2).sqrt()
        return torch.tanh(torch.einsum("fchw,dc->fdhw", z, self.mix) + conditioning) / (1 + 0.1 * sigma)

    def answers(self, *conditionings):
        """For `edit_clip`, of the source and of each target."""

        def denoise(sigma, predictions):
            return [
                self(x, sigma, 1.0 if branch.target is None else conditionings[branch.target])
                for branch, x in predictions
            ]

        return denoise


def inverted(network, method, clip, **settings):
    if method == inversions.VIRTUAL:
        trajectory = inversions.virtual_path(clip, SIGMAS, torch.randn_like(clip[:1]))
    else:
        trajectory = inversions.ddim_invert(network, clip, SIGMAS, 1.0, **settings)
    rounds = settings.get("rounds", 0)
    return Inversion(
        method,
        trajectory,
        SIGMAS,
        source=torch.zeros(1, 3, 5),
        initial_null=torch.zeros(1, 3, 5),
        cfg=1.0,
        rounds=rounds,
    )


@pytest.fixture
def clip():
    return torch.randn(FRAMES, 4, 6, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", inversions.EXACT_METHODS)
@pytest.mark.parametrize("rounds", [0, 2])
def test_the_same_prompt_gives_the_source_bit_for_bit(clip, method, rounds):
    network = Toy()
    source, (target,) = edit_clip(network.answers(1.0), inverted(network, method, clip, rounds=rounds))
    torch.testing.assert_close(source, clip)
    assert torch.equal(target, source)


def test_as_published_it_does_not(clip):
    network = Toy()
    source, (target,) = edit_clip(network.answers(1.0), inverted(network, inversions.DIRECT, clip))
    torch.testing.assert_close(source, clip)
    assert (target - source).abs().max() > 1e-3


def test_the_source_is_shown_as_the_inversion_saw_it(clip):
    """So that its directions are known without it, to rounding."""
    network, shown = Toy(), []
    path = inverted(network, inversions.DIRECT_EXACT, clip)

    def denoise(sigma, predictions):
        shown.append(predictions[0][1])
        return network.answers(1.0)(sigma, predictions)

    _, (target,) = edit_clip(denoise, path, source_needed=lambda step: False)
    torch.testing.assert_close(target, path.trajectory[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(shown[0], schedule.to_x(path.latent_after(0), SIGMAS[0]))


@pytest.mark.parametrize("method", [inversions.DIRECT_RESIDUAL, inversions.VIRTUAL])
def test_the_residual_needs_the_source_at_every_step(clip, method):
    network, seen = Toy(), []

    def denoise(sigma, predictions):
        seen.append([branch.target for branch, _ in predictions])
        return network.answers(1.0)(sigma, predictions)

    edit_clip(denoise, inverted(network, method, clip), source_needed=lambda step: False)
    assert seen == [[None, 0]] * STEPS


def test_in_float64_both_ways_are_exact(clip):
    network = Toy()
    network.mix = network.mix.double()
    for method in (inversions.DIRECT_EXACT, inversions.DIRECT_RESIDUAL):
        path = inverted(network, method, clip.double())
        needed = edit_clip(network.answers(1.0), path)[1][0]
        left_out = edit_clip(network.answers(1.0), path, source_needed=lambda step: False)[1][0]
        torch.testing.assert_close(needed, left_out, atol=1e-12, rtol=0)


def test_a_mask_of_zero_keeps_the_source_and_another_prompt_changes_the_rest(clip):
    left = torch.zeros(FRAMES, 6, 8)
    left[..., :4] = 1
    network = Toy()
    source, (target,) = edit_clip(
        network.answers(-1.0), inverted(network, inversions.DIRECT_EXACT, clip), end_step=lambda step: [left]
    )
    assert torch.equal(target[..., 4:], source[..., 4:]) and (target - source)[..., :4].abs().max() > 0.1


def test_guidance_may_differ_from_step_to_step(clip):
    network, scales = Toy(), []

    def denoise(sigma, predictions):
        scales.extend(branch.cfg for branch, _ in predictions if branch.target is not None)
        return network.answers(1.0)(sigma, predictions)

    edit_clip(denoise, inverted(network, inversions.DIRECT_EXACT, clip), guidance=[(5.0, 5.0, 2.5, 1.0)])
    assert scales == [5.0, 5.0, 2.5, 1.0]
