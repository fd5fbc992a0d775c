"""The contract of backbone families, held for every line of the list on checkpoints that transformers writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from checkpoints import CASES, EVERY, WIDE, frames, gradients, write
from kshot import tuning
from kshot.backbones import families
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.hub import OPEN_CLIP, TRANSFORMERS
from kshot.errors import CheckpointError

FOLDER = Path(families.__file__).parent


@pytest.fixture(scope="module", params=EVERY, ids=lambda pair: " ".join(pair).strip())
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Any, Any]:
    """A backbone, the library's network with the same weights, and the case."""
    kind, way = request.param
    folder = tmp_path_factory.mktemp(kind)
    theirs = write(folder, kind, way)
    return load(folder), theirs, CASES[kind][way]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


def test_every_line_has_its_file_its_case_and_its_docs() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert {family.module for family in families.FAMILIES.values()} == files
    assert set(CASES) == set(families.FAMILIES)
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text("utf-8")
    assert [kind for kind in families.FAMILIES if f"`{kind}`" not in page] == []


def test_every_cut_equals_the_forward_pass_of_the_library(pair: tuple[Backbone, Any, Any]) -> None:
    ours, theirs, case = pair
    x = frames(ours, case.count)
    expected = case.embed(theirs, x)
    assert expected.shape == (len(x), ours.embed_dim)
    assert ours.unit == case.unit
    assert ours.input_shape == (() if case.unit == 1 else (case.unit,)) + (3, ours.size, ours.size)
    assert ours.size == (case.side or case.size)
    for cut in range(ours.depth + 2):
        assert distance(ours.encode_from(ours.encode_to(x, cut), cut), expected) <= 1e-5
    assert torch.equal(ours(x), ours.encode_to(x, ours.depth + 1))
    assert ours.image.exact is case.exact and ours.image.changes is (case.unit == 1)
    tokens = ours.encode_to(x, ours.depth)
    assert tokens.shape == (len(x), ours.image.tokens, ours.image.width)
    condensed = ours.condense(tokens) if ours.image.exact else tokens
    assert distance(ours.encode_from(condensed, ours.depth), expected) <= 1e-5
    assert distance(ours.encode_from(condensed.half(), ours.depth), expected) <= 5e-3
    plain = ours.copy()
    plain.image.plain = True
    assert distance(plain(x), expected) <= 1e-5


def test_gradients_of_the_last_layer_are_those_of_the_library(pair: tuple[Backbone, Any, Any]) -> None:
    """Those of partial tuning on stored tokens, beside those of the library's whole network; paired by value."""
    ours, theirs, case = pair
    x, tuned = frames(ours, case.count), ours.copy()
    assert tuning.apply("partial", tuned) == ours.depth
    stored = ours.encode_to(x, ours.depth)
    stored = ours.condense(stored) if ours.image.exact else stored
    weights = torch.randn(ours.embed_dim, generator=torch.Generator().manual_seed(7))  # the length alone may be fixed
    (tuned.encode_from(stored, ours.depth).square() @ weights).sum().backward()
    theirs.zero_grad()
    (case.embed(theirs, x).square() @ weights).sum().backward()
    learns = [value for value in tuned.parameters() if value.requires_grad]
    assert len(learns) >= case.learns
    largest = max(float(value.grad.norm()) for value in learns)
    pairs = gradients(theirs)
    for value in learns:
        (grad,) = [grad for other, grad in pairs if torch.equal(other, value)]
        scale = max(float(grad.norm()), 1e-3 * largest)  # the keys' bias has no gradient but rounding noise
        assert float((value.grad - grad).norm()) / scale <= 1e-4


def test_texts_equal_the_forward_pass_of_the_library(pair: tuple[Backbone, Any, Any]) -> None:
    ours, theirs, case = pair
    assert ours.has_text is (case.embed_text is not None)
    if case.embed_text is None:
        return
    ids = torch.randint(3, 500, (4, 12), generator=torch.Generator().manual_seed(5))
    ids[:, -1] = max(ours.text.end, 0)
    expected, read = case.embed_text(theirs, ids), ours.text.read(ids)
    for cut in range(ours.text.depth + 2):
        assert distance(ours.text.encode_from(ours.text.encode_to(ids, cut), cut, read), expected) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("key", WIDE, ids=" ".join)
def test_the_same_holds_at_published_widths(key: tuple[str, str], tmp_path: Path) -> None:
    theirs = write(tmp_path, *key)
    pair = load(tmp_path), theirs, WIDE[key]
    test_every_cut_equals_the_forward_pass_of_the_library(pair)
    test_gradients_of_the_last_layer_are_those_of_the_library(pair)
    assert {kind for kind, _ in WIDE} == set(families.FAMILIES)


def test_the_fingerprint_is_that_of_the_weights(pair: tuple[Backbone, Any, Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    ours, *_ = pair
    folder = Path(ours.name)
    assert load(folder).fingerprint == ours.fingerprint != ""
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    for other in folder.glob("*.json"):
        (tmp_path / other.name).write_bytes(other.read_bytes())
    read = [name for name in weights if not name.startswith(("decoder.", "vjepa2.predictor.", "predictor."))]
    ends = ("norm1.weight", "ln_1.weight", "bn1.weight", "norm_before.weight")
    name = next(name for name in read if name.endswith(ends))
    save_file(weights | {name: weights[name] + 1}, tmp_path / file.name)
    assert load(tmp_path).fingerprint != ours.fingerprint
    for taken in (name, "another"):
        changed = {n: v for n, v in weights.items() if n != taken} | (
            {} if taken in weights else {taken: torch.ones(1)}
        )
        save_file(changed, tmp_path / file.name)
        with pytest.raises(CheckpointError, match=r"is incomplete: 1 of|holds 1 tensors that"):
            load(tmp_path)


@pytest.mark.parametrize(
    "says", [{"architectures": ["OtherModel"]}, {"image_size": [32, 48]}, {"quantization_config": 1}]
)
def test_what_a_family_does_not_follow_is_one_line(pair: tuple[Backbone, Any, Any], tmp_path: Path, says: Any) -> None:
    folder = Path(pair[0].name)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (config,) = (path for path in tmp_path.iterdir() if path.name in (OPEN_CLIP.config, TRANSFORMERS.config))
    values = json.loads(config.read_text())
    inside = values.get("model_cfg", values)
    for part in ("vision_config", "vision_cfg"):
        (inside[part] if "image_size" in says and part in inside else inside).update(says)
    config.write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert next(iter(says)).split("_")[0][:5] in str(caught.value) or "square" in str(caught.value)


def test_a_folder_of_no_family_names_those_that_were_tried(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit_mae"}')
    with pytest.raises(CheckpointError, match=f"model_type 'vit_mae', expected one of {', '.join(families.FAMILIES)}"):
        load(tmp_path)


def test_a_transformers_too_old_is_named_with_the_one_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "tomorrow"}')
    monkeypatch.setitem(families.FAMILIES, "tomorrow", families.Family("clip", transformers="5.100"))
    with pytest.raises(CheckpointError, match=r"\(tomorrow\) needs transformers 5.100, found 5\.\d+.*: pip install"):
        load(tmp_path)
    monkeypatch.setitem(families.FAMILIES, "tomorrow", families.Family("clip", transformers="5.0"))
    with pytest.raises(CheckpointError, match="has no weights"):
        load(tmp_path)


def test_no_family_is_imported_before_it_is_needed() -> None:
    script = """
import sys, kshot.cli, kshot.backbones.backbone
from kshot.backbones.families import FAMILIES
print([one.module for one in FAMILIES.values() if f"kshot.backbones.families.{one.module}" in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
