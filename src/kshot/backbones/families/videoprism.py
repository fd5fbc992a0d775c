"""VideoPrism: blocks over the squares of each frame, then over the frames of each square; a text side in its Clip form.

Zhao et al., VideoPrism, ICML 2024 (arXiv 2402.13217). Its unit is a clip of `num_frames` frames. Three kinds of
checkpoints: the encoder alone (`VideoPrismVisionModel`) pools nothing, and the embedding is the mean of all normed
tokens. `VideoPrismVideoModel`, and the video side of `VideoPrismClipModel`, add blocks over all tokens and a pooling
head with one learnt query, behind which come a norm and unit length; `VideoPrismForVideoClassification` has the head
without these blocks, and its classifier is left out. The head is the last block, what comes before it stays frozen,
and its query q is the same for all clips, so neither keys nor values of the tokens x_i are needed:

    u = W_k^T q       a = softmax_i(u . x_i)       v = W_v (sum_i a_i x_i) + b_v

Between blocks the tokens of a clip are one row (N, frames * squares, D), whatever a block looks along. The text side
reads a token of its own behind the last word, to which it gives no place. The checkpoint brings no factor on cosines,
so CLIP's 100 stands in for it.

The modules are those of `kshot.backbones.clip` with this family's norm and attention, and compute what transformers'
compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from kshot.backbones import checkpoint, clip, preprocessing
from kshot.backbones.backbone import Backbone
from kshot.backbones.preprocessing import Pixels, Processor
from kshot.backbones.prism import (
    CLASSIFIES,
    ENCODER,
    VIDEO,
    WITH_TEXT,
    Form,
    Parts,
    TextConfig,
    VideoPrismText,
    VisionConfig,
    sines,
    tower_of,
)
from kshot.backbones.units import UnitBackbone
from kshot.errors import CheckpointError

KINDS = ("LlavaOnevisionVideoProcessor", "VideoPrismVideoProcessor", "VideoPrismImageProcessor")
PROCESSOR = Processor("VideoPrism", KINDS, Pixels((0.0,) * 3, (1.0,) * 3, "squash"))
WHOLE = "videoprism"  # model type of the two sides together
NAMES = (  # in a file, and here
    (".attention.o_proj.", ".self_attn.out_proj."),
    (".attention.", ".self_attn."),
    (".layernorm_before.", ".layer_norm1."),
    (".layernorm_after.", ".layer_norm2."),
    ("spatial_embeddings.patch_embeddings.", "embeddings."),
    ("spatial_embeddings.position_embeddings", "embeddings.places"),
    ("temporal_embeddings.position_embeddings", "between.places"),
    ("layernorm1.", "between.norm."),
)
PLACES = "text_model.embeddings.position_embedding"


def read(folder: Path, name: str, allow_bin: bool = False) -> Backbone:
    """A VideoPrism with weights (as float32), tokenizer and preprocessing of a folder.

    Args:
        folder: in transformers' format.
        name: of the backbone, as it was given.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, a setting that is not followed, or tensors are missing, unknown,
            not finite or of another shape: no weight is ever left at a random value.
    """
    form = _form(folder)
    pixels = preprocessing.read_pixels(folder, form.vision.image_size, PROCESSOR)
    weights, notes = _kept(checkpoint.read_weights(folder, allow_bin), form, name)
    parts = checkpoint.fill(lambda: Parts(form), weights, folder, f"a whole {form.made}")
    tokenizer, words = (None, "") if form.text is None else _tokenizer(folder, form.text)
    backbone = VideoPrism(parts, form, name, tokenizer, pixels, notes)
    backbone.fingerprint = checkpoint.fingerprint([f"videoprism {form}", f"{pixels}"], weights, words)
    return backbone


def _form(folder: Path) -> Form:
    values = checkpoint.read_config(folder)
    whole = values.get("model_type") == WHOLE
    expected = (WITH_TEXT,) if whole else (ENCODER, VIDEO, CLASSIFIES)
    named = values.get("architectures") or [expected[0]]
    made = next((one for one in expected if isinstance(named, list) and one in named), None)
    if made is None:
        raise CheckpointError(
            f"{folder}: config.json says architectures {named}, expected one of {', '.join(expected)}"
        )
    try:
        clip.expect_own(values)
        given = values.get("vision_config") or {} if whole else values
        vision: VisionConfig = clip.filled(VisionConfig, given)
        patch = _patch(given, vision)
        if vision.intermediate_size % vision.num_attention_heads:
            raise ValueError(f"intermediate_size {vision.intermediate_size} is no multiple of the heads")
        sides = Form(made, vision, patch, _flag(given, "qkv_bias"), made != CLASSIFIES and _flag(given, "apply_l2norm"))
        if not whole:
            return sides
        said = values.get("text_config") or {}
        text: TextConfig = clip.filled(TextConfig, said)
        if text.hidden_size != vision.hidden_size:
            raise ValueError(f"texts become vectors of {text.hidden_size}, clips of {vision.hidden_size}")
        return Form(
            made, vision, patch, sides.biases, sides.unit_length, text, _flag(said, "qkv_bias"),
            _flag(said, "apply_l2norm"),
        )  # fmt: skip
    except ValueError as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a VideoPrism that kshot reads ({error})"
        ) from None


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, True)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, expected true or false")
    return value


def _patch(values: Mapping[str, Any], vision: VisionConfig) -> int:
    """Side of a square, in pixels.

    Raises:
        ValueError: tubelets of several frames, or images or tubelets that are not square.
    """
    tubelet = values.get("tubelet_size", (1, 18, 18))
    whole = isinstance(tubelet, list | tuple) and len(tubelet) == 3 and all(type(one) is int for one in tubelet)
    if not whole or tubelet[0] != 1 or tubelet[1] != tubelet[2]:
        raise ValueError(f"tubelet_size is {tubelet}, expected one frame and a square of pixels")
    side, patch = vision.image_size, int(tubelet[1])
    if not isinstance(side, int):
        raise ValueError(f"images of {side}: only square ones are supported")
    if not 0 < patch <= side:
        raise ValueError(f"tubelets of {patch} pixels in images of {side}")
    return patch


def _kept(weights: Mapping[str, Tensor], form: Form, name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors that make an embedding by their names here, and a sentence on those that were left out."""
    left = [key for key in weights if form.made == CLASSIFIES and key.startswith("classifier.")]
    kept, dropped = {_named(key): value for key, value in weights.items() if key not in left}, len(left)
    if form.text is not None:
        kept.setdefault(PLACES, sines(form.text))  # fixed, and not in every file
    return kept, (f"backbone '{name}': its classifier is left out ({dropped} tensors)",) if dropped else ()


