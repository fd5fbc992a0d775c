"""The page in a real browser: the whole story, and what may come between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from studio_pages import LIMIT, SEEN, SLOW, UNSEEN, Open, Slow, Studio, clips_are, lies_within, tab_to, until

from forks import Forks
from kshot.errors import NotEnoughClips
from kshot.recognizer import Recognizer
from kshot.studio import engine as engines
from kshot.studio.project import Project
from kshot.studio.state import Prediction, TrainingProgress, Video

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.slow


def test_the_whole_story(studio: Studio, drawn: Path, tmp_path: Path) -> None:
    """From an empty page, by keyboard alone, to a right answer on an unseen clip; then a wrong one is put right."""
    page = studio.tab()
    keys = page.keyboard
    assert "token" not in page.url and page.get_by_text("What should it recognise?").is_visible()
    for name, numbers in SEEN.items():
        tab_to(page, "Add an action")
        keys.type(name)
        keys.press("Enter")
        page.locator(f"[aria-label='Add clips to {name}']").wait_for()
        tab_to(page, f"Add clips to {name}")
        studio.choose(page, *(drawn / f"{name} {number}.mp4" for number in numbers))
        clips_are(page, *[3] * (1 + list(SEEN).index(name)))
    assert page.locator(".clip img").count() == 6
    tab_to(page, "Teach")
    keys.press("Enter")
    page.locator("#teach-progress").wait_for()
    page.locator("#keep").wait_for()
    assert studio.project.state.training == TrainingProgress("done")
    assert studio.project.state.trained is not None
    told = studio.project.state.trained.report["accuracy"]
    value, low, high = (f"{round(100 * told[name])}\u00a0%" for name in ("value", "low", "high"))
    assert page.locator(".figure b").inner_text() == value
    assert f"it may be {low} to {high}" in page.locator(".figure").inner_text()
    assert page.evaluate("window.shift") < 0.1

    tab_to(page, "Choose a video")
    studio.choose(page, drawn / f"push-ups {UNSEEN}.mp4")
    page.locator(".verdict b").wait_for()
    assert page.locator(".verdict b").inner_text() == "push-ups"
    lies_within(page)

    with page.expect_download() as download:
        page.click("#download")
    archive = tmp_path / "model.zip"
    download.value.save_as(archive)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    model = Recognizer.load(tmp_path / "kshot-model")
    assert model.predict([drawn / f"{name} {UNSEEN}.mp4" for name in SEEN]).tolist() == list(SEEN)

    # A film: what it shows when; a stretch of it becomes a clip.
    page.set_input_files("#try-input", drawn / "film.mp4")
    page.locator(".found li").first.wait_for()
    rows = page.locator(".found button").all_inner_texts()
    assert any("wave" in row for row in rows) and any("push-ups" in row for row in rows)
    assert page.locator(".curves path").count() == 2
    page.locator(".found button").first.click()
    page.get_by_role("menuitem", name="A new action").click()
    page.get_by_label("Name of the new action").fill("hello")
    keys.press("Enter")
    page.locator("#teach-said", has_text="The clips have changed since").wait_for()
    assert [video.source for video in studio.project.clips()].count("correction") == 1

    # The clip before, by one click.
    page.locator("#earlier button").click()
    page.locator(".fix button", has_text="wave").click()
    clips_are(page, 4, 3, 1)
    assert sorted(studio.project.clip_labels().values()) == ["hello", *["push-ups"] * 3, *["wave"] * 4]

    page.set_viewport_size({"width": 380, "height": 800})
    lies_within(page)
    page.reload()
    page.locator(".clip").first.wait_for()
    assert page.locator(".clip").count() == 8 and page.locator("#report").is_visible()


REPORT: dict[str, Any] = {
    "accuracy": {"value": 0.681, "low": 0.41, "high": 0.87, "clips": 6, "how": "6 clips, each asked of the others"},
    "method": "otam",
    "methods": [
        {"name": "otam", "accuracy": 0.85, "low": 0.64, "high": 0.95},
        {"name": "text", "accuracy": None, "low": None, "high": None},
    ],
    "classes": [
        {"label": "wave", "clips": 3, "accuracy": 0.6, "advice": 'often taken for "push-ups": add clips'},
        {"label": "push-ups", "clips": 3, "accuracy": 1.0, "advice": ""},
        {"label": "bow", "clips": 1, "accuracy": None, "advice": "one clip only: add another"},
    ],
    "confusions": [
        {"label": "wave", "taken_for": "push-ups", "count": 1, "of": 5},
        {"label": "wave", "taken_for": "unknown", "count": 1, "of": 5},
    ],
    "curve": [{"clips": 1, "accuracy": 0.5}, {"clips": 2, "accuracy": 0.7}],
    "unknown": {"auroc": 0.8688, "fpr95": 0.6, "threshold": 0.64, "refused": 0.1, "how": "6 clips"},
    "notes": ["More clips should help: 50 % with 1, 70 % with 2 clips an action to learn from."],
    "unreadable": {},
}


def test_the_report_is_told_in_plain_words(ready: Studio) -> None:
    page, clips = ready.tab(380, 800), ready.project.clips()
    page.locator("#report .more > summary").click()  # it stays open for the reports that follow

    def show(report: dict[str, Any]) -> str:
        with ready.project.change() as state:
            assert state.trained is not None
            state.trained = replace(state.trained, report=report)
        last = report.get("why", "reached by")
        until(page, f"document.querySelector('#report').innerText.includes({json.dumps(last)})")
        lies_within(page)
        return page.locator("#report").inner_text().replace("\u00a0", " ")

    suspects: list[dict[str, Any]] = [
        {"clip": clips[0].id, "label": "wave", "looks_like": "push-ups", "reason": "mislabelled", "other": None},
        {"clip": clips[2].id, "label": "wave", "looks_like": "wave", "reason": "duplicate", "other": clips[1].id},
        {"clip": clips[5].id, "label": "push-ups", "looks_like": "wave", "reason": "duplicate", "other": clips[0].id},
        {"clip": "elsewhere.mp4", "label": "bow", "looks_like": "wave", "reason": "mislabelled", "other": None},
    ]
    notes = [*REPORT["notes"], "It was reached by three clips."]
    said = show(REPORT | {"suspects": suspects, "notes": notes})
    for sentence in (
        "68 %",
        "of new clips like these should be recognised; it may be 41 % to 87 %",
        "wave 0 is called “wave” but looks like “push-ups”: is it in the right place?",
        "wave 4 is nearly the same as wave 2: another one would teach more.",
        "push-ups 4 is nearly the same as wave 0 of “wave”: is one of them in the wrong place?",
        "elsewhere.mp4 is called “bow”",
        "Of 5 clips: 1 taken for “push-ups”, 1 not recognised.",
        "Bow: one clip only: add another.",
        "More clips should help: 50 % with 1, 70 % with 2",
        "expected to tell taught from untaught in 87 of 100 pairs of clips, and to refuse 10 % of the taught ones",
    ):
        assert sentence in said
    assert page.locator(".clip em").first.inner_text() == "push-ups?"
    page.locator(".words button", has_text="wave 0").first.click()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Change wave 0 of wave"
    page.locator(".more details > summary").click()
    assert "order in time (OTAM) (chosen)" in page.locator("#report table").inner_text()
    assert "its name alone" not in page.locator("#report table").inner_text()
    warning = "It is not shown that backbone lite can tell these actions apart: take a better backbone."
    said = show(REPORT | {"warning": warning, "backbone": "lite", "chance": 0.25, "why": warning})
    assert said.startswith(warning) and "By guessing it would be 25 %. Backbone: lite." in said
    why = "The accuracy cannot be estimated: there is one clip of some actions."
    said = show(REPORT | {"accuracy": None, "why": why, "suspects": [], "methods": [], "unknown": {"threshold": None}})
    assert "nobody knows how good it is" in said and page.locator(".figure").count() == 0


def test_a_new_studio_begins_with_the_example(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One can play at once; a smaller example here."""
    monkeypatch.setattr(engines, "EXAMPLE", ("wave", "push-ups"))
    monkeypatch.setattr(engines, "EXAMPLE_CLIPS", 3)
    monkeypatch.setattr(engines, "EXAMPLE_FILM", ("wave",))
    with opened(example=True) as studio:
        page = studio.tab()
        page.get_by_text("This is an example.").wait_for()
        clips_are(page, 3, 3)
        until(page, "!document.querySelector('#teach-go').disabled")
        page.click("#teach-go")
        page.click("#try-unseen")
        page.locator(".verdict b").wait_for()
        until(page, "/That is right|It really is/.test(document.querySelector('.truth').textContent)")
        page.click("#own")
        page.get_by_text("What should it recognise?").wait_for()
        page.locator("#toast button").click()
        clips_are(page, 3, 3)


