"""Reads the files of a folder in transformers' format, of whatever family, and refuses damaged or half ones."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kshot import gate
from kshot.backbones.hub import PICKLES, TRANSFORMERS, Layout, ways_out, weight_files
from kshot.errors import CheckpointError

WIDTHS = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
)  # others need scales beside them
LARGEST_SCALE = 1e6
START, END = "<|startoftext|>", "<|endoftext|>"
PIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")  # of the sentencepiece library
COUNTS = ("position_ids", "num_batches_tracked")
WRAPPED = "module."  # what training on several devices puts before names
M = TypeVar("M", bound=nn.Module)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = gate.read_json(path, error=CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: fetch it again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, expected an object: fetch it again")
    return value


def read_config(folder: Path, expected: str = "a checkpoint", kind: Layout = TRANSFORMERS) -> dict[str, Any]:
    """What config.json says; code that the folder may bring along (`auto_map`) is never read.

    Args:
        folder: of a checkpoint.
        expected: what the folder should hold, in words.
        kind: its layout.

    Raises:
        CheckpointError: it is not there, or no object of JSON.
    """
    if not (folder / kind.config).exists():
        form, names = "transformers" if kind is TRANSFORMERS else "open_clip's", sorted(os.listdir(folder))
        how = f"; {ways_out(names)}" if any(name.endswith((*PICKLES, ".safetensors")) for name in names) else ""
        raise CheckpointError(f"{folder} has no {kind.config}: expected {expected} in {form} format{how}")
    return _json(folder / kind.config)


def read_weights(folder: Path, allow_bin: bool, kind: Layout = TRANSFORMERS) -> dict[str, Tensor]:
    """All tensors of a folder by name, in float32 and in memory of their own (no file stays mapped).

    Args:
        folder: of a checkpoint.
        allow_bin: also read weights that are there only as a pickle; no code of it is run.
        kind: its layout.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is no finite numbers or there twice.
    """
    files = weight_files(folder, kind)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {few(missing)}, named in its index: fetch it again")
    if not files and not (folder / kind.bin).is_file():
        raise CheckpointError(f"{folder} has no weights: expected {kind.weights}")
    if not files and not allow_bin:
        raise CheckpointError(
            f"{folder} has its weights only as {kind.bin}, a pickle: expected {kind.weights}; convert it, or allow it "
            "(KSHOT_ALLOW_BIN=1, in Python allow_bin=True): it is then read without running any code"
        )
    weights: dict[str, Tensor] = {}
    for file in files or [folder / kind.bin]:
        part = _tensors(file)
        if twice := sorted(weights.keys() & part.keys()):
            raise CheckpointError(f"{folder} holds {few(twice)} twice, once in {file.name}: fetch it again")
        weights |= part
    return weights


def _tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of one file in float32, but for those that only count."""
    gate.regular(file, error=CheckpointError)
    try:
        if file.suffix == ".bin":
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            loaded = load_file(file)
        return {name: _widened(value) for name, value in loaded.items() if not name.endswith(COUNTS)}
    except Exception as error:  # a damaged file can fail at any depth of its reader
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} is damaged ({reason[:160]}): fetch it again") from None


