"""`kshot forget` where clips are segments of videos, where films were marked, and where a model began with a run."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clips import draw, write_video
from kshot import Recognizer, load_data, video
from kshot.activations import check
from kshot.activations.digests import digest
from kshot.datasets import Dataset
from kshot.excerpts import Excerpt
from kshot.forget import forget
from kshot.recognizer import artefact
from kshot.studio import marks
from kshot.studio.project import Project
from kshot.studio.removal import videos_of
from kshot.studio.state import ModelRecord, Video, read_state
from test_forget import traces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two films of eight segments: anna and ben take turns, two segments each, one of either action."""
    folder = tmp_path_factory.mktemp("footage")
    rows = []
    for film in range(2):
        parts = [draw(at % 2, 16, np.random.default_rng((film, at))) for at in range(8)]
        path = write_video(folder / f"film{film}.mp4", np.concatenate(parts))
        each = video.scan(path).seconds / 8
        for at in range(8):
            times = (f"{(at + 0.1) * each:.2f}", f"{(at + 0.9) * each:.2f}")
            rows.append((path.name, *times, "ab"[at % 2], ("anna", "ben")[at // 2 % 2]))
    with (folder / "segments.csv").open("w") as file:
        csv.writer(file).writerows([("path", "start", "end", "label", "group"), *rows])
    return load_data(folder / "segments.csv")


def fitted(data: Dataset, backbone: Path, place: Path, **more: object) -> Recognizer:
    labels = [data.classes[label] for label in data.labels]
    model = Recognizer(str(backbone), method="prototype", store=place, **more)  # type: ignore[arg-type]
    return model.fit(list(data.clips), labels, [str(group) for group in data.groups])


def parts_of(data: Dataset, at: list[int]) -> list[str]:
    """Digests of segments, which tables, stores and models know them by."""
    return [clip.digest(digest(clip.path)) for clip in (data.clips[i] for i in at) if isinstance(clip, Excerpt)]


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("what", ["person", "film", "segment"])
def test_segments_leave_store_and_model(
    what: str, table: bool, command, footage: Dataset, clip_folder: Path, tmp_path: Path
) -> None:
    fitted(footage, clip_folder, tmp_path / "store").save(tmp_path / "model")
    film, names = footage.paths[8], [str(clip) for clip in footage.clips]
    gone, asked = {
        "person": ([at for at in range(16) if footage.groups[at] == "ben"], ("--subject", "ben")),
        "film": ([*range(8, 16)], ("--video", film)),
        "segment": ([8], ("--video", names[8])),
    }[what]
    marks = parts_of(footage, gone)
    assert len(marks) == len(gone) and traces(tmp_path / "store", marks) and traces(tmp_path / "model", marks)
    tables = (film.parent / "segments.csv",) if table else ()
    code, text, error = command("forget", tmp_path / "model", *tables, *asked, "--store", tmp_path / "store", "--json")
    assert code == 0, error
    told = json.loads(text)
    assert told["clips"] == len(gone)
    assert [place["removed"]["clips"] for place in told["places"][:2]] == [len(gone)] * 2
    assert traces(tmp_path, marks) == [] and check.verify(tmp_path / "store").damaged == {}
    assert bool(traces(tmp_path, [film.name])) is (what != "film"), "what else the film shows stays"
    left = [at for at in range(16) if at not in gone]
    again = Recognizer.load(tmp_path / "model")
    assert sorted(clip.name for clip in again.clips_) == sorted(names[at] for at in left)
    alone = fitted(footage.subset(np.array(left)), clip_folder, tmp_path / "store")
    np.testing.assert_allclose(again.predict_proba(names), alone.predict_proba(names), atol=1e-5)  # see test_forget


def test_a_film_that_was_moved_is_known_by_what_it_holds(footage: Dataset, clip_folder: Path, tmp_path: Path) -> None:
    fitted(footage, clip_folder, tmp_path / "store").save(tmp_path / "model")
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy(footage.paths[8], tmp_path / "elsewhere" / "other.mp4"))
    done = forget([tmp_path / "model"], videos=[moved], store=tmp_path / "store")
    assert done.clips == 8 and Recognizer.load(tmp_path / "model").n_clips_ == 8
    assert traces(tmp_path, parts_of(footage, [*range(8, 16)])) == []


def test_a_model_that_began_with_a_run_keeps_it(
    footage: Dataset, clip_folder: Path, adapted: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(adapted, tmp_path / "run"))
    fitted(footage, clip_folder, tmp_path / "store", adapted=run).save(tmp_path / "model")
    shutil.rmtree(run)
    before = {path.name for path in (tmp_path / "model").glob("adapted-*/*")}
    done = forget([tmp_path / "model"], "ben", store=tmp_path / "store")
    assert done.places[-1].again == ["was fitted again on its other 8 clips"]
    assert {path.name for path in (tmp_path / "model").glob("adapted-*/*")} == before == set(artefact.RUN_FILES)
    again, names = Recognizer.load(tmp_path / "model"), [str(clip) for clip in footage.clips]
    left = footage.subset(np.flatnonzero(np.asarray(footage.groups) != "ben"))
    alone = fitted(left, clip_folder, tmp_path / "store", adapted=adapted)
    bare = fitted(left, clip_folder, tmp_path / "store")
    np.testing.assert_allclose(again.predict_proba(names), alone.predict_proba(names), atol=1e-5)
    assert np.abs(again.predict_proba(names) - bare.predict_proba(names)).max() > 1e-3, "the run makes no difference"


def test_a_marked_film_leaves_a_project(footage: Dataset, clip_folder: Path, tmp_path: Path) -> None:
    """With its marks, the history of them, and whatever the project's own store holds of marks as they were before."""
    folder = tmp_path / "project"
    with closing(Project(folder, {})) as project:
        wave = project.add_label("wave")
        for name, path in zip("ab", (footage.paths[0], footage.paths[8]), strict=True):
            shutil.copy(path, folder / "videos" / f"{name}.mp4")
            project.add_video(Video(name, f"day {name}.mp4", f"{name}.mp4", 3.0, film=True))
            marks.add_marks(project, name, [marks.Stretch(wave.id, 0.1, 0.5)])
        mark = marks.marks_of(project, "b")[0]
        old = Excerpt(project.path(project.video("b")), mark.start, mark.end)
        fitted(footage, clip_folder, folder / "store").save(folder / "models" / "taught")
        marks.change_mark(project, mark.id, None, 0.2, 0.6)
        with project.change() as state:
            state.trained = ModelRecord("taught", 0.0, {mark.key: "wave"}, ["wave"], {})
    dry = forget([folder], videos=[footage.paths[8]], store=tmp_path / "none", dry_run=True)
    assert len(marks.marks_of(_opened(folder), "b")) == 1
    done = forget([folder], videos=[footage.paths[8]], store=tmp_path / "none")
    found = done.places[-1].removed
    assert found == dry.places[-1].removed
    assert found == {"clips": 0, "queries": 1, "marks": 1, "kept_to_undo": 0, "edits": 2, "models": 1, "base": 0}
    assert [video.id for video in videos_of(folder)] == ["a"] and not list((folder / "store").glob("*/shard-*"))
    assert traces(folder, ["day b", *parts_of(footage, [*range(8, 16)]), old.digest(digest(footage.paths[8]))]) == []
    state = read_state(folder / "project.json")[0]
    assert [mark.video for mark in state.marks] == ["a"] and state.trained is None
    with closing(Project(folder, {})) as project:
        assert project.undo() and not project.state.marks and not project.undo()


def _opened(folder: Path) -> Project:
    with closing(Project(folder, {})) as project:
        return project
