"""How the server says no: one sentence, as JSON for programs and as a page for people."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources

from starlette.datastructures import Headers

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def refusal(headers: Headers, why: str) -> tuple[bytes, dict[str, str]]:
    """The body of a refusal and its headers: JSON, or a page where a person is to read it in a browser.

    The only style of that page is its own, by its hash.

    Args:
        headers: of the request. A browser that opens an address says so, or that it takes HTML.
        why: a sentence, "what: what to do".
    """
    if "text/html" not in headers.get("accept", "") and headers.get("sec-fetch-mode") != "navigate":
        kind = {"content-type": "application/json; charset=utf-8"}
        return json.dumps({"error": why}, ensure_ascii=False).encode(), kind
    text = resources.files("kshot.studio").joinpath("page", "shut.html").read_text("utf-8")
    style = text.split("<style>")[1].split("</style>")[0]
    mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    what, _, way = why.partition(": ")
    for name, part in (("what", what), ("way", way or "go back to the page of the studio")):
        words = html.escape(part[:1].upper() + part[1:]).replace("`kshot serve`", "<code>kshot serve</code>")
        text = text.replace(f"{{{name}}}", words)
    return text.encode(), {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": POLICY.replace("style-src 'self'", f"style-src 'sha256-{mark}'"),
    }