def _named(key: str) -> str:
    """A tensor's name in the file as that of the modules here."""
    key = key.removeprefix("video_model.").removeprefix("vision_model.")
    for theirs, own in NAMES:
        key = key.replace(theirs, own)
    return key


def _tokenizer(folder: Path, text: TextConfig) -> tuple[Any, str]:
    """The folder's tokenizer, which ends texts with the token that the text side reads out, and what it consists of.

    Raises:
        CheckpointError: it is damaged, there as a sentencepiece model alone, or adds tokens of its own to a text.
    """
    from tokenizers.processors import TemplateProcessing

    tokenizer, words = checkpoint.read_tokenizer(folder, text.max_position_embeddings)
    if tokenizer is None:
        return None, words
    if tokenizer.encode("a").ids != tokenizer.encode("a", add_special_tokens=False).ids:
        raise CheckpointError(f"{folder / 'tokenizer.json'} adds tokens to a text, which VideoPrism's own does not")
    tokenizer.post_processor = TemplateProcessing(single="$A <end>", special_tokens=[("<end>", text.vocab_size)])
    tokenizer.enable_truncation(tokenizer.truncation["max_length"] + 1)
    return tokenizer, words


class VideoPrism(UnitBackbone):
    """A VideoPrism with its preprocessing, and in its Clip form the words that belong to it.

    Args:
        parts: of the network.
        form: what they are.
        name: as loaded.
        tokenizer: of the tokenizers library; None for a folder without one.
        pixels: its preprocessing.
        notes: what was left out of its checkpoint, a sentence each.
    """

    starts = 0

    def __init__(
        self, parts: Parts, form: Form, name: str, tokenizer: Any, pixels: Pixels, notes: tuple[str, ...]
    ) -> None:
        super().__init__(tower_of(parts, form), name, pixels, notes)
        if form.text is not None:
            self.text = VideoPrismText(parts.text_model, form.text, form.text_unit_length)
            self._tokenizer = tokenizer
            self.text.requires_grad_(False)
            self.eval()
