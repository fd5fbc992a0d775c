"""The routes: who may use them, what they take, and what they say of it."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from every_route import every_route
from starlette.testclient import TestClient

from forks import Command
from kshot import video
from kshot.errors import OptionError, VideoError
from kshot.studio import engine as engines
from kshot.studio.annotations import formats
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.guard import SMALL
from kshot.studio.keys import Keys
from kshot.studio.projects import Projects
from kshot.studio.routes.camera import FRAME_BYTES
from kshot.studio.routes.page import FOLDER, PAGE
from kshot.studio.serve import serve
from kshot.studio.server import create_app
from kshot.studio.state import Edit, Label, ModelRecord, PredictedSegment, Prediction, TrainingProgress, Video

HOST = "127.0.0.1:8470"
KEYS = Keys()
LIMIT = 100_000
STRANGER = "http://evil.example"
IMPORT = "open the film that they are of, and press Import there"


@pytest.fixture
def client(engine: StudioEngine) -> TestClient:
    """A client with the secret; a fault of ours comes out of it."""
    app = create_app(Projects(engine), Feed(), [HOST], KEYS, file_bytes=LIMIT, project_bytes=3 * LIMIT)
    made = TestClient(app, base_url=f"http://{HOST}")
    made.headers["authorization"] = f"Bearer {KEYS.secret}"
    return made


def routes(client: TestClient) -> Iterator[tuple[str, str]]:
    """Method and path of every route, and of some that do not exist."""
    for route in every_route(client.app):  # type: ignore[arg-type]
        for method in sorted(route.methods):
            yield method, route.path.replace("{id}", "x")
    yield from (("GET", "/nowhere"), ("POST", "/nowhere"), ("OPTIONS", "/api/labels"), ("PUT", "/api/videos"))


def files(engine: StudioEngine) -> set[str]:
    return {str(path.relative_to(engine.project.folder)) for path in engine.project.folder.rglob("*") if path.is_file()}


def snapshot(engine: StudioEngine) -> dict[str, bytes]:
    return {name: (engine.project.folder / name).read_bytes() for name in files(engine)}


def test_every_route_asks_for_host_token_and_origin(client: TestClient, engine: StudioEngine) -> None:
    before, asked = snapshot(engine), 0
    token = {"authorization": client.headers["authorization"]}
    for method, path in routes(client):
        asked += 1
        for host in ("evil.example", "evil.example:8470", "127.0.0.1:9", "127.0.0.1", ""):
            answer = client.request(method, path, headers={"host": host, "origin": f"http://{HOST}", **token})
            assert answer.status_code == 400, (method, path, host)
        stranger = TestClient(client.app, base_url=f"http://{HOST}")
        answer = stranger.request(method, path, headers={"origin": f"http://{HOST}"})
        assert answer.status_code == 401 and "kshot serve" in answer.json()["error"], (method, path)
        if method != "GET":
            for origin in (STRANGER, "null", "http://127.0.0.1:9", f"https://{HOST}", ""):
                answer = client.request(method, path, headers={"origin": origin, **token})
                assert answer.status_code == 403, (method, path, origin)
            cookie = {"cookie": f"kshot-studio-8470={KEYS.secret}"}
            assert stranger.request(method, path, headers=cookie).status_code == 403, "a browser that hides its origin"
    assert asked > 20 and snapshot(engine) == before


def test_nothing_is_shared_with_other_origins(client: TestClient) -> None:
    for method, path, headers in (
        ("GET", "/api/state", {"origin": STRANGER}),
        ("OPTIONS", "/api/labels", {"origin": STRANGER, "access-control-request-method": "POST"}),
        ("GET", "/", {}),
    ):
        answer = client.request(method, path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_the_address_opens_the_page_and_a_cookie_keeps_it_open(client: TestClient, engine: StudioEngine) -> None:
    browser, link = TestClient(client.app, base_url=f"http://{HOST}"), KEYS.link()
    assert browser.get("/", params={"token": "x" * 43}).status_code == 401
    assert browser.get("/", params={"token": KEYS.secret}).status_code == 401, "the secret is no link"
    for path in ("/api/state", "/app.js"):
        assert browser.get(path, params={"token": link}).status_code == 401, "only the page itself"
    assert browser.head("/", params={"token": link}).status_code == 401
    assert browser.get("/", params={"token": link}, headers={"host": "evil.example"}).status_code == 400
    opened = browser.get("/", params={"token": link})
    assert opened.status_code == 200 and "<title>kshot studio" in opened.text
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith("kshot-studio-8470=") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert link not in cookie
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    assert {"/", "/style.css", "/app.js"} <= set(PAGE)
    for path, name in PAGE.items():
        answer = browser.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kinds[Path(name).suffix])
        assert "set-cookie" not in answer.headers and KEYS.secret not in answer.text
    assert browser.get("/api/state").json()["labels"] == []
    assert browser.get("/", params={"token": link}).status_code == 200, "a reload, or the address pressed once more"
    other = TestClient(client.app, base_url=f"http://{HOST}")
    used = other.get("/", params={"token": link}, headers={"accept": "text/html"})
    assert used.status_code == 401 and "set-cookie" not in used.headers
    assert other.get("/", params={"token": KEYS.link()}).status_code == 200, "another browser takes another link"
    strange = {"cookie": f'a={{"b"; c=d e; kshot-studio-8470={KEYS.secret}; f'}
    fresh = TestClient(client.app, base_url=f"http://{HOST}")
    assert fresh.get("/api/state", headers=strange).status_code == 200, "cookies of other local pages do no harm"
    assert fresh.get("/api/state", headers={"cookie": "kshot-studio-8471=x"}).status_code == 401


def test_a_shut_door_is_a_page_for_people_and_json_for_programs(client: TestClient) -> None:
    stranger = TestClient(client.app, base_url=f"http://{HOST}")
    used = KEYS.link()
    assert KEYS.exchange(used) and not KEYS.exchange(used)
    for query, what in (({}, "This browser has no key"), ({"token": used}, "This link has been used")):
        page = stranger.get("/", params=query, headers={"accept": "text/html,*/*;q=0.8"})
        assert page.status_code == 401 and page.headers["content-type"] == "text/html; charset=utf-8"
        assert what in page.text and "press Enter in the terminal" in page.text and "{" + "wh" not in page.text
        policy = page.headers["content-security-policy"]
        assert "style-src 'sha256-" in policy and "unsafe" not in policy and used not in page.text
        answer = stranger.get("/", params=query, headers={"accept": "*/*"})
        assert answer.status_code == 401 and "press Enter" in answer.json()["error"]
    page = client.get("/", headers={"accept": "text/html", "host": "evil.example"})
    assert page.status_code == 400 and "This server has another name" in page.text


def test_the_page_asks_nobody_else() -> None:
    names = sorted(file.name for file in FOLDER.iterdir())
    assert {"index.html", "shut.html", "style.css", "app.js"} <= set(names)
    for name in names:
        text = (FOLDER / name).read_text("utf-8")
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text.replace("http://www.w3.org/2000/svg", "")))
        assert not found, f"{name} names {found}"
        assert "style=" not in text or name != "index.html"
        assert not re.search(r"\son\w+=\"", text), "the policy forbids scripts in attributes"


def test_a_clip_is_taken_in(client: TestClient, engine: StudioEngine, clip: Path) -> None:
    label = client.post("/api/labels", json={"name": "wave"}).json()["id"]
    answer = client.post("/api/videos", params={"name": "a b.MP4", "label": label}, content=clip.read_bytes())
    assert answer.status_code == 200
    id = answer.json()["id"]
    (shown,) = client.get("/api/state").json()["clips"]
    assert shown == {"id": id, "name": "a b.MP4", "seconds": 0.4, "source": "file", "label": label}
    assert (engine.project.folder / "videos" / f"{id}.mp4").read_bytes() == clip.read_bytes()
    strip = client.get(f"/api/videos/{id}/strip")
    assert strip.headers["content-type"] == "image/jpeg" and strip.content[:2] == b"\xff\xd8"
    part = client.get(f"/api/videos/{id}/file", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"ftyp", "video/mp4")
    (engine.project.folder / "strips" / f"{id}-8.jpg").unlink()
    assert client.get(f"/api/videos/{id}/strip").content == strip.content, "made again where it is missing"


def test_relabel_remove_undo(client: TestClient, engine: StudioEngine, clip: Path) -> None:
    wave, bow = (client.post("/api/labels", json={"name": name}).json()["id"] for name in ("wave", "bow"))
    id = client.post("/api/videos", params={"label": wave}, content=clip.read_bytes()).json()["id"]
    assert client.patch(f"/api/videos/{id}", json={"label": bow}).status_code == 200
    assert engine.project.clip_labels() == {id: "bow"}
    assert client.patch(f"/api/labels/{bow}", json={"name": "deep bow"}).status_code == 200
    assert client.delete(f"/api/labels/{bow}").status_code == 200
    assert client.get("/api/state").json()["undo"] == "removing “deep bow” and its 1 clip"
    assert client.post("/api/undo").json() == {"what": "removing “deep bow” and its 1 clip"}
    assert engine.project.clip_labels() == {id: "deep bow"}
    assert client.get("/api/state").json()["redo"] == "removing “deep bow” and its 1 clip"
    assert client.post("/api/redo").status_code == 200 and engine.project.clip_labels() == {}
    assert client.post("/api/redo").json() == {"what": ""}
    for method, path in (("PATCH", "/api/videos/x"), ("DELETE", "/api/videos/x"), ("DELETE", "/api/labels/x")):
        answer = client.request(method, path, json={"label": bow})
        assert answer.status_code == 422 and "was removed in the meantime" in answer.json()["error"]
    assert client.get("/api/videos/x/strip").status_code == client.get("/api/videos/x/file").status_code == 404


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_a_file_leaves_nothing(client: TestClient, engine: StudioEngine, announced: bool) -> None:
    before, sent = files(engine), 0

    def stream() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50 * LIMIT:
            sent += 1000
            yield bytes(1000)

    content: Any = bytes(LIMIT + 1) if announced else stream()
    answer = client.post("/api/videos", params={"name": "big.mp4"}, content=content)
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "expected a file of at most 0 MB: cut the video into shorter ones, or start kshot serve with a larger --limit"
    )
    assert files(engine) == before


def test_a_file_of_exactly_the_limit_is_read(client: TestClient) -> None:
    answer = client.post("/api/videos", params={"name": "fits.mp4"}, content=bytes(LIMIT))
    assert answer.status_code == 422 and answer.json()["error"].startswith("fits.mp4: ")


def test_a_full_project(client: TestClient, engine: StudioEngine) -> None:
    (engine.project.folder / "videos" / "others").write_bytes(bytes(3 * LIMIT - 10))
    answer = client.post("/api/videos", params={"name": "a.mp4"}, content=bytes(11))
    assert answer.status_code == 413 and "the project is full" in answer.json()["error"]


def test_a_full_disk(client: TestClient, engine: StudioEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    before = files(engine)
    monkeypatch.setattr(Path, "open", lambda *_: Full())
    answer = client.post("/api/videos", params={"name": "a.mp4"}, content=b"x")
    monkeypatch.undo()
    assert answer.status_code == 422 and "No space left on device" in answer.json()["error"]
    assert files(engine) == before


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/cron.d/x.mp4", "..\\x.mp4", "a\0b.mp4", "x.mp4/", "", ".", "~/.ssh/x"]
)
def test_names_are_words_and_nothing_else(client: TestClient, engine: StudioEngine, clip: Path, name: str) -> None:
    engine.project.add_label("wave")  # from then on there is a state before the last change
    before = set(engine.project.folder.parent.rglob("*"))
    id = client.post("/api/videos", params={"name": name}, content=clip.read_bytes()).json()["id"]
    new = set(engine.project.folder.parent.rglob("*")) - before
    assert {path.parent.name for path in new} == {"videos", "strips"}
    assert {path.name.split("-")[0].split(".")[0] for path in new} == {id}
    assert engine.project.video(id).name.isprintable()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("bad.mp4", b"", " is no video but an empty file: choose another"),
        ("notes.txt", b"not a video", ": no video that kshot reads, or damaged"),
        ("bad.mp4", b"ffconcat version 1.0\nfile '/etc/hostname'\n", None),
        ("bad.m3u", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n", ": no video that kshot reads, or damaged"),
        ("bad.mp4", bytes(5000), ": no video that kshot reads, or damaged"),
        ("bad.json", b'{"a": ' * 9, ": no video that kshot reads, or damaged"),
        ("day.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\nwave\n", f" is no video but annotations (WebVTT): {IMPORT}"),
        ("a.csv", b"path,label,start,end\n", f" is no video but annotations (CSV of segments): {IMPORT}"),
    ],
)
def test_what_is_no_video_is_told(
    client: TestClient, engine: StudioEngine, tmp_path: Path, name: str, content: bytes, told: str | None
) -> None:
    """In words of the page, or as the command line tells it."""
    before = files(engine)
    answer = client.post("/api/videos", params={"name": name}, content=content)
    assert answer.status_code == 422 and files(engine) == before
    if told is None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError) as refused:
            video.read(tmp_path / name)
        told = str(refused.value).removeprefix(str(tmp_path / name))
    assert answer.json()["error"] == name + told


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/api/labels", {"name": "unknown"}, 422, "is the answer for what shows none"),
        ("POST", "/api/labels", {}, 422, "the request cannot be read: Field required"),
        ("POST", "/api/labels", None, 422, "the request cannot be read"),
        ("POST", "/api/labels", {"name": "x" * SMALL}, 413, "at most 65,536 bytes"),
        ("GET", "/api/model.zip", None, 422, "nothing has been taught yet: press Teach first"),
        ("POST", "/api/live", None, 422, "nothing has been taught yet: press Teach first"),
        ("POST", "/api/live/frame?id=x&t=0&width=1&height=1", None, 422, "in use in another tab, or was stopped"),
        ("POST", "/api/unseen", {"film": True}, 422, "drawn videos belong to the example"),
        ("POST", "/api/videos?label=x", None, 422, "there is no such action any more"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    client: TestClient, method: str, path: str, body: Any, status: int, text: str
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status and text in answer.json()["error"]


def test_frames_of_the_camera_have_a_limit(client: TestClient) -> None:
    answer = client.post("/api/live/frame?id=x&t=0&width=9&height=9", content=bytes(FRAME_BYTES + 1))
    assert answer.status_code == 413


def test_a_request_of_unknown_length_is_no_small_one(client: TestClient) -> None:
    answer = client.post(
        "/api/labels", content=iter([b'{"name": "wave"}']), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_the_example_is_drawn_once_and_goes_on_after_a_stop(
    client: TestClient, engine: StudioEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "EXAMPLE", ("wave", "bow"))
    monkeypatch.setattr(engines, "EXAMPLE_CLIPS", 2)
    started: list[None] = []
    monkeypatch.setattr(StudioEngine, "_start_drawing", lambda self: started.append(None))
    assert client.post("/api/example").status_code == 200
    again = client.post("/api/example")
    assert again.status_code == 409 and "is being drawn already" in again.json()["error"]
    assert client.post("/api/teach").status_code == client.post("/api/clear").status_code == 409
    engine._draw([("bow", 0)], "bow 1", engine.project.state.labels[1].id)
    engine.project.fresh = False
    engine.begin()
    assert len(started) == 2
    engine._draw_clips()
    state = client.get("/api/state").json()
    assert sorted(clip["name"] for clip in state["clips"]) == ["bow 1", "bow 2", "wave 1", "wave 2"]
    assert (state["example"], state["drawing"], state["teaching"]) == (True, False, None)
    full = client.post("/api/example")
    assert full.status_code == 422 and "needs an empty project" in full.json()["error"]
    client.post("/api/clear")
    assert client.get("/api/state").json()["undo"] == "putting away the example, 4 clips"


def test_an_unseen_video_knows_its_truth(
    client: TestClient, engine: StudioEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "EXAMPLE_FILM", ("bow",))
    with engine.project.change() as state:
        state.example = True
    for film in (False, True):
        assert client.post("/api/unseen", json={"film": film}).status_code == 200
    one, film = engine.project.queries()
    assert one.truth in engines.EXAMPLE and one.seconds < 1.6 and film.truth == "bow" and film.seconds > 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_no_address_for_every_network(tmp_path: Path, host: str) -> None:
    with pytest.raises(OptionError, match="would serve every network"):
        serve(project=tmp_path / "p", host=host)
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_one_line(command: Command, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = command("serve", "--port", port, "--project", tmp_path / "p", "--no-browser")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in err and "--port" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--backbone", "/nowhere"), "no backbone folder at '/nowhere'"),
        (("/nowhere",), "is not a model folder"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    command: Command, tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    code, out, err = command("serve", *options, "--port", 0, "--project", tmp_path / "p", "--no-browser")
    assert (code, out) == (2, "") and err.count("\n") == 1 and text in err
    assert not list(tmp_path.iterdir())


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2 between two colours #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(scheme: str) -> None:
    """WCAG AA: 4.5 for texts, 3 for what has a shape."""
    text = (FOLDER / "style.css").read_text("utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\n *\}", text, re.S)
    )
    tone = light | (dark if scheme == "dark" else {})
    for paper in ("paper", "card", "sunk", "accent-wash"):
        assert contrast(tone["ink"], tone[paper]) > 7
        assert contrast(tone["soft"], tone[paper]) > 4.5
        assert contrast(tone["accent"], tone[paper]) > 4.5
        assert contrast(tone["edge"], tone[paper]) > 2.8
    assert contrast(tone["on-accent"], tone["accent"]) > 4.5
    assert contrast(tone["good"], tone["card"]) > 4.5 and contrast(tone["bad"], tone["card"]) > 4.5
    assert contrast(tone["bad"], tone["bad-wash"]) > 4.5
    for number in range(8):
        assert contrast(tone[f"c{number}"], tone["on-colour"]) > 4.5, number
        assert contrast(tone[f"c{number}"], tone["card"]) > 3, number


def test_an_export_is_called_as_the_film_is(client: TestClient, engine: StudioEngine) -> None:
    engine.project.add_video(Video("f1", 'Тур "1"; 50 %.avi', "f1.avi", 9.0, film=True))
    answer = client.get("/api/films/f1/annotations", params={"format": "vtt"})
    plain, _, true = answer.headers["content-disposition"].partition("; filename*=UTF-8''")
    assert plain == 'attachment; filename="___ _1__ 50 _.vtt"'
    assert true.isascii() and unquote(true) == 'Тур "1"; 50 %.vtt' and not set(true) & set(" ;\"'")


def test_json_of_the_state_is_plain(client: TestClient, engine: StudioEngine) -> None:
    answer = client.get("/api/state")
    assert answer.headers["content-type"] == "application/json" and json.loads(answer.text) == {
        "version": 0, "folder": str(engine.project.folder), "example": False, "drawing": False, "labels": [],
        "clips": [], "doubtful": [], "tried": [], "taught": None, "teaching": None, "undo": None, "redo": None,
        "films": [], "limits": {"bytes": LIMIT, "formats": formats()},
        "choices": {"backbone": "", "adapted": "", "threshold": None, "fixed": False},
    }  # fmt: skip
    with engine.project.change() as state:
        state.labels = [Label("a1", "wave", 3)]
        clip, query = (Video(id, f"{id}.mp4", f"{id}.mp4", 1.5) for id in ("b1", "b2"))
        segment = PredictedSegment(0.0, 1.5, "wave", None)
        prediction = Prediction("clip", 1.5, ["wave"], [segment], [0.75], [[1.0]], [], "m1")
        state.videos = [replace(clip, label="a1", source="camera"), replace(query, prediction=prediction, truth="bow")]
        state.trained = ModelRecord("m1", 2.0, {"b1": "wave"}, ["wave"], {"accuracy": None})
        state.training = TrainingProgress("done")
        state.done = [Edit("one clip", [], [])]
    found = client.get("/api/state").json()
    assert found["labels"] == [{"id": "a1", "name": "wave", "colour": 3, "before": 0}] and found["undo"] == "one clip"
    assert found["clips"] == [{"id": "b1", "name": "b1.mp4", "seconds": 1.5, "source": "camera", "label": "a1"}]
    (tried,) = found["tried"]
    assert tried == {
        "id": "b2", "name": "b2.mp4", "seconds": 1.5, "source": "file", "label": None, "error": "", "truth": "bow",
        "waiting": False, "answer": asdict(prediction),
    }  # fmt: skip
    assert found["teaching"] == {"status": "done"} and found["taught"] == {
        "model": "m1", "at": 2.0, "classes": ["wave"], "report": {"accuracy": None}, "stale": False, "changed": "",
        "backbone": "", "threshold": None,
    }  # fmt: skip
    with engine.project.change() as state:
        state.training = TrainingProgress("failed", "too few")
    assert client.get("/api/state").json()["teaching"] == {"status": "failed", "error": "too few"}
