"""The page in a real browser: undoing, the focus, what is said aloud, the menu, small screens, and very many clips."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from studio_pages import SLOW, UNSEEN, Open, Slow, Studio, clips_are, lies_within, start, tab_to, until

from clips import write_video
from kshot.studio.project import Project
from kshot.studio.state import Label, Video

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

FOCUS = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"
NAMED = "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent)"


def remove_first_clip(page: Page, action: int) -> None:
    """By the menu of the first clip of an action."""
    page.locator(".action").nth(action).locator(".more").first.click()
    page.get_by_role("menuitem", name="Remove the clip").click()


def test_undo_is_a_history(ready: Studio) -> None:
    """Six steps by keys and buttons, with other things done in between, after the message is gone, and in a new tab."""
    page = ready.tab()
    page.evaluate(
        "window.setTimeout = () => 0"
    )  # a message that went would take no step with it, nor does one that stays
    for left in (2, 1, 0):
        remove_first_clip(page, 0)
        clips_are(page, left, 3)
    page.locator(".action").nth(1).locator(".more").first.click()
    page.get_by_role("menuitem", name="wave").click()
    clips_are(page, 1, 2)
    name = page.get_by_label("Name of the action").nth(1)
    name.fill("push")
    name.press("Enter")
    page.get_by_label("Remove the action push").click()
    clips_are(page, 1)
    page.fill("#add-name", "bow")
    page.keyboard.press("Control+z")  # of the text, which is being written
    page.fill("#add-name", "bow")
    page.keyboard.press("Enter")
    clips_are(page, 1, 0)
    page.keyboard.press("Control+z")
    clips_are(page, 1, 2, 0)
    page.close()
    page = ready.tab()  # where no message offers it
    assert page.get_by_label("Undo renaming “push-ups”").is_enabled()
    page.keyboard.press("Control+z")
    page.get_by_label("Record push-ups").wait_for()
    page.click("#undo")
    clips_are(page, 0, 3, 0)
    page.keyboard.press("Control+Shift+Z")
    clips_are(page, 1, 2, 0)
    page.click("#undo")
    for clips in (1, 2, 3):
        page.keyboard.press("Control+z")
        clips_are(page, clips, 3, 0)
    until(page, "document.querySelector('#undo').disabled")
    assert page.locator("#toast").inner_text() == "Undone: removing “wave 0”."
    page.keyboard.press("Control+y")
    clips_are(page, 2, 3, 0)
    page.click("#redo")
    clips_are(page, 1, 3, 0)
    assert {label.name for label in ready.project.state.labels} == {"wave", "push-ups", "bow"}
    for width in (1280, 380):
        page.set_viewport_size({"width": width, "height": 800})
        lies_within(page)


def test_the_focus_stays_near(ready: Studio, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After removing a clip, the last clip, an action and the last action; after teaching; after putting away."""
    slow, page = Slow(monkeypatch), ready.tab()
    tab_to(page, "Taught. Teach again")
    page.keyboard.press("Enter")
    until(page, "document.activeElement.id === 'teach-stop'")
    slow.go.release(4)
    page.locator("#teach-progress").wait_for(state="hidden")
    until(page, "document.activeElement.id === 'teach-go'")
    page.set_input_files("#try-input", drawn / f"wave {UNSEEN}.mp4")
    page.locator(".verdict").wait_for()
    page.get_by_role("button", name=f"Put wave {UNSEEN}.mp4 away").click()
    until(page, f"{NAMED} === 'Choose a video'")
    for left, name in ((2, "Change wave 2 of wave"), (1, "Change wave 4 of wave"), (0, "Add clips to wave")):
        remove_first_clip(page, 0)
        clips_are(page, left, 3)
        until(page, f"{FOCUS} === '{name}'")
    page.locator(".action").nth(1).locator(".more").first.click()
    page.get_by_role("menuitem", name="wave").click()
    clips_are(page, 1, 2)
    until(page, f"{FOCUS} === 'Change push-ups 2 of push-ups'")
    page.get_by_label("Remove the action wave").click()
    clips_are(page, 2)
    until(page, f"{NAMED} === 'Play push-ups 2'")  # no field: the keys that follow would rename the action
    page.get_by_label("Remove the action push-ups").click()
    clips_are(page)
    until(page, f"{NAMED} === 'Add'")


