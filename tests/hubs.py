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
        self.offers: dict[int, tuple[str, str, dict[str, bytes]]] = {}  # pull requests: author, status, all files
        self.requests: list[str] = []
        self.status = 0  # answered instead, if set
        self.silent = False  # accepts, never answers
        self.open = True  # whether pull requests are told
        self.cut: str | None = None  # this file breaks off in the middle

    def revisions(self) -> dict[str, tuple[str, dict[str, bytes]]]:
        """Commit and files of everything that can be asked for by name."""
        known = {"main": (COMMIT, self.files), COMMIT: (COMMIT, self.files)}
        for number, (_, _, files) in self.offers.items():
            known |= dict.fromkeys((f"refs/pr/{number}", f"{number:040d}"), (f"{number:040d}", files))
        return known

    def discussions(self) -> list[dict[str, object]]:
        """As the hub lists them; a filter by author is left to whoever asks."""
        about = {"isPullRequest": True, "createdAt": "2023-03-07T12:00:00.000Z"}
        about["repo"] = {"name": self.repository, "type": "model"}
        return [
            {"num": number, "title": "Adding `safetensors` variant of this model", "status": status, **about}
            | {"author": {"name": author}}
            for number, (author, status, _) in self.offers.items()
        ]

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
        api, start, known = f"/api/models/{hub.repository}", f"/{hub.repository}/resolve/", hub.revisions()
        hub.requests.append(f"{self.command} {path}")
        if hub.silent:
            time.sleep(3)
            self.close_connection = True
        elif hub.status:
            self._send(hub.status, b'{"error": "no"}', {}, body)
        elif path.startswith(f"{api}/revision/") and (name := path.split("/revision/")[1]) in known:
            commit, files = known[name]
            siblings = [{"rfilename": name} for name in [*files, "README.md", "flax_model.msgpack"]]
            self._send(200, json.dumps({"id": hub.repository, "sha": commit, "siblings": siblings}).encode(), {}, body)
        elif path == f"{api}/discussions" and hub.open:
            found = {"discussions": hub.discussions(), "count": len(hub.offers), "start": 0}
            self._send(200, json.dumps(found).encode(), {}, body)
        elif path == f"{api}/tree/{COMMIT}":  # what `hf download` chooses from
            files = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in hub.files.items()]
            self._send(200, json.dumps(files).encode(), {}, body)
        elif path.startswith(start) and (split := path[len(start) :].rsplit("/", 1))[1] in known[split[0]][1]:
            commit, files = known[split[0]]
            data = files[split[1]]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
            self._send(200, data, headers, body, cut=split[1] == hub.cut)
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
