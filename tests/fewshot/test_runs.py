"""Run folders: what training wrote comes back bit for bit, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from kshot import seals, settings
from kshot.backbones.backbone import Backbone, load
from kshot.errors import CheckpointError
from kshot.fewshot import runs
from kshot.fewshot.fit import load_tensors as tensors
from kshot.fewshot.fit import save_tensors
from kshot.fewshot.strategies.direct import Direct
from kshot.fewshot.training import train
from tiny import random_clip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path, warm_store: Path, backbone: Backbone) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "meta"
    train(
        clips_csv, folder, backbone=backbone, way=3, query=2, steps=6, lr=1e-2, val_every=3, val_episodes=20,
        store=warm_store,
    )  # fmt: skip
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def spoil(folder: Path, **changes: object) -> None:
    """Another config, sealed as if kshot had written it; None takes a part away."""
    path = folder / "config.json"
    changed = {name: value for name, value in (json.loads(path.read_text()) | changes).items() if value is not None}
    path.write_text(json.dumps(seals.sealed(changed)))


def test_weights_come_back_bit_for_bit(finished: Path, backbone: Backbone) -> None:
    run = runs.read_run(finished)
    built, strategy = runs.learner(run, backbone, None, None, settings.Arithmetic())
    saved, _ = tensors(finished / "weights.safetensors")
    own = built.weights()
    assert own.keys() == saved.keys()
    assert all(torch.equal(own[name], saved[name]) for name in saved)
    frozen = dict(backbone.named_parameters())
    assert any(not torch.equal(own[name], frozen[name.removeprefix("backbone.")]) for name in own)
    assert strategy is not None and strategy.name == "meta"
    assert run.frames == 8 and run.seen == set(run.config["base_classes"]) | set(run.config["val_classes"])


def test_the_backbone_of_the_run_is_the_default(finished: Path, clip_folder: Path) -> None:
    built, _ = runs.learner(runs.read_run(finished), None, None, None, settings.Arithmetic())
    assert built.backbone is not None and built.backbone.name == str(clip_folder)


@pytest.mark.parametrize(
    ("head", "before"),
    [
        ("clip-fsar", {"merge": False, "layer": "pre-norm"}),
        ("otam", {"variant": "clip-fsar"}),
        ("baseline++", {"norm": "unit", "fresh": False}),
    ],
)
def test_a_run_whose_file_does_not_name_a_head_s_options_has_those_of_before(
    head: str, before: dict[str, Any], tmp_path: Path, clips_csv: Path, warm_store: Path, backbone: Backbone
) -> None:
    """New runs name them; a file of before is completed, and its head has the weights that the file holds."""
    folder = tmp_path / head
    train(
        clips_csv, folder, backbone=backbone, way=3, query=1, steps=1, val_every=1, val_episodes=2, select="none",
        head=head, head_options=before, store=warm_store,
    )  # fmt: skip
    about = json.loads((folder / "config.json").read_text())["head"]
    assert before.items() <= about["options"].items()
    named, _ = runs.learner(runs.read_run(folder), backbone, None, None, settings.Arithmetic())
    rest = {name: value for name, value in about["options"].items() if name not in before}
    spoil(folder, head=about | {"options": rest})
    found, _ = runs.learner(runs.read_run(folder), backbone, None, None, settings.Arithmetic())
    assert found.head_options == named.head_options
    assert vars(found.head).keys() == vars(named.head).keys()
    weights = named.head.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in found.head.state_dict().items())


def test_another_head_takes_the_tuned_backbone(finished: Path, backbone: Backbone) -> None:
    run = runs.read_run(finished)
    built, _ = runs.learner(run, backbone, "nearest", {}, settings.Arithmetic())
    same, _ = runs.learner(run, backbone, "prototype", {"scale": 5.0}, settings.Arithmetic())
    assert (built.head.name, same.head.name, same.head_options) == ("nearest", "prototype", {"scale": 5.0})
    assert all(torch.equal(built.weights()[name], weight) for name, weight in same.weights().items())


def test_without_a_run_the_backbone_is_frozen(backbone: Backbone) -> None:
    built, strategy = runs.learner(None, backbone, None, None, settings.Arithmetic())
    assert strategy is None and built.weights() == {} and built.head.name == "prototype"


def test_direct_has_no_weights_and_the_steps_that_were_chosen(
    tmp_path: Path, clips_csv: Path, warm_store: Path, backbone: Backbone
) -> None:
    train(
        clips_csv,
        tmp_path / "run",
        strategy="direct",
        backbone=backbone,
        way=3,
        query=2,
        val_episodes=3,
        store=warm_store,
    )
    run = runs.read_run(tmp_path / "run")
    built, strategy = runs.learner(run, backbone, None, None, settings.Arithmetic())
    assert run.digest == "" and isinstance(strategy, Direct)
    assert strategy.steps == run.config["result"]["best_step"]
    assert all(
        torch.equal(weight, backbone.get_parameter(name.removeprefix("backbone.")))
        for name, weight in built.weights().items()
    )


def test_refuses_the_run_of_another_backbone(finished: Path, tmp_path: Path) -> None:
    other = load(random_clip(tmp_path / "other", seed=1))
    with pytest.raises(CheckpointError, match=r"was trained from backbone .*, found .*other .*: pass that"):
        runs.learner(runs.read_run(finished), other, None, None, settings.Arithmetic())


def test_refuses_damaged_weights(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged: its sha256 is not the one in config"):
        runs.read_run(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has lost its weights\.safetensors"):
        runs.read_run(folder)


def test_refuses_an_unfinished_run(folder: Path) -> None:
    spoil(folder, result=None)
    with pytest.raises(CheckpointError, match=r"is not finished; run the same `kshot train` command with --resume"):
        runs.read_run(folder)


def test_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a run folder: expected config\.json in it"):
        runs.read_run(tmp_path)
    for text in ("{", "[]", "3", '"text"'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json is (damaged|no JSON)"):
            runs.read_run(tmp_path)


def test_refuses_a_config_without_its_parts_or_of_another_format(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for part in ("backbone", "strategy", "tuning", "head", "frames", "base_classes", "val_classes"):
        spoil(folder, **config | {part: None})
        with pytest.raises(CheckpointError, match=f"is damaged: it lacks '{part}'"):
            runs.read_run(folder)
    spoil(folder, **config | {"format": 2})
    with pytest.raises(CheckpointError, match="has format 2, this kshot reads format 1"):
        runs.read_run(folder)


def test_an_edited_config_is_refused_and_one_of_an_older_version_is_read(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_classes": ["another"]}))
    with pytest.raises(CheckpointError, match=r"config\.json is damaged: its checksum is wrong"):
        runs.read_run(folder)
    path.write_text(json.dumps({name: config[name] for name in reversed(config) if name not in ("seal", "files")}))
    assert runs.read_run(folder).config["frames"] == 8  # kshot 0.1 sealed nothing
    path.write_text(json.dumps(dict(sorted(config.items())), indent=4))
    assert runs.read_run(folder).config == config  # neither order nor layout is sealed


def test_a_config_of_wrong_kinds_is_one_line_with_the_field(folder: Path) -> None:
    spoil(folder, frames="8")
    with pytest.raises(
        CheckpointError, match=r"config\.json is damaged: frames: it should be a valid integer, found '8'"
    ):
        runs.read_run(folder)
    spoil(folder, frames=8, strategy={"name": "meta", "options": {"wya": 3}})
    with pytest.raises(CheckpointError, match=r"config\.json asks for what cannot be built"):
        runs.read_run(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path, backbone: Backbone) -> None:
    weights, _ = tensors(folder / "weights.safetensors")
    name = min(weights)
    weights[name].view(-1)[0] = float("nan")
    save_tensors(folder / "weights.safetensors", weights)
    config = json.loads((folder / "config.json").read_text())
    config["result"]["weights_sha256"] = seals.sha256(folder / "weights.safetensors")
    spoil(folder, **config)
    with pytest.raises(CheckpointError, match=f"{name} holds numbers that are not finite"):
        runs.learner(runs.read_run(folder), backbone, None, None, settings.Arithmetic())


def test_refuses_weights_of_another_tuning(folder: Path, backbone: Backbone) -> None:
    spoil(folder, tuning={"name": "partial", "options": {"layers": "proj"}})
    with pytest.raises(CheckpointError, match="holds other weights than this tuning and head train"):
        runs.learner(runs.read_run(folder), backbone, None, None, settings.Arithmetic())
