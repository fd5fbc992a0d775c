"""The family as a whole: every method is listed, can be added to, and goes the whole road from videos to a figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kshot.tuning
from clips import write_clips
from kshot import settings, tuning
from kshot.backbones.backbone import Backbone
from kshot.errors import OptionError
from kshot.fewshot import runs
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.training import train
from tiny import random_clip
from tuned import FRAMES, check, clips, frames, trained_state, tuned, vit_b16
from tuned import train as train_steps

SHARED_PARTS = {"__init__", "adapters"}

ROADS: dict[str, dict[str, Any]] = {
    "lora": {"cut": 3, "blocks": 1, "rank": 2},  # the last block exact, on condensed tokens
    "adaptformer": {"cut": 3, "blocks": 1, "width": 8},
    "bitfit": {"cut": 2, "blocks": 2},
    "layernorm": {"cut": 0},
    "clip-adapter": {"cut": 4},
    "vpt": {"cut": 2, "blocks": 2, "tokens": 2},
    "st-adapter": {
        "cut": 3,
        "blocks": 1,
        "width": 8,
        "place": "attention",
    },  # the last block altered: it runs whole, on stored tokens
    "aim": {"cut": 3, "blocks": 1},
    "coop": {"cut": 4, "context": 2},
    "task-adapter": {"cut": 3, "blocks": 1},
}


def frames_of(method: str, frames: int) -> dict[str, int]:
    """What training fills in for a method that numbers frames."""
    return {"frames": frames} if method == "aim" else {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roads")
    random_clip(folder / "clip")
    write_clips(folder / "data", clips=2)
    return folder


def test_no_file_is_forgotten() -> None:
    folder = Path(kshot.tuning.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - SHARED_PARTS == {
        module.rpartition(".")[2] for module in tuning.TUNING.values()
    }
    for name, module in tuning.TUNING.items():
        assert name.replace("-", "_") == module.rpartition(".")[2]
        assert all(value is not None for value in tuning.options(name).values())
    assert set(ROADS) | {"partial", "full"} == set(tuning.TUNING)


@pytest.mark.slow
@pytest.mark.parametrize("method", ROADS)
def test_the_whole_road_from_videos_to_a_figure(place: Path, tmp_path: Path, method: str) -> None:
    options = {name: value for name, value in ROADS[method].items() if name != "cut"}
    store, data = place / "store", place / "data" / "clips.csv"
    shape: dict[str, Any] = {"way": 3, "shot": 1, "query": 1}
    text = method == "coop"  # learns from class texts alone
    trained = train(
        data, tmp_path / "run", tuning=method, tuning_options=options, backbone=place / "clip", frames=4, steps=2,
        head="text" if text else None, strategy_options={"loss": "text"} if text else None,
        val_every=2, val_episodes=4, select="none", seed=3, store=store, **shape,
    )  # fmt: skip
    config = json.loads((trained.run / "config.json").read_text())
    assert config["tuning"] == {"name": method, "options": tuning.named(method) | options | frames_of(method, 4)}

    run = runs.read_run(trained.run)
    learner, _ = runs.learner(run, None, None, None, settings.Arithmetic())
    backbone = learner.backbone
    assert backbone is not None
    assert learner.cut == ROADS[method]["cut"]
    saved = load_file(trained.run / "weights.safetensors")
    again = trained_state(backbone)
    assert set(saved) == {f"backbone.{name}" for name in again}
    assert all(torch.equal(saved[f"backbone.{name}"], value) for name, value in again.items())
    assert trained.weights == sum(value.numel() for value in again.values())

    results = [
        evaluate(data, adapted=trained.run, episodes=12, store=store, stored_only=only, **shape)
        for only in (False, True)
    ]
    assert results[0].summary() | {"seconds": 0} == results[1].summary() | {"seconds": 0}
    assert len(results[0].episode_accuracy) == 12
    if method == "aim":
        with pytest.raises(OptionError, match="set up for clips of 4 frames, found 2"):
            evaluate(data, adapted=trained.run, episodes=2, store=store, frames=2, **shape)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("st-adapter", {"width": 8, "blocks": 2, "place": "attention"}),
        ("aim", {"time": "block"}),
        ("adaptformer", {"width": 8, "norm": True}),
        ("task-adapter", {"place": "attention"}),
    ],
)
def test_a_run_of_before_keeps_what_it_was_trained_with(
    place: Path, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    """Its config does not name the options whose default was another; the embeddings stay the same to the bit."""
    trained = train(
        place / "data" / "clips.csv", tmp_path / "run", tuning=method, tuning_options=options,
        backbone=place / "clip", frames=4, steps=2, val_every=2, val_episodes=4, select="none", store=place / "store",
        way=3, shot=1, query=1,
    )  # fmt: skip
    now, _ = runs.learner(runs.read_run(trained.run), None, None, None, settings.Arithmetic())
    config = json.loads((trained.run / "config.json").read_text())
    for name in tuning.named(method):
        del config["tuning"]["options"][name]
    runs.write_config(trained.run, config)
    run = runs.read_run(trained.run)
    assert options.items() <= run.config["tuning"]["options"].items()
    before, _ = runs.learner(run, None, None, None, settings.Arithmetic())
    assert before.backbone is not None and now.backbone is not None
    assert torch.equal(clips(before.backbone, frames(), 0), clips(now.backbone, frames(), 0))
    assert before.cut == now.cut


@pytest.mark.parametrize("method", tuning.TUNING)
def test_what_is_named_in_a_record_is_an_option(method: str) -> None:
    before, defaults = tuning.of_record(method, {}), tuning.options(method)
    assert tuning.named(method) == {name: defaults[name] for name in before}
    assert all(before[name] != defaults[name] for name in before)
    assert tuning.of_record(method, dict.fromkeys(before, 1)) == dict.fromkeys(before, 1)
    assert tuning.of_record("no such method", {"a": 1}) == {"a": 1}


def test_a_method_is_added_by_one_file_and_one_line(
    loaded: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "patient_tuning.py").write_text(
        '"""Only the class token\'s vector learns."""\n'
        "from kshot.tuning import deepest_cut, unfreeze\n\n\n"
        "def apply(backbone, patience: int = 1):\n"
        "    unfreeze([backbone.image.embeddings.class_embedding])\n"
        "    return deepest_cut(backbone.image)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(tuning.TUNING, "toy", "patient_tuning")
    check(loaded, "toy", 0, {"image.embeddings.class_embedding"})
    assert tuning.options("toy") == {"patience": 1}
    with pytest.raises(OptionError, match="tuning 'toy' has no option 'rank'; its options: patience=1"):
        tuning.apply("toy", loaded.copy(), rank=1)
    sys.modules.pop("patient_tuning")


