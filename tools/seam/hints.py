"""What the code does not say by itself: which of its names hold objects of the host, and which dictionaries are its.

All of it is checked when the table is written: a hint that nothing in the code needs is refused, and so is a string key
or a name of the host's on a receiver that no hint tells of.
"""

MODEL = "comfy.model_patcher.ModelPatcher"
BASE = "comfy.model_base.BaseModel"
CONFIG = "comfy.supported_models_base.BASE"
LATENT = "comfy.latent_formats.LatentFormat"
GUIDER = "comfy.samplers.CFGGuider"
EXECUTOR = "comfy.patcher_extension.WrapperExecutor"
LOADED = "comfy.model_management.LoadedModel"
CLIP = "comfy.sd.CLIP"
VAE = "comfy.sd.VAE"
VISION = "comfy.clip_vision.ClipVisionModel"
CONTROL = "comfy.controlnet.ControlBase"
WINDOWS = "comfy.context_windows.IndexListContextHandler"
WINDOW = "comfy.context_windows.IndexListContextWindow"
SCHEDULE = "comfy.context_windows.ContextSchedule"
UNET = "comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel"
RESBLOCK = "comfy.ldm.modules.diffusionmodules.openaimodel.ResBlock"
SPATIAL = "comfy.ldm.modules.attention.SpatialTransformer"
BLOCK = "comfy.ldm.modules.attention.BasicTransformerBlock"
WAN = "comfy.ldm.wan.model.WanModel"
WAN_BLOCK = "comfy.ldm.wan.model.WanAttentionBlock"
LTX = "comfy.ldm.lightricks.model.LTXVModel"
LTX_BLOCK = "comfy.ldm.lightricks.model.BasicTransformerBlock"
LTX_SOUND = "comfy.ldm.lightricks.av_model.LTXAVModel"
COSMOS = "comfy.ldm.cosmos.predict2.MiniTrainDIT"
COSMOS_BLOCK = "comfy.ldm.cosmos.predict2.Block"
KANDINSKY = "comfy.ldm.kandinsky5.model.Kandinsky5"
SAMPLING = "comfy.model_sampling.ModelSamplingDiscrete"
TOKENIZER = "comfy.sd1_clip.SDTokenizer"
TOKENIZERS = "comfy.sd1_clip.SD1Tokenizer"
ENCODER = "comfy.sd1_clip.SDClipModel"
TEXT_MODEL = "comfy.clip_model.CLIPTextModel"
PREVIEWER = "latent_preview.Latent2RGBPreviewer"
BAR = "comfy.utils.ProgressBar"
SERVER = "server.PromptServer"
NODE = "comfy_api.latest.io.ComfyNode"

