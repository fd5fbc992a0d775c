"""Who may talk to the studio: the page that this server handed out, in the browser of the person who started it.

A page of another origin can make a browser send requests here, and can make its own name point to this machine. So
every request must name this server as its host, every change must come from this server's page, and everything needs
the token, which other pages cannot know. Nothing is shared with other origins.
"""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
DOOR = "This page opens with the address that `kshot serve` printed: it ends in the token of this session."


class Guard:
    """Middleware that lets through what has the right host, origin and token.

    Args:
        app: what is guarded.
        token: known to the page through the address it is opened with, then through a cookie.
        hosts: "name:port" under which the server may be addressed.
        large: paths whose requests may be large; they count for themselves.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str], large: Iterable[str] = ()) -> None:
        self.app = app
        self.token = token
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
        opened = scope["method"] == "GET" and scope["path"] == "/" and self._asked(scope)
        refusal = self._refusal(scope, headers, opened or self._told(headers) or self._remembered(headers, cookie))
        if refusal:
            await _refuse(send, *refusal)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent.update(HEADERS)
                sent.setdefault("cache-control", "no-store")
                if opened:
                    sent.append("set-cookie", f"{cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers, trusted: bool) -> tuple[int, str] | None:
        """Status and reason, where a request is not let through."""
        if headers.get("host") not in self.hosts:
            return 400, "this server has another name: use the address that `kshot serve` printed"
        if scope["method"] not in ("GET", "HEAD") and not self._same_origin(headers):
            return 403, "only the page of this server may change anything"
        if not trusted:
            return 401, DOOR
        if scope["path"] not in self.large and _length(headers) > SMALL:
            return 413, f"expected a request of at most {SMALL:,} bytes"
        return None

    def _asked(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return self._same(given)

    def _told(self, headers: Headers) -> bool:
        return self._same(headers.get("authorization", "").removeprefix("Bearer "))

    def _remembered(self, headers: Headers, cookie: str) -> bool:
        return self._same(cookie_parser(headers.get("cookie", "")).get(cookie, ""))

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _same_origin(self, headers: Headers) -> bool:
        """Browsers say where a change comes from. What is no browser may leave it out, if it knows the token."""
        origin = headers.get("origin")
        return origin in self.origins if origin is not None else self._told(headers)


def _length(headers: Headers) -> float:
    """Bytes of a request's body; endless where it does not say."""
    if "transfer-encoding" in headers:
        return math.inf
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() else math.inf


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}, ensure_ascii=False).encode()
    headers = {"content-type": "application/json; charset=utf-8", "content-length": str(len(body)), **HEADERS}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*raw, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
