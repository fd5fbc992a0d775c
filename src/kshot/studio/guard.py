"""Who may talk to the studio: the page that this server handed out, in the browser of the person who started it.

A page of another origin can make a browser send requests here, and can make its own name point to this machine. So
every request must name this server as its host, every change must come from this server's page, and everything needs
the secret of this session, which other pages cannot know. Nothing is shared with other origins.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kshot.studio.keys import Keys
from kshot.studio.refusal import POLICY, refusal

HEADERS = {
    "content-security-policy": POLICY,
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
COOKIE = "kshot-studio"
SMALL = 1 << 16  # bytes of a request that brings no video
LINK = "token"  # of the query that brings a one-time link
SHUT = "this browser has no key to the studio"
USED = "this link has been used, or the studio was started again since"
ANOTHER = (
    "each link that `kshot serve` prints opens the page once, and the browser that opened it stays in: press Enter in "
    "the terminal where it runs for a new link, or start it again"
)


class Guard:
    """Middleware that lets through what has the right host, origin and secret.

    Args:
        app: what is guarded.
        keys: a one-time link opens the page, which brings the secret in a cookie; what is no browser may send that as
            a bearer token.
        hosts: "name:port" under which the server may be addressed.
        large: paths whose requests may be large; they count for themselves.
        ending: whether the server is about to end; what still comes in counts as cut off then.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys, hosts: Iterable[str], large: Iterable[str], ending: Callable[[], bool]
    ) -> None:
        self.app = app
        self.keys = keys
        self.ending = ending
        self.large = frozenset(large)
        self.hosts = frozenset(hosts)
        self.origins = frozenset(f"http://{host}" for host in self.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookie = f"{COOKIE}-{headers.get('host', '').rpartition(':')[2]}"  # cookies do not tell ports apart: names do
        trusted = self._has_token(headers) or self.keys.known(cookie_parser(headers.get("cookie", "")).get(cookie, ""))
        refused, opened, link = self._refusal(scope, headers), False, ""
        if refused is None and (scope["method"], scope["path"]) == ("GET", "/"):
            link = parse_qs(scope["query_string"].decode("latin-1")).get(LINK, [""])[0]
            opened = self.keys.exchange(link)
        if refused is None and not (opened or trusted):
            refused = 401, f"{USED if link else SHUT}: {ANOTHER}"
        if refused is None and scope["path"] not in self.large and _length(headers) > SMALL:
            refused = 413, f"expected a request of at most {SMALL:,} bytes"
        if refused:
            await _refuse(send, headers, *refused)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in (*HEADERS.items(), ("cache-control", "no-store")):
                    sent.setdefault(name, value)
                if opened:
                    sent.append("set-cookie", f"{cookie}={self.keys.secret}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        whole = False  # whether all of the request has come

        async def listening() -> Message:
            nonlocal whole
            coming = asyncio.ensure_future(receive())
            try:
                while not (await asyncio.wait({coming}, timeout=None if whole else 0.5))[0]:
                    if self.ending():
                        return {"type": "http.disconnect"}
                message = coming.result()
                whole = not message.get("more_body", False)
                return message
            finally:
                coming.cancel()

        await self.app(scope, listening, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, where a request is not even read."""
        if headers.get("host") not in self.hosts:
            return 400, "this server has another name: use the address that `kshot serve` printed"
        if scope["method"] not in ("GET", "HEAD") and not self._same_origin(headers):
            return 403, "only the page of this server may change anything"
        return None

    def _has_token(self, headers: Headers) -> bool:
        return self.keys.known(headers.get("authorization", "").removeprefix("Bearer "))

    def _same_origin(self, headers: Headers) -> bool:
        """Browsers say where a change comes from. What is no browser may leave it out, if it knows the secret."""
        origin = headers.get("origin")
        return origin in self.origins if origin is not None else self._has_token(headers)


def _length(headers: Headers) -> float:
    """Bytes of a request's body; endless where it does not say."""
    if "transfer-encoding" in headers:
        return math.inf
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() else math.inf


async def _refuse(send: Send, headers: Headers, status: int, why: str) -> None:
    """Answers before the request is read, and ends the connection."""
    body, kind = refusal(headers, why)
    sent = HEADERS | kind | {"content-length": str(len(body)), "cache-control": "no-store", "connection": "close"}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