def test_files_that_cannot_be_taken_are_told_in_one_sentence(ready: Studio, drawn: Path, tmp_path: Path) -> None:
    """In words of the page, and the good one among them is taken."""
    page = ready.tab()
    (tmp_path / "broken.mp4").write_bytes(b"no video " * 100)
    (tmp_path / "large.mp4").write_bytes(bytes(LIMIT + 1))
    good = drawn / f"wave {UNSEEN}.mp4"
    card = page.locator(".action").first
    card.locator("input[type=file]").set_input_files([tmp_path / "broken.mp4", good, tmp_path / "large.mp4"])
    card.locator(".fault").nth(1).wait_for()
    broken, large = card.locator(".fault span").all_inner_texts()
    assert broken.lower() == "broken.mp4: no video that kshot reads, or damaged"
    assert large == (
        "Large.mp4: expected a file of at most 0 MB: cut the video into shorter ones, or start kshot serve with a "
        "larger --limit"
    )
    assert card.locator(".clip").count() == 4 and card.locator("[role=alert]").count() == 1
    card.locator(".fault button").first.click()
    assert card.locator(".fault").count() == 1
    page.set_input_files("#try-input", tmp_path / "broken.mp4")
    page.locator("#try-said").wait_for()
    assert page.locator("#try-said").inner_text() == broken
    assert {path.suffix for path in (ready.project.folder / "videos").iterdir()} == {".mp4"}
    assert len(list((ready.project.folder / "videos").iterdir())) == 7


