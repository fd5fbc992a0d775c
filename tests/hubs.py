"""A hub that runs here: a local server that speaks the API of the Hugging Face hub, for one repository."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one repository as the hub does; counts requests and can be told to misbehave."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], repository: str = "someone/clip"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.repository = files, repository
        self.requests: list[str] = []
        self.status = 0  # answered instead, if set
        self.silent = False  # accepts, never answers
        self.cut: str | None = None  # this file breaks off in the middle

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        hub, path = self.server, unquote(self.path.split("?")[0])
        hub.requests.append(f"{self.command} {path}")
        if hub.silent:
            time.sleep(3)
            self.close_connection = True
        elif hub.status:
            self._send(hub.status, b'{"error": "no"}', {}, body)
        elif path in (f"/api/models/{hub.repository}/revision/{revision}" for revision in ("main", COMMIT)):
            siblings = [{"rfilename": name} for name in [*hub.files, "README.md", "flax_model.msgpack"]]
            self._send(200, json.dumps({"id": hub.repository, "sha": COMMIT, "siblings": siblings}).encode(), {}, body)
        elif path == f"/api/models/{hub.repository}/tree/{COMMIT}":  # what `hf download` chooses from
            files = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in hub.files.items()]
            self._send(200, json.dumps(files).encode(), {}, body)
        elif path.startswith(f"/{hub.repository}/resolve/") and (name := path.rsplit("/", 1)[1]) in hub.files:
            data = hub.files[name]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self._send(200, data, headers, body, cut=name == hub.cut)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound" if "/api/" in path else "EntryNotFound"}, body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes], repository: str = "someone/clip") -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    running = Hub(dict(files), repository)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
