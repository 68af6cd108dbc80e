import pytest
import torch
from comfyui_videop2p.tests.core.sd_schedule import alphas_cumprod, sigmas_of
from comfyui_videop2p.videop2p_core.diffusion import schedule


@pytest.fixture
def table():
    return sigmas_of(alphas_cumprod())


@pytest.mark.parametrize(
    "steps, first, last", [(50, [981, 961, 941], [41, 21, 1]), (10, [901, 801], [101, 1]), (1, [1], [1])]
)
def test_timesteps_are_evenly_spaced_and_end_at_one(steps, first, last):
    timesteps = schedule.ddim_timesteps(steps).tolist()
    assert len(timesteps) == steps
    assert timesteps[: len(first)] == first
    assert timesteps[-len(last) :] == last


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_impossible_step_counts_are_named(steps):
    with pytest.raises(ValueError, match=f"{steps} steps"):
        schedule.ddim_timesteps(steps)


def test_levels_descend_and_end_at_the_first_of_the_model(table):
    sigmas = schedule.ddim_sigmas(table, 50)
    assert len(sigmas) == 51
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] == table[981] and sigmas[-1] == table[0]


def test_the_euler_step_is_the_ddim_formula(table):
    """sqrt(a_s/a_t) z + (sqrt(1-a_s) - sqrt(a_s (1-a_t)/a_t)) e, up and down."""
    alphas = alphas_cumprod()
    z, noise = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    for t, s in [(981, 961), (961, 981), (1, 0), (301, 700)]:
        a_t, a_s = alphas[t], alphas[s]
        expected = (a_s / a_t).sqrt() * z + ((1 - a_s).sqrt() - (a_s * (1 - a_t) / a_t).sqrt()) * noise
        x = schedule.to_x(z, table[t])
        denoised = x - table[t] * noise
        step = schedule.ddim_step(x, schedule.direction(x, denoised, table[t]), table[t], table[s])
        torch.testing.assert_close(schedule.to_z(step, table[s]), expected)


def test_a_step_undoes_itself(table):
    x, direction = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    there = schedule.ddim_step(x, direction, table[41], table[61])
    torch.testing.assert_close(schedule.ddim_step(there, direction, table[61], table[41]), x)


@pytest.mark.parametrize("flow", [False, True])
def test_the_two_scales_are_each_others_inverse(flow):
    z, sigma = torch.randn(2, 4, 3, 3), torch.tensor(0.7)
    torch.testing.assert_close(schedule.to_z(schedule.to_x(z, sigma, flow=flow), sigma, flow=flow), z)


def test_noise_is_added_at_the_scale_of_the_model(table):
    z0, noise = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    a = alphas_cumprod()[613]
    noised = schedule.to_z(schedule.add_noise(z0, noise, table[613]), table[613])
    torch.testing.assert_close(noised, a.sqrt() * z0 + (1 - a).sqrt() * noise)
    sigma = torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(schedule.add_noise(z0, noise, sigma, flow=True), 0.7 * z0 + 0.3 * noise)


def test_one_step_of_a_true_flow_is_exact():
    z0, noise = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    high, low = torch.tensor([0.9, 0.2], dtype=torch.float64)
    x = schedule.add_noise(z0, noise, high, flow=True)
    step = schedule.ddim_step(x, schedule.direction(x, z0, high), high, low)
    torch.testing.assert_close(step, schedule.add_noise(z0, noise, low, flow=True))


@pytest.mark.parametrize("prediction", schedule.PREDICTIONS)
def test_the_weight_turns_denoised_into_the_models_own_error(prediction):
    sigma = torch.tensor(1.7 if prediction != "flow" else 0.4, dtype=torch.float64)
    a = 1 / (1 + sigma**2)
    z0, noise, error = torch.randn(3, 2, 4, 3, 3, dtype=torch.float64)
    x = schedule.add_noise(z0, noise, sigma, flow=prediction == "flow")
    z = schedule.to_z(x, sigma)
    denoised = {  # what a prediction that is wrong by `error` says the clean latent is
        "eps": lambda: (z - (1 - a).sqrt() * (noise + error)) / a.sqrt(),
        "v": lambda: a.sqrt() * z - (1 - a).sqrt() * (a.sqrt() * noise - (1 - a).sqrt() * z0 + error),
        "x0": lambda: z0 + error,
        "flow": lambda: x - sigma * (noise - z0 + error),
    }[prediction]()
    weighted = schedule.prediction_weight(sigma, prediction) * (denoised - z0)
    torch.testing.assert_close(weighted.abs(), error.abs())


def test_an_unknown_prediction_is_named():
    with pytest.raises(ValueError, match="'noise' is not a prediction type: eps, v"):
        schedule.prediction_weight(torch.tensor(1.0), "noise")
