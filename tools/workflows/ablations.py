"""The workflows for the paper's ablations and baselines."""

from __future__ import annotations

from .courses import PAPER_INFLATION, RABBIT, RIDER, SHAPE, STAR, edit_of, opened
from .recipe import recipe


@recipe(
    """## Ablation: no tuning

The paper's recipe on an inflated but untuned model: frames read the first one only, so they lose what it does not
show.""",
)
def ablation_no_tuning(studio):
    opened(studio, RABBIT, RIDER, tune=False, inflation={"frames_read": "first"}, method="shared null-text")
    edit_of(studio, [(STAR, SHAPE)], [], set_in=False)


@recipe(
    """## Ablation: a null text for every frame

Reconstructs a little better than one shared by all, and loses it again in the edit, where frames drift apart.""",
)
def ablation_per_frame_null_text(studio):
    opened(studio, RABBIT, RIDER, inflation=PAPER_INFLATION, method="per-frame null-text")
    edit_of(studio, [(STAR, SHAPE)], [], set_in=False)


@recipe(
    """## Ablation: coupled guidance

Source and target share the optimised null text. It was made to bring the source back, and does so in the target
too.""",
)
def ablation_coupled_guidance(studio):
    opened(studio, RABBIT, RIDER, inflation=PAPER_INFLATION, method="shared null-text")
    edit_of(studio, [(STAR, SHAPE)], [], set_in=False, guidance="coupled")


@recipe(
    """## Baseline: image Prompt-to-Prompt on every frame

The same edit with no inflation at all: each frame is edited by itself, and they flicker.""",
)
def baseline_image_p2p(studio):
    opened(studio, RABBIT, RIDER, tune=False, inflation=None, method="direct")
    edit_of(studio, [(STAR, SHAPE | {"temporal_window": 0.0})], [], set_in=False)


@recipe(
    """## Baseline: Tune-A-Video

Sparse-causal frame attention, tuned on the clip; the stock sampler draws the target prompt from the clip's inverted
noise. No attention control: the scene changes with the thing.""",
)
def baseline_tune_a_video(studio):
    opened(studio, RABBIT, RIDER, inflation={"frames_read": "first+previous"}, method="direct")
    graph = studio.graph
    graph.column("4 Sample")
    target = graph.add("CLIPTextEncode", "Target prompt", clip=studio.clip, text=STAR)
    sampler = graph.add("KSamplerSelect", sampler_name="ddim")
    sigmas = graph.add("BasicScheduler", model=studio.model, scheduler="ddim_uniform", steps=50)
    sampled = graph.add(
        "SamplerCustom", model=studio.model, add_noise=False, cfg=7.5, positive=target, negative=studio.null,
        sampler=sampler, sigmas=sigmas, latent_image=studio.inverted["noise"],
    )  # fmt: skip
    graph.column("5 Result")
    studio.save(sampled["output"])
