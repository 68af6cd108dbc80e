"""The workflows of words without an edit: weighed while a stock sampler runs, found in a picture."""

from __future__ import annotations

from .courses import RABBIT
from .recipe import recipe
from .worlds import Z_IMAGE

STRIPED = "a red striped rabbit on the beach"
FOX = "a fox in a blue raincoat on a foggy beach at dawn"


@recipe(
    """## Word weights in any model

*Word Weights* makes words of the prompt count more or less inside the model's attention. Any sampler runs on the model
that it gives; the same seed without it is shown beside it. At 1 nothing changes, at 0 the word is not looked at.""",
)
def word_weights(studio):
    graph = studio.graph
    graph.column("1 Model and words")
    studio.load_checkpoint()
    (text,) = graph.add("PrimitiveStringMultiline", "Prompt", value=STRIPED)
    weighed = graph.add(
        "VP2P_WordWeights", model=studio.model, clip=studio.clip, text=text, weights="striped: 0.1, beach: 2"
    )
    (null,) = graph.add("CLIPTextEncode", "Negative prompt", clip=studio.clip, text="")
    (latent,) = graph.add("EmptyLatentImage", width=128, height=128, batch_size=1)
    graph.column("2 Sample")
    for title, model in (("With weights", weighed["model"]), ("Without", studio.model)):
        sampled = graph.add(
            "KSampler", title, model=model, positive=weighed["conditioning"], negative=null, latent_image=latent,
            seed=7, steps=20, cfg=4.0, sampler_name="dpmpp_2m", scheduler="karras",
        )  # fmt: skip
        decoded = graph.add("VAEDecode", samples=sampled, vae=studio.vae)
        graph.add("SaveImage", title, images=decoded, filename_prefix="video_p2p/word_weights")


@recipe(
    """## A mask from a word

*Word Mask* looks where a word of the caption looks in every frame, with three evaluations of the model and nothing
else, and gives a mask as sharp as the thing. *Edit Region* makes room around it, and a stock sampler paints there.""",
)
def word_mask(studio):
    graph = studio.graph
    studio.open(RABBIT)
    graph.column("3 Find the word")
    word_masks = graph.add(
        "VP2P_WordMask", model=studio.model, clip=studio.clip, latent=studio.latent, text=studio.prompt, words="rabbit",
        images=studio.frames,
    )  # fmt: skip
    graph.add("PreviewImage", "Where it looks", images=word_masks["overlay"])
    region = graph.add(
        "VP2P_EditRegion", masks=word_masks["masks"], images=studio.frames, threshold=0.4, grow=4, feather=4
    )
    graph.add("PreviewImage", "The region", images=region["preview"])
    graph.column("4 Paint it")
    target = graph.add("CLIPTextEncode", "Target prompt", clip=studio.clip, text="a blue rabbit on the beach")
    masked = graph.add("SetLatentNoiseMask", samples=studio.latent, mask=region["region"])
    alike = graph.add("LatentBatchSeedBehavior", "The same noise in every frame", samples=masked, seed_behavior="fixed")
    painted = graph.add(
        "KSampler", model=studio.model, positive=target, negative=studio.null, latent_image=alike, seed=0, steps=20,
        cfg=4.0, sampler_name="euler", scheduler="normal",
    )  # fmt: skip
    graph.column("5 Result")
    studio.save(painted["LATENT"])


@recipe(
    """## Where a word looks while a picture is sampled

*Watch Words* records where the rabbit of the prompt is drawn, while the stock sampler draws it: no evaluation is added,
and the picture is bit for bit the same. *Watched Word Mask* makes a mask of it, and a second sampler paints there.""",
)
def watch_words(studio):
    graph = studio.graph
    graph.column("1 Model and words")
    studio.load_checkpoint()
    watched = graph.add(
        "VP2P_WatchWords", model=studio.model, clip=studio.clip, text="a red rabbit on the beach", words="rabbit"
    )
    (null,) = graph.add("CLIPTextEncode", "Negative prompt", clip=studio.clip, text="")
    (latent,) = graph.add("EmptyLatentImage", width=128, height=128, batch_size=1)
    graph.column("2 Sample")
    settings = {"negative": null, "steps": 20, "cfg": 4.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
    (sampled,) = graph.add(
        "KSampler", model=watched["model"], positive=watched["conditioning"], latent_image=latent, seed=7, **settings
    )
    (picture,) = graph.add("VAEDecode", samples=sampled, vae=studio.vae)
    graph.add("SaveImage", "Sampled", images=picture, filename_prefix="video_p2p/watch_words")
    graph.column("3 Where it looked")
    word_masks = graph.add("VP2P_WatchedWordMask", looks=watched["looks"], latent=sampled, images=picture)
    graph.add("PreviewImage", "Where it looked", images=word_masks["overlay"])
    region = graph.add("VP2P_EditRegion", masks=word_masks["masks"], images=picture, threshold=0.4, grow=4, feather=4)
    graph.column("4 Paint it")
    target = graph.add("CLIPTextEncode", "Target prompt", clip=studio.clip, text="a blue rabbit on the beach")
    masked = graph.add("SetLatentNoiseMask", samples=sampled, mask=region["region"])
    (painted,) = graph.add(
        "KSampler", "Paint", model=studio.model, positive=target, latent_image=masked, seed=8, **settings
    )
    painted_picture = graph.add("VAEDecode", "Decode what was painted", samples=painted, vae=studio.vae)
    graph.add("SaveImage", "Painted", images=painted_picture, filename_prefix="video_p2p/watch_words")


@recipe(
    """## Weights and masks on Z-Image

On Z-Image `(blue:1.5)` in the prompt does nothing; *Word Weights* does. *Word Mask* then finds words of the same prompt
in the picture that came of it: a mask each, for an inpainting sampler or a detailer.""",
    Z_IMAGE,
)
def words(studio):
    graph = studio.graph
    graph.column("1 Model and words")
    studio.load_checkpoint()
    (text,) = graph.add("PrimitiveStringMultiline", "Prompt", value=FOX)
    weighed = graph.add(
        "VP2P_WordWeights", model=studio.model, clip=studio.clip, text=text, weights="blue: 1.6, foggy: 0.5"
    )
    shifted = graph.add("ModelSamplingAuraFlow", model=weighed["model"], shift=3.0)
    null = graph.add("ConditioningZeroOut", conditioning=weighed["conditioning"])
    latent = graph.add("EmptySD3LatentImage", width=studio.home.side, height=studio.home.side, batch_size=1)
    graph.column("2 Sample")
    (sampled,) = graph.add(
        "KSampler", model=shifted, positive=weighed["conditioning"], negative=null, latent_image=latent, seed=0,
        steps=9, cfg=1.0, sampler_name="res_multistep", scheduler="simple",
    )  # fmt: skip
    (picture,) = graph.add("VAEDecode", samples=sampled, vae=studio.vae)
    graph.add("SaveImage", images=picture, filename_prefix="video_p2p/words")
    graph.column("3 Find words")
    word_masks = graph.add(
        "VP2P_WordMask", model=studio.model, clip=studio.clip, latent=sampled, text=text, words="fox, blue raincoat",
        images=picture,
    )  # fmt: skip
    graph.add("PreviewImage", "Where they look", images=word_masks["overlay"])
    mask = graph.add("MaskToImage", mask=word_masks["masks"])
    graph.add("PreviewImage", "Their masks", images=mask)
