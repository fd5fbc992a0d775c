"""What tests of the page share: headless Chromium, a running studio and its tabs, and a project with a model."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kshot.recognizer import Recognizer
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.keys import Keys
from kshot.studio.project import Project
from kshot.studio.projects import Projects
from kshot.studio.server import create_app
from kshot.studio.state import TrainingProgress

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = "/usr/bin/chromium"
LIMIT = 300_000
SEEN = {"wave": (0, 2, 4), "push-ups": (0, 2, 4)}  # action -> numbers of drawn clips
UNSEEN = 20
SLOW = 60_000  # milliseconds that anything may take on a busy machine


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn clips, a film, and what the camera will show, as a raw video."""
    from kshot import video
    from kshot.datasets import motion

    folder = tmp_path_factory.mktemp("drawn")
    for name, numbers in SEEN.items():
        for number in (*numbers, UNSEEN):
            motion.draw(folder / f"{name} {number}.mp4", [(name, number)])
    motion.draw(folder / "film.mp4", [(name, UNSEEN + take) for name in SEEN for take in (0, 1)])
    frames = video.read(folder / f"push-ups {UNSEEN}.mp4", 24)
    with (folder / "camera.y4m").open("wb") as file:
        file.write(b"YUV4MPEG2 W224 H224 F24:1 Ip A1:1 C420jpeg\n")
        for frame in frames.repeat(2, 1).repeat(2, 2):
            planes = av_planes(frame)
            file.write(b"FRAME\n" + planes)
    return folder


def av_planes(frame: np.ndarray) -> bytes:
    import av

    return av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p").to_ndarray().tobytes()


@pytest.fixture(scope="module")
def browser(drawn: Path) -> Iterator[Browser]:
    """Headless Chromium with a camera that shows push-ups; skips where it, or playwright, is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no {CHROMIUM}")
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync"]
    options += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options += [f"--use-file-for-fake-video-capture={drawn / 'camera.y4m'}"]
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=options)
        yield launched
        launched.close()


@dataclass
class Studio:
    """A running server and the tabs that look at it."""

    project: Project
    engine: StudioEngine
    port: int
    keys: Keys
    context: BrowserContext
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    choosers: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.keys.link()}"

    def tab(self, width: int = 1280, height: int = 900) -> Page:
        """A page that reports whatever goes wrong in it, and how much its layout shifts by itself."""
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("filechooser", lambda chooser: self.choosers.append(chooser))
        page.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => {"
            "if (!entry.hadRecentInput) window.shift += entry.value })).observe({type: 'layout-shift', buffered: true})"
        )
        page.goto(self.address)
        until(page, "document.querySelector('#where').textContent")
        return page

    def choose(self, page: Page, *files: Path) -> None:
        """Answers the window for choosing files that Enter opens."""
        page.keyboard.press("Enter")
        while not self.choosers:
            page.wait_for_timeout(20)
        self.choosers.pop().set_files(files)


def start(
    folder: Path, port: int = 0, file_bytes: int = LIMIT, example: bool = False
) -> tuple[Project, StudioEngine, int, Keys, Callable[[], None]]:
    """A server in a thread of this process; the last value ends it."""
    import uvicorn

    from kshot.studio.serve import _listen

    listening = _listen("127.0.0.1", port)
    port = listening.getsockname()[1]
    feed, project, keys = Feed(), Project(folder, {}), Keys()
    project.on_change = feed.announce
    engine = StudioEngine(project, feed.announce)
    engine.begin(example)
    app = create_app(Projects(engine), feed, [f"127.0.0.1:{port}"], keys, file_bytes, ending=lambda: server.should_exit)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()
        engine.close()
        project.close()

    return project, engine, port, keys, stop


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """`with opened(folder, port) as studio`: a running studio, and a browser in which nothing outside is answered."""

    @contextmanager
    def run(folder: Path = tmp_path / "project", port: int = 0, example: bool = False) -> Iterator[Studio]:
        project, engine, port, keys, stop = start(folder, port, example=example)
        context = browser.new_context(reduced_motion="reduce")
        made = Studio(project, engine, port, keys, context)

        def gate(route: Any) -> None:
            if route.request.url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:")):
                route.continue_()
            else:
                made.strangers.append(route.request.url)
                route.abort()

        context.route("**/*", gate)
        try:
            yield made
        finally:
            context.close()
            stop()
        assert not made.strangers, "the page asked another server"
        expected = ("422", "413", "404", "ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY")
        unexpected = [text for text in made.complaints if not any(known in text for known in expected)]
        assert not unexpected, unexpected

    yield run


@pytest.fixture
def studio(opened: Open) -> Iterator[Studio]:
    """An empty studio."""
    with opened() as made:
        yield made


def until(page: Page, told: str) -> None:
    """Waits until a JavaScript expression holds. The page's policy lets nothing in it do that by itself."""
    deadline = time.monotonic() + SLOW / 1000
    while not page.evaluate(told):
        assert time.monotonic() < deadline, f"never came true: {told}"
        page.wait_for_timeout(50)


def clips_are(page: Page, *counts: int) -> None:
    """Waits until the actions have so many clips."""
    rows = "[...document.querySelectorAll('.action')].map((e) => e.querySelectorAll('.clip').length).join()"
    until(page, f"{rows} === '{','.join(map(str, counts))}'")


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until what has the focus is called `name`; a person without a mouse does no more."""
    for _ in range(120):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(() => { const e = document.activeElement; const label = e.labels?.[0]?.textContent;"
            "return [e.getAttribute('aria-label') || label || e.textContent, getComputedStyle(e).outlineStyle] })()"
        )
        if found[0].strip() == name:
            assert found[1] != "none", f"the focus on {name} cannot be seen"
            return
    raise AssertionError(f"Tab does not lead to {name}")


def lies_within(page: Page) -> None:
    """The page does not scroll sideways, and every control has a name."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, a[href], input, select, video, [role=progressbar]')].filter((e) =>"
        "e.checkVisibility() && !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') ||"
        "e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert not nameless
    assert not page.evaluate("[...document.images].filter((e) => !e.hasAttribute('alt')).length")


@pytest.fixture(scope="session")
def taught(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model knows the actions; tests work on copies."""
    folder = tmp_path_factory.mktemp("taught") / "project"
    project = Project(folder, {"method": "prototype"})
    with closing(project), closing(StudioEngine(project, lambda: None)) as engine:
        for name, numbers in SEEN.items():
            label = project.add_label(name)
            for number in numbers:
                id, path = project.place(".mp4")
                shutil.copy(drawn / f"{name} {number}.mp4", path)
                engine.receive(id, path, f"{name} {number}", "file", label.id)
        engine.train()
        assert engine._training is not None
        engine._training.join()
        assert project.state.training == TrainingProgress("done")
    return folder


@pytest.fixture
def ready(opened: Open, taught: Path, tmp_path: Path) -> Iterator[Studio]:
    """A studio with a taught model."""
    with opened(shutil.copytree(taught, tmp_path / "project")) as made:
        yield made


class Slow:
    """Stands in for `Recognizer.fit`: makes one step each time it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Semaphore(0)
        real, slow = Recognizer.fit, self

        def fit(self: Any, videos: Any, labels: Any, groups: Any = None, progress: Any = None) -> Any:
            with progress("learning slowly", 4, "steps") as step:
                for _ in range(4):
                    while not slow.go.acquire(timeout=0.02):
                        step(0)
                    step()
            return real(self, videos, labels, groups)

        monkeypatch.setattr(Recognizer, "fit", fit)
