"""Reads a CLIP from a folder in transformers' format, and refuses one that is damaged or only half there."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot.clip import CLIP, Config
from kshot.errors import CheckpointError
from kshot.hub import BIN, WEIGHTS, weight_files

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images, for folders that do not say
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipFolder:
    """What a folder holds: the filled CLIP, its tokenizer (None without one), pixel mean and deviation."""

    model: CLIP
    tokenizer: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str


def read(folder: Path, allow_bin: bool = False) -> ClipFolder:
    """Reads configuration, weights (as float32), tokenizer and preprocessing of a CLIP.

    Raises:
        CheckpointError: a file is missing or damaged, the folder is no CLIP, or tensors are missing, unknown or
            of another shape: no weight is ever left at a random value.
    """
    config = _config(folder)
    mean, std = _preprocessing(folder, int(config.vision_config.image_size))
    weights = _weights(folder, allow_bin)
    model = _fill(config, weights, folder)
    tokenizer, words = _tokenizer(folder, int(config.text_config.max_position_embeddings))
    return ClipFolder(model, tokenizer, mean, std, _fingerprint(weights, config, mean, std, words))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}: expected a CLIP in transformers format") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): fetch it again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, expected an object: fetch it again")
    return value


def _config(folder: Path) -> Config:
    """The configuration of a folder; code that the folder may bring along (`auto_map`) is never looked at."""
    values = _json(folder / "config.json")
    kind = values.get("model_type")
    if kind != "clip":
        raise CheckpointError(f"{folder} is no CLIP: config.json says model_type '{kind}', expected 'clip'")
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
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}, named in its index: fetch it again")
    if not files and not (folder / BIN).is_file():
        raise CheckpointError(f"{folder} has no weights: expected {WEIGHTS}")
    if not files and not allow_bin:
        raise CheckpointError(
            f"{folder} has its weights only as {BIN}, a pickle: expected {WEIGHTS}; convert it, or allow it "
            "(KSHOT_ALLOW_BIN=1, in Python allow_bin=True): it is then read without running any code"
        )
    weights: dict[str, Tensor] = {}
    for file in files or [folder / BIN]:
        weights.update(_tensors(file))
    return {name: value for name, value in weights.items() if not name.endswith("position_ids")}


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        if file.name == BIN:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            loaded = load_file(file)
        return {name: value.to(torch.float32, copy=True) for name, value in loaded.items()}
    except Exception as error:  # a damaged file can fail at any depth of its reader
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} is damaged ({reason[:160]}): fetch it again") from None


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
    model.load_state_dict(weights, assign=True)
    return model


def _few(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _preprocessing(folder: Path, side: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the pixels; CLIP's own where the folder does not say."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return MEAN, STD
    values = _json(path)
    crop = values.get("crop_size", side)
    if isinstance(crop, dict):
        crop = crop.get("height", side)
    if crop != side:
        raise CheckpointError(f"{path} crops images to {crop}, but config.json asks for {side} pixels")
    try:
        mean = tuple(float(value) for value in values.get("image_mean", MEAN))
        std = tuple(float(value) for value in values.get("image_std", STD))
    except (TypeError, ValueError):
        mean = std = ()
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise CheckpointError(f"{path}: expected three numbers in image_mean and three above 0 in image_std")
    return mean, std


def _tokenizer(folder: Path, limit: int) -> tuple[Any, str]:
    """A `tokenizers.Tokenizer` that cuts texts to `limit` tokens, and what it consists of; (None, "") without files."""
    from tokenizers import Tokenizer

    fast, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    try:
        if fast.is_file():
            tokenizer = Tokenizer.from_file(str(fast))
        elif vocab.is_file() and merges.is_file():
            from transformers.models.clip.tokenization_clip import CLIPTokenizer

            pairs = [tuple(line.split()) for line in merges.read_text(encoding="utf-8").splitlines()]
            pairs = [pair for pair in pairs if len(pair) == 2 and pair[0] != "#version:"]
            tokenizer = CLIPTokenizer(vocab=_json(vocab), merges=pairs).backend_tokenizer
        else:
            return None, ""
        tokenizer.no_padding()
        tokenizer.enable_truncation(limit)
    except CheckpointError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise CheckpointError(f"the tokenizer in {folder} is damaged ({error}): fetch it again") from None
    return tokenizer, hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def _fingerprint(
    weights: dict[str, Tensor], config: Config, mean: tuple[float, ...], std: tuple[float, ...], words: str
) -> str:
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
    lines += [f"image {vision.image_size} patch {vision.patch_size} eos {text.eos_token_id}", f"mean {mean} std {std}"]
    with ThreadPoolExecutor(4) as pool:  # hashing lets go of the interpreter's lock
        lines += [*pool.map(digest, sorted(weights)), words]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