def _widened(value: Tensor) -> Tensor:
    """A weight as float32 in memory of its own.

    Raises:
        ValueError: it is of another kind, not all of it is there, or it holds a number that is not finite.
    """
    if value.dtype not in WIDTHS or value.layout != torch.strided:
        raise ValueError(f"a weight of type {str(value.dtype).removeprefix('torch.')}, expected {few(WIDTHS)}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError("a weight is larger than what is stored of it")
    made = value.to(torch.float32, copy=True)
    if not (made.sum().isfinite() or made.isfinite().all()):  # the sum is quick, and tells unless it overflows
        raise ValueError("a weight is NaN or infinite")
    return made


def fill(
    build: Callable[[], M], weights: Mapping[str, Tensor], folder: Path, whole: str, config: str = TRANSFORMERS.config
) -> M:
    """A network that consists of exactly these weights. Built without memory first, so nothing is drawn.

    Args:
        build: makes the network.
        weights: name -> tensor.
        folder: that they are from.
        whole: what the folder should hold, in words.
        config: name of the file that says what the network is.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape, or an activation is not known.
    """
    try:
        with torch.device("meta"):
            model = build()
    except KeyError as error:
        raise CheckpointError(f"{folder / config} names an unknown activation: {error}") from None
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing:
        wrapped = f" without '{WRAPPED}' before every name" if all(map(_wrapped, weights)) else ""
        raise CheckpointError(
            f"{folder} is incomplete: {len(missing)} of {len(expected)} tensors are missing ({few(missing)}); "
            f"expected {whole}{wrapped}"
        )
    if extra:
        raise CheckpointError(f"{folder} holds {len(extra)} tensors that its {config} knows nothing of ({few(extra)})")
    wrong = [name for name, value in expected.items() if value.shape != weights[name].shape]
    if wrong:
        found, wanted = tuple(weights[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise CheckpointError(f"{folder}: {wrong[0]} has shape {found}, but {config} asks for {wanted}")
    model.load_state_dict(weights, assign=True)
    return model


def _wrapped(name: str) -> bool:
    return name.startswith(WRAPPED)


def expect_scale(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Refuses a `logit_scale` that is the logarithm of no sensible factor on cosines.

    Args:
        weights: name -> tensor, `logit_scale` among them.
        folder: that they are from.

    Raises:
        CheckpointError: it lies beyond plus or minus the logarithm of `LARGEST_SCALE`.
    """
    scale = float(weights["logit_scale"])
    if not abs(scale) <= math.log(LARGEST_SCALE):
        raise CheckpointError(f"{folder}: logit_scale is {scale:g}, which is the logarithm of no sensible factor")


def few(names: Iterable[object]) -> str:
    """The first two of some names, for a message."""
    short = [str(name).removeprefix("torch.") for name in names]
    return ", ".join(short[:2]) + (", ..." if len(short) > 2 else "")


def read_tokenizer(folder: Path, limit: int) -> tuple[Any, str]:
    """A `tokenizers.Tokenizer` that cuts texts to `limit` tokens, and what it consists of; (None, "") without files.

    Args:
        folder: with tokenizer.json, or with vocab.json and merges.txt.
        limit: most tokens of a text.

    Raises:
        CheckpointError: a file is damaged, or asks for what is not followed.
    """
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
            if pieces := [name for name in PIECES if (folder / name).exists()]:
                raise CheckpointError(
                    f"{folder} has its tokenizer only as {pieces[0]}, which kshot does not read: add tokenizer.json, "
                    "which transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...) writes"
                )
            return None, ""
        longest = read_settings(folder).get("model_max_length")
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


def read_settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says; nothing where it is not there."""
    path = folder / "tokenizer_config.json"
    return _json(path) if path.exists() else {}


def _expect_usual(folder: Path) -> None:
    """Refuses settings that a tokenizer of vocab.json and merges.txt alone does not follow.

    Raises:
        CheckpointError: one of them, by its name.
    """
    special, added = folder / "special_tokens_map.json", folder / "added_tokens.json"
    said = {**read_settings(folder), **(_json(special) if special.exists() else {})}
    usual = {"bos_token": START, "eos_token": END, "unk_token": END, "do_lower_case": True}
    found = {name: said.get(name) for name in usual}
    found = {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}
    odd = [f"{name} {found[name]!r}" for name in usual if found[name] not in (None, usual[name])]
    if added.exists() and (more := sorted(_json(added).keys() - {START, END})):
        odd.append(f"{added.name} {few(more)}")
    if odd:
        raise CheckpointError(
            f"{folder} has no tokenizer.json, and kshot reads vocab.json and merges.txt as CLIP's own, which {odd[0]} "
            "is not: save the tokenizer as tokenizer.json"
        )


def fingerprint(lines: Sequence[str], weights: Mapping[str, Tensor], words: str = "") -> str:
    """sha256 over everything that changes an embedding.

    Args:
        lines: shape of the towers and preprocessing.
        weights: name -> tensor; they count in the order of their names.
        words: what the tokenizer consists of.
    """

    def digest(name: str) -> str:
        value = weights[name].contiguous()
        data = value.reshape(-1).numpy().data
        return f"{name} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"

    with ThreadPoolExecutor(4) as pool:  # hashing lets go of the interpreter's lock
        every = [*lines, *pool.map(digest, sorted(weights)), words]
    return hashlib.sha256("\n".join(every).encode()).hexdigest()