def test_results_are_said_aloud(ready: Studio, drawn: Path, tmp_path: Path) -> None:
    page = ready.tab()
    aloud = page.locator("[role=status]#aloud")
    assert aloud.inner_text() == "", "what was there before is no news"
    page.click("#teach-go")
    page.locator("#aloud", has_text="Taught. ").wait_for()
    assert ready.project.state.trained is not None
    said = ready.project.state.trained.report["accuracy"]
    expected = f"{round(100 * said['value'])}\u00a0% of new clips like these should be recognised"
    assert expected in aloud.inner_text() or ready.project.state.trained.report["warning"] in aloud.inner_text()
    page.set_input_files("#try-input", drawn / f"push-ups {UNSEEN}.mp4")
    page.locator("#aloud", has_text=f"push-ups {UNSEEN}.mp4: push-ups, ").wait_for()
    page.set_input_files("#try-input", drawn / "film.mp4")
    page.locator("#aloud", has_text="film.mp4: ").wait_for()
    assert " from 0.0 to " in aloud.inner_text()
    page.locator(".action input[type=file]").first.set_input_files([drawn / f"wave {UNSEEN}.mp4"] * 2)
    page.locator("#aloud", has_text="2 clips added.").wait_for()


def test_the_menu_is_one(ready: Studio) -> None:
    page = ready.tab()
    button, keys = page.get_by_label("Change wave 2 of wave"), page.keyboard
    assert button.get_attribute("aria-haspopup") == "menu" and button.get_attribute("aria-expanded") == "false"
    button.focus()
    keys.press("Enter")
    menu = page.get_by_role("menu", name="It shows")
    menu.wait_for()
    assert button.get_attribute("aria-expanded") == "true"
    names = menu.get_by_role("menuitem").all_inner_texts()
    assert names == ["push-ups", "A new action …", "Remove the clip"]
    for key, place in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowDown", 0), ("ArrowUp", 2), ("Home", 0), ("End", 2)):
        keys.press(key)
        assert page.evaluate("document.activeElement.textContent") == names[place], key
    for close in ("Escape", "Tab"):
        keys.press(close)
        page.locator("[aria-label='Change wave 2 of wave'][aria-expanded=false]").wait_for()
        assert menu.is_hidden()
        assert close == "Tab" or page.evaluate(FOCUS) == "Change wave 2 of wave"
        button.focus()
        keys.press("Enter")
        menu.wait_for()
    keys.press("ArrowDown")
    keys.press("Enter")
    page.get_by_role("group", name="A new action").get_by_label("Name of the new action").wait_for()
    keys.type("bow")
    keys.press("Enter")
    clips_are(page, 2, 3, 1)


def test_the_end_of_the_server_is_seen_from_anywhere(browser: Browser, taught: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "project")
    _, _, port, keys, stop = start(folder)
    context = browser.new_context(viewport={"width": 1280, "height": 600})
    try:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.goto(f"http://127.0.0.1:{port}/?token={keys.link()}")
        page.locator(".clip").nth(5).wait_for()
        stop()
        page.locator("#lost").wait_for()
        assert page.locator("#status").inner_text() == "Not connected"
        for width in (1280, 380):
            page.set_viewport_size({"width": width, "height": 600})
            for place in (0, 300, 10_000):
                page.evaluate(f"scrollTo(0, {place})")
                box = page.locator("#lost").bounding_box()
                assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 300
            assert page.evaluate("scrollY") > 100
            lies_within(page)
    finally:
        context.close()
        stop()


@pytest.mark.parametrize("example", [False, True])
def test_the_third_step_is_in_sight(ready: Studio, example: bool) -> None:
    """At 1280 by 860, also below the words about the example, and with clips that may be mislabelled."""
    page, clips = ready.tab(1280, 860), ready.project.clips()
    with ready.project.change() as state:
        assert state.trained is not None
        state.example = example
        state.trained.report["suspects"] = [
            {"clip": clip.id, "label": "wave", "looks_like": "push-ups", "reason": "mislabelled", "other": None}
            for clip in clips
        ]
    until(page, f"document.querySelector('#report').textContent.includes('{clips[5].name} is called')")
    until(page, f"document.querySelector('#welcome').hidden === {str(not example).lower()}")
    assert page.evaluate("scrollY") == 0
    for button in ("#try-file", "#try-camera"):
        box = page.locator(button).bounding_box()
        assert box is not None and box["y"] + box["height"] <= 860, button
    assert page.locator(".words li").first.is_visible() and page.locator(".bars").is_hidden()
    page.get_by_text("Each action, and what else is known").click()
    assert page.locator(".bars").is_visible()


def test_wrong_is_whole_on_a_phone(ready: Studio, drawn: Path) -> None:
    page = ready.tab(380, 800)
    page.set_input_files("#try-input", drawn / "film.mp4")
    page.locator(".found li").first.wait_for()
    page.evaluate("document.querySelector('.found .what').textContent = 'an action with quite a long name'")
    assert page.locator(".found .ask").count() > 1
    outside = page.evaluate(
        "(() => { const box = document.querySelector('.found').getBoundingClientRect();"
        "return [...document.querySelectorAll('.found button > *')].filter((e) => {"
        "const own = e.getBoundingClientRect(); return own.left < box.left || own.right > box.right ||"
        "e.scrollWidth > e.clientWidth + 1 && e.clientWidth })"
        ".map((e) => e.textContent) })()"
    )
    assert not outside
    lies_within(page)


