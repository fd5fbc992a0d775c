"""Marks set closely: ends, keys and the focus, and films whose sound begins before their picture."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Page
from studio_pages import Studio, until

from kshot.studio import annotations, marks
from kshot.studio.state import PredictedSegment, Prediction, Video

pytestmark = pytest.mark.slow

FOUND = [
    PredictedSegment(0.0, 1.0, "wave", 0.9),
    PredictedSegment(1.0, 2.0, "push-ups", 0.8),
    PredictedSegment(2.0, 2.5, "unknown", None),
    PredictedSegment(2.5, 4.0, "wave", 0.7),
]


BRIGHT = (
    "(() => { const drawn = document.createElement('canvas').getContext('2d');"
    "drawn.drawImage(document.querySelector('.marking video'), 0, 0, 8, 8);"
    "return drawn.getImageData(4, 4, 1, 1).data[0]; })()"
)
"""How bright the picture is that the browser shows."""


def open_film(studio: Studio, page: Page, drawn: Path) -> str:
    """A film that the model has looked through; its id."""
    project = studio.project
    id, path = project.place(".mp4")
    shutil.copy(drawn / "film.mp4", path)
    assert project.state.trained
    seen = Prediction(
        "film", 6.0, ["push-ups", "wave"], FOUND, [0.5, 3.5], [[0.5, 0.5]] * 2, [], project.state.trained.model
    )
    project.add_video(Video(id, "film.mp4", path.name, 6.0, film=True, rate=24.0, prediction=seen))
    page.locator("#films button").click()
    page.locator(".is-proposal").nth(2).wait_for()
    until(page, "document.querySelector('.marking video').readyState > 1")
    return id


def rows(page: Page) -> list[str]:
    return page.locator(".marking .found .when").all_inner_texts()


def test_ends_of_proposals_stay_where_they_were_moved(ready: Studio, drawn: Path) -> None:
    page, project = ready.tab(1280, 860), ready.project
    id = open_film(ready, page, drawn)
    keys = page.keyboard
    keys.press("n")
    for _ in range(20):
        keys.press("ArrowRight")
    keys.press("]")  # 0.83 s, near the end where it was: that is not snapped back to
    assert rows(page)[0] == "0:00.00 to 0:00.83"
    keys.press("n")
    for _ in range(6):
        keys.press("ArrowRight")
    keys.press("[")
    assert rows(page)[:2] == ["0:00.00 to 0:00.83", "0:01.25 to 0:02.00"], "both are kept"
    keys.press("Shift+ArrowRight")
    keys.press("[")  # behind its end
    page.locator("#toast", has_text="It has to end after it begins: its ends are where they were.").wait_for()
    assert rows(page)[1] == "0:01.00 to 0:02.00"
    page.get_by_label("Close the message").click()
    assert page.locator("#toast").is_hidden()
    page.locator(".is-proposal").first.get_by_role("button", name="Agree").click()
    page.locator(".is-mark").wait_for()
    assert [(one.start, round(one.end, 2)) for one in marks.marks_of(project, id)] == [(0.0, 0.83)]
    assert page.locator(".is-proposal").count() == 2, "it is a mark now, and no proposal"


def test_a_drawn_end_behind_its_start_leaves_nothing_that_is_not_kept(ready: Studio, drawn: Path) -> None:
    page, project = ready.tab(1280, 860), ready.project
    id = open_film(ready, page, drawn)
    page.get_by_label("Snap to where").uncheck()
    wave = project.state.labels[0]
    marks.add_marks(project, id, [marks.Stretch(wave.id, 4.5, 5.5)])
    page.locator(".is-mark").wait_for()
    handle = page.locator(".lane .mark b.end").bounding_box()
    start = page.locator(".lane .mark b.start").bounding_box()
    assert handle and start
    page.mouse.move(handle["x"] + 2, handle["y"] + 5)
    page.mouse.down()
    page.mouse.move(start["x"] - 60, handle["y"] + 5, steps=8)
    page.mouse.up()
    page.locator("#toast", has_text="It has to end after it begins").wait_for()
    assert page.locator(".is-mark .when").inner_text() == "0:04.50 to 0:05.50"
    assert [(one.start, one.end) for one in marks.marks_of(project, id)] == [(4.5, 5.5)]


def test_keys_do_what_the_page_says_wherever_the_focus_is(ready: Studio, drawn: Path) -> None:
    page, project = ready.tab(1280, 860), ready.project
    id = open_film(ready, page, drawn)
    keys = page.keyboard
    keys.press("Space")  # the film was opened by its button: that does not close it
    until(page, "!document.querySelector('.marking video').paused")
    keys.press("k")
    until(page, "document.querySelector('.marking video').paused")
    names = [label.name for label in project.state.labels]
    page.get_by_label("Remove the action push-ups").click()
    until(page, "document.querySelectorAll('.action').length === 1")
    keys.type("na1[")
    page.locator("#films button").focus()
    assert [label.name for label in project.state.labels] == ["wave"]
    page.get_by_label("Snap to where").click()
    keys.press("Control+z")
    page.locator("#toast", has_text="Undone: ").wait_for()
    assert page.locator(".marking").count() == 1 and id == project.state.videos[-1].id and "push-ups" in names


def test_two_numbers_mark_one_stretch_once(ready: Studio, drawn: Path) -> None:
    page, project = ready.tab(1280, 860), ready.project
    id = open_film(ready, page, drawn)
    page.get_by_label("Snap to where").uncheck()
    page.locator(".whole").click(position={"x": 300, "y": 5})
    page.keyboard.press("[")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("]")
    page.locator(".pending-said", has_text="which action?").wait_for()
    page.evaluate(
        "for (const key of '12') document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))"
    )
    page.locator("#toast", has_text="Mark where it begins and ends first").wait_for()
    page.locator(".is-mark").wait_for()
    assert [project.label(one.label).name for one in marks.marks_of(project, id)] == [project.state.labels[0].name]


def test_proposals_follow_the_names_of_their_actions(ready: Studio, drawn: Path) -> None:
    page, project = ready.tab(1280, 860), ready.project
    id = open_film(ready, page, drawn)
    wave, other = (next(one for one in project.state.labels if one.name == name) for name in ("wave", "push-ups"))
    project.rename_label(wave.id, "hello")
    project.rename_label(other.id, "wave")  # a name that the model knows, of another action
    until(page, "document.querySelector('.is-proposal .what').textContent === 'hello'")
    assert page.locator(".is-proposal .what").all_inner_texts() == ["hello", "wave", "hello"]
    written = annotations.written(project, id, "csv", proposed=True)[1].splitlines()[1:]
    assert [row.split(",")[1] for row in written] == ["hello", "wave", "hello"]
    for at in (0, 0):
        page.locator(".is-proposal").nth(at).get_by_role("button", name="Agree").click()
        page.wait_for_timeout(300)
    assert [(one.start, project.label(one.label).name) for one in marks.marks_of(project, id)] == [
        (0.0, "hello"),
        (1.0, "wave"),
    ]


def test_what_is_put_aside_comes_back(ready: Studio, drawn: Path) -> None:
    page, project = ready.tab(1280, 860), ready.project
    id = open_film(ready, page, drawn)
    other = ready.tab(1280, 860)
    other.locator("#films button").click()
    other.locator(".is-proposal").nth(2).wait_for()
    page.get_by_label("All is marked: ").check()
    until(page, "document.querySelector('#undo').title.includes('all is marked')")
    keys = page.keyboard
    keys.press("n")
    keys.press("Delete")
    for tab in (page, other):
        until(tab, "document.querySelectorAll('.is-proposal').length === 2")
    keys.press("a")  # the one behind it
    until(page, "document.querySelectorAll('.is-proposal').length === 1 && document.querySelector('.is-mark')")
    for proposals, marked, said in ((2, 0, "marking"), (3, 0, "putting “wave” aside"), (3, 0, "all is marked in")):
        keys.press("Control+z")
        page.locator("#toast", has_text=f"Undone: {said}").wait_for()
        for tab in (page, other):
            until(tab, f"document.querySelectorAll('.is-proposal').length === {proposals}")
            assert tab.locator(".is-mark").count() == marked
    until(page, "!document.querySelectorAll('.switches input')[1].checked")
    assert not project.video(id).exhaustive
    keys.press("Control+y")
    keys.press("Control+y")
    page.locator("#toast", has_text="Done again: putting “wave” aside").wait_for()
    assert project.video(id).aside == ["0-1-wave"]
    prediction = project.video(id).prediction
    assert prediction is not None and len(prediction.segments) == 4, "what the model found stays"


def late_film(path: Path, late: int = 1) -> Path:
    """Three seconds of pictures, each as bright as its number says, that begin after a second of silence."""
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8000)
        picture = file.add_stream("libx264", rate=25)
        picture.width = picture.height = 64
        picture.pix_fmt, picture.time_base = "yuv420p", Fraction(1, 25)
        for at in range(0, 8000 * (late + 3), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, at, Fraction(1, 8000)
            file.mux(sound.encode(frame))
        for number in range(75):
            shown = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 3 * number, np.uint8), format="rgb24")
            shown.pts, shown.time_base = number + 25 * late, Fraction(1, 25)
            file.mux(picture.encode(shown))
        file.mux(picture.encode())
        file.mux(sound.encode())
    return path


def test_a_film_is_marked_from_its_first_picture_on(studio: Studio, tmp_path: Path) -> None:
    film = late_film(tmp_path / "late.mp4")
    page, project = studio.tab(1280, 860), studio.project
    page.set_input_files("#film-input", film)
    page.locator(".marking").wait_for()
    until(page, "document.querySelector('.marking video').readyState > 1")
    assert project.state.videos[0].late == 1.0
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    until(page, f"Math.abs({BRIGHT} - 30) <= 1")  # the eleventh picture
    assert page.locator(".marking .time").inner_text().startswith("0:00.40 / 0:03.00")


def test_each_step_shows_the_next_frame(studio: Studio, tmp_path: Path) -> None:
    film = late_film(tmp_path / "film.mp4", 0)
    page = studio.tab(1280, 860)
    page.set_input_files("#film-input", film)
    page.locator(".marking").wait_for()
    until(page, "document.querySelector('.marking video').readyState > 1")
    seen = []
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        until(page, "!document.querySelector('.marking video').seeking")
        page.wait_for_timeout(30)
        seen.append(page.evaluate(BRIGHT))
    assert [round(value / 3) for value in seen] == list(range(1, 41))
