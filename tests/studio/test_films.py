"""Long videos in the studio: marks and their history, files of annotations, and the whole way in a browser."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from studio_pages import SEEN, SLOW, Studio, lies_within, until

from kshot.datasets.annotations.forms import Film
from kshot.errors import DataError, KshotError, OptionError
from kshot.studio import annotations, choices, marks
from kshot.studio.engine import StudioEngine
from kshot.studio.marks import Stretch
from kshot.studio.project import Project
from kshot.studio.state import PredictedSegment, Prediction, Video, read_state
from kshot.studio.view import page_state

pytestmark = pytest.mark.slow


@pytest.fixture
def film(project: Project) -> Video:
    """A film of 100 seconds, of which there is a name only."""
    return project.add_video(Video("film", "day 1.mp4", "film.mp4", 100.0, film=True, rate=25.0))


def spans(project: Project) -> list[tuple[float, float, str]]:
    return [(one.start, one.end, project.label(one.label).name) for one in marks.marks_of(project, "film")]


def test_each_step_of_marking_is_undone_and_done_again(project: Project, film: Video) -> None:
    wave, bow = project.add_label("wave"), project.add_label("bow")
    one = marks.add_marks(project, "film", [Stretch(wave.id, 1, 2.5)])[0]
    marks.change_mark(project, one.id, None, 1.5, None)
    marks.change_mark(project, one.id, bow.id, None, None)
    marks.remove_mark(project, one.id)
    seen = [spans(project)]
    while said := project.undo():
        seen.append(spans(project))
        assert "mark" in said
    assert seen == [[], [(1.5, 2.5, "bow")], [(1.5, 2.5, "wave")], [(1, 2.5, "wave")], []]
    for before in seen[-2::-1]:
        assert project.redo() and spans(project) == before
    assert not project.redo() and project.undo()
    project.remove_label(bow.id)
    assert spans(project) == [] and project.undo() == "removing “bow” and its 1 clip" and len(spans(project)) == 1
    project.remove_video("film")
    assert not project.state.marks and project.undo() and len(spans(project)) == 1
    assert read_state(project.folder / "project.json")[0].marks == project.state.marks
    assert project.clip_labels() == {f"{one.id}@1.500-2.500": "bow"}


def test_that_all_is_marked_is_a_step_of_its_own(project: Project, film: Video) -> None:
    """It leaves alone what the model has found in the film since."""
    wave = project.add_label("wave")
    marks.add_marks(project, "film", [Stretch(wave.id, 1, 2)])
    marks.set_exhaustive(project, "film", False)
    marks.set_exhaustive(project, "film", True)
    seen = Prediction("film", 100, ["wave"], [PredictedSegment(4, 6, "wave", 0.9)], [], [], [], "m")
    project.set_video("film", prediction=seen)
    marks.set_exhaustive(project, "film", False)
    assert project.undo() == "not all is marked in “day 1.mp4”" and project.video("film").exhaustive
    assert project.undo() == "all is marked in “day 1.mp4”" and not project.video("film").exhaustive
    assert project.video("film").prediction == seen and len(spans(project)) == 1
    assert project.redo() and project.video("film").exhaustive and project.video("film").prediction == seen
    assert project.undo() and project.undo() == "marking “wave” at 1.0 s" and not spans(project)


def test_marks_that_cannot_be(project: Project, film: Video) -> None:
    wave = project.add_label("wave")
    project.add_video(Video("clip", "clip.mp4", "clip.mp4", 2.0))
    for stretch, message in (
        (Stretch(wave.id, 2, 2), "a mark lasts 0.04 seconds at least, found 2.00 to 2.00 s"),
        (Stretch(wave.id, 3, 2), "lasts 0.04 seconds at least"),
        (Stretch(wave.id, 99, 101), "lies outside “day 1.mp4”, which lasts 100.00 s"),
        (Stretch(wave.id, 100, 100.2), "lies outside"),
        (Stretch("none", 1, 2), "no such action"),
    ):
        with pytest.raises(KshotError, match=message):
            marks.add_marks(project, "film", [Stretch(wave.id, 5, 6), stretch])
    assert not project.state.marks
    with pytest.raises(DataError, match="is no film to mark in"):
        marks.add_marks(project, "clip", [Stretch(wave.id, 0, 1)])
    with pytest.raises(DataError, match="no such mark"):
        marks.change_mark(project, "none", wave.id, None, None)
    assert marks.add_marks(project, "film", [Stretch(wave.id, 1, 2)] * 2)[0].end == 2 and len(project.state.marks) == 1
    assert marks.add_marks(project, "film", [Stretch(wave.id, 1, 2)]) == []  # it is there already
    assert marks.add_marks(project, "film", [Stretch(wave.id, 99, 100.4)])[0].end == 100


def test_films_do_not_give_way(project: Project, film: Video) -> None:
    for number in range(12):
        project.add_video(Video(f"v{number}", "v", f"v{number}.mp4", 1.0))
    assert project.video("film").film and len(project.queries()) == 8


@pytest.mark.parametrize("format", annotations.formats())
def test_every_format_comes_back(format: str, project: Project, film: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kshot.datasets.annotations.places.header", lambda path: Film(25.0, 100.0))
    wave, push = project.add_label("wave & more"), project.add_label("push-ups")
    marks.add_marks(project, "film", [Stretch(wave.id, 1, 2.52), Stretch(push.id, 50.04, 60), Stretch(wave.id, 70, 71)])
    before = spans(project)
    name, text = annotations.written(project, "film", format)
    assert name.startswith("day 1.")
    (project.folder / "videos" / "film.mp4").write_bytes(b"")
    for one in marks.marks_of(project, "film"):
        marks.remove_mark(project, one.id)
    project.remove_label(wave.id)
    added, _ = annotations.read_into(project, "film", name, text.encode())
    assert added == 3
    for (start, end, label), (first, last, called) in zip(spans(project), before, strict=True):
        assert label == called and abs(start - first) <= 0.02 and abs(end - last) <= 0.02  # half a frame
    assert project.undo() == f"reading 3 marks from {name}" and not project.state.marks


def test_files_that_cannot_be_read_into_a_film(project: Project, film: Video) -> None:
    project.add_label("wave")
    (project.folder / "videos" / "film.mp4").write_bytes(b"")
    head = "path,label,start,end\n"
    for text, message in (
        ("no annotations", "^marks.csv is in no format of annotations"),
        (
            f"{head}day 1.mp4,hop,120,130\n",
            "marks.csv holds no segment of “day 1.mp4” that can be marked: 1 segment "
            "behind the end of its video left out .* 'hop' at 120 to 130 s of day 1.mp4, which lasts 100 s",
        ),
        (
            f"{head}day 1.mp4,hop,1,2\nday 1.mp4,{'long ' * 20},3,4\n",
            "^marks.csv: 'long long .*' at 3 to 4 s of day 1.mp4: expected a name of at most 60 characters, found 99",
        ),
        (head, "that can be marked: it names no action$"),
        (f"{head}a.mp4,wave,1,2\nb.mp4,wave,1,2\n", "is of 2 videos .* “day 1.mp4” is not one of them"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "."),
        ('{"metadata": {}, "file": ', "."),
    ):
        with pytest.raises(KshotError, match=message) as found:
            annotations.read_into(project, "film", "marks.csv", text.encode())
        assert "\n" not in str(found.value) and "kshot-studio" not in str(found.value), found.value
        assert not project.state.marks and [label.name for label in project.state.labels] == ["wave"]
        assert read_state(project.folder / "project.json")[0] == project.state and not project.state.done
    text = f"{head}b.mp4,wave,1,2\nday 1.mp4,unknown,3,4\nday 1.mp4,hello,98,104\n"
    added, notes = annotations.read_into(project, "film", "marks.csv", text.encode())
    assert added == 1 and spans(project) == [(98, 100, "hello")]
    assert notes == [
        "1 segments of other videos left out",
        "1 segment over the end of its video cut there (the first: 'hello' at 98 to 104 s of day 1.mp4, of 100 s)",
    ]
    with pytest.raises(OptionError, match="unknown format 'xls'"):
        annotations.written(project, "film", "xls")
    with pytest.raises(DataError, match="has not looked through"):
        annotations.written(project, "film", "csv", proposed=True)
    seen = [PredictedSegment(0, 4, "unknown", None), PredictedSegment(4, 6, "wave", 0.9)]
    project.set_video("film", prediction=Prediction("film", 100, ["wave"], seen, [], [], [], "m"))
    assert annotations.written(project, "film", "csv", proposed=True)[1].splitlines()[1:] == [
        "day 1.mp4,wave,4.000,6.000,0.9000"
    ]


def test_a_row_that_cannot_be_marked_is_left_out_and_said(project: Project, film: Video) -> None:
    """And undoing the reading takes the actions with it that it made, but for those that have other clips by then."""
    wave = project.add_label("wave")
    marks.add_marks(project, "film", [Stretch(wave.id, 1, 2)])
    (project.folder / "videos" / "film.mp4").write_bytes(b"")
    rows = ["hop,10,11", "late,900,901", "later,950,951", "back,9,8", "none,7,7", "short,5,5.01", "bow,8,8.04",
            "bow,8,8.04", "bow,8.0,8.04"]  # fmt: skip
    text = "path,label,start,end\n" + "".join(f"day 1.mp4,{row}\n" for row in rows)
    added, notes = annotations.read_into(project, "film", "C:\\marks.csv", text.encode())
    assert added == 2 and spans(project) == [(1, 2, "wave"), (8, 8.04, "bow"), (10, 11, "hop")]
    assert notes == [
        "2 segments stand there twice, taken once",
        "2 segments behind the end of its video left out (the first: 'late' at 900 to 901 s of day 1.mp4, which lasts "
        "100 s)",
        "1 segment with its end before its start left out (the first: 'back' at 9 to 8 s of day 1.mp4)",
        "1 segment of no length left out (the first: 'none' at 7 to 7 s of day 1.mp4)",
        "1 segment shorter than 0.04 s left out (the first: 'short' at 5 to 5.01 s of day 1.mp4)",
    ]
    assert [label.name for label in project.state.labels] == ["wave", "hop", "bow"]
    assert project.undo() == "reading 2 marks from marks.csv"
    assert [label.name for label in project.state.labels] == ["wave"] and spans(project) == [(1, 2, "wave")]
    assert read_state(project.folder / "project.json")[0] == project.state
    assert project.redo() == "reading 2 marks from marks.csv" and len(spans(project)) == 3
    hop = project.state.labels[1]
    project.add_video(Video("clip", "clip.mp4", "clip.mp4", 2.0, label=hop.id))
    project.undo()
    assert [label.name for label in project.state.labels] == ["wave", "hop"] and spans(project) == [(1, 2, "wave")]
    assert project.redo() and [label.name for label in project.state.labels] == ["wave", "hop", "bow"]


def test_notes_on_a_file_that_names_no_video_name_the_film(project: Project, film: Video) -> None:
    (project.folder / "videos" / "film.mp4").write_bytes(b"")
    cues = "1\n00:00:01,000 --> 00:00:02,000\nwave\n\n2\n00:03:00,000 --> 00:03:01,000\nbow\n"
    added, notes = annotations.read_into(project, "film", "film.srt", cues.encode())
    assert added == 1 and [label.name for label in project.state.labels] == ["wave"]
    assert notes[0].endswith("(the first: 'bow' at 180 to 181 s of day 1.mp4, which lasts 100 s)")


def test_proposals_of_another_threshold_are_said_to_be(taught: Path, drawn: Path, tmp_path: Path) -> None:
    """A film is looked through again when a person asks for it; until then the page knows that it is not by what
    was chosen, also after the next start."""
    folder = shutil.copytree(taught, tmp_path / "project")

    def films(engine: StudioEngine) -> list[tuple[str, bool]]:
        return [(film.id, film.stale) for film in page_state(engine, 0).films]

    def look(engine: StudioEngine) -> None:
        choices.look_through(engine, id)
        while id in engine.predictions.waiting:
            time.sleep(0.05)
        assert engine.project.video(id).prediction and not engine.project.video(id).error

    with closing(Project(folder, {})) as project, closing(StudioEngine(project, lambda: None)) as engine:
        id, path = project.place(".mp4")
        shutil.copy(drawn / "film.mp4", path)
        project.add_video(Video(id, "film.mp4", path.name, 6.0, film=True, rate=24.0))
        assert films(engine) == [(id, False)] and choices.choose(engine, None, None, 0.0) == []
        look(engine)
        assert films(engine) == [(id, False)] and choices.choose(engine, None, None, 0.0) == []
        assert choices.choose(engine, None, None, 1.0) == [id] and films(engine) == [(id, True)]
        assert choices.choose(engine, None, None, 0.0) == [] and films(engine) == [(id, False)]
        assert choices.choose(engine, None, None, None) == [id]
    with closing(Project(folder, {})) as project, closing(StudioEngine(project, lambda: None)) as engine:
        assert films(engine) == [(id, True)]
        look(engine)
        assert films(engine) == [(id, False)]


def test_a_film_is_seen_without_reading_all_of_it(engine: StudioEngine, drawn: Path, tmp_path: Path) -> None:
    import av

    long = tmp_path / "long.mp4"
    with av.open(str(drawn / "film.mp4")) as source, av.open(str(long), "w", format="mp4") as out:
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        stream, length = (
            out.add_stream_from_template(source.streams.video[0]),
            sum(packet.duration for packet in packets),
        )
        for turn in range(int(70 / float(length * source.streams.video[0].time_base)) + 1):
            source.seek(0)
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = (
                        packet.pts + turn * length,
                        packet.dts + turn * length,
                        stream,
                    )
                    out.mux(packet)
    project = engine.project
    id, path = project.place(".mp4")
    shutil.copy(long, path)
    video = engine.receive(id, path, "long.mp4", "file", None)
    assert video.film and video.seconds > 60 and video.rate == pytest.approx(24, abs=2)
    assert Image.open(project.strip(id, 8)).size == (8 * 112, 112)
    engine.reader.moments(path, [1, 2, 3], tmp_path / "near.jpg")
    engine.reader.moments(path, [1, 20, 60], tmp_path / "far.jpg")
    engine.reader.still(path, 65.0, tmp_path / "still.jpg")
    assert Image.open(tmp_path / "near.jpg").size == Image.open(tmp_path / "far.jpg").size == (336, 112)
    assert Image.open(tmp_path / "still.jpg").size == (112, 112)
    with pytest.raises(KshotError):
        engine.reader.still(drawn / "camera.y4m.gone", 1.0, tmp_path / "none.jpg")


def test_a_long_video_put_in_as_a_clip_may_be_opened_to_mark_in(engine: StudioEngine, drawn: Path) -> None:
    project = engine.project
    wave = project.add_label("wave")
    id, path = project.place(".mp4")
    shutil.copy(drawn / "film.mp4", path)
    engine.doubtful[id] = Video(id, "film.mp4", path.name, 8.0, label=wave.id), "lasts long"
    made = engine.open_film(id)
    assert made.film and made.label is None and not engine.doubtful and project.video(id) == made
    with pytest.raises(KshotError, match="nothing has been taught yet"):
        choices.look_through(engine, id)


def test_from_an_empty_project_and_a_film_to_a_corrected_model(studio: Studio, drawn: Path, tmp_path: Path) -> None:
    """Mark with the keys, teach, have the film looked through, agree and correct, teach again, export and import."""
    page, project = studio.tab(1280, 860), studio.project
    keys = page.keyboard
    page.set_input_files("#film-input", drawn / "film.mp4")
    page.locator(".marking video").wait_for()
    until(page, "document.querySelector('.marking video').readyState > 0")
    for part in ("#show-title", "#teach-go", "#try-title", ".marking .bracket"):
        box = page.locator(part).first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 860, f"{part} is out of sight"
    for name in SEEN:
        page.get_by_role("button", name="A new action").click()
        page.get_by_label("Name of the new action").fill(name)
        keys.press("Enter")
        page.locator(".labels button", has_text=name).wait_for()
    length = project.state.videos[0].seconds / 4  # of each of four drawn clips, one after the other
    page.evaluate("document.activeElement.blur()")
    keys.press("3")
    page.locator("#toast", has_text="A new action").wait_for(state="hidden")

    def seek(time: float) -> None:
        minutes, seconds = page.locator(".marking .time").inner_text().split(" / ")[0].split(":")
        now = 60 * int(minutes) + float(seconds)
        step = 1 / project.state.videos[0].rate
        for _ in range(round(abs(time - now) / step)):
            keys.press("ArrowRight" if time > now else "ArrowLeft")

    def mark(start: float, end: float, key: str) -> None:
        count = len(project.state.marks)
        seek(start)
        keys.press("[")
        seek(end)
        keys.press("]")
        keys.press(key)
        until(page, f"document.querySelectorAll('.is-mark').length === {count + 1}")

    half = length / 2
    mark(0.0, half, "1")
    mark(half, length * 0.98, "1")
    mark(2 * length, 2.5 * length, "2")
    mark(2.5 * length, 2.98 * length, "2")
    until(page, "document.querySelector('#aloud').textContent.startsWith('Marked push-ups')")
    assert [name for *_, name in marks_in(project)] == ["wave", "wave", "push-ups", "push-ups"]
    assert marks_in(project)[0][1] == pytest.approx(half, abs=0.05)

    page.locator(".is-mark .go").first.click()
    seek(half * 0.8)
    keys.press("]")  # moves the end of what is chosen
    until(page, "document.querySelector('#aloud').textContent.includes('now')")
    assert marks_in(project)[0][1] == pytest.approx(half * 0.8, abs=0.05)
    keys.press("Control+z")
    page.locator("#toast", has_text="Undone: moving a mark of “wave”").wait_for()
    keys.press("Control+y")
    page.locator("#toast", has_text="Done again: moving a mark of “wave”").wait_for()

    page.click("#teach-go")
    page.locator("#keep").wait_for()
    page.get_by_role("button", name="Find the actions in it").click()
    page.locator("#aloud", has_text="film.mp4").wait_for(state="attached")
    page.locator(".look button", has_text="Look through it again").wait_for()
    page.locator(".is-proposal").first.wait_for()
    assert page.locator(".part .curves path").count() == 2
    count = len(project.state.marks)
    row = page.locator(".is-proposal").first
    said = row.locator(".when").inner_text()
    row.get_by_role("button", name="Agree").click()
    until(page, f"document.querySelectorAll('.is-mark').length === {count + 1}")
    assert page.locator(".is-mark .when").all_inner_texts().count(said) == 1
    assert page.evaluate("document.activeElement !== document.body")
    page.locator("#teach-said", has_text="The clips have changed since").wait_for()
    at = project.state.trained and project.state.trained.at
    page.click("#teach-go")
    page.locator("#teach-go", has_text="Taught.").wait_for()
    trained = project.state.trained
    assert trained and trained.at != at and len(trained.clips) == count + 1
    lies_within(page)

    page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_role("menuitem", name="What you have marked").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="ELAN").click()
    saved = tmp_path / "film.eaf"
    download.value.save_as(saved)
    before = marks_in(project)
    for gone in range(len(before)):
        page.locator(".is-mark").first.get_by_role("button", name="Remove").click()
        until(page, f"document.querySelectorAll('.is-mark').length === {len(before) - gone - 1}")
    page.set_input_files("[aria-label='File of annotations']", saved)
    page.locator("#toast", has_text=f"{len(before)} marks read from film.eaf").wait_for()
    assert [(round(start, 1), round(end, 1), name) for start, end, name in marks_in(project)] == [
        (round(start, 1), round(end, 1), name) for start, end, name in before
    ]
    page.get_by_label("All is marked").check()
    until(page, "document.querySelector('#status').textContent === 'Everything is saved'")
    page.wait_for_timeout(200)
    assert project.state.videos[0].exhaustive
    page.set_viewport_size({"width": 380, "height": 800})
    lies_within(page)
    page.get_by_role("button", name="Close the film").click()
    assert page.locator(".marking").count() == 0 and page.evaluate("document.activeElement !== document.body")


def test_where_the_browser_cannot_play_a_film_it_is_stepped_through(studio: Studio, drawn: Path) -> None:
    page, project = studio.tab(1280, 860), studio.project
    id, path = project.place(".avi")
    shutil.copy(drawn / "film.mp4", path)
    project.add_video(Video(id, "film.avi", path.name, 6.0, film=True, rate=24.0))
    page.locator("#films button").click()
    page.locator(".marking img.player").wait_for()
    until(page, "document.querySelector('.marking img.player').naturalWidth > 0")
    first = page.locator(".marking img.player").get_attribute("src")
    page.keyboard.press("Shift+ArrowRight")
    until(page, f"document.querySelector('.marking img.player').getAttribute('src') !== {json.dumps(first)}")
    page.locator(".marking .time", has_text="0:01.00").wait_for(timeout=SLOW)
    assert page.locator(".marking video").count() == 0
    assert page.locator(".marking .play").is_disabled()


def marks_in(project: Project) -> list[tuple[float, float, str]]:
    film = project.state.videos[0].id
    return [(one.start, one.end, project.label(one.label).name) for one in marks.marks_of(project, film)]


def test_what_lies_between_marks_is_none_of_the_actions_only_where_all_is_marked(project: Project, film: Video) -> None:
    wave, bow = project.add_label("wave"), project.add_label("bow")
    marks.add_marks(project, "film", [Stretch(wave.id, 10, 12), Stretch(bow.id, 20, 22), Stretch(wave.id, 21, 23)])
    assert marks.rest_of(project) == [] and project.exhaustive_films() == {}
    project.set_video("film", exhaustive=True)
    found = [(one.begin, one.stop) for one in marks.rest_of(project)]
    assert len(found) == 4 and all(end - start == pytest.approx(2) for start, end in found)
    marked = [(one.start, one.end) for one in project.state.marks]
    assert not [1 for start, end in found for first, last in marked if start < last and end > first]
    assert found[0][0] == 0 and found[-1][1] > 90 and project.exhaustive_films() == {"film@rest": ""}


def test_choices_of_backbone_and_threshold(ready: Studio, drawn: Path, clip_folder: Path) -> None:
    """Each is refused where it cannot be; a threshold of 1 makes all that is asked unknown, and goes again."""
    page, project = ready.tab(), ready.project
    page.set_input_files("#try-input", drawn / "wave 20.mp4")
    page.locator(".verdict b").wait_for()
    answered = page.locator(".verdict b").inner_text()
    page.locator("#choices summary").click()
    page.locator("#choice-threshold").fill("1")
    page.locator("#choice-threshold").dispatch_event("change")
    page.locator(".verdict b", has_text="unknown").wait_for()
    assert project.state.threshold == 1 and "1.00" in page.locator("#choice-said").inner_text()
    page.locator("#choice-own").click()
    page.locator(".verdict b", has_text=answered).wait_for()
    assert project.state.threshold is None
    page.locator("#choice-backbone").fill("nowhere/at-all")
    page.locator("#choices-from button").click()
    page.locator("#choice-refused", has_text="Not taken: ").wait_for()
    assert "nowhere/at-all" in page.locator("#choice-refused").inner_text() and page.locator("#toast").is_hidden()
    assert "backbone" not in project.state.settings
    page.locator("#choice-backbone").fill(str(clip_folder))
    page.locator("#choices-from button").click()
    page.locator("#teach-said", has_text="and teaching begins from").wait_for()
    assert page.locator("#choice-refused").is_hidden()
    assert project.state.settings["backbone"] == str(clip_folder)
    assert read_state(project.folder / "project.json")[0].settings["backbone"] == str(clip_folder)


def test_proposals_are_gone_through_one_by_one(ready: Studio, drawn: Path) -> None:
    """By keys and by buttons beside the hint, without a look at the list: a decision goes on to the next one."""
    page, project = ready.tab(1280, 860), ready.project
    id, path = project.place(".mp4")
    shutil.copy(drawn / "film.mp4", path)
    assert project.state.trained
    found = [
        PredictedSegment(at, at + 1.0, name, 0.9) for at, name in enumerate(("wave", "push-ups", "wave", "push-ups"))
    ]
    seen = Prediction(
        "film", 6.0, ["push-ups", "wave"], found, [0.5, 3.5], [[0.5, 0.5]] * 2, [], project.state.trained.model
    )
    project.add_video(Video(id, "film.mp4", path.name, 6.0, film=True, rate=24.0, prediction=seen))
    page.locator("#films button").click()
    page.locator(".is-proposal").nth(3).wait_for()
    said, buttons = page.locator(".pending-said p"), page.locator(".pending-said button:visible")
    assert buttons.count() == 0
    page.keyboard.press("n")
    page.locator(".pending-said", has_text="wave, 0:00.00 to 0:01.00").wait_for()
    page.keyboard.press("a")
    page.locator(".pending-said", has_text="push-ups, 0:01.00 to 0:02.00").wait_for()
    page.locator(".pending-said").get_by_role("button", name="Put aside").click()
    page.locator(".pending-said", has_text="wave, 0:02.00 to 0:03.00").wait_for()
    for part in (".pending-said", ".part", ".whole", "#teach-go", "#try-title"):
        box = page.locator(part).first.bounding_box()
        assert box and box["y"] + box["height"] <= 860, f"{part} is out of sight"
    page.locator(".pending-said").get_by_role("button", name="Agree").click()
    page.locator(".pending-said", has_text="push-ups, 0:03.00 to 0:04.00").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Agree", "the next one needs no other press"
    page.keyboard.press("Delete")
    page.locator(".pending-said", has_text="Press [ where an action begins").wait_for()
    assert [(one.start, one.end) for one in marks.marks_of(project, id)] == [(0, 1), (2, 3)] and buttons.count() == 0
    assert said.inner_text().endswith("draw it on the line below.") and not page.locator(".is-proposal").count()
