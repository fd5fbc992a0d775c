"""Teaching from a project: what the recognizer is given, what is kept of its report, and how it may end."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from clips import draw, write_video
from kshot import video
from kshot.recognizer import Recognizer
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.keys import Keys
from kshot.studio.marks import Stretch, add_marks, remove_mark
from kshot.studio.project import Project
from kshot.studio.projects import Projects
from kshot.studio.server import create_app
from kshot.studio.state import TrainingProgress, Video
from kshot.studio.view import model_view

HOST = "127.0.0.1:8470"
WORDS = ("clap", "wave", "jump")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Action -> three clips of it."""
    folder, rng = tmp_path_factory.mktemp("shown"), np.random.default_rng(0)
    return {
        word: [write_video(folder / f"{word}-{clip}.mp4", draw(number, 3, rng)) for clip in range(3)]
        for number, word in enumerate(WORDS)
    }


@pytest.fixture(scope="module")
def model(clip_folder: Path, shown: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two actions, taught elsewhere."""
    taught = Recognizer(clip_folder, method="prototype").fit(
        [*shown["clap"], *shown["wave"]], ["clap"] * 3 + ["wave"] * 3
    )
    return taught.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def project(tmp_path: Path, clip_folder: Path):  # type: ignore[no-untyped-def]
    with closing(Project(tmp_path / "project", {"backbone": str(clip_folder), "method": "prototype"})) as made:
        yield made


def put(engine: StudioEngine, label: str, *paths: Path) -> list[str]:
    """Clips of an action; their ids."""
    ids = []
    for path in paths:
        id, place = engine.project.place(".mp4")
        shutil.copy(path, place)
        ids.append(engine.receive(id, place, path.name, "file", label).id)
    return ids


def teach(engine: StudioEngine) -> TrainingProgress | None:
    engine.train()
    assert engine._training is not None
    engine._training.join()
    return engine.project.state.training


def test_the_report_calls_clips_by_their_ids(engine: StudioEngine, shown: dict[str, list[Path]]) -> None:
    for word in WORDS[:2]:
        ids = put(engine, engine.project.add_label(word).id, *shown[word])
    pictures = np.stack([frame for _, frame in video.iterate(shown["wave"][2])])
    again = write_video(engine.project.folder / "again.mp4", pictures)
    (twin,) = put(engine, engine.project.state.labels[1].id, again)
    assert teach(engine) == TrainingProgress("done")
    seen = model_view(engine)
    report = json.loads(json.dumps(seen.report))
    assert 0 <= report["accuracy"]["low"] <= report["accuracy"]["value"] <= report["accuracy"]["high"] <= 1
    assert {(one["label"], one["clips"]) for one in report["classes"]} == {("clap", 3), ("wave", 4)}
    (pair,) = [one for one in report["suspects"] if one["reason"] == "duplicate"]
    assert {pair["clip"], pair["other"]} == {twin, ids[2]}
    assert not seen.stale and seen.classes == ["clap", "wave"]


def test_with_one_clip_a_class_it_says_why_it_cannot_say(engine: StudioEngine, shown: dict[str, list[Path]]) -> None:
    for word in WORDS[:2]:
        put(engine, engine.project.add_label(word).id, shown[word][0])
    assert teach(engine) == TrainingProgress("done")
    report = model_view(engine).report
    assert report["accuracy"] is None and "one clip of some actions" in report["why"]


def film_of(engine: StudioEngine, name: str, *clips: Path) -> Video:
    """A film that shows clips one after the other, each for 0.4 s."""
    id, path = engine.project.place(".mp4")
    write_video(path, np.concatenate([[frame for _, frame in video.iterate(clip)] for clip in clips]))
    return engine.project.add_video(Video(id, name, path.name, video.scan(path).seconds, film=True, rate=25.0))


def test_the_same_under_two_actions_is_told_in_words_of_the_page(
    engine: StudioEngine, shown: dict[str, list[Path]]
) -> None:
    project, (clap, wave) = engine.project, [engine.project.add_label(word).id for word in WORDS[:2]]
    film = film_of(engine, "day.mp4", *shown["clap"], *shown["wave"])
    add_marks(project, film.id, [Stretch(clap, 0, 0.4), Stretch(clap, 0.4, 0.8), Stretch(wave, 1.2, 1.6)])
    (twice,) = add_marks(project, film.id, [Stretch(wave, 0.4, 0.8)])
    assert teach(engine) == TrainingProgress(
        "failed",
        "“clap” (0:00.40 to 0:00.80 of “day.mp4”) and “wave” (0:00.40 to 0:00.80 of “day.mp4”) are the same pictures: "
        "remove one of the two",
    )
    remove_mark(project, twice.id)
    (copy,) = put(engine, wave, shown["clap"][0])
    put(engine, clap, shown["clap"][0])
    add_marks(project, film_of(engine, "again.mp4", *shown["clap"], *shown["wave"]).id, [Stretch(wave, 0, 0.4)])
    assert teach(engine) == TrainingProgress(
        "failed",
        "“wave” (“clap-0.mp4”) and “clap” (“clap-0.mp4”) are the same pictures, and 1 more such pair: remove one of "
        "the two",
    )
    project.remove_video(copy)
    remove_mark(project, project.state.marks[-1].id)
    assert teach(engine) == TrainingProgress("done")


def test_a_film_that_is_gone_or_another_is_told_with_its_marks(
    engine: StudioEngine, shown: dict[str, list[Path]]
) -> None:
    """And what was taught before stays."""
    project, (clap, wave) = engine.project, [engine.project.add_label(word).id for word in WORDS[:2]]
    films = [film_of(engine, f"day {day}.mp4", *shown["clap"], *shown["wave"]) for day in (1, 2)]
    for film, late in zip(films, (0.0, 0.01), strict=True):
        times = [(clap, 0), (clap, 0.4), (wave, 1.6), (wave, 2)]
        add_marks(project, film.id, [Stretch(label, start + late, start + 0.3) for label, start in times])
    assert teach(engine) == TrainingProgress("done")
    before, place = project.state.trained, project.path(films[1])
    whole = place.read_bytes()
    place.unlink()
    assert teach(engine) == TrainingProgress(
        "failed",
        f"the file of “day 2.mp4” is missing, and 4 marks in it cannot be taught: put {place} back, or remove the film",
    )
    write_video(place, np.stack([frame for _, frame in video.iterate(shown["clap"][0])] * 2))
    behind = TrainingProgress(
        "failed",
        f"2 of 4 marks in “day 2.mp4” lie behind the end of its file, which lasts 0:00.80 now, and 0:02.40 when it was "
        f"put in: put the former {place} back, or remove what is marked from 0:01.61 on",
    )
    assert teach(engine) == behind
    for mark in [mark for mark in project.state.marks if mark.video == films[0].id]:
        remove_mark(project, mark.id)
    assert teach(engine) == behind, "also where no clip of an action is left"
    assert project.state.trained == before
    place.write_bytes(whole)
    assert teach(engine) == TrainingProgress("done")


def test_cancelled_between_two_lessons(engine: StudioEngine, shown: dict[str, list[Path]]) -> None:
    """In the real comparison of methods; what was taught before stays."""
    for word in WORDS[:2]:
        put(engine, engine.project.add_label(word).id, *shown[word])
    teach(engine)
    before = engine.project.state.trained
    engine.project.state.settings["method"] = "auto"
    seen: list[tuple[str, float, float]] = []

    def notify() -> None:
        meter = engine.meter
        if meter and meter.shown and meter.shown.title == "comparing methods":
            seen.append((meter.shown.unit, meter.shown.done, meter.shown.total))
            if meter.shown.done >= 2:
                meter.stop.set()

    engine._notify = notify
    assert teach(engine) == TrainingProgress("cancelled")
    unit, done, total = seen[-1]
    assert unit == "lessons" and 2 <= done < 3 <= total
    assert engine.project.state.trained == before
    assert [path.name for path in (engine.project.folder / "models").iterdir()] == [engine.trained.folder.name]


@pytest.mark.slow
def test_a_model_taught_elsewhere_learns_more_and_forgets(
    engine: StudioEngine, model: Path, shown: dict[str, list[Path]]
) -> None:
    engine.begin_with(model, Recognizer.load(model))
    put(engine, engine.project.add_label("jump").id, *shown["jump"])
    assert model_view(engine).stale
    assert teach(engine) == TrainingProgress("done")
    seen = model_view(engine)
    assert seen.classes == ["clap", "jump", "wave"] and not seen.stale
    assert {one["clips"] for one in seen.report["classes"]} == {3}
    whole = Recognizer(engine.trained.model().backbone, method="prototype")
    whole.fit([path for word in WORDS for path in shown[word]], np.repeat(WORDS, 3))
    again = [path for word in WORDS for path in shown[word]]
    assert np.allclose(engine.trained.model().predict_proba(again), whole.predict_proba(again), atol=1e-5)
    engine.project.remove_label("base-1")
    assert model_view(engine).stale
    assert teach(engine) == TrainingProgress("done") and model_view(engine).classes == ["clap", "jump"]


def test_the_model_comes_as_an_archive(
    engine: StudioEngine, model: Path, shown: dict[str, list[Path]], tmp_path: Path
) -> None:
    """Ready to use, and without a word about where on this computer its clips lie."""
    engine.begin_with(model, Recognizer.load(model))
    keys = Keys()
    client = TestClient(create_app(Projects(engine), Feed(), [HOST], keys), base_url=f"http://{HOST}")
    answer = client.get("/api/model.zip", headers={"authorization": f"Bearer {keys.secret}"})
    assert answer.headers["content-disposition"] == 'attachment; filename="kshot-model.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "unpacked")
    folder = tmp_path / "unpacked" / "kshot-model"
    assert Recognizer.load(folder).predict(shown["wave"]).tolist() == ["wave"] * 3
    text = "".join(path.read_text("utf-8", "ignore") for path in folder.rglob("*.json"))
    assert "clap-0.mp4" in text and str(shown["clap"][0].parent) not in text and not list(folder.rglob("*.jpg"))


def test_own_clips_are_taught_on_the_backbone_of_real_video(tmp_path: Path, shown: dict[str, list[Path]]) -> None:
    """No backbone is named: the page has its name, the chance level and no wish to teach again."""
    with closing(Project(tmp_path / "own", {"method": "prototype"})) as own:
        engine = StudioEngine(own, lambda: None)
        try:
            for word in WORDS[:2]:
                put(engine, own.add_label(word).id, *shown[word][:2])
            assert teach(engine) == TrainingProgress("done")
            engine.trained.check()
            seen = model_view(engine)
            assert seen is not None and (seen.report["backbone"], seen.report["chance"]) == ("lite", 0.5)
            assert (seen.stale, seen.changed) == (False, "") and "backbone" not in own.state.settings
        finally:
            engine.close()