# {file: {name: whose object it is}}, "" for all files that say nothing else. A class of the pack's is one by its name,
# "" is nothing of the host's.
KIND_OF_NAME = {
    "": {
        "model": MODEL,
        "clone": MODEL,
        "base_model": BASE,
        "unet": UNET,
        "guider": "EditGuider",
        "handler": "Passes",
        "executor": EXECUTOR,
        "clip_vision": VISION,
        "block": BLOCK,
        "family": "",
    },
    "host.comfy.other_packs": {"entry": LOADED, "other": MODEL, "holder": MODEL, "injection": ""},
    "host.model.feature_cache": {"in_file": MODEL},
    "host.model.input_checks": {"control": CONTROL, "hook": "comfy.hooks.TransformerOptionsHook"},
    "host.comfy.conditioning": {"control": CONTROL},
    "host.comfy.keyframes": {
        "model": BASE,
        "model.current_patcher": MODEL,
        "model.model_sampling": SAMPLING,
        "control": "comfy.controlnet.ControlNet",
        "hook": "comfy.hooks.Hook",
        "hook.hook_keyframe": "comfy.hooks.HookKeyframeGroup",
        "group": "comfy.hooks.HookKeyframeGroup",
        "cond": "comfy.conds.CONDRegular",
    },
    "host.control.affinities": {"affinities": ""},
    "host.control.attention_slots": {"part": "", "rows": ""},
    "host.control.attention_control": {
        "looking": "",
        "target": "",
        "executor.class_obj": BASE,
        "self.recording": "",
        "self.recording.ferry": "",
        "self.recording.layers": "",
        "self.in_step": "",
        "self.source_maps[target]": "",
        "self.target_maps[target]": "",
    },
    "host.control.in_step": {"self.thread": ""},
    "host.control.source_recording": {"self.ferry": ""},
    "host.demo_model": {"config": CONFIG, "patcher": MODEL, "model": BASE},
    "host.comfy.expert_pair": {
        "low": MODEL,
        "guider": GUIDER,
        "self.guider": GUIDER,
        "self.high": MODEL,
        "self.pair.low": MODEL,
        "wrappers": "",
    },
    "host.model.pair_experts": {"high": MODEL, "low": MODEL},
    "host.comfy.denoiser": {
        "guider": GUIDER,
        "self.guider": GUIDER,
        "sampling": SAMPLING,
        "crossattn": "comfy.conds.CONDRegular",
    },
    "host.edit.decoupled_guider": {"guider": "DecoupledGuider", "EditGuider": "", "loop": ""},
    "host.edit.edit_inputs": {"clip": CLIP, "other": MODEL},
    "host.storage.files": {"foreign": ""},
    "host.storage.official_checkpoint": {"foreign": "", "layout": "", "torch": ""},
    "host.model.gradients": {
        "module": SPATIAL,
        "duplicate": MODEL,
        "patcher": MODEL,
        "temporal": MODEL,
        "control": "comfy.controlnet.ControlNet",
    },
    "host.model.frame_attention": {"executor.class_obj": GUIDER, "passes": "Passes", "CLIP_CALL": ""},
    "host.model.temporal_layers": {"layers": "", "layer": ""},
    "host.model.inflate": {"temporal": MODEL, "temporal.model": ""},
    "host.families.unet": {"block": "", "network": UNET, "executor.class_obj": BASE},
    "host.source.inversion": {"inversion": "", "settings": "", "sampling": "comfy.model_sampling.EPS"},
    "host.control.attention_recorder": {
        "executor.class_obj": BASE,
        "denoise": "",
        "denoise.guider": GUIDER,
        "self.ferry": "",
    },
    "host.storage.lora": {"bar": BAR},
    "host.edit.attention_maps": {"denoise": "", "denoise.guider": GUIDER, "maps": ""},
    "host.images.edit_metrics": {"clip": CLIP, "encoder": ENCODER, "module": ENCODER},
    "host.model.context_passes": {
        "window": "Pass",
        "passes[0][0]": "Pass",
        "part": CONTROL,
        "model_options['context_handler']": "Passes",
    },
    "host.comfy.progress": {"form": LATENT, "previewer": PREVIEWER, "self.bar": BAR},
    "host.comfy.quantised_weights": {"part": ""},
    "host.source.reconstruction": {"self.vae": VAE},
    "host.model.free_memory": {"entry": LOADED, "temporal": MODEL, "temporal.model": ""},
    "host.prompts.difference_route": {"server": SERVER},
    "host.cost.cost_route": {"server": SERVER},
    "host.cost.origins": {"NODE_CLASS_MAPPINGS[kind]": NODE},
    "host.routes": {"cost_route": "", "difference_route": ""},
    "host.edit.edit_run": {"branch": "", "self.guider": "EditGuider"},
    "host.edit.sweep": {"clip": CLIP},
    "host.prompts.clip_tokens": {"clip": CLIP, "tokenizer": TOKENIZERS},
    "host.prompts.encoded_text": {"clip": CLIP},
    "host.words.separate_text": {"clip": ""},
    "host.words.joint_text": {
        "flux": "comfy.ldm.flux.model.Flux",
        "mmdit": "comfy.ldm.modules.diffusionmodules.mmdit.MMDiT",
        "mmdit.x_embedder": "comfy.ldm.modules.diffusionmodules.mmdit.PatchEmbed",
        "hunyuan": "comfy.ldm.hunyuan_video.model.HunyuanVideo",
        "lumina": "comfy.ldm.lumina.model.NextDiT",
    },
    "host.words.watched_words": {"self.model": MODEL, "sampling": SAMPLING, "watched": "WatchedWords"},
    "host.words.weigh_words": {"text": "WeighedText"},
    "host.words.word_looks": {"picture": ""},
    "host.words.word_masks": {"denoise": "", "sampling": SAMPLING, "prediction": "comfy.model_sampling.EPS"},
    "host.words.word_weights": {"call.picture": "", "sampling": SAMPLING, "self.guider": GUIDER},
    "host.source.tuning": {"result": MODEL, "inflated": MODEL, "copy": MODEL, "temporal": MODEL, "temporal.model": ""},
    "host.prompts.browser_tokenizer": {"tokenizer": TOKENIZERS, "typing_clip()": ""},
    "host.families.wan": {"network": WAN, "block": WAN_BLOCK, "executor.class_obj": BASE},
    "host.families.ltxv": {"network": LTX, "block": LTX_BLOCK},
    "host.families.ltxav": {"network": LTX_SOUND},
    "host.families.kandinsky": {
        "network": KANDINSKY,
        "network.text_embeddings": "comfy.ldm.kandinsky5.model.TextEmbeddings",
        "network.text_embeddings.in_layer": "",
        "block": "comfy.ldm.kandinsky5.model.TransformerDecoderBlock",
    },
    "host.families.forward_slots": {"control": "AttentionControl"},
    "host.families.cosmos": {
        "network": COSMOS,
        "block": COSMOS_BLOCK,
        "network.blocks[0]": COSMOS_BLOCK,
        "network.blocks[0].cross_attn": "comfy.ldm.cosmos.predict2.Attention",
        "base_model": "comfy.model_base.CosmosPredict2",
    },
    "nodes.control": {"EditPlan": ""},
    "nodes.invert": {"InversionSettings": ""},
    "nodes.extension": {"routes": "", "node": NODE},
}

