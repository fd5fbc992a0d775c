"""Reads a CLIP from a folder in transformers' format, and refuses one that is damaged or only half there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot import gate
from kshot.backbones import preprocessing
from kshot.backbones.clip import CLIP, Config
from kshot.backbones.hub import BIN, WEIGHTS, weight_files
from kshot.backbones.preprocessing import Pixels
from kshot.errors import CheckpointError

ARCHITECTURES = {"CLIPModel", "TFCLIPModel", "FlaxCLIPModel"}  # others under the same model_type compute other numbers
WIDTHS = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
)  # others need scales beside them
LARGEST_SCALE = 1e6
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class LoadedClip:
    """What a folder holds.

    Attributes:
        model: the CLIP, filled with the weights.
        tokenizer: of the tokenizers library; None for a folder without one.
        pixels: what becomes of pixels.
        fingerprint: sha256 over everything that changes an embedding.
    """

    model: CLIP
    tokenizer: Any
    pixels: Pixels
    fingerprint: str


def read_checkpoint(folder: Path, allow_bin: bool = False) -> LoadedClip:
    """Reads configuration, weights (as float32), tokenizer and preprocessing of a CLIP.

    Args:
        folder: in transformers' format.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.

    Raises:
        CheckpointError: a file is missing or damaged, the folder is no CLIP, a setting that is not followed, or tensors
            are missing, unknown, not finite or of another shape: no weight is ever left at a random value.
    """
    config = _config(folder)
    pixels = preprocessing.read_pixels(folder, int(config.vision_config.image_size))
    weights = _weights(folder, allow_bin)
    model = _fill(config, weights, folder)
    tokenizer, words = _tokenizer(folder, int(config.text_config.max_position_embeddings))
    return LoadedClip(model, tokenizer, pixels, _fingerprint(weights, config, pixels, words))


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"{path.parent} has no {path.name}: expected a CLIP in transformers format")
    try:
        value = gate.read_json(path, error=CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: fetch it again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, expected an object: fetch it again")
    return value


def _config(folder: Path) -> Config:
    """The configuration of a folder; code that the folder may bring along (`auto_map`) is never read."""
    values = _json(folder / "config.json")
    kind = values.get("model_type")
    if kind != "clip":
        raise CheckpointError(f"{folder} is no CLIP: config.json says model_type '{kind}', expected 'clip'")
    made = values.get("architectures") or ["CLIPModel"]
    if not isinstance(made, list) or not ARCHITECTURES.intersection(map(str, made)):
        raise CheckpointError(f"{folder} is no CLIP: config.json says architectures {made}, expected CLIPModel")
    try:
        config = Config.read(values)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a CLIP ({error})") from None
    vision = config.vision_config
    if not (isinstance(vision.image_size, int) and isinstance(vision.patch_size, int)):
        raise CheckpointError(f"{folder} takes images of {vision.image_size}: only square ones are supported")
    if not isinstance(config.text_config.eos_token_id, int):
        raise CheckpointError(f"{folder}: expected one eos_token_id, found {config.text_config.eos_token_id}")
    return config


def _weights(folder: Path, allow_bin: bool) -> dict[str, Tensor]:
    """All tensors of a folder by name, in float32 and in memory of their own (no file stays mapped)."""
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {_few(missing)}, named in its index: fetch it again")
    if not files and not (folder / BIN).is_file():
        raise CheckpointError(f"{folder} has no weights: expected {WEIGHTS}")
    if not files and not allow_bin:
        raise CheckpointError(
            f"{folder} has its weights only as {BIN}, a pickle: expected {WEIGHTS}; convert it, or allow it "
            "(KSHOT_ALLOW_BIN=1, in Python allow_bin=True): it is then read without running any code"
        )
    weights: dict[str, Tensor] = {}
    for file in files or [folder / BIN]:
        part = _tensors(file)
        if twice := sorted(weights.keys() & part.keys()):
            raise CheckpointError(f"{folder} holds {_few(twice)} twice, once in {file.name}: fetch it again")
        weights |= part
    return weights


def _tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of one file in float32, but for `position_ids`, which only count."""
    gate.regular(file, error=CheckpointError)
    try:
        if file.name == BIN:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            loaded = load_file(file)
        return {name: _widened(value) for name, value in loaded.items() if not name.endswith("position_ids")}
    except Exception as error:  # a damaged file can fail at any depth of its reader
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} is damaged ({reason[:160]}): fetch it again") from None