@pytest.mark.parametrize("method", tuning.TUNING)
def test_the_table_in_the_documentation_is_true(method: str) -> None:
    pages = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text("utf-8").splitlines()
    about, options = (line for line in pages if line.startswith(f"| `{method}` |"))
    *_, cut, trained, one_block, _, _ = (cell.strip() for cell in about.split("|"))
    ours = vit_b16()
    assert tuning.apply(method, ours) == int(cut)
    assert ours.describe()["trained"] == int(trained.replace(",", ""))
    defaults = tuning.options(method)
    if "blocks" in defaults:
        ours = vit_b16()
        alone = {"place": "attention"} if method == "st-adapter" else {}  # else nothing would read what it adds
        found = tuning.apply(method, ours, blocks=1, **alone)
        assert f"{found}, {ours.describe()['trained']:,}" == one_block
    else:
        assert not one_block
    for name, value in defaults.items():
        assert f"`{name}={value}`" in options


@pytest.mark.parametrize("method", ROADS)
def test_half_precision_keeps_the_frozen_model_and_trains(loaded: Backbone, method: str) -> None:
    options = {name: value for name, value in ROADS[method].items() if name != "cut"}
    ours, cut = tuned(loaded, method, **options | frames_of(method, FRAMES))
    plain = loaded.copy()
    for backbone in (ours, plain):
        backbone.set_precision(torch.bfloat16)
    if method not in ("vpt", "clip-adapter"):
        torch.testing.assert_close(clips(ours, frames(), 0), clips(plain, frames(), 0), rtol=0.1, atol=0.1)
    losses = train_steps(ours, cut)
    assert losses[-1] < losses[0]
    assert all(value.dtype == torch.float32 for value in trained_state(ours).values())