# Whose object an attribute or a method gives.
GIVES = {
    f"{MODEL}.model": BASE,
    f"{BASE}.diffusion_model": UNET,
    f"{BASE}.latent_format": LATENT,
    f"{BASE}.model_config": CONFIG,
    f"{GUIDER}.model_patcher": MODEL,
    f"{ENCODER}.transformer": TEXT_MODEL,
    f"{WINDOWS}.context_schedule": SCHEDULE,
}

# What the host gives to its objects by names that are made when it runs, so that no look into its code finds them.
UNSEEN = {f"{CONTROL}.control_input"}

# Dictionaries that the host and the pack hand to each other, as the code spells them, and those of its own.
DICTIONARIES = {
    "args", "around_steps", "audio",
    "base_model.model_config.unet_config", "call.options", "clip_vision.encode_image(frames)", "cond",
    "conditioning[0][1]", "conds", "denoise.guider.conds[SOURCE][0]", "entry", "entry['model_conds']",
    "evaluation.arguments", "extra_args", "conditions", "first", "graph.get_node(node_id)",
    "guider.model_options", "hook.transformers_dict", "kwargs", "latent",
    "model.model.model_config.unet_config", "model.model_options",
    "model.model_options['transformer_options']", "model_options", "node", "of_call",
    "of_call['transformer_options']", "model_options['transformer_options']",
    "options", "options['transformer_options']", "options['transformer_options']['patches']", "other.model_options",
    "patches", "self.guider.conds", "self.options", "self.sampling_options", "self.unprocessed[key][0]", "slots",
    "sounding", "transformer_options", "_told(window, model_options)",
}  # fmt: skip
OWN_DICTIONARIES = {
    "MOST", "UNET", "colormaps", "config", "dict(enumerate(targets))", "fields",
    "message", "metadata", "name", "question", "request.headers", "self.figures", "text",
    "tokens_of(word)", "values",
}  # fmt: skip
OWN_KEYS = {
    "ad_params",
    "ADGS",
    "easycache",
    "videop2p_clip_places",
    "videop2p_control",
    "videop2p_expert_pair",
    "videop2p_guided",
    "videop2p_text_attention",
}  # of the pack and of others, among the host's

# Constants of a file whose texts are keys of the host's dictionaries.
KEYS_IN = {
    "host.model.input_checks": ("LIMITED",),
    "host.comfy.denoiser": ("GUIDANCE",),
    "host.families.shown": ("PICTURE", "MASK"),
    "host.families.ltxv": ("GUIDES", "VOICE"),
    "host.families.wan": ("PICTURES",),
}
# Modules that hand them on; of several the first.
KEY_OWNERS = (
    "comfy.samplers",
    "comfy.patcher_extension",
    "comfy.sampler_helpers",
    "comfy.clip_vision",
    "comfy.context_windows",
    "comfy.model_base",
    "comfy.ldm.modules.attention",
    "comfy.ldm.wan.model",
    "comfy.ldm.lightricks.model",
    "comfy.ldm.lightricks.av_model",
    "comfy.sd",
    "comfy_execution.graph",
    "comfy_api.latest._input_impl.video_types",
    "execution",
)

# Modules of a network that a file finds by names in texts.
NAMED_IN = {
    "host.model.gradients": {SPATIAL: ("transformer_blocks",), BLOCK: ("ff",)},
    "host.model.inflate": {UNET: ("out",), RESBLOCK: ("in_layers", "out_layers")},
    "host.model.context_passes": {WINDOWS: ("causal_window_fix",)},
}

# Where wrappers of a file, which find transformer_options by their place, come in: the host's function.
HANDED = {
    "host.model.feature_cache": f"{UNET}._forward",
    "host.families.unet": f"{BASE}._apply_model",
    "host.model.frame_attention": f"{UNET}._forward",
}


def every() -> set[str]:
    """The name of every hint, as what reads by it notes it."""
    return {
        *(f"KIND_OF_NAME: {file} {name}" for file, names in KIND_OF_NAME.items() for name in names),
        *(f"GIVES: {path}" for path in GIVES),
        *(f"UNSEEN: {path}" for path in UNSEEN),
        *(f"DICTIONARIES: {name}" for name in DICTIONARIES),
        *(f"OWN_DICTIONARIES: {name}" for name in OWN_DICTIONARIES),
        *(f"OWN_KEYS: {name}" for name in OWN_KEYS),
        *(f"KEYS_IN: {file} {name}" for file, names in KEYS_IN.items() for name in names),
        *(f"NAMED_IN: {file} {name}" for file, of in NAMED_IN.items() for names in of.values() for name in names),
        *(f"HANDED: {file}" for file in HANDED),
    }
