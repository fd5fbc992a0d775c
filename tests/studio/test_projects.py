"""The list of projects: what is in each, opening another in place of the one that is open, and a new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

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
    ):  # fmt: skip
        with pytest.raises(KshotError, match=told) as caught:
            projects.open(name, new)
        assert "\n" not in str(caught.value) and isinstance(caught.value, DataError | OptionError)
    busy.close()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"a video")
    with pytest.raises(DataError, match="holds other files and is no project"):
        projects.open("clips", new=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "busy", "clips", "gym", "yard"]
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
