"""The list of projects: what is in each, opening another in place of the one that is open, and a new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from studio_pages import Studio, clips_are, lies_within, until

from kshot.errors import DataError, KshotError, OptionError
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.guard import COOKIE
from kshot.studio.keys import Keys
from kshot.studio.marks import Stretch, add_marks
from kshot.studio.project import Project
from kshot.studio.projects import Projects
from kshot.studio.server import create_app
from kshot.studio.state import Video

HOST = "127.0.0.1:8470"


@pytest.fixture
def projects(tmp_path: Path) -> Iterator[Projects]:
    """The open project “gym”, “yard” with two actions, a film and a mark, and one that is damaged."""
    with closing(Project(tmp_path / "yard", {})) as yard:
        labels = [yard.add_label(name) for name in ("wave", "bow")]
        yard.add_video(Video("film", "day.mp4", "film.mp4", 100.0, film=True, rate=25.0))
        add_marks(yard, "film", [Stretch(labels[0].id, 1, 2)])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "project.json").write_text("{")
    (tmp_path / "clips").mkdir()
    made = Projects(StudioEngine(Project(tmp_path / "gym", {}), lambda: None))
    yield made
    made.close()


def test_the_projects_beside_the_one_that_is_open_are_listed(projects: Projects, tmp_path: Path) -> None:
    os.utime(tmp_path / "yard" / "project.json", (1, 1))
    assert [(one.name, one.about, one.open) for one in projects.listed()] == [
        ("gym", "empty", True),
        ("yard", "2 actions, 1 clip, 1 long video", False),
        ("broken", "damaged, or of a newer kshot", False),
    ]


def test_another_is_opened_and_the_one_before_given_up(projects: Projects, tmp_path: Path) -> None:
    before = projects.engine
    projects.open("yard")
    assert [label.name for label in projects.engine.project.state.labels] == ["wave", "bow"]
    assert before.work.ending.is_set() and [one.open for one in projects.listed() if one.name == "yard"] == [True]
    Project(tmp_path / "gym", {}).close()  # another server may have it now
    with pytest.raises(DataError, match="is open in another"):
        Project(tmp_path / "yard", {})
    projects.open("  new   one ", new=True)
    assert projects.folder == tmp_path / "new one" and projects.engine.project.fresh
    assert not projects.engine.project.state.example, "a project that a person names begins empty"
    projects.open("new one")
    assert projects.engine.project.folder == tmp_path / "new one"
    assert projects.close()
    Project(tmp_path / "new one", {}).close()


def test_what_cannot_be_opened_leaves_the_open_one_alone(projects: Projects, tmp_path: Path) -> None:
    busy = Project(tmp_path / "busy", {})
    for name, new, told in (
        ("yard", True, "there is a project “yard” already: open it, or choose another name"),
        ("gone", False, "there is no project “gone” any more"), ("clips/../yard", False, "a project is called by"),
        ("..", True, "a project is called by"), ("", True, "a project is called by"), ("a" * 61, True, "1 to 60"),
        (".hidden", True, "a project is called by"), ("busy", False, "is open in another `kshot serve`"),
        ("broken", False, "damaged"),
        ("YARD", True, "there is a project “yard” already: open it, or choose another name"),
        *((device, True, f"“{device}” is the name of a device on Windows: choose another name for the project")
          for device in ("con", "NUL", "Com1", "lpt9.txt", "aux .b.c")),
    ):  # fmt: skip
        with pytest.raises(KshotError, match=told) as caught:
            projects.open(name, new)
        assert "\n" not in str(caught.value) and isinstance(caught.value, DataError | OptionError)
    busy.close()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"a video")
    with pytest.raises(DataError, match="holds other files and is no project"):
        projects.open("clips", new=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "busy", "clips", "gym", "yard"]
    Project(tmp_path / "aux", {}).close()
    projects.open("aux")  # one that is there is opened, whatever it is called
    projects.open("gym")
    assert projects.folder.name == "gym" and projects.engine.project.add_label("wave").name == "wave"


def test_requests_are_of_the_project_that_is_open(projects: Projects) -> None:
    keys = Keys()
    client = TestClient(create_app(projects, Feed(), [HOST], keys), base_url=f"http://{HOST}")
    client.cookies.set(f"{COOKIE}-8470", keys.secret)
    client.headers["origin"] = f"http://{HOST}"
    assert client.get("/api/state").json()["labels"] == []
    assert client.post("/api/projects", json={"name": "yard"}).status_code == 200
    assert [label["name"] for label in client.get("/api/state").json()["labels"]] == ["wave", "bow"]
    assert [one["name"] for one in client.get("/api/projects").json() if one["open"]] == ["yard"]
    refused = client.post("/api/projects", json={"name": "../yard", "new": True})
    assert refused.status_code == 422 and "a project is called by" in refused.json()["error"]


@pytest.mark.slow
def test_projects_are_opened_and_begun_from_the_page(ready: Studio) -> None:
    """By keyboard; what has happened is said, the focus stays, and another tab follows."""
    page, other = ready.tab(1280, 860), ready.tab()
    first = ready.engine.project.folder
    assert page.locator("#project").inner_text().startswith("project")
    page.focus("#project")
    page.keyboard.press("Enter")
    page.get_by_role("menu", name="There is no other project yet").wait_for()
    page.keyboard.press("Enter")  # the only choice
    page.get_by_label("Name of the new project").fill("../yard")
    page.keyboard.press("Enter")
    page.locator("#toast", has_text="A project is called by 1 to 60 letters").wait_for()
    page.get_by_label("Name of the new project").fill("yard")
    page.keyboard.press("Enter")
    for tab in (page, other):
        tab.locator("#project", has_text="yard").wait_for()
        tab.locator("#empty").wait_for()
    page.locator("#aloud", has_text="The project yard is open.").wait_for(state="attached")
    assert page.evaluate("document.activeElement.id") == "project"
    lies_within(page)
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="project: 2 actions, 6 clips").click()
    page.locator("#project", has_text="project").wait_for()
    clips_are(page, 3, 3)
    assert page.locator("#keep").is_visible(), "its model is there, too"
    assert {path.name for path in first.parent.iterdir() if (path / "project.json").exists()} == {"project", "yard"}


def test_a_long_file_is_trimmed_to_a_clip_of_the_action_that_it_was_added_to(studio: Studio, drawn: Path) -> None:
    page, project = studio.tab(1280, 860), studio.project
    wave = project.add_label("wave")
    id, path = project.place(".mp4")
    shutil.copy(drawn / "film.mp4", path)
    studio.engine.doubtful[id] = Video(id, "film.mp4", path.name, 61.0, label=wave.id), "lasts long"  # so it is said
    project.on_change()
    page.locator(".question").wait_for()
    page.get_by_role("button", name="Trim film.mp4").click()
    page.locator(".pending-said", has_text="Press [ where “wave” begins").wait_for()
    page.keyboard.press("[")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("]")
    page.locator(".is-mark").wait_for()
    (mark,) = project.state.marks
    assert mark.label == wave.id and mark.start == 0 and mark.end == pytest.approx(1, abs=0.05)
    assert not studio.engine.doubtful and page.locator(".question").count() == 0
    page.locator(".action .plays").click()  # plays that second
    until(page, "document.querySelector('.marking video').currentTime > 0.2")
    until(page, "document.querySelector('.marking video').paused")
    assert page.evaluate("document.querySelector('.marking video').currentTime") == pytest.approx(mark.end, abs=0.3)


def test_brackets_that_a_keyboard_types_with_another_key_count(studio: Studio, drawn: Path) -> None:
    page, project = studio.tab(1280, 860), studio.project
    id, path = project.place(".mp4")
    shutil.copy(drawn / "film.mp4", path)
    project.add_video(Video(id, "film.mp4", path.name, 6.0, film=True, rate=24.0))
    page.locator("#films button").click()
    said = page.locator(".pending-said p")
    pressed = "{key: '[', ctrlKey: true, bubbles: true}"
    page.evaluate(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {pressed}))")
    assert said.inner_text().startswith("Press [ where an action begins")
    pressed = "{key: '[', ctrlKey: true, altKey: true, modifierAltGraph: true, bubbles: true}"
    page.evaluate(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {pressed}))")
    page.locator(".pending-said", has_text="It begins at 0:00.00").wait_for()
