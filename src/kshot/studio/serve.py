"""Starting the studio and ending it: in the end nothing is at work, then the project is given up, and not before."""

from __future__ import annotations

import ipaddress
import os
import select
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot.errors import OptionError
from kshot.studio.engine import StudioEngine
from kshot.studio.feed import Feed
from kshot.studio.guard import LINK
from kshot.studio.keys import Keys
from kshot.studio.project import Project
from kshot.studio.projects import Projects
from kshot.studio.server import FILE_BYTES, create_app

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer

PORT = 8470
BROWSER = 120.0  # seconds that the link for this machine's browser may wait for it: other users see it meanwhile


def serve(
    model: str | Path | None = None,
    project: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = PORT,
    backbone: str | None = None,
    adapted: str | Path | None = None,
    device: str = "cpu",
    file_bytes: int = FILE_BYTES,
    example: bool = True,
    browser: bool = True,
    announce: Callable[[dict[str, str]], None] = print,
) -> bool:
    """Serves the studio until Ctrl-C.

    Args:
        model: a model folder to begin with, as `kshot fit` writes.
        project: folder of the project, made if it is missing; `kshot-studio`, or `MODEL-studio`, by default.
        host: address to listen on; with another than this machine's own, whoever sees an unused link may use it.
        port: where to listen; 0 for any free one.
        backbone: as for `kshot.Recognizer`, for what is trained from now on.
        adapted: as for `kshot.Recognizer`, too.
        device: as for `kshot.Recognizer`, too.
        file_bytes: bytes of one video, at most.
        example: whether an empty project begins with drawn clips.
        browser: whether to open the page.
        announce: given {"address": to open in a browser, once, "project": folder} when the server is ready, and
            {"address": another} whenever Enter is pressed in its terminal.

    Returns:
        Whether all that was going on has ended. If not, the project stays locked until this process ends, which
        should be at once.

    Raises:
        KshotError: the port is in use, or the project, the model or the backbone cannot be used.
    """
    from kshot.backbones import hub

    folder = Path(project or (f"{Path(model).resolve().name}-studio" if model else "kshot-studio")).absolute()
    settings: dict[str, Any] = {}
    if backbone is not None:
        hub.resolve(backbone)
        settings["backbone"] = backbone
    if adapted is not None:
        settings["adapted"] = str(Path(adapted).absolute())
    with closing(_listen(host, port)) as listening:
        model = hub.local(model) if model is not None else None
        begun = _load_model(model, device) if model is not None else None
        feed, keys, ending, ended = Feed(), Keys(), threading.Event(), False
        opened = Project(folder, settings)
        engine = StudioEngine(opened, feed.announce, device)
        projects = Projects(engine, feed.announce)
        try:
            opened.on_change = feed.announce
            if begun is not None and model is not None:
                engine.begin_with(Path(model), begun)
            engine.begin(example and begun is None)
            port = listening.getsockname()[1]

            def address(link: str) -> str:
                return f"http://{_in_address(host)}:{port}/?{LINK}={link}"

            server = _server(projects, feed, keys, host, port, file_bytes)
            announce({"address": address(keys.link()), "project": str(folder)})
            if browser and (sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
                webbrowser.open(address(keys.link(BROWSER)))
            _at_enter(lambda: announce({"address": address(keys.link())}), ending)
            with suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            with suppress(KeyboardInterrupt):
                server.run(sockets=[listening])
        finally:
            ending.set()
            ended = projects.close()  # another Ctrl-C cuts this short, and the project stays locked
    return ended


def _server(projects: Projects, feed: Feed, keys: Keys, host: str, port: int, file_bytes: int) -> Any:
    """The server, which stops what is going on as soon as it is to end itself."""
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            projects.stop()  # requests that wait for it are answered
            await super().shutdown(sockets)

    names = {host, "localhost", "127.0.0.1", "::1"} if _is_loopback(host) else {host}
    hosts = [f"{_in_address(name)}:{port}" for name in names]
    app = create_app(projects, feed, hosts, keys, file_bytes, ending=lambda: server.should_exit)
    server = Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=3
        )
    )  # fmt: skip
    return server


def _at_enter(do: Callable[[], object], ending: threading.Event) -> None:
    """Does something whenever Enter is pressed in the terminal, if there is one."""
    with suppress(AttributeError, OSError, ValueError):  # no standard input at all
        place = sys.stdin.fileno()
        if sys.stdin.isatty():
            threading.Thread(target=_wait_for_enter, args=(place, do, ending), name="kshot-enter", daemon=True).start()


def _wait_for_enter(place: int, do: Callable[[], object], ending: threading.Event) -> None:
    waits = sys.platform != "win32"
    with suppress(OSError):  # the terminal is gone
        while not ending.is_set():
            # Who reads from a terminal in the background is stopped by it.
            if waits and not (select.select([place], [], [], 0.5)[0] and os.tcgetpgrp(place) == os.getpgrp()):
                ending.wait(0.1)
            elif not os.read(place, 4096):
                return
            else:
                do()


def _load_model(model: str | Path, device: str) -> Recognizer:
    from kshot.recognizer import Recognizer

    return Recognizer.load(model, device=device)


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OptionError if that cannot be had."""
    if host in ("", "0.0.0.0", "::", "*"):
        raise OptionError(
            f"host '{host}' would serve every network: name one address of this machine, or keep 127.0.0.1 and "
            f"reach it from afar with ssh -L {port}:127.0.0.1:{port}"
        )
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise OptionError(
            f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error}): "
            f"close what uses it, or choose another with --port"
        ) from None
    return listening
