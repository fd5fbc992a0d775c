"""Every route with values of every wrong kind: 4xx and a sentence, never a fault, a hang or much memory."""

from __future__ import annotations

import asyncio
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from every_route import every_route
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from kshot.errors import OptionError
from kshot.studio.browser_camera import KEPT, BrowserCamera
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.keys import Keys
from kshot.studio.projects import Projects
from kshot.studio.server import create_app
from recognizers import RED, Colours

pytestmark = pytest.mark.slow

HOST = "127.0.0.1:8470"
KEYS = Keys()
NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e308",
    "1e9999",
    "9" * 400,
    "9" * 5000,
    "0x10",
    "",
    "1,5",
    "\u0661",
    "None",
    "[]",
]
TEXTS = ["", "x" * 5000, "\0", "../../etc/passwd", "\x1b[2J", "\ud800", "[red]", "'; drop table", "%00", "\u202e"]
VALUES: list[Any] = [None, True, -1, 0, 1e308, 10**400, float("nan"), float("-inf"), [], {}, [[]], "x" * 5000, *TEXTS]
TYPES = [
    "application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=x", "application/json; charset=utf-16", "", "x" * 500,
]  # fmt: skip
BODIES = [
    b"", b"{", b"[" * 30_000, b'{"name":' * 5000, b"\xff\xfe{\x00}\x00", b"null", b"1e999", b"NaN", b'"\xed\xa0\x80"',
    b'{"name": "\\ud800"}', b'{"label": "\\ud800", "start": NaN, "end": Infinity}', b'{"film": 2}',
    b'{"name": "a", "name": "b", "other": 1}', b'{"name": ' + b"9" * 5000 + b"}", b"--x--", b"a=b&c=d",
    b'{"film": "maybe"}',
]  # fmt: skip
NAMED = {"id": "x", "t": "1", "width": "8", "height": "8"}  # what some routes need


@pytest.fixture
def camera() -> BrowserCamera:
    """A stream whose model names colours."""
    return BrowserCamera(Colours())  # type: ignore[arg-type]


