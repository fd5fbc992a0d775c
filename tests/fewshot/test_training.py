"""Training: what it writes, what it chooses by, that it helps, and that it refuses before it writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clips import beside_few_val, write_table
from forks import Forks
from kshot.backbones.backbone import Backbone, load
from kshot.datasets import load as load_data
from kshot.errors import CheckpointError, DataError, KshotError, NotEnoughClips, OptionError
from kshot.fewshot import fit
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.fit import load_tensors as tensors
from kshot.fewshot.strategies.direct import Direct
from kshot.fewshot.training import Trained, train
from kshot.fewshot.validation import VAL_SEED
from kshot.progress import Step
from tiny import random_clip

Quick = Callable[..., Trained]
QUICK: dict[str, Any] = {"way": 3, "query": 2, "steps": 6, "val_every": 3, "val_episodes": 20}


@pytest.fixture
def quick(clips_csv: Path, warm_store: Path, backbone: Backbone) -> Quick:
    """`train` on the small clips, in a moment."""

    def run(out: Path, strategy: str = "meta", **arguments: Any) -> Trained:
        return train(clips_csv, out, strategy=strategy, backbone=backbone, store=warm_store, **{**QUICK, **arguments})

    return run


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def lines(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize(
    ("strategy", "options"),
    [("meta", {}), ("meta", {"loss": "both"}), ("finetune", {}), ("finetune", {"classifier": "text"})],
)
def test_training_raises_accuracy_on_classes_it_never_saw(
    quick: Quick, tmp_path: Path, strategy: str, options: dict[str, str]
) -> None:
    trained = quick(
        tmp_path / "run", strategy, way=4, query=3, steps=60, lr=3e-3, val_every=20, val_episodes=150,
        strategy_options=options,
    )  # fmt: skip
    looks = {row["step"]: row["val_accuracy"] for row in lines(tmp_path / "run") if "val_accuracy" in row}
    assert list(looks) == [0, 20, 40, 60]
    assert trained.val_accuracy == max(looks.values()) >= looks[0] + 4
    losses = [row["loss"] for row in lines(tmp_path / "run") if "loss" in row]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_the_run_folder_tells_everything(quick: Quick, tmp_path: Path, backbone: Backbone, clips_csv: Path) -> None:
    trained = quick(tmp_path / "run", tuning="partial", layers="proj", seed=5)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json", "metrics.jsonl", "weights.safetensors",
    }  # fmt: skip
    weights, _ = tensors(tmp_path / "run" / "weights.safetensors")
    assert list(weights) == ["backbone.image.projection.weight"], "only what was trained is saved"
    written = config(tmp_path / "run")
    data = load_data(clips_csv)
    assert written["backbone"] == {"name": backbone.name, "fingerprint": backbone.fingerprint, "precision": "float32"}
    assert written["strategy"]["name"] == "meta" and written["strategy"]["options"]["way"] == 3
    assert written["tuning"] == {"name": "partial", "options": {"layers": "proj"}}
    assert written["schedule"]["seed"] == 5 and written["schedule"]["steps"] == 6
    assert written["base_classes"] == list(data.select("train").classes)
    assert written["val_classes"] == list(data.select("val").classes)
    result = written["result"]
    digest = hashlib.sha256((tmp_path / "run" / "weights.safetensors").read_bytes()).hexdigest()
    assert result["weights_sha256"] == digest
    assert result["trained_parameters"] == trained.weights == backbone.embed_dim * 32
    assert (result["best_step"], result["steps"]) == (trained.best_step, 6)
    assert [row["step"] for row in lines(tmp_path / "run")] == list(range(7))


def test_the_same_seed_gives_the_same_weights(quick: Quick, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        quick(tmp_path / name, seed=seed, head="clip-fsar", select="none", val_every=6)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state is left alone"
    weights = [tensors(tmp_path / name / "weights.safetensors")[0] for name in "abc"]
    assert any(name.startswith("head.") for name in weights[0])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_new_weights_are_drawn_from_the_seed(quick: Quick, tmp_path: Path) -> None:
    """At a rate of all but nothing, what a head ends with is what it began with."""
    for name, seed in (("a", 0), ("b", 1)):
        quick(tmp_path / name, seed=seed, head="clip-fsar", select="none", lr=1e-12, steps=1)
    one, two = (tensors(tmp_path / name / "weights.safetensors")[0] for name in "ab")
    new = [name for name in one if name.startswith("head.") and one[name].ndim == 2]
    assert new and all(bool((one[name] - two[name]).abs().max() > 1e-3) for name in new)
    tuned = [name for name in one if name.startswith("backbone.")]
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in tuned)


@pytest.mark.parametrize("strategy", ["meta", "finetune"])
def test_interrupted_and_resumed_equals_straight(quick: Quick, tmp_path: Path, strategy: str) -> None:
    quick(tmp_path / "straight", strategy)
    steps: list[str] = []

    @contextmanager
    def press(title: str, total: float, unit: str) -> Iterator[Step]:
        """Presses Ctrl-C after the fourth step."""

        def step(done: float = 1, note: str = "") -> None:
            if title == "training" and note:
                steps.append(note)
                if len(steps) == 4:
                    os.kill(os.getpid(), signal.SIGINT)

        yield step

    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "stopped", strategy, progress=press)
    held, _ = tensors(tmp_path / "stopped" / "checkpoint.safetensors")
    assert ("weight.classifier" in held) == (strategy == "finetune"), "the classifier of the base classes learns too"
    assert "result" not in config(tmp_path / "stopped")
    quick(tmp_path / "stopped", strategy, resume=True)
    one, two = (tensors(tmp_path / name / "weights.safetensors")[0] for name in ("straight", "stopped"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_killed_at_the_very_end_and_resumed_equals_straight(
    forks: Forks, quick: Quick, tmp_path: Path, clips_csv: Path, clip_folder: Path, warm_store: Path
) -> None:
    """SIGKILL in another process after the last step, before the run is declared finished."""
    script = """
