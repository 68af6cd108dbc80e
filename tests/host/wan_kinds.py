"""What the host's nodes put into a CONDITIONING for each kind of Wan, beside the text: of random numbers, for clips of
FRAMES latent frames of SIZE."""

from types import SimpleNamespace

import torch
from comfyui_videop2p.tests.host import wan

FRAMES, SIZE = 3, (6, 4)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(channels=16, frames=FRAMES, size=SIZE, seed=0):
    return drawn(1, channels, frames, *size, seed=seed)


def masks(channels=4):
    """Of a first frame that is given and others that are to be painted."""
    mask = torch.ones(1, channels, FRAMES, *SIZE)
    mask[:, :, 0] = 0
    return mask


def seen(seed=0):
    """What a CLIP Vision model makes of a picture."""
    return SimpleNamespace(penultimate_hidden_states=drawn(1, 257, 1280, seed=seed))


PAINTED = {"concat_latent_image": pictures(seed=11), "concat_mask": masks()}
CONTROLLED = {"concat_latent_image": pictures(32, seed=12)}
CAMERA = {"camera_conditions": drawn(1, 24, FRAMES, 8 * SIZE[0], 8 * SIZE[1], seed=13)}
REFERENCE = {"reference_latents": [pictures(frames=1, seed=14)]}
POSE = {"pose_video_latent": pictures(size=[side // 2 for side in SIZE], seed=15)}
ONE_EACH = torch.rand(1, FRAMES + 1, 28, *SIZE, generator=torch.Generator().manual_seed(16)).round()
HUMO_VOICE = {"audio_embed": drawn(1, FRAMES, 8, 5, 1280, seed=17)}

TOLD = {
    "i2v": PAINTED | {"clip_vision_output": seen()},
    "2.2 i2v": PAINTED,
    "2.2 5b": {},
    "vace": {
        "vace_frames": [pictures(32, seed=18)], "vace_mask": [torch.ones(1, 64, FRAMES, *SIZE)], "vace_strength": [1.0],
    },
    "fun control": CONTROLLED | {"clip_vision_output": seen()},
    "2.2 fun control": CONTROLLED | {"concat_mask": masks(), "concat_mask_index": 16} | REFERENCE,
    "camera": CAMERA | {"concat_latent_image": pictures(seed=11), "clip_vision_output": seen()},
    "2.2 camera": CAMERA | PAINTED,
    "humo": HUMO_VOICE | REFERENCE,
    "humo 17b": HUMO_VOICE | REFERENCE,
    "s2v": {
        "audio_embed": drawn(1, 25, 24, 4 * FRAMES, seed=19), "control_video": pictures(seed=20),
        "reference_motion": pictures(frames=19, size=(8, 8), seed=21),
    } | REFERENCE,
    "animate": PAINTED | {"pose_video_latent": pictures(frames=FRAMES - 1, seed=15), "clip_vision_output": seen()},
    "scail": REFERENCE | POSE | {"clip_vision_output": seen()},
    "scail 2": REFERENCE | POSE | {
        "clip_vision_output": seen(), "ref_mask_flag": True, "ref_mask_28ch": ONE_EACH,
        "driving_mask_28ch": ONE_EACH[:, 1:, :, : SIZE[0] // 2, : SIZE[1] // 2],
    },
    "dancer": PAINTED | {
        "clip_vision_output": seen(), "clip_vision_output_ref": seen(1), "audio_embed": drawn(1, 30, 35, seed=22),
        "fps": 30.0, "audio_inject_scale": 1.0,
    },
    "phantom": {"time_dim_concat": pictures(frames=2, seed=23)},
    "bernini": {"context_latents": [pictures(seed=24), pictures(frames=1, size=(4, 8), seed=25)]},
}  # fmt: skip
NETWORK = {"phantom": "t2v", "bernini": "t2v"}  # where it is another kind's
# How many tokens stand beside the clip's.
BESIDE = {
    "2.2 fun control": 6,
    "humo": 6,
    "humo 17b": 6,
    "s2v": 30,
    "scail": 12,
    "scail 2": 12,
    "phantom": 12,
    "bernini": 26,
}
LAYERS = {"animate": 5}  # a face is looked at in every fifth
SEEDS = {"2.2 5b": 3, "animate": 3}  # where words look at a part of the frames alone


def model_of(kind):
    """A MODEL with random weights."""
    return wan.tiny_wan(NETWORK.get(kind, kind), SEEDS.get(kind, 0), num_layers=LAYERS.get(kind, 2))
