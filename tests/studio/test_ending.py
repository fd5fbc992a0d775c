"""How a server ends, as a process of its own: nothing is written after its project is given up, and nothing is lost."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from clips import draw, write_video
from kshot.backbones.backbone import Backbone
from kshot.errors import DataError
from kshot.recognizer import Recognizer
from kshot.studio import engine as engines
from kshot.studio.engine import StudioEngine
from kshot.studio.project import Closed, Project
from kshot.studio.state import ModelRecord, TrainingProgress
from kshot.studio.view import model_view, page_state

pytestmark = pytest.mark.slow

EMPTY = ModelRecord("m", 0.0, {}, [], {})
SLOW = 120.0  # seconds that anything may take on a busy machine

# The model takes for ever: in steps at which it can be stopped, or in one piece.
SERVER = """
import os, sys, time
import kshot.recognizer
from kshot.cli import main
from kshot.studio import engine
how = sys.argv[2]
def timeline(self, video, progress=None, **_):
    open(sys.argv[3], "w").close()
    while how == "in one piece":
        time.sleep(0.05)
    with progress("looking", 100, "seconds") as step:
        while True:
            time.sleep(0.02)
            step(0.1)
def fit(self, videos, labels, groups=None, progress=None):
    with progress("learning slowly", 100, "steps") as step:
        while True:
            time.sleep(0.02)
            step(0.1)
kshot.recognizer.Recognizer.timeline = timeline
kshot.recognizer.Recognizer.fit = fit
engine.StudioEngine.close.__defaults__ = (1.0,)
main(["serve", "--project", sys.argv[1], "--port", "0", "--json", *sys.argv[4:]])
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video that is much longer than a taught clip."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("film")
    return write_video(folder / "film.mp4", np.concatenate([draw(0, 30, rng)] * 4)).read_bytes()


@pytest.fixture(scope="module")
def taught(backbone: Backbone, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model; tests work on copies."""
    folder, rng = tmp_path_factory.mktemp("taught"), np.random.default_rng(0)
    settings = {"backbone": str(clip_folder), "method": "prototype"}
    with closing(Project(folder / "p", settings)) as project, closing(StudioEngine(project, lambda: None)) as engine:
        for number, word in enumerate(("clap", "wave")):
            label = project.add_label(word)
            for clip in range(3):
                id, path = project.place(".mp4")
                write_video(path, draw(number, 3, rng))
                engine.receive(id, path, f"{word} {clip}", "file", label.id)
        engine.train()
        assert engine._training is not None
        engine._training.join()
        assert project.state.training == TrainingProgress("done")
    return folder / "p"


@pytest.fixture
def folder(taught: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(taught, tmp_path / "project"))


class Server:
    """A server in a process, and a browser for it."""

    def __init__(self, folder: Path, mark: Path, how: str, *options: str, environment: dict[str, str]) -> None:
        self.terminal, inner = pty.openpty()
        self.mark = mark
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder), how, str(mark), *options],
            stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
            preexec_fn=lambda: (os.setsid(), __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0)),
        )  # fmt: skip
        os.close(inner)
        self.address = self.told()["address"]
        self.base = self.address.partition("/?")[0]
        self.client = self.opened(self.address)

    def told(self) -> dict[str, str]:
        """The next that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        told: dict[str, str] = json.loads(line)
        return told

    def opened(self, address: str) -> httpx.Client:
        """A browser that opens the page with a link."""
        client = httpx.Client(base_url=self.base, headers={"origin": self.base}, timeout=SLOW)
        assert client.get(address).status_code == 200
        return client

    def look(self, film: bytes) -> str:
        """Puts a film in to be tried, and waits until the model is at it."""
        id: str = self.client.post("/api/videos", params={"name": "film.mp4"}, content=film).json()["id"]
        until(self.mark.exists)
        (video,) = (one for one in self.client.get("/api/state").json()["tried"] if one["id"] == id)
        assert video["waiting"] and video["answer"] is None
        return id

    def end(self, sign: int = signal.SIGINT) -> tuple[int, str]:
        """Sends a signal and waits for the end; exit code and stderr."""
        self.process.send_signal(sign)
        _, err = self.process.communicate(timeout=SLOW)
        return self.process.returncode, err


def until(told: Callable[[], object]) -> None:
    deadline = time.monotonic() + SLOW
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def served(folder: Path, tmp_path: Path, how: str, *options: str, **environment: str) -> Iterator[Server]:
    options = options or ("--no-browser",)
    server = Server(folder, tmp_path / "at-it", how, *options, environment=environment)
    try:
        yield server
    finally:
        server.client.close()
        os.close(server.terminal)
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def reopened(folder: Path) -> Project:
    """The project as the next server opens it, as soon as it can."""
    deadline = time.monotonic() + SLOW
    while True:
        try:
            return Project(folder, {})
        except DataError as error:
            assert "is open in another" in str(error) and time.monotonic() < deadline, error
            time.sleep(0.01)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("how", "sign"),
    [("in steps", signal.SIGINT), ("in one piece", signal.SIGINT), ("in steps", signal.SIGTERM)],
)
def test_ended_while_a_video_is_looked_at(folder: Path, film: bytes, tmp_path: Path, how: str, sign: int) -> None:
    """The next server has the project as soon as it is given up; from then on the first one writes nothing."""
    with served(folder, tmp_path, how) as server:
        id = server.look(film)
        ended: list[Any] = []
        waiting = threading.Thread(target=lambda: ended.append(server.end(sign)))
        waiting.start()
        with closing(reopened(folder)) as project:
            project.add_label("saved by the next")
            after = files(folder)
            waiting.join(SLOW)
            assert ended == [(0, "kshot: the studio is closed; the same command opens it again\n")]
            time.sleep(0.3)
            assert files(folder) == after
            assert [label.name for label in project.state.labels] == ["clap", "wave", "saved by the next"]
            assert project.video(id).prediction is None and not project.video(id).error


