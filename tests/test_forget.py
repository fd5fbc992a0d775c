"""`kshot forget`: nothing of the clips is left in store, model and project; the others are as if they were alone."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clips import draw, write_video
from kshot import Recognizer
from kshot.activations import removal
from kshot.activations.check import verify
from kshot.activations.digests import digest
from kshot.errors import CheckpointError, DataError
from kshot.forget import forget
from kshot.studio.project import Project
from kshot.studio.removal import videos_of
from kshot.studio.state import Video
from numbered_films import write_film

ACTIONS = ("a", "b", "c")
PEOPLE = ("anna", "ben", "cleo")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people do three actions, two clips each."""
    folder = tmp_path_factory.mktemp("people")
    rows = []
    for at, action in enumerate(ACTIONS):
        for number in range(6):
            path = folder / f"film-{action}{number}.mp4"
            write_video(path, draw(at, 3, np.random.default_rng((at, number))))
            rows.append((path.name, action, PEOPLE[number // 2]))
    with (folder / "clips.csv").open("w") as file:
        csv.writer(file).writerows([("path", "label", "group"), *rows])
    return folder / "clips.csv"


def rows_of(table: Path, *left_out: str) -> tuple[list[Path], list[str], list[str]]:
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["group"] not in left_out]
    return (
        [table.parent / row["path"] for row in rows],
        [row["label"] for row in rows],
        [row["group"] for row in rows],
    )


@pytest.fixture(scope="module")
def made(table: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a model."""
    place = tmp_path_factory.mktemp("forget")
    model = Recognizer(str(clip_folder), method="prototype", store=place / "store").fit(*rows_of(table))
    model.save(place / "model")
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "place"))


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def traces(folder: Path, marks: list[str]) -> list[str]:
    """Files with one of the marks in them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(mark.encode() in path.read_bytes() for mark in marks)]


def marks_of(table: Path, person: str) -> list[str]:
    paths = [path for path, group in zip(*rows_of(table)[::2], strict=True) if group == person]
    return [person, *(path.name for path in paths), *(digest(path) for path in paths)]


@pytest.mark.slow
def test_a_person_leaves_store_and_model(command, place: Path, table: Path, clip_folder: Path, tmp_path: Path):
    before, arguments = content(place), (place / "model", table, "--subject", "ben", "--store", place / "store")
    code, text, error = command("forget", *arguments, "--dry-run", "--json")
    told = json.loads(text)
    assert code == 0 and told["clips"] == 6 and told["dry_run"] and content(place) == before, error
    assert traces(place, marks_of(table, "ben"))
    code, text, error = command("forget", *arguments, "--json")
    done = json.loads(text)
    assert code == 0 and [one["removed"] for one in done["places"]] == [one["removed"] for one in told["places"]], error
    kept, model, data = done["places"]
    assert kept["removed"]["clips"] == 6 and kept["removed"]["paths"] == 6 and model["removed"]["clips"] == 6
    assert model["again"] == ["was fitted again on its other 12 clips"]
    assert data["again"] == ["1 files name these clips: not changed, make them again or remove them"]
    assert traces(place, marks_of(table, "ben")) == [] and not list(place.rglob("*.tmp"))
    assert verify(place / "store").damaged == {}
    alone = Recognizer(str(clip_folder), method="prototype", store=tmp_path / "alone").fit(*rows_of(table, "ben"))
    again = Recognizer.load(place / "model")
    paths = rows_of(table)[0]
    # The model keeps the embeddings of its first fit. Where MKL takes its AVX2 kernels, their last bits depend on which
    # clips share a batch, so both are given the same ones: all else is equal bit by bit.
    for mine, theirs in zip(again.clips_, alone.clips_, strict=True):
        assert mine.digest == theirs.digest
        np.testing.assert_allclose(mine.embeddings, theirs.embeddings, atol=1e-5)
    alone.clips_ = [
        replace(one, embeddings=other.embeddings) for one, other in zip(alone.clips_, again.clips_, strict=True)
    ]
    alone.forget_clips([])
    assert np.array_equal(again.predict_proba(paths), alone.predict_proba(paths))
    assert again.n_clips_ == 12 and again.report_.accuracy == alone.report_.accuracy
    code, text, error = command("forget", *arguments)
    assert code == 2 and "nothing of ben is in any of these places" in error and "anna, ben, cleo" in error


def test_the_other_clips_of_a_shard_stay_as_they_were(place: Path, table: Path, clip_folder: Path):
    paths, labels, groups = rows_of(table, "anna")
    made = Recognizer(str(clip_folder), method="prototype", store=place / "store")
    before = made.fit(paths, labels, groups).predict_proba(paths)
    shards = {path.stem for path in (place / "store").glob("*/shard-*.npy")}
    forget([place / "model"], "anna", store=place / "store")
    assert not shards & {path.stem for path in (place / "store").glob("*/shard-*.npy")}
    again = {path: path.stat().st_mtime_ns for path in (place / "store").glob("*/shard-*.npy")}
    assert np.array_equal(made.fit(paths, labels, groups).predict_proba(paths), before)
    assert again == {path: path.stat().st_mtime_ns for path in (place / "store").glob("*/shard-*.npy")}  # nothing anew


@pytest.mark.parametrize("step", ["before the shard goes", "after the store", "while the model is saved"])
def test_what_was_killed_goes_on(step: str, place: Path, table: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    import kshot.forget as module
    from kshot.recognizer import removal as models

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step.startswith("before"):
            patched.setattr(Path, "unlink", killed)
        elif step.startswith("after"):
            patched.setattr(module, "remove_from_model", killed)
        else:
            patched.setattr(models.artefact, "_sweep", killed)
        with pytest.raises(KeyboardInterrupt):
            forget([place / "model", table], "cleo", store=place / "store")
    assert list(home.glob("forget-*.json"))
    forget([place / "model", table], "cleo", store=place / "store")
    assert traces(place, marks_of(table, "cleo")) == [] and not list(home.glob("forget-*.json"))
    assert Recognizer.load(place / "model").n_clips_ == 12 and verify(place / "store").damaged == {}


def test_a_model_that_cannot_be_fitted_again_is_withdrawn(command, place: Path, table: Path):
    videos = [
        part for path, label in zip(*rows_of(table)[:2], strict=True) if label in "ab" for part in ("--video", path)
    ]
    code, text, error = command("forget", place / "model", *videos, "--store", place / "store")
    assert code == 0 and "was withdrawn, clips of fewer than two actions are left: fit it again" in text, error
    assert traces(place, [digest(path) for path in videos[1::2]]) == []
    assert not list((place / "model").glob("weights-*")) and not (place / "model" / "README.md").exists()
    with pytest.raises(CheckpointError, match="was withdrawn by `kshot forget`"):
        Recognizer.load(place / "model")
    code, _, error = command("predict", place / "model", rows_of(table)[0][0])
    assert code == 2 and error.count("\n") == 1 and "fit it again on those that are left" in error


def test_a_video_leaves_a_project_with_all_that_was_cut_of_it(place: Path, table: Path, tmp_path: Path):
    paths, _, _ = rows_of(table)
    folder = tmp_path / "project"
    with closing(Project(folder, {})) as project:
        wave, bow = project.add_label("wave"), project.add_label("bow")
        for id, path, label, group in (
            ("film", paths[0], None, ""), ("cut", paths[1], wave.id, "film"), ("other", paths[2], bow.id, ""),
            ("undone", paths[3], wave.id, "film"),
        ):  # fmt: skip
            file = project.folder / "videos" / f"{id}.mp4"
            file.write_bytes(path.read_bytes())
            project.strip(id, 8).write_bytes(b"strip")
            project.add_video(Video(id, path.name, file.name, 1.0, group=group, label=label))
        project.remove_video("undone")
        project.move_video("other", wave.id)
    shutil.copytree(place / "model", folder / "models" / "taught")
    shutil.copytree(place / "store", folder / "store")
    (tmp_path / "strange.mp4").write_bytes(b"another")
    with pytest.raises(DataError, match="nothing of"):
        forget([folder], videos=[tmp_path / "strange.mp4"], store=place / "store2")
    assert {video.id for video in videos_of(folder)} == {"film", "cut", "other", "undone"}
    done = forget([folder], videos=[paths[0]], store=place / "store")
    found = done.places[-1].removed
    assert [one.removed["clips"] for one in done.places if one.kind == "store"] == [3, 3]
    counts = {"clips": 1, "queries": 1, "marks": 0, "kept_to_undo": 1, "edits": 1, "models": 1, "base": 0}
    assert found == counts and done.places[-1].again == ["open it with `kshot serve` and press Teach"]
    assert [video.id for video in videos_of(folder)] == ["other"]
    assert [path.name for path in (folder / "videos").iterdir()] == ["other.mp4"]
    assert traces(folder, [paths[0].name, paths[1].name, digest(paths[0])]) == []
    with closing(Project(folder, {})) as project:
        assert project.undo() and [video.label for video in project.state.videos] == [bow.id]


def test_what_is_asked_for_must_be_there(command, place: Path, table: Path, tmp_path: Path):
    for arguments, message in (
        ((place / "model",), "expected one person (--subject NAME) or videos"),
        ((place / "model", "--subject", "ben", "--video", "a.mp4"), "name one of the two"),
        ((tmp_path / "gone", "--subject", "ben"), "there is no"),
        (
            (place / "model", "--subject", "dora", "--store", place / "store"),
            "the people and groups there are anna, ben, cleo",
        ),
    ):
        code, text, error = command("forget", *arguments)
        assert (code, text, error.count("\n")) == (2, "", 1) and message in error, error
    with closing(Project(tmp_path / "project", {})) as project:
        project.add_video(Video("v", "v", "v.mp4", 1.0, group="ben"))
        code, _, error = command("forget", tmp_path / "project", "--subject", "ben")
        assert code == 2 and "is open in another `kshot serve`" in error
    assert removal.remove_from_store(place / "store", [], []).plain() == dict.fromkeys(
        ("clips", "shards", "notes", "rates", "paths"), 0
    )


@pytest.mark.parametrize("kind", ["csv", "boris"])
def test_who_acts_is_a_person_too(kind: str, command, tmp_path: Path):
    """Of tables and annotations, whose groups are videos or stretches of them."""
    write_film(tmp_path / "a.mp4")
    (tmp_path / "day.csv").write_text(
        "path,label,start,end,subject\na.mp4,bow,0,1,anna\na.mp4,sit,1,2,ben\na.mp4,bow,2,3,anna\n"
    )
    file = tmp_path / f"day.{kind}"
    if kind != "csv":
        assert command("data", "import", tmp_path / "day.csv", "--format", kind, "--out", file)[0] == 0
    made = Recognizer("kshot-tiny", method="prototype", store=tmp_path / "store")
    made.fit([str(tmp_path / f"a.mp4#t={span}") for span in ("0,1", "1,2", "2,3")], ["bow", "sit", "bow"])
    made.save(tmp_path / "model")
    places = (tmp_path / "model", file, "--store", tmp_path / "store", "--dry-run", "--json")
    code, text, error = command("forget", *places, "--subject", "anna")
    told = json.loads(text)
    assert code == 0 and told["clips"] == 2, error
    assert [one["removed"].get("clips") for one in told["places"]][:2] == [2, 2]
    (tmp_path / "empty.vtt").write_text("WEBVTT\n")  # nothing to say is no fault
    code, _, error = command("forget", *places, tmp_path / "empty.vtt", "--subject", "anne")
    assert code == 2 and "nothing of anne is in any of these places; the people and groups there are" in error
    assert "anna" in error and "ben" in error