def _widened(value: Tensor) -> Tensor:
    """A weight as float32 in memory of its own.

    Raises:
        ValueError: it is of another kind, not all of it is there, or it holds a number that is not finite.
    """
    if value.dtype not in WIDTHS or value.layout != torch.strided:
        raise ValueError(f"a weight of type {str(value.dtype).removeprefix('torch.')}, expected {_few(WIDTHS)}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError("a weight is larger than what is stored of it")
    made = value.to(torch.float32, copy=True)
    if not (made.sum().isfinite() or made.isfinite().all()):  # the sum is quick, and tells unless it overflows
        raise ValueError("a weight is NaN or infinite")
    return made


def _fill(config: Config, weights: dict[str, Tensor], folder: Path) -> CLIP:
    """A CLIP that consists of exactly these weights. Built without memory first, so nothing is drawn."""
    try:
        with torch.device("meta"):
            model = CLIP(config)
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'} names an unknown activation: {error}") from None
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing:
        raise CheckpointError(
            f"{folder} is incomplete: {len(missing)} of {len(expected)} tensors are missing ({_few(missing)}); "
            "expected a whole CLIP, image and text towers"
        )
    if extra:
        raise CheckpointError(
            f"{folder} holds {len(extra)} tensors that its config.json knows nothing of ({_few(extra)})"
        )
    wrong = [name for name, value in expected.items() if value.shape != weights[name].shape]
    if wrong:
        found, wanted = tuple(weights[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise CheckpointError(f"{folder}: {wrong[0]} has shape {found}, but config.json asks for {wanted}")
    scale = float(weights["logit_scale"])
    if not abs(scale) <= math.log(LARGEST_SCALE):
        raise CheckpointError(f"{folder}: logit_scale is {scale:g}, which is the logarithm of no sensible factor")
    model.load_state_dict(weights, assign=True)
    return model


def _few(names: Iterable[object]) -> str:
    short = [str(name).removeprefix("torch.") for name in names]
    return ", ".join(short[:2]) + (", ..." if len(short) > 2 else "")


def _tokenizer(folder: Path, limit: int) -> tuple[Any, str]:
    """A `tokenizers.Tokenizer` that cuts texts to `limit` tokens, and what it consists of; (None, "") without files."""
    from tokenizers import Tokenizer

    fast, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    try:
        if fast.exists():
            gate.regular(fast, gate.TEXT_BYTES, CheckpointError)
            tokenizer = Tokenizer.from_file(str(fast))
        elif vocab.exists() and merges.exists():
            from transformers.models.clip.tokenization_clip import CLIPTokenizer

            _expect_usual(folder)
            lines = gate.read_text(merges, error=CheckpointError).splitlines()
            pairs = [pair for pair in (tuple(line.split()) for line in lines) if len(pair) == 2]
            pairs = [pair for pair in pairs if pair[0] != "#version:"]
            tokenizer = CLIPTokenizer(vocab=_json(vocab), merges=pairs).backend_tokenizer
        else:
            return None, ""
        longest = _settings(folder).get("model_max_length")
        if isinstance(longest, int) and not isinstance(longest, bool) and 0 < longest < limit:
            limit = longest
        tokenizer.no_padding()
        tokenizer.enable_truncation(limit)
        tokenizer.encode("a")  # one that cannot, for want of room or of a token, says so here
    except CheckpointError:
        raise
    except BaseException as error:  # the tokenizers library raises bare Exceptions, and panics
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the tokenizer in {folder} is damaged ({reason[:160]}): fetch it again") from None
    return tokenizer, hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return _json(path) if path.exists() else {}


def _expect_usual(folder: Path) -> None:
    """Refuses settings that a tokenizer of vocab.json and merges.txt alone does not follow.

    Raises:
        CheckpointError: one of them, by its name.
    """
    special, added = folder / "special_tokens_map.json", folder / "added_tokens.json"
    said = {**_settings(folder), **(_json(special) if special.exists() else {})}
    usual = {"bos_token": START, "eos_token": END, "unk_token": END, "do_lower_case": True}
    found = {name: said.get(name) for name in usual}
    found = {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}
    odd = [f"{name} {found[name]!r}" for name in usual if found[name] not in (None, usual[name])]
    if added.exists() and (more := sorted(_json(added).keys() - {START, END})):
        odd.append(f"{added.name} {_few(more)}")
    if odd:
        raise CheckpointError(
            f"{folder} has no tokenizer.json, and kshot reads vocab.json and merges.txt as CLIP's own, which {odd[0]} "
            "is not: save the tokenizer as tokenizer.json"
        )


def _fingerprint(weights: dict[str, Tensor], config: Config, pixels: Pixels, words: str) -> str:
    """sha256 over everything that changes an embedding: weights in name order, shape of the towers, preprocessing."""

    def digest(name: str) -> str:
        value = weights[name].contiguous()
        data = value.reshape(-1).numpy().data
        return f"{name} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"

    text, vision = config.text_config, config.vision_config
    fields = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "layer_norm_eps",
    )
    lines = [f"{field} {getattr(text, field)} {getattr(vision, field)}" for field in fields]
    lines += [
        f"image {vision.image_size} patch {vision.patch_size} eos {text.eos_token_id}",
        f"mean {pixels.mean} std {pixels.std}",
    ]
    with ThreadPoolExecutor(4) as pool:  # hashing lets go of the interpreter's lock
        lines += [*pool.map(digest, sorted(weights)), words]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
