"""The guard of the studio, request by request: what gets through, with which headers, and what is told otherwise."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from typing import Any

import pytest

from kshot.studio.guard import ANOTHER, HEADERS, SHUT, SMALL, USED, Guard
from kshot.studio.keys import LINKS, Keys

HOST = "127.0.0.1:8470"
KEYS = Keys()
KEYS.secret = "of-a-test"  # the same in every process, since cases are named after it
COOKIE = f"kshot-studio-8470={KEYS.secret}"


class Asked:
    """What a guarded app was asked, and what came back.

    Attributes:
        reached: whether the app was called.
        status: of the answer.
        headers: of the answer, those that come several times joined by newlines.
        body: of the answer.
    """

    def __init__(
        self, method: str = "GET", path: str = "/api", query: str = "", keys: Keys = KEYS, own: str = "", **headers: str
    ) -> None:
        self.reached, self.status, self.headers, self.body = False, 0, {}, b""
        raw = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in raw.items() if value],
        }  # fmt: skip
        self._own = [(b"cache-control", own.encode())] if own else []
        guard = Guard(self._app, keys, [HOST, "localhost:8470"], ["/api/videos"], lambda: False)
        asyncio.run(guard(scope, self._receive, self._send))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached = (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": list(self._own)})
        await send({"type": "http.response.body", "body": b"done"})

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message["headers"]:
                known = self.headers.get(name.decode())
                self.headers[name.decode()] = f"{known}\n{value.decode()}" if known else value.decode()
        else:
            self.body += message["body"]

    @property
    def told(self) -> str:
        """The error of a refusal."""
        return str(json.loads(self.body)["error"])


def bearer(keys: Keys = KEYS) -> str:
    return f"Bearer {keys.secret}"


def test_a_browser_with_the_cookie_and_a_program_with_the_token_come_in() -> None:
    for asked in (Asked(cookie=COOKIE), Asked(cookie=f"a=1; {COOKIE}; b=2"), Asked(authorization=bearer())):
        assert asked.reached and (asked.status, asked.body) == (200, b"done")


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"cookie": "kshot-studio-8470="}, {"cookie": "kshot-studio-8470=x"}, {"authorization": "Bearer x"},
        {"cookie": f"kshot-studio-8471={KEYS.secret}"}, {"cookie": f"kshot-studio={KEYS.secret}"},
        {"authorization": f"Basic {KEYS.secret}"}, {"authorization": "Bearer "},
    ],
)  # fmt: skip
def test_whoever_has_no_key_is_told_how_to_get_one(headers: dict[str, str]) -> None:
    asked = Asked(**headers)
    assert not asked.reached and asked.status == 401 and asked.told == f"{SHUT}: {ANOTHER}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8471", "evil.example:8470", "127.0.0.1:84700", ""])
def test_another_name_of_the_server_is_refused_even_with_the_secret(host: str) -> None:
    asked = Asked(host=host, authorization=bearer(), cookie=COOKIE)
    assert not asked.reached and asked.status == 400
    assert asked.told == "this server has another name: use the address that `kshot serve` printed"
    assert Asked(host="localhost:8470", cookie=COOKIE).reached


@pytest.mark.parametrize(
    ("origin", "cookie", "token", "through"),
    [
        (f"http://{HOST}", COOKIE, "", True),
        ("http://localhost:8470", COOKIE, "", True),
        (f"https://{HOST}", COOKIE, "", False),
        ("http://evil.example", COOKIE, bearer(), False),
        ("null", COOKIE, bearer(), False),
        ("", COOKIE, "", False),
        ("", "", bearer(), True),
        (f"http://{HOST}", "", bearer(), True),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_changes_come_from_the_page_itself_or_from_who_knows_the_secret(
    method: str, origin: str, cookie: str, token: str, through: bool
) -> None:
    asked = Asked(method, origin=origin, cookie=cookie, authorization=token)
    assert asked.reached == through
    if not through:
        assert (asked.status, asked.told) == (403, "only the page of this server may change anything")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_needs_no_origin(method: str) -> None:
    assert Asked(method, cookie=COOKIE).reached
    assert Asked(method, cookie=COOKIE, origin="http://evil.example").reached, "nothing is shared with it"


@pytest.mark.parametrize(
    ("headers", "through"),
    [
        ({}, True), ({"content_length": str(SMALL)}, True), ({"content_length": str(SMALL + 1)}, False),
        ({"content_length": "-1"}, False), ({"content_length": "1e3"}, False), ({"content_length": "²"}, False),
        ({"transfer_encoding": "chunked"}, False), ({"transfer_encoding": "chunked", "content_length": "5"}, False),
    ],
)  # fmt: skip
def test_large_requests_go_to_the_paths_for_videos_alone(headers: dict[str, str], through: bool) -> None:
    asked = Asked("POST", authorization=bearer(), **headers)
    assert asked.reached == through
    assert through or (asked.status, asked.told) == (413, "expected a request of at most 65,536 bytes")
    assert Asked("POST", "/api/videos", authorization=bearer(), **headers).reached


def test_the_headers_of_every_answer_are_these() -> None:
    """Spelled out: each of them shuts one way in, and a slip of the pen opens it."""
    assert HEADERS == {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def test_every_answer_has_the_headers_that_keep_the_page_shut() -> None:
    for asked in (Asked(cookie=COOKIE), Asked(), Asked(host="evil.example")):
        assert {name: asked.headers[name] for name in HEADERS} == HEADERS
        assert asked.headers["cache-control"] == "no-store" and "set-cookie" not in asked.headers
    assert Asked(cookie=COOKIE, own="max-age=60").headers["cache-control"] == "max-age=60", "the app's own word counts"


def test_a_refusal_ends_the_connection_and_says_its_length() -> None:
    asked = Asked()
    assert asked.headers["connection"] == "close" and asked.headers["content-length"] == str(len(asked.body))
    assert asked.headers["content-type"] == "application/json; charset=utf-8"


def test_people_get_a_refusal_as_a_page_whose_own_style_alone_is_allowed() -> None:
    asked = Asked(path="/", accept="text/html,*/*")
    text = asked.body.decode()
    assert asked.status == 401 and asked.headers["content-type"] == "text/html; charset=utf-8"
    assert asked.headers["content-length"] == str(len(asked.body))
    style = text.split("<style>")[1].split("</style>")[0]
    mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = asked.headers["content-security-policy"]
    assert policy == HEADERS["content-security-policy"].replace("style-src 'self'", f"style-src 'sha256-{mark}'")
    assert "This browser has no key to the studio" in text and "Each link that <code>kshot serve</code> prints" in text
    assert (
        "{what}" not in text and "{way}" not in text and "`" not in re.sub(r"<style>.*</style>", "", text, flags=re.S)
    )


# ---- links ---------------------------------------------------------------------------------------------------------


def test_a_link_opens_the_page_once_and_leaves_a_cookie_for_this_port() -> None:
    keys = Keys()
    link = keys.link()
    opened = Asked(path="/", query=f"token={link}", keys=keys)
    assert opened.reached and opened.headers["set-cookie"] == (
        f"kshot-studio-8470={keys.secret}; HttpOnly; SameSite=Strict; Path=/"
    )
    again = Asked(path="/", query=f"token={link}", keys=keys)
    assert not again.reached and again.told == f"{USED}: {ANOTHER}"
    stays = Asked(path="/", query=f"token={link}", keys=keys, cookie=opened.headers["set-cookie"].split(";")[0])
    assert stays.reached and "set-cookie" not in stays.headers, "a used link in the history does no harm"


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [("GET", "/api", "token="), ("HEAD", "/", "token="), ("GET", "/", "link="), ("GET", "/", "Token=")],
)
def test_a_link_is_taken_at_the_front_door_alone(method: str, path: str, query: str) -> None:
    keys = Keys()
    link = keys.link()
    assert not Asked(method, path, query + link, keys=keys).reached
    assert Asked(path="/", query=f"token={link}", keys=keys).reached, "it was not used up"


def test_a_link_does_not_open_for_another_host() -> None:
    keys = Keys()
    link = keys.link()
    assert Asked(path="/", query=f"token={link}", keys=keys, host="evil.example").status == 400
    assert Asked(path="/", query=f"token={link}", keys=keys).reached


def test_a_link_ends_with_its_time_and_not_before() -> None:
    now = [100.0]
    keys = Keys(lambda: now[0])
    short, shorter = keys.link(10), keys.link(9)
    now[0] = 109.0
    assert not keys.exchange(shorter), "at its last moment it is over"
    now[0] = 109.999
    assert keys.exchange(short)


def test_of_many_links_the_oldest_give_way_one_by_one() -> None:
    keys = Keys()
    links = [keys.link() for _ in range(LINKS)]
    assert len(keys._links) == LINKS
    newest = keys.link()
    assert len(keys._links) == LINKS
    assert not keys.exchange(links[0]) and keys.exchange(links[1]) and keys.exchange(newest)


def test_the_secret_is_no_link_and_a_link_no_secret() -> None:
    keys = Keys()
    link = keys.link()
    assert not keys.known(link) and not keys.exchange(keys.secret) and keys.known(keys.secret)
    assert not keys.known("") and not keys.known(keys.secret + "a") and not keys.known(keys.secret[:-1])


# ---- connections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "reached"), [("lifespan", True), ("websocket", False)])
def test_what_is_no_request_gets_no_further(kind: str, reached: bool) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    guard = Guard(app, KEYS, [HOST], [], lambda: False)
    asyncio.run(guard({"type": kind}, None, None))  # type: ignore[arg-type]
    assert seen == ([kind] if reached else [])


def test_a_request_that_never_comes_to_its_end_is_cut_off_when_the_server_ends() -> None:
    ending: list[bool] = []
    told: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not ending:
            ending.append(True)
            return {"type": "http.request", "body": b"half", "more_body": True}
        await asyncio.sleep(60)
        raise AssertionError("waited")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.extend([await receive(), await receive()])

    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"host", HOST.encode()), (b"authorization", bearer().encode())],
    }  # fmt: skip
    asyncio.run(Guard(app, KEYS, [HOST], [], lambda: bool(ending))(scope, receive, None))  # type: ignore[arg-type]
    assert [one["type"] for one in told] == ["http.request", "http.disconnect"]