@pytest.fixture
def client(engine: StudioEngine, camera: BrowserCamera, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A camera is on, streams of events end at once, nothing goes on in the background; a fault comes out of it."""
    monkeypatch.setattr(engine, "camera", lambda id: camera)
    monkeypatch.setattr(engine, "_start_drawing", lambda: None)
    monkeypatch.setattr(engine, "_train", lambda meter: None)
    app = create_app(Projects(engine), Feed(), [HOST], KEYS, 10_000, 30_000, ending=lambda: True)
    made = TestClient(app, base_url=f"http://{HOST}")
    made.headers["authorization"] = f"Bearer {KEYS.secret}"
    return made


def routes(client: TestClient) -> Iterator[tuple[str, APIRoute]]:
    for route in every_route(client.app):  # type: ignore[arg-type]
        for method in sorted(route.methods):
            yield method, route


def queries(route: APIRoute) -> Iterator[str]:
    """Each parameter that a route takes with each wrong value, the others right; and what is no query at all."""
    for parameter in route.dependant.query_params:
        for value in (*NUMBERS, *TEXTS):
            pairs = NAMED | {parameter.name: value}
            yield "&".join(f"{key}={quoted(text)}" for key, text in pairs.items())
    yield from ("", "&&&", "t=1&t=2&id=x&width=8&height=8", "=", "%", "%ff=%fe", "a" * 8000, "t" * 10 + "=1&" * 2000)


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode(errors="surrogatepass"))


def checked(answer: Any, *asked: Any) -> None:
    assert answer.status_code < 500, (asked, answer.text)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        (told,) = answer.json().items()
        assert told[0] == "error" and "\n" not in told[1] and len(told[1]) < 500, asked


def test_wrong_values_in_queries(client: TestClient) -> None:
    varied = set()
    for method, route in routes(client):
        varied |= {parameter.name for parameter in route.dependant.query_params}
        for query in queries(route):
            answer = client.request(method, f"{route.path.replace('{id}', 'x')}?{query}", content=b"x" * 192)
            checked(answer, method, route.path, query[:80])
    assert varied == {
        "id", "t", "width", "height", "name", "label", "source", "group", "frames", "start", "end", "time", "film",
        "format", "proposed",
    }  # fmt: skip


def test_times_of_the_camera_are_numbers_in_order(client: TestClient, camera: BrowserCamera) -> None:
    def at(time: str) -> int:
        return client.post(f"/api/live/frame?id=x&t={time}&width=8&height=8", content=bytes(192)).status_code

    assert [at(time) for time in ("inf", "nan", "-inf", "-1", "1e10", "1e400")] == [422] * 6
    assert [at(time) for time in ("1e6", "1e9", "1e9", "5")] == [200, 200, 422, 422]
    assert camera._course.intervals <= 1


def test_wrong_ids_in_paths(client: TestClient) -> None:
    for (method, route), value in itertools.product(routes(client), (*NUMBERS, *TEXTS)):
        if "{id}" in route.path:
            answer = client.request(method, route.path.replace("{id}", quoted(value) or "%20"), content=b"{}")
            checked(answer, method, route.path, value[:80])


def test_wrong_bodies_and_content_types(client: TestClient) -> None:
    for (method, route), body, kind in itertools.product(routes(client), BODIES, TYPES):
        if route.body_field is None and (body, kind) not in ((BODIES[1], TYPES[0]), (BODIES[2], TYPES[3])):
            continue  # it takes none
        headers = {"content-type": kind} if kind else {}
        answer = client.request(method, route.path.replace("{id}", "x"), content=body, headers=headers)
        checked(answer, method, route.path, body[:40], kind[:40])
    for (method, route), name, value in itertools.product(routes(client), ("name", "label", "start", "film"), VALUES):
        if route.body_field is None:
            continue
        body = json.dumps({"label": "x", "start": 0, "end": 1} | {name: value}).encode()
        headers = {"content-type": TYPES[0]}
        answer = client.request(method, route.path.replace("{id}", "x"), content=body, headers=headers)
        checked(answer, method, route.path, name, str(value)[:40])


def test_wrong_headers(client: TestClient) -> None:
    for name in ("cookie", "authorization", "content-length", "range", "accept", "if-none-match", "if-range", "origin"):
        for value in ("", "x" * 5000, "\xff", "bytes=-", "bytes=" + "0-1," * 2000 + "2-3", "-1", "nan", "=;=;;", "\t"):
            for method, path in (
                ("GET", "/"),
                ("GET", "/api/state"),
                ("GET", "/api/videos/x/file"),
                ("POST", "/api/undo"),
            ):
                answer = client.request(method, path, headers={name: value.encode("latin-1")})
                checked(answer, method, path, name, value[:40])


def test_a_real_clip_with_wrong_stretches(client: TestClient, engine: StudioEngine, clip: Any) -> None:
    wave = engine.project.add_label("wave")
    id = client.post("/api/videos", params={"name": "a.mp4"}, content=clip.read_bytes()).json()["id"]
    for start, end in ((1e9, 1e9), (5, 6), (0.3, 0.1), (0, 0), (1e308, 2), (-1, 2), ("nan", 1)):
        answer = client.patch(f"/api/videos/{id}", json={"label": wave.id, "start": start, "end": end})
        assert answer.status_code == 422, (start, end)
        checked(answer, start, end)
    assert client.get(f"/api/videos/{id}/strip?frames={'9' * 300}").status_code == 200
    assert [video.label for video in engine.project.state.videos] == [None]


@pytest.mark.parametrize("cut", ["upload", "frame", "json"])
def test_a_request_that_is_cut_off_says_nothing(
    client: TestClient, engine: StudioEngine, caplog: pytest.LogCaptureFixture, cut: str
) -> None:
    """The other side is gone in the middle: no traceback, and no file stays."""
    before = set(engine.project.folder.rglob("*"))
    path = {"upload": "/api/videos", "frame": "/api/live/frame", "json": "/api/labels"}[cut]
    query = b"name=a.mp4" if cut == "upload" else b"id=x&t=1&width=8&height=8"
    headers = {"host": HOST, "authorization": f"Bearer {KEYS.secret}", "content-length": "500"}
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()], "http_version": "1.1",
        "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8470),
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": b"x" * 100, "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] < 500 and not caplog.records
    assert set(engine.project.folder.rglob("*")) == before


def test_a_frame_that_settles_nothing_says_how_far_it_is(client: TestClient) -> None:
    answer = client.post("/api/live/frame?id=x&t=0&width=8&height=8", content=bytes(192))
    assert answer.status_code == 200 and list(answer.json()) == ["ready"] and 0 <= answer.json()["ready"] < 1


def pixels(side: int = 16) -> bytes:
    return np.full((side, side, 3), RED, np.uint8).tobytes()


def test_a_jump_in_time_begins_anew_and_costs_nothing(camera: BrowserCamera) -> None:
    step = camera.settings.interval
    for at in range(40):
        camera.add(at * step, pixels(), 16, 16)
    tracemalloc.start()
    told = []
    for begin in (1e6, 9.99e8):
        for at in range(40):
            told.append(camera.add(begin + at * step, pixels(), 16, 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    times = [time for one in told for time in one.times or []]
    assert times == sorted(times) and times[-1] == pytest.approx(9.99e8 + 40 * step, abs=20 * step)
    assert all(time > 1e6 - 60 for time in times[10:]) and told[-1].labels


def test_frames_that_come_too_fast_are_not_all_kept(camera: BrowserCamera) -> None:
    for at in range(5000):
        camera.add(at * camera.settings.window / 5000, pixels(), 16, 16)
    assert len(camera.recent()[0]) <= KEPT + 1
    with pytest.raises(OptionError, match="in the order of their times"):
        camera.add(0, pixels(), 16, 16)
    with pytest.raises(OptionError, match="of one size"):
        camera.add(100, pixels(8), 8, 8)