def test_a_refusal_is_a_page_for_people_and_json_for_programs(ready: Studio, browser: Browser) -> None:
    start = f"http://127.0.0.1:{ready.port}"
    context = browser.new_context(viewport={"width": 380, "height": 700})
    try:
        page = context.new_page()
        wanted = {
            "/": (401, "This browser has no key to the studio."),
            "/api/model.zip": (401, "This browser has no key to the studio."),
        }
        inside = {
            "/nothing": (404, "There is nothing at this address."),
            "/api/labels": (405, "This address is not for reading."),
            "/api/videos/x/file": (404, "There is no such video any more."),
        }
        for addresses in (wanted, inside):
            for address, (status, words) in addresses.items():
                answer = page.goto(start + address)
                assert answer is not None and answer.status == status, address
                assert page.locator(".what").inner_text() == words and "{" not in page.inner_text("body")
                assert page.evaluate("getComputedStyle(document.querySelector('.what')).fontWeight") == "600", address
                asked = context.request.get(start + address, headers={"accept": "*/*"})
                assert asked.status == status and set(asked.json()) == {"error"}
            page.goto(ready.address)
    finally:
        context.close()


def test_what_is_hardly_a_clip_is_asked_about(ready: Studio, drawn: Path, tmp_path: Path) -> None:
    page = ready.tab()
    grey = write_video(tmp_path / "grey.mp4", np.full((10, 32, 32, 3), 128, np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    one = write_video(tmp_path / "one.mp4", noise)
    still = write_video(tmp_path / "still.mp4", noise.repeat(10, 0))
    card = page.locator(".action").first
    card.locator("input[type=file]").set_input_files([grey, one, drawn / f"wave {UNSEEN}.mp4", still])
    clips_are(page, 4, 3)
    card.locator(".question").nth(3).wait_for()
    grey_said, one_said, still_said, all_said = card.locator(".question").all_inner_texts()
    assert "“grey.mp4” shows one plain colour" in grey_said and "Add it all the same?" in grey_said
    assert "“one.mp4” is a single picture" in one_said and "“still.mp4” does not move" in still_said
    assert "all 3 at once" in all_said
    lies_within(page)
    page.get_by_label("Leave grey.mp4 out").click()
    page.get_by_label("Add one.mp4").click()
    clips_are(page, 5, 3)
    page.reload()
    card.locator(".question", has_text="still.mp4").wait_for()
    assert card.locator(".question").count() == 1, "it waits through a reload"
    page.set_viewport_size({"width": 380, "height": 800})
    lies_within(page)
    page.get_by_label("Leave still.mp4 out").click()
    card.locator(".question").first.wait_for(state="detached")
    assert [video.name for video in ready.project.clips()][-2:] == [f"wave {UNSEEN}.mp4", "one.mp4"]
    assert len(list((ready.project.folder / "videos").iterdir())) == 8


@contextmanager
def crowded(folder: Path, source: Path, strip: Path, actions: int, clips: int) -> Iterator[Path]:
    """A project of very many clips, all of one file."""
    project = Project(folder, {})
    try:
        with project.change() as state:
            state.labels = [Label(f"a{at}", f"action {at}", at) for at in range(actions)]
            for number in range(clips):
                name = f"{number:012x}"
                os.link(source, folder / "videos" / f"{name}.mp4")
                os.link(strip, folder / "strips" / f"{name}-8.jpg")
                state.videos.append(Video(name, f"clip {number}", f"{name}.mp4", 1.0, label=f"a{number % actions}"))
    finally:
        project.close()
    yield folder


def test_very_many_clips_are_folded(opened: Open, taught: Path, tmp_path: Path) -> None:
    video, strip = next((taught / "videos").iterdir()), next((taught / "strips").iterdir())
    with crowded(tmp_path / "many", video, strip, 10, 1500) as folder, opened(folder) as studio:
        page = studio.tab(1280, 860)
        assert page.locator(".clip").count() <= 80 and page.evaluate("document.body.scrollHeight") < 12_000
        assert page.locator(".count").first.inner_text() == "150 clips"
        loaded = page.evaluate(
            "performance.getEntriesByType('resource').filter((e) => e.name.includes('strip')).length"
        )
        assert loaded < 60, "pictures out of sight are not asked for"
        fold = page.get_by_role("button", name="Show all 150 clips").first
        assert fold.get_attribute("aria-expanded") == "false"
        fold.click()
        assert page.locator(".action").first.locator(".clip").count() == 150
        page.get_by_role("button", name="Show the first 6 alone").click()
        assert page.locator(".action").first.locator(".clip").count() == 6
        remove_first_clip(page, 0)
        until(page, "document.querySelector('.count').textContent === '149 clips'")
        assert page.locator(".action").first.locator(".clip").count() == 6
