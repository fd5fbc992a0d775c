"""Memory of the studio with an hour of film: marks, teaches, looks through it, and prints what server and page took.

python scripts/studio_hour.py [--minutes 60] [--film FILM.mp4] [--backbone kshot-tiny]

The film is drawn: 640x360, a minute of three actions, over and over. `kshot-tiny`, which knows such figures, finds them
all: the page then holds as many proposals as an hour can have. By default it is taught on the backbone of real films.
Linux alone (memory is read from /proc).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from kshot import video
from kshot.datasets import motion

CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ACTIONS = ("wave", "push-ups", "bow")
MARKED = 9  # stretches from the beginning of the film
RATE = 25
Stretch = tuple[float, float, str]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--minutes", type=int, default=60)
    asked.add_argument("--film", type=Path)
    asked.add_argument("--backbone")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="kshot-hour-") as place:
        folder = Path(place)
        minute, truth = _minute(folder)
        film = given.film or _repeated(minute, folder / "film.mp4", given.minutes)
        with _served(folder / "project", given.backbone) as (address, server):
            watch = Watch(server)
            seconds, found = _play(address, film, truth, watch)
            watch.end()
        print(f"film: {seconds:.0f} s, {film.stat().st_size / 1e6:.0f} MB; {found} actions found")
        print(f"server: {watch.server / 1e6:.0f} MB at most; all its children at once {watch.children / 1e6:.0f} MB")
        print(f"page: {watch.page / 1e6:.0f} MB at most")


def _play(address: str, film: Path, truth: list[Stretch], watch: Watch) -> tuple[float, int]:
    """What a person does, in a browser; the length of the film and the number of actions that were found in it."""
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(3_600_000)
        page.goto(address)
        page.locator(".action").nth(3).locator(".clip").nth(4).wait_for()
        watch.begin()
        page.click("#own")
        page.locator("#empty").wait_for()
        page.set_input_files("#film-input", film)
        page.locator(".marking").wait_for()
        for name in ACTIONS:
            _ask(page, "POST", "/api/labels", {"name": name})
        state = _ask(page, "GET", "/api/state")
        ids = {label["name"]: label["id"] for label in state["labels"]}
        stretches = [{"label": ids[name], "start": start, "end": end} for start, end, name in truth[:MARKED]]
        shown = state["films"][0]
        _ask(page, "POST", f"/api/films/{shown['id']}/marks", {"stretches": stretches})
        page.locator(".is-mark").nth(MARKED - 1).wait_for()
        for share in (0.25, 0.5, 0.75, 0.99):  # about in it, as a person who looks for something
            box: Any = page.locator(".whole").bounding_box()
            page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            page.wait_for_timeout(1500)
        page.click("#teach-go")
        page.locator("#keep").wait_for()
        page.get_by_role("button", name="Find the actions in it").click()
        page.get_by_role("button", name="Look through it again").wait_for()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("n")
        page.locator(".pending-said").get_by_role("button", name="Agree").click()
        page.locator("#teach-said", has_text="The clips have changed since").wait_for()
        page.click("#teach-go")
        page.locator("#teach-go", has_text="Taught.").wait_for()
        page.wait_for_timeout(1000)
        segments = _ask(page, "GET", "/api/state")["films"][0]["answer"]["segments"]
        found = sum(one["score"] is not None for one in segments)
        browser.close()
    return shown["seconds"], found


def _ask(page: Page, method: str, path: str, body: Any = None) -> Any:
    """A request of the page's own."""
    how = json.dumps({"method": method} | ({} if body is None else {"body": json.dumps(body)}))
    call = f"fetch({json.dumps(path)}, {{...{how}, headers: {{'content-type': 'application/json'}}}})"
    return page.evaluate(f"{call}.then((answer) => answer.json())")


class Watch:
    """The most memory (resident, in bytes) of the server, its children together, and the page's process.

    Args:
        server: id of its process.

    Attributes:
        server: bytes of the server.
        children: bytes of all its children at once.
        page: bytes of the largest process that draws a page.
    """

    def __init__(self, server: int) -> None:
        self._id, self.server, self.children, self.page = server, 0, 0, 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ends.wait(0.2):
            parents, lines, sizes = _processes()
            mine = _below(self._id, parents)
            self.server = max(self.server, sizes.get(self._id, 0))
            self.children = max(self.children, sum(sizes.get(one, 0) for one in mine))
            drawing = [sizes[one] for one, line in lines.items() if "--type=renderer" in line and "chromium" in line]
            self.page = max([self.page, *drawing])


def _processes() -> tuple[dict[int, int], dict[int, str], dict[int, int]]:
    """Of each process of this machine the parent, the command line, and the resident bytes."""
    parents, lines, sizes = {}, {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                one = int(folder.name)
                parents[one] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                lines[one] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                sizes[one] = int((folder / "statm").read_text().split()[1]) * 4096
    return parents, lines, sizes


def _below(top: int, parents: dict[int, int]) -> set[int]:
    found, new = set[int](), {top}
    while new:
        new = {one for one, parent in parents.items() if parent in new} - found
        found |= new
    return found


@contextmanager
def _served(project: Path, backbone: str | None) -> Iterator[tuple[str, int]]:
    named = [] if backbone is None else ["--backbone", backbone]
    command = [sys.executable, "-m", "kshot.cli", "serve", "--project", str(project), "--port", "0", "--no-browser"]
    server = subprocess.Popen([*command, *named, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["address"], server.pid
    finally:
        server.terminate()
        server.wait()


def _minute(folder: Path) -> tuple[Path, list[Stretch]]:
    """A film of about a minute, 640x360, and what it shows when."""
    path, truth, shown = folder / "minute.mp4", list[Stretch](), 0
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "28", "g": "50"})
        stream.pix_fmt, stream.width, stream.height = "yuv420p", 640, 360
        for number in range(40):
            name, clip = ACTIONS[number % 3], folder / f"clip-{number % 9}.mp4"
            if not clip.exists():
                motion.draw(clip, [(name, number)])
            frames = video.read(clip, round(video.scan(clip).seconds * RATE), size=180)
            start = shown
            for frame in [*frames, *[frames[-1]] * 20]:
                picture = np.full((360, 640, 3), 90, np.uint8)
                picture[:, 140:500] = np.asarray(Image.fromarray(frame).resize((360, 360)))
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                shown += 1
            truth.append((start / RATE, (start + len(frames)) / RATE, name))
            if shown >= 60 * RATE:
                break
        file.mux(stream.encode())
    return path, truth


def _repeated(minute: Path, out: Path, times: int) -> Path:
    """The same film so many times over, without decoding it."""
    with av.open(str(minute)) as first, av.open(str(out), "w", format="mp4") as file:
        stream, offset = file.add_stream_from_template(first.streams.video[0]), 0
        for _ in range(times):
            end = offset
            with av.open(str(minute)) as source:
                for packet in source.demux(video=0):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        end, packet.stream = max(end, packet.pts + (packet.duration or 0)), stream
                        file.mux(packet)
            offset = end
    return out


if __name__ == "__main__":
    main()