import os, signal, sys
from contextlib import contextmanager
from kshot.fewshot.training import train
@contextmanager
def deadly(title, total, unit):
    yield lambda done=1, note="": None
    if title == "training":
        os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[1], sys.argv[2], strategy="finetune", backbone=sys.argv[3], store=sys.argv[4], way=3, query=2, steps=6,
      val_every=3, val_episodes=20, progress=deadly)
"""
    arguments = (clips_csv, tmp_path / "killed", clip_folder, warm_store)
    done = forks(script, *arguments)
    assert done.returncode == -signal.SIGKILL and "result" not in config(tmp_path / "killed")
    quick(tmp_path / "killed", "finetune", resume=True)
    quick(tmp_path / "straight", "finetune")
    one, two = (tensors(tmp_path / name / "weights.safetensors")[0] for name in ("straight", "killed"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert lines(tmp_path / "straight") == lines(tmp_path / "killed")


def test_resuming_a_finished_run_leaves_it_as_it_is(quick: Quick, tmp_path: Path) -> None:
    first = quick(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = quick(tmp_path / "run", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert (again.weights, again.best_step, again.val_accuracy) == (first.weights, first.best_step, first.val_accuracy)


def test_a_run_of_before_there_was_a_choice_of_sight_is_still_finished(quick: Quick, tmp_path: Path) -> None:
    first = quick(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    later = ("resize", "deinterlace", "augment", "no_flip", "protocol", "seal", "files")
    old = {k: v for k, v in config(tmp_path / "run").items() if k not in later}
    path.write_text(json.dumps(old))
    assert quick(tmp_path / "run", resume=True).val_accuracy == first.val_accuracy
    with pytest.raises(OptionError, match="other settings: resize was short, now squash-256"):
        quick(tmp_path / "run", resume=True, resize="squash-256")
    with pytest.raises(OptionError, match="other settings: deinterlace was False, now True"):
        quick(tmp_path / "run", resume=True, deinterlace=True)


def test_resumes_with_the_same_backbone_from_another_place(
    quick: Quick, tmp_path: Path, clips_csv: Path, clip_folder: Path, warm_store: Path
) -> None:
    first = quick(tmp_path / "run")
    (tmp_path / "link").symlink_to(clip_folder)
    place = {"backbone": tmp_path / "link", "store": warm_store}
    again = train(clips_csv, tmp_path / "run", resume=True, **place, **QUICK)
    assert (again.best_step, again.val_accuracy) == (first.best_step, first.val_accuracy)


def test_refuses_to_resume_with_other_settings(quick: Quick, tmp_path: Path) -> None:
    quick(tmp_path / "run")
    for change, named in (
        ({"lr": 0.5}, r"schedule\.lr"), ({"seed": 3}, r"schedule\.seed"), ({"shot": 2}, r"strategy\.options\.shot"),
        ({"layers": "proj"}, r"tuning\.options\.layers"),
        ({"strategy_options": {"loss": "both"}}, r"strategy\.options\.loss"),
        ({"head": "nearest"}, r"head\.name"), ({"frames": 4}, "frames"),
    ):  # fmt: skip
        with pytest.raises(
            OptionError, match=f"was started with other settings: {named} was [^{{}}]*, now [^{{}}]*; repeat"
        ):
            quick(tmp_path / "run", resume=True, **change)
    with pytest.raises(OptionError, match=r"strategy\.name was meta, now finetune;"):
        quick(tmp_path / "run", "finetune", resume=True)


def test_refuses_an_occupied_folder(quick: Quick, tmp_path: Path) -> None:
    quick(tmp_path / "run")
    with pytest.raises(OptionError, match="holds a run already; add --resume to go on with it"):
        quick(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(OptionError, match="is not empty and holds no run; name another folder"):
            quick(tmp_path / "other", resume=resume)
    with pytest.raises(OptionError, match="is a file; name a folder"):
        quick(tmp_path / "other" / "notes.txt")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"format"')
    with pytest.raises(CheckpointError, match=r"config\.json is no JSON"):
        quick(tmp_path / "torn", resume=True)


def test_going_on_with_other_threads_is_said_and_recorded(
    quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, step = torch.get_num_threads(), fit._Loop._step

    def pressed(loop: Any, number: int) -> float:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(loop, number)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(fit._Loop, "_step", pressed)
        quick(tmp_path / "run")
    [begun] = config(tmp_path / "run")["computed"]
    assert begun["threads"] == str(threads) and {"device", "torch", "processor"} <= begun.keys()
    shutil.copytree(tmp_path / "run", tmp_path / "same")
    assert beside_few_val(quick(tmp_path / "same", resume=True).notes) == []
    assert config(tmp_path / "same")["computed"] == [begun]
    try:
        torch.set_num_threads(threads + 1)
        done = quick(tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(threads)
    [note] = beside_few_val(done.notes)
    assert note.startswith(f"this run was begun with threads {threads} and now {threads + 1}: its weights differ in")
    written = config(tmp_path / "run")
    assert written["computed"] == [begun, begun | {"threads": str(threads + 1)}]
    assert beside_few_val(written["result"]["notes"]) == [note] and written["result"]["machine"]["threads"] == str(
        threads + 1
    )
    assert quick(tmp_path / "run", resume=True).notes == done.notes  # a finished one says what it said


@pytest.mark.parametrize("select", ["test", "train", "all"])
def test_refuses_to_select_on_anything_but_val(quick: Quick, tmp_path: Path, select: str) -> None:
    with pytest.raises(OptionError, match=f"chosen on val classes only, found select='{select}'.*use val or none"):
        quick(tmp_path / "run", select=select)
    assert not (tmp_path / "run").exists()


def test_the_test_classes_are_never_looked_at(
    quick: Quick, tmp_path: Path, clips_csv: Path, backbone: Backbone
) -> None:
    """The same run comes out when the files of the test classes hold no video at all."""
    rows = []
    data = load_data(clips_csv)
    for path, label, split, group in zip(data.paths, data.labels, data.splits, data.groups, strict=True):
        if split == "test":
            path = tmp_path / f"not-a-clip-{len(rows)}.mp4"
            path.write_bytes(b"nothing to see")
        rows.append((str(path), data.classes[label], str(split), str(group)))
    table = write_table(tmp_path / "clips.csv", rows)
    quick(tmp_path / "one")
    train(table, tmp_path / "two", backbone=backbone, store=tmp_path / "store", **QUICK)
    one, two = (tensors(tmp_path / name / "weights.safetensors")[0] for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert lines(tmp_path / "one") == lines(tmp_path / "two")


def test_without_val_the_last_weights_are_kept(quick: Quick, tmp_path: Path) -> None:
    trained = quick(tmp_path / "run", select="none")
    assert trained.val_accuracy is None and trained.best_step == 6
    assert config(tmp_path / "run")["select"] == "none"


def test_few_val_classes_make_narrower_val_episodes(quick: Quick, tmp_path: Path) -> None:
    quick(tmp_path / "run", way=5)
    assert config(tmp_path / "run")["val_episodes"]["way"] == 4
    assert config(tmp_path / "run")["strategy"]["options"]["way"] == 5


@pytest.mark.parametrize("shared", [True, False])
def test_val_episodes_keep_sources_apart_where_asked_to(
    quick: Quick, tmp_path: Path, clips_csv: Path, warm_store: Path, backbone: Backbone, shared: bool
) -> None:
    quick(tmp_path / "run", shared_group=shared, steps=1, val_every=1, val_episodes=60)
    frozen = evaluate(
        clips_csv,
        backbone,
        way=3,
        query=2,
        episodes=60,
        seed=VAL_SEED,
        split="val",
        shared_group=shared,
        store=warm_store,
    )
    assert lines(tmp_path / "run")[0] == {"step": 0, "val_accuracy": frozen.accuracy}
    assert config(tmp_path / "run")["val_episodes"].get("shared_group", True) is shared


@pytest.mark.slow
def test_direct_keeps_sources_apart_too(quick: Quick, tmp_path: Path) -> None:
    chosen = {}
    for shared in (True, False):
        quick(tmp_path / f"{shared}", "direct", shared_group=shared, val_episodes=6, query=6, lr=3e-3)
        chosen[shared] = lines(tmp_path / f"{shared}")
    assert chosen[True] != chosen[False]
    with pytest.raises(NotEnoughClips, match=r"4 sources; 1 support clips leave at most 6 .* or allow shared groups"):
        quick(tmp_path / "few", "direct", shared_group=False, query=7)


def test_direct_chooses_its_steps_on_val(quick: Quick, tmp_path: Path) -> None:
    trained = quick(tmp_path / "run", "direct", val_episodes=8, lr=3e-3)
    rows = lines(tmp_path / "run")
    accuracy = {row["step"]: row["val_accuracy"] for row in rows}
    assert tuple(accuracy) == Direct.tried
    assert trained.val_accuracy == max(accuracy.values()) == accuracy[trained.best_step]
    assert config(tmp_path / "run")["result"]["chosen"] == {"steps": trained.best_step}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "metrics.jsonl"}


def test_full_tuning_trains_every_weight_from_frames(quick: Quick, tmp_path: Path, backbone: Backbone) -> None:
    trained = quick(tmp_path / "run", tuning="full", steps=2, val_every=2, val_episodes=5)
    assert trained.weights == sum(w.numel() for w in backbone.image.parameters())


def test_a_loss_out_of_bounds_is_an_error_and_leaves_no_finished_run(quick: Quick, tmp_path: Path) -> None:
    with pytest.raises(KshotError, match=r"lower the learning rate"):
        quick(tmp_path / "run", lr=1e30, optimizer="sgd", schedule="constant")
    assert "result" not in config(tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"strategy": "meat"}, OptionError, "unknown strategy 'meat': did you mean 'meta'"),
        ({"strategy": "frozen"}, OptionError, "strategy 'frozen' trains nothing: run `kshot evaluate` without"),
        ({"tuning": "partail"}, OptionError, "unknown tuning method 'partail': did you mean 'partial'"),
        ({"layers": "head"}, OptionError, "layers 'head': expected proj, block"),
        ({"head": "proto"}, OptionError, "unknown head 'proto'"),
        ({"way": 7}, NotEnoughClips, "7-way episodes need 7 classes, found 6"),
        ({"shot": 7}, NotEnoughClips, "has 8 clips, but 7-shot episodes with 2 queries need 9"),
        ({"val_episodes": 0}, OptionError, "val_episodes must be at least 1, found 0"),
        ({"steps": 0}, OptionError, "steps must be at least 1, found 0"),
        ({"frames": 0}, OptionError, "frames must be at least 1, found 0"),
    ],
)
def test_refuses_before_anything_is_decoded_or_written(
    tmp_path: Path, clips_csv: Path, backbone: Backbone, arguments: dict[str, Any], error: type[KshotError], text: str
) -> None:
    with pytest.raises(error, match=text):
        train(clips_csv, tmp_path / "run", backbone=backbone, store=tmp_path / "store", **{**QUICK, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_refuses_data_that_has_nothing_to_train_on(tmp_path: Path, clips_csv: Path, backbone: Backbone) -> None:
    rows = [(str(p), "one", "test", "") for p in load_data(clips_csv).paths[:3]]
    with pytest.raises(DataError, match="has no clips in split 'train'"):
        train(write_table(tmp_path / "t.csv", rows), tmp_path / "run", backbone=backbone)


def test_another_backbone_of_the_same_shape_cannot_resume(
    quick: Quick, tmp_path: Path, clips_csv: Path, warm_store: Path
) -> None:
    quick(tmp_path / "run")
    other = load(random_clip(tmp_path / "other", seed=2))
    with pytest.raises(OptionError, match="was started with other settings: backbone\\.fingerprint was"):
        train(clips_csv, tmp_path / "run", backbone=other, store=warm_store, resume=True, **QUICK)