def test_two_tabs_stay_in_step(ready: Studio, drawn: Path) -> None:
    one, two = ready.tab(), ready.tab(380, 800)
    one.fill("#add-name", "bow")
    one.keyboard.press("Enter")
    two.locator("[aria-label='Add clips to bow']").wait_for()
    name = two.get_by_label("Name of the action").nth(2)
    name.fill("deep bow")
    name.press("Enter")
    one.locator("[aria-label='Add clips to deep bow']").wait_for()
    assert one.get_by_label("Name of the action").nth(2).input_value() == "deep bow"
    one.get_by_label("Name of the action").nth(2).fill("wave")
    one.keyboard.press("Enter")
    one.locator("#toast", has_text="There is an action “wave” already").wait_for()
    assert one.get_by_label("Name of the action").nth(2).input_value() == "deep bow"
    two.locator(".action").first.locator(".more").first.click()
    two.locator("#menu button", has_text="deep bow").click()
    clips_are(one, 2, 3, 1)
    one.locator("#teach-said", has_text="The clips have changed since").wait_for()
    two.get_by_label("Remove the action deep bow").click()
    clips_are(one, 2, 3)
    two.locator("#toast button").click()
    clips_are(one, 2, 3, 1)
    assert sorted(ready.project.clip_labels().values()) == ["deep bow", *["push-ups"] * 3, *["wave"] * 2]
    lies_within(two)