def test_ctrl_c_twice_and_killed(folder: Path, film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The video that was being looked at is there, without an answer, and can be tried again."""
    with served(folder, tmp_path, "in one piece") as server:
        id = server.look(film)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        code, err = server.end()
        assert code in (0, 130) and "Traceback" not in err
    (tmp_path / "at-it").unlink()
    with served(folder, tmp_path, "in one piece") as server:
        (tried,) = server.client.get("/api/state").json()["tried"]
        assert (tried["id"], tried["answer"], tried["waiting"], tried["error"]) == (id, None, False, "")
        assert not server.mark.exists(), "it is not taken up by itself: it may have been what ended the server"
        assert server.client.post(f"/api/videos/{id}/again").status_code == 200
        until(server.mark.exists)
        assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with closing(reopened(folder)) as project, closing(StudioEngine(project, lambda: None)) as engine:
        engine.begin()
        assert not page_state(engine, 1).tried[0].waiting
        with engine.trained._mutex:
            engine.predictions.retry(id)
            assert page_state(engine, 1).tried[0].waiting
        until(lambda: not page_state(engine, 1).tried[0].waiting)
        answer = project.video(id).prediction
        assert answer is not None and answer.kind == "film" and project.state.trained is not None
        assert answer.model == project.state.trained.model


def test_ended_while_teaching_and_taking_in(folder: Path, film: bytes, tmp_path: Path) -> None:
    """Nothing half done stays, and nothing but one line is said of it: nor of an upload that the browser cut off."""
    taken = len(list((folder / "videos").iterdir()))
    with served(folder, tmp_path, "in steps") as server:
        assert server.client.post("/api/teach").status_code == 200
        host, port = server.base.removeprefix("http://").split(":")
        cookie = "; ".join(f"{name}={value}" for name, value in server.client.cookies.items())
        head = (
            f"POST /api/videos?name=a.mp4 HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {server.base}\r\n"
            f"Cookie: {cookie}\r\nContent-Length: {len(film)}\r\n\r\n"
        )
        cut, open_ = (socket.create_connection((host, int(port))) for _ in range(2))
        for one in (cut, open_):
            one.sendall(head.encode() + film[: len(film) // 2])
        until(lambda: len(list((folder / "videos").glob("*.part"))) == 2)
        cut.close()
        until(lambda: len(list((folder / "videos").glob("*.part"))) == 1)
        code, err = server.end(signal.SIGTERM)
        open_.close()
    assert code == 0 and err == "kshot: the studio is closed; the same command opens it again\n"
    assert len(list((folder / "videos").iterdir())) == taken
    with closing(reopened(folder)) as project:
        assert project.state.training == TrainingProgress("interrupted")
        assert len(list((folder / "models").iterdir())) == 1


def test_links_of_a_start(folder: Path, tmp_path: Path) -> None:
    """Each opens one browser; what the arguments of the browser show is used up; Enter gives another."""
    seen = tmp_path / "arguments"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$@" > {seen}.part && mv {seen}.part {seen}\n')
    script.chmod(0o755)
    options = ("--host", "127.0.0.1")
    with served(folder, tmp_path, "in steps", *options, DISPLAY=":0", BROWSER=f"{script} %s") as server:
        until(seen.exists)
        link = seen.read_text().strip()
        assert link.startswith(f"{server.base}/?token=") and link != server.address
        browser = server.opened(link)
        for used in (link, server.address):
            answer = httpx.get(used, headers={"accept": "text/html"}, timeout=SLOW)
            assert answer.status_code == 401 and "press Enter in the terminal" in answer.text
        assert browser.get("/api/state").status_code == server.client.get("/api/state").status_code == 200
        os.write(server.terminal, b"\n")
        another = server.told()["address"]
        assert another not in (link, server.address)
        assert server.opened(another).get("/api/state").status_code == 200
        arguments = Path(f"/proc/{server.process.pid}/cmdline")
        assert not arguments.exists() or b"token" not in arguments.read_bytes()
        secret = next(iter(server.client.cookies.values()))
        assert not [name for name, data in files(folder).items() if secret.encode() in data]
        second = subprocess.run(
            [sys.executable, "-m", "kshot.cli", "serve", "--project", str(folder), "--port", "0", "--no-browser"],
            capture_output=True, text=True, timeout=SLOW, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert (second.returncode, second.stdout, second.stderr.count("\n")) == (2, "", 1)
        assert "is open in another `kshot serve`" in second.stderr


def test_nothing_is_written_to_a_project_that_was_given_up(taught: Path, tmp_path: Path) -> None:
    project = Project(Path(shutil.copytree(taught, tmp_path / "p")), {})
    engine = StudioEngine(project, lambda: None)
    go, told = threading.Event(), list[bool]()
    engine.work.start("test", go.wait)
    told.append(engine.close(0.05))
    go.set()
    told.append(engine.close(SLOW))
    assert told == [False, True]
    project.close()
    before = files(project.folder)
    for change in (lambda: project.add_label("late"), lambda: project.set_trained(EMPTY), project.clear, project.undo):
        with pytest.raises(Closed):
            change()
    with suppress(Exception):
        engine.train()
    engine.predictions.add("x")
    assert files(project.folder) == before and not engine.predictions.waiting


def test_a_change_of_an_older_generation_is_refused(taught: Path, tmp_path: Path) -> None:
    """On a disk that keeps no locks: two servers have the same project."""
    folder = Path(shutil.copytree(taught, tmp_path / "p"))
    first = Project(folder, {})
    (folder / "lock").unlink()
    (folder / "lock").touch()
    second = Project(folder, {})
    second.add_label("second")
    held = files(folder)
    with pytest.raises(DataError, match="another `kshot serve` has changed the project"):
        first.add_label("first")
    assert files(folder) == held and len(first.state.labels) == 2
    second.add_label("third")
    first.close()
    second.close()
    with closing(Project(folder, {})) as again:
        assert [label.name for label in again.state.labels] == ["clap", "wave", "second", "third"]


def test_a_model_of_another_backbone_asks_to_be_taught_again(taught: Path, clip_folder: Path, tmp_path: Path) -> None:
    """Another folder with the same weights is the same; another model, or one changed in its place, is not."""
    moved = Path(shutil.copytree(clip_folder, tmp_path / "moved"))
    folder = Path(shutil.copytree(taught, tmp_path / "p"))

    def told(settings: dict[str, str]) -> tuple[bool, str]:
        with closing(Project(folder, settings)) as project, closing(StudioEngine(project, lambda: None)) as engine:
            engine.begin()
            assert engine._ready is not None
            engine._ready.join()
            seen = model_view(engine)
            return seen.stale, seen.changed

    assert told({}) == (False, "") and told({"backbone": str(moved)}) == (False, "")
    stale, why = told({"backbone": "kshot-tiny"})
    assert stale and "taught on the backbone" in why and "kshot-tiny" in why
    assert told({"backbone": str(moved)}) == (False, "")
    config = json.loads((moved / "preprocessor_config.json").read_text())
    (moved / "preprocessor_config.json").write_text(json.dumps(config | {"image_mean": [0.1, 0.2, 0.3]}))
    stale, why = told({})
    assert stale and "taught on the backbone" in why
    with closing(Project(folder, {})) as project, closing(StudioEngine(project, lambda: None)) as engine:
        engine.trained.check()
        engine.train()
        assert engine._training is not None
        engine._training.join()
        seen = model_view(engine)
        assert project.state.training == TrainingProgress("done") and not seen.stale and seen.changed == ""
        assert engines.GRACE > 0 and isinstance(engine.trained.model(), Recognizer)
