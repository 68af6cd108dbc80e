"""Packs that read a prompt's markup by themselves, on the demo CLIP: it is the host's own of SD1.x, of a few words."""

from unittest.mock import MagicMock

import pytest
import torch
from comfyui_videop2p.tests.host.calls import encode
from comfyui_videop2p.tests.peers.packs import nodes_of
from server import PromptServer

PLAIN, WEIGHED = "a green heart in the city", "a (green:1.4) heart in the [city]"


def like_a1111(clip, texts):
    """As smZNodes reads them: in the place of the tokenizer's own method, from a list, with that tokenizer's parts."""
    inner = clip.tokenizer.clip_l
    commas, room = inner.tokenizer.get_vocab()[",</w>"], inner.max_length - 2

    def tokenize_with_weights(texts, return_word_ids=False, **kwargs):
        read = inner.tokenizer(texts, truncation=False, add_special_tokens=False)["input_ids"]
        assert all(len(tokens) <= room and commas not in tokens for tokens in read)
        padded = [[inner.start_token, *tokens, *[inner.end_token] * (room + 1 - len(tokens))] for tokens in read]
        return [[(token, 1.0) for token in tokens] for tokens in padded]

    inner.tokenize_with_weights = tokenize_with_weights
    try:
        return clip.encode_from_tokens_scheduled(clip.tokenize(texts))
    finally:
        del inner.tokenize_with_weights


def smz_nodes(monkeypatch):
    monkeypatch.setattr(PromptServer, "instance", MagicMock(), raising=False)
    node = nodes_of("ComfyUI_smZNodes")["smZ CLIPTextEncode"]()
    sizes = dict.fromkeys(("width", "height", "target_width", "target_height"), 512) | {"crop_w": 0, "crop_h": 0}
    rest = {
        "mean_normalization": True, "multi_conditioning": True, "use_old_emphasis_implementation": False,
        "with_SDXL": False, "ascore": 6.0, "text_g": "", "text_l": "", **sizes,
    }  # fmt: skip
    parsers = ("comfy", "comfy++", "A1111", "full", "compel", "fixed attention")
    return {
        name: lambda clip, text, name=name: node.encode(clip=clip, text=text, parser=name, **rest)[0]
        for name in parsers
    }


def prompt_control(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # under which it gives no nodes
    node = nodes_of("comfyui-prompt-control")["PCTextEncode"]
    styles = ("comfy", "A1111", "comfy++", "compel", "down_weight", "perp")
    return {
        name: lambda clip, text, name=name: node.execute(clip, f"STYLE({name}) {text}").result[0] for name in styles
    }


def adv_clip_emb(_):
    node = nodes_of("ComfyUI_ADV_CLIP_emb")["BNK_CLIPTextEncodeAdvanced"]()
    styles = ("comfy", "A1111", "compel", "comfy++", "down_weight")
    return {name: lambda clip, text, name=name: node.encode(clip, text, "none", name)[0] for name in styles}


PACKS = {"smZNodes": smz_nodes, "prompt-control": prompt_control, "ADV_CLIP_emb": adv_clip_emb}


def test_a_parser_finds_what_the_hosts_tokenizer_has(demo):
    clip = demo[1]
    torch.testing.assert_close(like_a1111(clip, [PLAIN])[0][0], encode(clip, PLAIN)[0][0])
    with pytest.raises(ValueError, match="never learnt 'castle'; it knows: a, an"):
        like_a1111(clip, ["a green castle"])
    assert not vars(clip.tokenizer.clip_l).keys() & {"tokenize_with_weights"}


@pytest.mark.parametrize("pack", PACKS)
def test_the_packs_themselves(pack, demo, monkeypatch):
    clip = demo[1]
    plain, weighed = (encode(clip, text)[0][0] for text in (PLAIN, WEIGHED))
    for name, read in PACKS[pack](monkeypatch).items():
        torch.testing.assert_close(read(clip, PLAIN)[0][0].float(), plain.float(), atol=1e-3, rtol=1e-3, msg=name)
        by_pack = read(clip, WEIGHED)[0][0]
        assert by_pack.shape == weighed.shape and by_pack.isfinite().all(), name
        assert name == "fixed attention" or not torch.allclose(by_pack.float(), plain.float(), atol=1e-2), name
        with pytest.raises(ValueError, match="never learnt 'castle'"):
            read(clip, "a (green:1.2) castle")
    torch.testing.assert_close(encode(clip, WEIGHED)[0][0], weighed)
