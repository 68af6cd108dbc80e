"""The steps that the workflows share, from the clip to the saved edit, on the demo model or on a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ...videop2p_core.diffusion.inversion import InversionSettings
from ...videop2p_core.images.matte import EXCHANGED, MatteSettings
from .graph import Graph, Link, Node
from .worlds import DEMO, OWN_CLIP, WORLDS, World

EXACT = "direct-exact"


@dataclass
class Studio:
    """A workflow being written: what each step made, for the steps that follow."""

    graph: Graph
    world: str
    model: Link | None = None
    clip: Link | None = None
    vae: Link | None = None
    frames: Link | None = None
    fps: Link | float | None = None
    audio: Link | None = None
    latent: Link | None = None
    prompt: Link | None = None
    source: Link | None = None
    null: Link | None = None
    tuning: Link | None = None
    inverted: Node | None = None
    inversion: Link | None = None

    @property
    def home(self) -> World:
        return WORLDS[self.world]

    # --- the clip ----------------------------------------------------------------------------------------------------

    def open(self, prompt: str) -> None:
        """The model, the clip that the prompt describes, and the prompt, encoded."""
        self.graph.column("1 Model and clip")
        self.load_checkpoint()
        if self.world == DEMO:
            self.take(self.graph.add("VP2P_LoadDemoClip", clip=prompt))
        else:
            home = self.home
            video = self.graph.add("LoadVideo", "Load your clip", file=OWN_CLIP)
            cut = {"side": home.side, "multiple_of": home.multiple_of}
            self.choose(video, every_nth=home.every_nth, frames=home.frames, **cut)
        self.encode()
        self.describe(prompt)

    def load_checkpoint(self) -> None:
        self.model, self.clip, self.vae = self.home.load(self.graph)

    def take(self, video: Node) -> None:
        """All of a video that fits as it is."""
        parts = self.graph.add("GetVideoComponents", video=video)
        self.frames, self.fps, self.audio = parts["images"], parts["fps"], parts["audio"]

    def choose(self, video: Node | Link, **settings) -> None:
        """The frames of a video that are edited, at the size of the model."""
        clip = self.graph.add("VP2P_ClipFrames", video=video, **settings)
        self.frames, self.fps, self.audio = clip["images"], clip["fps"], clip["audio"]

    def encode(self) -> None:
        (self.latent,) = self.graph.add("VAEEncode", "Frames to latents", pixels=self.frames, vae=self.vae)

    def describe(self, prompt: str) -> None:
        self.graph.column("2 What the clip shows")
        (self.prompt,) = self.graph.add("PrimitiveStringMultiline", "Source prompt", value=prompt)
        self.encode_prompts()

    def encode_prompts(self) -> None:
        (self.source,) = self.graph.add("CLIPTextEncode", "Encode the source prompt", clip=self.clip, text=self.prompt)
        (self.null,) = self.graph.add("CLIPTextEncode", "Null text (empty)", clip=self.clip, text="")

    # --- tuning and inversion ----------------------------------------------------------------------------------------

    def inflate(self, **settings) -> None:
        (self.model,) = self.graph.add("VP2P_InflateUNet", model=self.model, **settings)

    def tune(self, shown: bool = True, **settings) -> None:
        settings = dict(self.home.tuning) | settings
        tuned = self.graph.add(
            "VP2P_TuneOnVideo", model=self.model, positive=self.source, latent=self.latent, **settings
        )
        self.model, self.tuning = tuned["MODEL"], tuned["tuning"]
        if shown:
            self.graph.add("PreviewImage", "Loss of the tuning", images=tuned["loss"])

    def invert(self, method: str = EXACT, **settings) -> None:
        settings = {"steps": self.home.steps if method == EXACT else InversionSettings.steps} | settings
        self.inverted = self.graph.add(
            "VP2P_DDIMInvert", model=self.model, source=self.source, null=self.null, latent=self.latent,
            method=method, **settings,
        )  # fmt: skip
        self.inversion = self.inverted["inversion"]

    # --- the edit ----------------------------------------------------------------------------------------------------

    def control(self, target: str, title: str = "", **settings) -> Node:
        return self.graph.add(
            "VP2P_AttentionController", title, clip=self.clip, source_prompt=self.prompt, target_prompt=target,
            **{"blend_source": "", "blend_target": ""} | settings,
        )  # fmt: skip

    def gather(self, *controllers: Node) -> Node:
        """A list of edits."""
        edits = {f"inputs.input{i}": controller["edit"] for i, controller in enumerate(controllers)}
        return self.graph.add("CreateList", "List of edits", **edits)

    def sample(self, edit: Node, **settings) -> Node:
        settings = ({"null": self.null} if self.home.pooled else {}) | settings
        return self.graph.add("VP2P_DecoupledSample", model=self.model, inversion=self.inversion, edit=edit, **settings)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def set_in(self, sampled: Node | dict[str, Link], exchanged: bool, **whole: Link) -> Node:
        """The edited frames of Decoupled Sample, set into the clip's own. exchanged: whether one thing takes the place
        of another; whole: the source and the crop, where only a part of it was edited."""
        settings = asdict(EXCHANGED if exchanged else MatteSettings())
        frames = self.graph.add("VAEDecode", "Decode the edit", samples=sampled["edited"], vae=self.vae)
        places = {"old_place": sampled["old place"], "new_place": sampled["new place"]}
        return self.graph.add(
            "VP2P_CompositeEdit", **{"source": self.frames} | whole, edited=frames, **settings, **places
        )

    def save(self, edited: Link, name: str = "Video-P2P") -> Node:
        """The edited latents as a video, and their frames to look at, which come back."""
        return self.show(self.graph.add("VAEDecode", "Decode the edit", samples=edited, vae=self.vae), name)

    def show(self, frames: Node | Link, name: str = "Video-P2P") -> Node | Link:
        """Frames as a video, and to look at."""
        sound = {} if self.audio is None else {"audio": self.audio}
        video = self.graph.add("CreateVideo", images=frames, fps=self.fps, **sound)
        self.graph.add("SaveVideo", "Save the edited clip", video=video, filename_prefix=f"video/{name}")
        self.graph.add("PreviewImage", "Edited frames", images=frames)
        return frames

    def check(self, sampled: Node, mask: Link) -> None:
        """The reconstruction, and the mask of an edit."""
        source = self.graph.add("VAEDecode", "Decode the source", samples=sampled["reconstruction"], vae=self.vae)
        self.graph.add("PreviewImage", "Reconstruction", images=source)
        shown = self.graph.add("MaskToImage", mask=mask)
        self.graph.add("PreviewImage", "Where the edit was let through", images=shown)
