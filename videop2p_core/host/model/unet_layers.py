"""The layers of a UNet by their names."""

from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, TimestepEmbedSequential, Upsample

from ..families.wan import is_wan, wan_blocks


def transformer_blocks(unet):
    """{name: block} for every transformer block, in the order in which the UNet runs them."""
    return {name: module for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)}


def cells_of(unet, name, size):
    """(rows, columns) that the transformer block of this name works on, for a latent of size (height, width)."""
    section, number, *_ = name.split(".")
    halvings = sum(isinstance(module, Downsample) for module in unet.input_blocks.modules())
    if section == "input_blocks":
        halvings = sum(isinstance(m, Downsample) for block in unet.input_blocks[: int(number)] for m in block)
    elif section == "output_blocks":
        halvings -= sum(isinstance(m, Upsample) for block in unet.output_blocks[: int(number)] for m in block)
    for _ in range(halvings):
        size = [(side + 1) // 2 for side in size]
    return tuple(size)


def cross_attention_layers(unet):
    """The slots of cross attention: of a UNet (block, number, index in the block), of Wan their names."""
    if is_wan(unet):
        return [f"{name}.cross_attn" for name in wan_blocks(unet)]
    return [slot(name) for name in transformer_blocks(unet)]


def slot(name):
    # input_blocks.4.1.transformer_blocks.0 is called ("input", 4, 0) by the host; the middle block's number is 0.
    block, number, *_, index = name.split(".")
    kind = block.removesuffix("_blocks").removesuffix("_block")
    return kind, 0 if kind == "middle" else int(number), int(index)


def layers_below(unet) -> list[str]:
    """The layers from the first Downsample to the last Upsample, in the order in which the UNet runs them."""
    blocks = {name: block for name, block in unet.named_modules() if isinstance(block, TimestepEmbedSequential)}
    layers = {f"{name}.{index}": layer for name, block in blocks.items() for index, layer in enumerate(block)}
    first, *_ = (index for index, layer in enumerate(layers.values()) if _resizes(layer, Downsample))
    *_, last = (index for index, layer in enumerate(layers.values()) if _resizes(layer, Upsample))
    return list(layers)[first : last + 1]


def _resizes(layer, kind):
    return any(isinstance(module, kind) for module in layer.modules())  # ResNet blocks may hold one
