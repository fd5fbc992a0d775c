"""Backbone folders that are torn, of other types or made to hurt: always one CheckpointError of one line, and soon."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kshot.backbones import backbone
from kshot.errors import CheckpointError

DEEP = "[" * 100_000
Damage = Callable[[Path], object]


@pytest.fixture
def folder(clip_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clip_folder, tmp_path / "clip")


def config(**values: Any) -> Damage:
    return lambda folder: _edit(folder / "config.json", values)


def tower(name: str, **values: Any) -> Damage:
    def change(folder: Path) -> None:
        said = json.loads((folder / "config.json").read_text())
        _edit(folder / "config.json", {f"{name}_config": said[f"{name}_config"] | values})

    return change


def text(file: str, content: str | bytes) -> Damage:
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, Any]]) -> Damage:
    def write(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        save_file(change({name: value.clone() for name, value in load_file(path).items()}), path)

    return write


def one(change: Callable[[torch.Tensor], torch.Tensor], name: str = "visual_projection.weight") -> Damage:
    return weights(lambda held: held | {name: change(held[name])})


def index(content: Any) -> Damage:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return write


def tokenizer(**values: Any) -> Damage:
    return lambda folder: _edit(folder / "tokenizer.json", values)


def bare(*damages: Damage) -> Damage:
    """Without tokenizer.json, so that vocab.json and merges.txt are read."""

    def change(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        for damage in damages:
            damage(folder)

    return change


def pipe(file: str) -> Damage:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return change


def _edit(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _with(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor[0, 0] = value
    return tensor


def _twice(folder: Path) -> None:
    index({"weight_map": {"a": "part.safetensors", "b": "other.safetensors"}})(folder)
    shutil.copy(folder / "part.safetensors", folder / "other.safetensors")


HOSTILE: dict[str, Damage] = {
    **{f"width {value}": tower("vision", hidden_size=value) for value in (0, -1, 1e30, 10**30, "x", None, True, [8])},
    **{f"layers {value}": tower("vision", num_hidden_layers=value) for value in (0, -3, 10**9, 2.5)},
    **{f"heads {value}": tower("text", num_attention_heads=value) for value in (0, -1, 5, 10**12)},
    **{f"image {value}": tower("vision", image_size=value) for value in (0, -32, 10**9, "32", [32, 16], 1e400)},
    **{f"patch {value}": tower("vision", patch_size=value) for value in (0, -8, 33, 10**9, {})},
    **{f"vocabulary {value}": tower("text", vocab_size=value) for value in (0, 10**15, float("nan"))},
    **{f"positions {value}": tower("text", max_position_embeddings=value) for value in (0, 10**12)},
    **{f"eps {value}": tower("text", layer_norm_eps=value) for value in (-1e-5, float("nan"), 10**400, "small")},
    **{f"end {value}": tower("text", eos_token_id=value) for value in (-1, 10**7, [1, 2], "end", None)},
    **{f"projection {value}": config(projection_dim=value) for value in (0, 1e30, [])},
    "dropout": tower("vision", attention_dropout=2),
    "activation": tower("vision", hidden_act="wavy"),
    "activation, a list": tower("vision", hidden_act=[]),
    "channels": tower("vision", num_channels=4),
    "a tower that is a list": config(vision_config=[1, 2]),
    "another architecture": config(architectures=["EVACLIPModel"]),
    "architectures, a number": config(architectures=7),
    "quantised": config(quantization_config={"bits": 4}),
    "pruned": tower("text", pruned_heads={"0": [1]}),
    "model_type, a list": config(model_type=["clip"]),
    "deep config": text("config.json", DEEP),
    "a long number": text("config.json", '{"model_type": ' + "9" * 10_000 + "}"),
    "UTF-16 config": text("config.json", '{"model_type": "clip"}'.encode("utf-16")),
    "config, a list": text("config.json", "[]"),
    "deep preprocessing": text("preprocessor_config.json", DEEP),
    "preprocessing, a list": text("preprocessor_config.json", "[]"),
    "deep processor": text("processor_config.json", '{"image_processor": ' + DEEP),
    "deep index": lambda folder: (index({})(folder), text("model.safetensors.index.json", DEEP)(folder)),
    "index, a list": index([1]),
    "index of numbers": index({"weight_map": {"a": 1, "b": "x"}}),
    "index of nothing": index({"weight_map": {}}),
    "index above": index({"weight_map": {"a": "../clip/part.safetensors"}}),
    "index, absolute": index({"weight_map": {"a": "/etc/passwd"}}),
    "index, parent": index({"weight_map": {"a": ".."}}),
    "index, itself": index({"weight_map": {"a": ""}}),
    "index, elsewhere on Windows": index({"weight_map": {"a": "..\\part.safetensors"}}),
    "index, null byte": index({"weight_map": {"a": "part\0.safetensors"}}),
    "index, many lost": index({"weight_map": {str(i): f"{i}.safetensors" for i in range(5000)}}),
    "weights twice": _twice,
    "NaN weight": one(lambda value: _with(value, float("nan"))),
    "infinite weight": one(lambda value: _with(value, float("inf"))),
    "weight beyond float32": one(lambda value: _with(value.double(), 1e300)),
    "NaN scale": one(lambda value: value * float("nan"), "logit_scale"),
    "huge scale": one(lambda value: value * 1000, "logit_scale"),
    "int weights": one(lambda value: (value * 100).to(torch.int8)),
    "bool weights": one(lambda value: value > 0),
    "float8 weights": one(lambda value: value.to(torch.float8_e4m3fn)),
    "complex weights": one(lambda value: value.to(torch.complex64)),
    "no weights": text("model.safetensors", b""),
    "a header beyond the file": text("model.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
    "a pickle for safetensors": lambda folder: torch.save({"a": torch.ones(3)}, folder / "model.safetensors"),
    "a pipe for weights": pipe("model.safetensors"),
    "a pipe for the configuration": pipe("config.json"),
    "a pipe for the tokenizer": lambda folder: (pipe("tokenizer.json")(folder), (folder / "vocab.json").unlink()),
    "deep tokenizer": text("tokenizer.json", DEEP),
    "tokenizer, no model": tokenizer(model=None),
    "tokenizer, odd ids": tokenizer(model={"type": "BPE", "vocab": {"a": -1}, "merges": []}),
    "tokenizer, merges of nothing": tokenizer(model={"type": "BPE", "vocab": {"a": 1}, "merges": ["x y"]}),
    "tokenizer, broken expression": tokenizer(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": True}
    ),
    "deep tokenizer settings": text("tokenizer_config.json", DEEP),
    "vocabulary, a list": bare(text("vocab.json", "[]")),
    "vocabulary of texts": bare(text("vocab.json", '{"a": "b"}')),
    "deep vocabulary": bare(text("vocab.json", DEEP)),
    "merges of nothing": bare(text("merges.txt", "q z\nzz qq\n")),
    "merges, no UTF-8": bare(text("merges.txt", b"\xff\xfe\x00")),
    "tokens of another kind": bare(text("special_tokens_map.json", '{"eos_token": {"content": "[SEP]"}}')),
    "a tokenizer that keeps capitals": bare(text("tokenizer_config.json", '{"do_lower_case": false}')),
    "tokens beside the vocabulary": bare(text("added_tokens.json", '{"<action>": 999}')),
}  # fmt: skip


def refused(folder: Path, **options: Any) -> str:
    """The line with which a folder is refused, soon."""
    begin = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        backbone.load(folder, **options)
    line = str(caught.value)
    assert line and "\n" not in line and len(line) < 600, line
    assert time.monotonic() - begin < 20
    return line


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_folder_is_one_line(folder: Path, damage: Damage) -> None:
    damage(folder)
    if (folder / "tokenizer.json").exists():  # whatever is wrong is not to be hidden by the other tokenizer
        (folder / "vocab.json").unlink(missing_ok=True)
    refused(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (tower("vision", hidden_size=10**30), r"hidden_size is 1000000.*, expected 1 to 32,768"),
        (tower("vision", num_hidden_layers=-3), "num_hidden_layers is -3, expected 1 to 512"),
        (tower("text", num_attention_heads=5), "hidden_size 24 is no multiple of 5 heads"),
        (tower("vision", image_size=0), "image_size is 0, expected 1 to 4,096"),
        (tower("vision", patch_size=33), "patch_size 33 is more than image_size 32"),
        (tower("text", vocab_size=1e30), r"vocab_size is 1e\+30, expected a number|vocab_size is 1e\+30"),
        (tower("text", eos_token_id=10**6), "eos_token_id 1000000 is not in a vocabulary"),
        (config(architectures=["EVACLIPModel"]), r"says architectures \['EVACLIPModel'\], expected CLIPModel"),
        (config(quantization_config={"bits": 4}), "quantization_config is set, which kshot does not follow"),
        (index({"weight_map": {"a": "../part.safetensors"}}), "names shards outside its folder"),
        (_twice, "holds .* twice, once in part.safetensors"),
        (one(lambda value: (value * 100).to(torch.int8)), "a weight of type int8, expected float32"),
        (one(lambda value: _with(value, float("nan"))), "a weight is NaN or infinite"),
        (one(lambda value: value * 1000, "logit_scale"), "logit_scale is 4605.*the logarithm of no sensible factor"),
        (bare(text("tokenizer_config.json", '{"do_lower_case": false}')), "which do_lower_case False is not"),
    ],
)  # fmt: skip
def test_the_line_names_what_is_wrong(folder: Path, damage: Damage, words: str) -> None:
    import re

    damage(folder)
    line = refused(folder)
    assert re.search(words, line), line


def _torn(data: bytes) -> Iterator[bytes]:
    for share in range(20):
        yield data[: len(data) * share // 20]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"])
def test_a_file_torn_at_every_twentieth_is_refused(folder: Path, file: str) -> None:
    (folder / "vocab.json").unlink()
    for part in _torn((folder / file).read_bytes()):
        (folder / file).write_bytes(part)
        refused(folder)


def test_a_pickle_that_claims_more_than_it_holds_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file

    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for odd in (torch.ones(1).expand(2**40), torch.ones(4).to_sparse(), "text", None, {"state": 1}):
        torch.save(held | {"visual_projection.weight": odd}, folder / "pytorch_model.bin")
        refused(folder, allow_bin=True)
    for whole in ([1, 2], torch.ones(3), {1: torch.ones(2)}):
        torch.save(whole, folder / "pytorch_model.bin")
        refused(folder, allow_bin=True)


def test_tokens_beyond_the_vocabulary_are_refused_when_they_are_met(folder: Path) -> None:
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text())
    said["model"]["vocab"]["clap</w>"] = 10**6
    path.write_text(json.dumps(said))
    made = backbone.load(folder)
    with pytest.raises(CheckpointError, match="token 1,000,000, but its table has"):
        made.embed_text(["clap"])


def test_half_precision_weights_are_still_read(folder: Path) -> None:
    weights(lambda held: {name: value.half() for name, value in held.items()})(folder)
    assert backbone.load(folder).image.projection.weight.dtype == torch.float32


def test_the_command_line_says_it_in_one_line(folder: Path, clips_csv: Path, command: Any) -> None:
    for damage in (tower("vision", hidden_size=1e30), text("config.json", DEEP)):
        damage(folder)
        code, out, err = command("evaluate", clips_csv, "--backbone", folder, "--episodes", 5)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