def test_teaching_goes_on_through_a_reload_and_can_be_cancelled(ready: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    page = ready.tab()
    page.click("#teach-go")
    slow.go.release()
    page.locator("#teach-count", has_text="1 of 4 steps").wait_for()
    page.reload()
    slow.go.release()
    page.locator("#teach-count", has_text="2 of 4 steps").wait_for()
    assert page.locator("#teach-stage").inner_text() == "Learning slowly"
    assert page.locator("[role=progressbar]").get_attribute("aria-valuenow") == "50"
    assert page.locator("#teach-go").is_disabled()
    other = ready.tab()
    before = ready.project.state.trained
    other.click("#teach-stop")
    page.locator("#teach-said", has_text="Cancelled. What was taught before stays.").wait_for()
    assert ready.project.state.trained == before and page.locator("#keep").is_visible()
    page.click("#teach-go")
    page.locator("#teach-progress").wait_for()
    for _ in range(4):
        slow.go.release()
    page.locator("#teach-progress").wait_for(state="hidden")
    assert page.locator("#teach-go").inner_text() == "Taught. Teach again"
    assert ready.project.state.trained != before
    assert [path.name for path in (ready.project.folder / "models").iterdir()] == [ready.engine.trained.folder.name]


def test_what_cannot_be_taught_is_told_as_everywhere(ready: Studio) -> None:
    page = ready.tab()
    page.get_by_label("Remove the action push-ups").click()
    page.click("#teach-go")
    page.locator("#teach-said.bad").wait_for()
    with pytest.raises(NotEnoughClips) as told:
        Recognizer().fit([ready.project.path(video) for video in ready.project.clips()], ["wave"] * 3)
    assert page.locator("#teach-said").inner_text() == str(told.value).capitalize()
    assert page.locator("#keep").is_visible(), "what was taught before stays"


def insist(page: Page, address: str, button: Locator) -> None:
    """Clicks until the server takes it: on a starved machine the last seconds may hold too few frames of the camera."""
    for _ in range(10):
        with page.expect_response(address) as told:
            button.click()
        if told.value.ok:
            return
    raise AssertionError(f"{address} was refused again and again: {told.value.text()}")


def test_the_camera_is_recognised_and_teaches(ready: Studio) -> None:
    page = ready.tab()
    page.click("#try-camera")
    page.locator("#live .tag[data-label='push-ups']").wait_for()
    assert "ms after the frame" in page.locator("#live").inner_text()
    assert page.locator("#live path").first.get_attribute("d").startswith("M")
    lies_within(page)
    insist(page, "**/api/live/*/keep", page.locator("#live .fix button", has_text="wave"))
    clips_are(page, 4, 3)
    other = ready.tab()
    other.click("#try-camera")
    page.locator("#try-said", has_text="The camera is in use in another tab").wait_for()
    other.click("#try-camera")
    assert other.locator("#live").is_hidden()

    page.get_by_label("Record push-ups").click()
    page.select_option("#recorder-seconds", "1")
    page.select_option("#recorder-takes", "1")
    insist(page, "**/api/videos?*", page.locator("#recorder-go"))
    page.locator("#recorder-said", has_text="1 take recorded").wait_for()
    page.keyboard.press("Escape")
    clips_are(page, 4, 4)
    taken = ready.project.clips()[-1]
    assert taken.source == "camera" and taken.file.endswith(".webm")
    assert 0 < taken.seconds < 2.5, "a second, or what a starved machine makes of it"
    until(page, "[...document.querySelectorAll('.clip img')].at(-1).naturalWidth === 896")


def test_a_recording_that_came_out_short_is_told(ready: Studio) -> None:
    page = ready.tab()
    page.evaluate("""() => {
        const start = MediaRecorder.prototype.start;
        MediaRecorder.prototype.start = function () { start.call(this); setTimeout(() => this.pause(), 400); };
    }""")  # as if the camera had stopped after 0.4 seconds
    page.get_by_label("Record push-ups").click()
    page.select_option("#recorder-seconds", "3")
    page.select_option("#recorder-takes", "1")
    insist(page, "**/api/videos?*", page.locator("#recorder-go"))
    page.keyboard.press("Escape")
    told = page.locator(".faults", has_text="Remove it and record once more")
    told.wait_for()
    assert re.search(r"Take 1, .* came out \d\.\d s long, not 3 s", told.inner_text())
    clips_are(page, 3, 4)


def test_what_browsers_cannot_play_is_shown_as_a_filmstrip(ready: Studio, drawn: Path, tmp_path: Path) -> None:
    import av

    with av.open(str(drawn / "film.mp4")) as source, av.open(str(tmp_path / "film.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=24)
        stream.width = stream.height = 112
        stream.pix_fmt = "yuv420p"
        for frame in source.decode(video=0):
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode())
    page = ready.tab()
    page.set_input_files("#try-input", tmp_path / "film.avi")
    page.locator(".found li").first.wait_for()
    page.locator(".player").wait_for(state="detached")
    until(page, "document.querySelector('.film.long img').naturalWidth === 1792")


def test_a_model_that_is_damaged_is_told(opened: Open, taught: Path, tmp_path: Path, drawn: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "project")
    (weights,) = folder.glob("models/*/*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with opened(folder) as studio:
        page = studio.tab()
        page.set_input_files("#try-input", drawn / f"wave {UNSEEN}.mp4")
        page.locator("#answer .bad").wait_for()
        assert "damaged" in page.locator("#answer .bad").inner_text()


def test_a_link_opens_one_browser_once(ready: Studio, browser: Browser) -> None:
    """The address that stays holds no key; what was used, or guessed, leads to a page that tells how to get another."""
    link = ready.address
    page = ready.context.new_page()
    page.goto(link)
    until(page, "document.querySelector('#where').textContent")
    assert page.url == f"http://127.0.0.1:{ready.port}/" and page.evaluate("history.length") <= 2
    page.reload()
    until(page, "document.querySelector('#where').textContent")
    for width, height in ((1280, 800), (380, 700)):
        other = browser.new_context(viewport={"width": width, "height": height})
        try:
            shut = other.new_page()
            for address, what in ((link, "This link has been used"), (page.url, "This browser has no key")):
                answer = shut.goto(address)
                assert answer is not None and answer.status == 401
                assert what in shut.inner_text("main") and "press Enter in the terminal" in shut.inner_text("main")
                assert shut.evaluate("getComputedStyle(document.querySelector('.what')).fontWeight") == "600"
                assert shut.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            shut.goto(ready.address)
            until(shut, "document.querySelector('#where').textContent")
        finally:
            other.close()


def test_what_was_cut_off_can_be_tried_again(opened: Open, taught: Path, tmp_path: Path, drawn: Path) -> None:
    """A video without an answer, one whose answer is of an earlier model, and one that failed."""
    folder = shutil.copytree(taught, tmp_path / "project")
    with closing(Project(folder, {})) as project:
        old = Prediction("clip", 1.0, [], [], [], [], [], model="before")
        for name, prediction, error in (("none", None, ""), ("old", old, ""), ("failed", None, "it broke")):
            id, path = project.place(".mp4")
            shutil.copy(drawn / f"wave {UNSEEN}.mp4", path)
            project.add_video(Video(id, name, path.name, 1.0, prediction=prediction, error=error))
    with opened(folder) as studio:
        page = studio.tab()
        for name in ("failed", "old", "none"):
            if name != "failed":
                page.locator("#earlier button", has_text=name).click()
            page.locator("#answer .named", has_text=name).wait_for()
            told = page.locator("#answer .said").inner_text()
            assert told == ("It broke" if name == "failed" else "There is no answer yet: the studio was closed before.")
            lies_within(page)
            page.get_by_role("button", name="Try again").click()
            page.locator("#answer .verdict b").wait_for()
            assert page.locator("#answer .verdict b").inner_text() == "wave"


def test_another_backbone_asks_to_be_taught_again(
    opened: Open, taught: Path, clip_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(taught, tmp_path / "project")
    Project(folder, {"backbone": str(clip_folder)}).close()
    with opened(folder) as studio:
        page = studio.tab()
        said = page.locator("#teach-said", has_text="It was taught on the backbone kshot-tiny")
        said.wait_for()
        assert (
            said.inner_text().endswith("now: teach again.") and page.locator("#teach-go").inner_text() == "Teach again"
        )
        lies_within(page)


SERVER = """
import json, os, sys, time
import kshot.cli.studio
import kshot.recognizer
from kshot.cli import main
connected = []
sys.addaudithook(lambda event, arguments: connected.append(arguments[1]) if event == "socket.connect" else None)
def fit(self, videos, labels, groups=None, progress=None):
    with progress("learning slowly", 100, "steps") as step:
        while True:
            time.sleep(0.02)
            step(0.1)
kshot.recognizer.Recognizer.fit = fit
show = kshot.cli.studio.show
def shown(where, *rest):
    with open(sys.argv[3] + ".part", "w") as file:
        json.dump(where | {"pid": os.getpid()}, file)
    os.rename(sys.argv[3] + ".part", sys.argv[3])
    show(where, *rest)
kshot.cli.studio.show = shown
try:
    main(["serve", "--project", sys.argv[1], "--port", sys.argv[2], "--no-browser", "--json"])
finally:
    assert not connected, connected
"""


def test_a_killed_server_goes_on_where_it_was(browser: Browser, forks: Forks, taught: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of teaching; the open page waits for the next start's link, and goes on. Then Ctrl-C."""
    folder, mark = shutil.copytree(taught, tmp_path / "project"), tmp_path / "started"
    ended: list[Any] = []

    def run() -> dict[str, Any]:
        mark.unlink(missing_ok=True)
        thread = threading.Thread(target=lambda: ended.append(forks(SERVER, folder, port, mark)))
        thread.start()
        while not mark.exists():
            time.sleep(0.02)
        threads.append(thread)
        started: dict[str, Any] = json.loads(mark.read_text())
        return started

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads: list[threading.Thread] = []
    first = run()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.goto(first["address"])
        page.click("#teach-go")
        page.locator("#teach-count", has_text="of 100 steps").wait_for()
        os.kill(first["pid"], signal.SIGKILL)
        page.locator("#lost-away").wait_for()
        assert "Start it again with kshot serve" in page.locator("#lost").inner_text()
        threads[0].join()
        second = run()
        page.locator("#lost-shut").wait_for()
        assert "Open the link that it printed" in page.locator("#lost").inner_text()
        lies_within(page)
        assert second["address"] != first["address"]
        context.new_page().goto(second["address"])
        page.locator("#lost").wait_for(state="hidden")
        page.locator("#teach-said", has_text="was closed while it was being taught").wait_for()
        assert page.locator(".clip").count() == 6 and page.locator("#keep").is_visible()
        page.click("#teach-go")
        page.locator("#teach-count", has_text="of 100 steps").wait_for()
        os.kill(second["pid"], signal.SIGINT)
        threads[1].join()
    finally:
        context.close()
        for thread in threads:
            if thread.is_alive():
                os.kill(json.loads(mark.read_text())["pid"], signal.SIGKILL)
                thread.join()
    killed, closed = ended
    assert killed.returncode == -signal.SIGKILL
    assert closed.returncode == 0
    assert closed.stderr == "kshot: the studio is closed; the same command opens it again\n"
    assert json.loads(closed.stdout) == {"address": second["address"], "project": str(folder)}
    with closing(Project(folder, {})) as project:
        assert project.state.training == TrainingProgress("interrupted") and len(project.clips()) == 6
