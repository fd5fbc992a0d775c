"""Plays through the studio in headless Chromium and writes docs/img/studio-*.png.

python scripts/studio_shots.py [FOLDER]
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import av
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from kshot import video
from kshot.datasets import motion
from kshot.studio.serve import serve

CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]
OPTIONS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


def shots(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, _served(Path(place) / "kshot-studio") as address:
        camera = _camera(Path(place))
        with sync_playwright() as running:
            options = [*OPTIONS, f"--use-file-for-fake-video-capture={camera}"]
            browser = running.chromium.launch(executable_path=CHROMIUM, args=options)

            inside: list[Any] = [None]  # the cookie that the link gave, which works once

            def tab(width: int, height: int, scheme: str) -> Page:
                size: Any = {"width": width, "height": height}
                kind: Any = scheme
                context = browser.new_context(
                    viewport=size, color_scheme=kind, reduced_motion="reduce", storage_state=inside[0]
                )
                page = context.new_page()
                page.set_default_timeout(300_000)
                page.goto(address)
                inside[0] = context.storage_state()
                page.locator(".action").nth(3).locator(".clip").nth(4).wait_for()
                page.wait_for_timeout(800)
                return page

            def save(page: Page, name: str, part: str = "") -> None:
                page.mouse.move(0, 0)
                page.wait_for_timeout(700)
                shown: Any = page.locator(part) if part else page
                shown.screenshot(path=folder / f"studio-{name}.png")

            page = tab(1280, 860, "light")
            save(page, "example")
            page.click("#teach-go")
            page.locator("#keep").wait_for()
            page.set_viewport_size({"width": 1280, "height": 1000})
            save(page, "taught")
            page.click("#try-film")
            page.locator(".found").wait_for()
            page.set_viewport_size({"width": 1280, "height": 1300})
            save(page, "film", "#try")
            page.get_by_label("Record wave").click()
            save(page, "record", "#recorder")
            page.keyboard.press("Escape")

            dark = tab(1280, 1300, "dark")
            dark.click("#try-camera")
            dark.locator("#live .tag[data-label]").wait_for()
            dark.wait_for_timeout(9000)
            save(dark, "camera", "#try")
            dark.click("#try-camera")

            for scheme in ("light", "dark"):
                phone = tab(380, 820, scheme)
                for name in ("show", "teach", "try"):
                    phone.locator(f"#{name}").evaluate("(node) => node.scrollIntoView()")
                    save(phone, f"phone-{scheme}-{name}")
            own = tab(1280, 700, "light")
            own.click("#own")
            own.locator("#empty").wait_for()
            save(own, "empty", "main")
            _mark(own, Path(place))
            own.set_viewport_size({"width": 1280, "height": 860})
            save(own, "marking")
            browser.close()
    phones = [folder / f"studio-phone-{scheme}-{name}.png" for name in ("show", "teach", "try") for scheme in SCHEMES]
    _row([phones[0], phones[3], phones[4]], folder / "studio-phone.png")
    for path in phones:
        path.unlink()
    for path in folder.glob("studio-*.png"):
        _shrink(path)


SCHEMES = ("light", "dark")


def _mark(page: Page, folder: Path) -> None:
    """Opens a film, marks two stretches of each of two actions in it, teaches them, and has the rest found."""
    names = ("wave", "bow")
    motion.draw(folder / "lesson.mp4", [(names[number // 2 % 2], 40 + number) for number in range(16)])
    length = video.scan(folder / "lesson.mp4").seconds / 16
    page.set_input_files("#film-input", folder / "lesson.mp4")
    page.locator(".marking").wait_for()

    def ask(path: str, body: Any) -> Any:
        how = json.dumps({"method": "POST", "body": json.dumps(body), "headers": {"content-type": "application/json"}})
        return page.evaluate(f"fetch({json.dumps(path)}, {how}).then((answer) => answer.json())")

    ids = [ask("/api/labels", {"name": name})["id"] for name in names]
    film = page.evaluate("fetch('/api/state').then((answer) => answer.json())")["films"][0]["id"]
    parts = [{"label": ids[at // 2], "start": at * length, "end": (at + 0.95) * length} for at in range(4)]
    ask(f"/api/films/{film}/marks", {"stretches": parts})
    page.locator(".is-mark").nth(3).wait_for()
    page.click("#teach-go")
    page.locator("#keep").wait_for()
    page.get_by_role("button", name="Find the actions in it").click()
    page.locator(".is-proposal").first.wait_for()
    page.locator(".is-proposal .go").first.click()
    if (close := page.get_by_label("Close the message")).is_visible():
        close.click()
    page.evaluate("scrollTo(0, 0)")


def _shrink(path: Path) -> None:
    """To 256 colours: those of the page stay what they are, the rest are for the filmstrips."""
    named = re.findall(r"#([0-9a-f]{6})\b", resources.files("kshot.studio").joinpath("page", "style.css").read_text())
    page = [bytes.fromhex(one) for one in dict.fromkeys(named)]
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    rest = picture.quantize(256 - len(page), dither=Image.Dither.NONE).getpalette() or []
    colours = Image.new("P", (1, 1))
    colours.putpalette(b"".join(page) + bytes(rest[: 3 * (256 - len(page))]))
    picture.quantize(palette=colours, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def _served(project: Path) -> Iterator[str]:
    """The studio in a thread that ends with this process."""
    told: list[str] = []
    options: dict[str, Any] = {"project": project, "port": 0, "browser": False}
    options["announce"] = lambda where: told.append(where["address"])
    threading.Thread(target=serve, kwargs=options, daemon=True).start()
    while not told:
        time.sleep(0.05)
    yield told[0]


def _camera(folder: Path) -> Path:
    """What the camera shows: an unseen performer, as a raw video."""
    motion.draw(folder / "seen.mp4", [("jumping jacks", 30), ("jumping jacks", 31), ("bow", 30), ("bow", 31)])
    path = folder / "camera.y4m"
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W448 H336 F24:1 Ip A1:1 C420jpeg\n")
        for _, frame in video.iterate(folder / "seen.mp4"):
            picture = av.VideoFrame.from_ndarray(frame[14:98], "rgb24")
            planes = picture.reformat(width=448, height=336, format="yuv420p").to_ndarray()
            file.write(b"FRAME\n" + planes.tobytes())
    return path


def _row(paths: list[Path], out: Path) -> None:
    pictures = [Image.open(path).convert("RGB") for path in paths]
    sheet = Image.new("RGB", (sum(p.width + 16 for p in pictures) - 16, max(p.height for p in pictures)), "#808080")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + 16
    sheet.save(out)


if __name__ == "__main__":
    shots(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "img")
