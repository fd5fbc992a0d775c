"""Outside tools that read rar archives: the commands they take, and what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

TOOLS = ("unar", "bsdtar", "7zz", "7z", "unrar")

_LINK = re.compile(r"(Symbolic|Hard) Link = .")


class ToolFailed(Exception):
    """A tool ended with an error: its last words."""


def list_members(tool: str, archive: Path) -> tuple[list[str], bool]:
    """Names of the members, folders among them or not, and whether there are links.

    Raises:
        ToolFailed: it cannot read the archive.
    """
    file = os.fspath(archive.absolute())
    if tool == "unar":
        try:
            listing: dict[str, Any] = json.loads(_call(["lsar", "-json", file]))
        except ValueError:
            raise ToolFailed("no listing") from None
        if listing.get("lsarError"):
            raise ToolFailed("damaged")
        members = listing.get("lsarContents", [])
        return [str(member["XADFileName"]) for member in members], any(member.get("XADIsLink") for member in members)
    if tool in ("7z", "7zz"):
        lines = _call([tool, "l", "-slt", "-ba", "-p-", file]).splitlines()
        return [line[7:] for line in lines if line.startswith("Path = ")], any(_LINK.match(line) for line in lines)
    if tool == "bsdtar":
        links = any(line.startswith(("l", "h")) for line in _call(["bsdtar", "-tvf", file]).splitlines())
        return _call(["bsdtar", "-tf", file]).splitlines(), links
    links = "Type: Unix symbolic link" in _call(["unrar", "lt", "-p-", file])
    return _call(["unrar", "lb", "-p-", file]).splitlines(), links


def extract(tool: str, archive: Path, root: Path, watch: Callable[[], None]) -> None:
    """Unpacks an archive.

    Args:
        tool: one of `TOOLS`.
        archive: to unpack.
        root: an empty folder, where to.
        watch: called again and again while the tool runs, and once afterwards.

    Raises:
        ToolFailed: it cannot read the archive.
    """
    file = os.fspath(archive.absolute())
    commands = {
        "unar": ["unar", "-quiet", "-force-overwrite", "-no-directory", "-output-directory", f"{root}", file],
        "bsdtar": ["bsdtar", "-xf", file, "-C", f"{root}"],
        "unrar": ["unrar", "x", "-y", "-o+", "-p-", file, f"{root}/"],
    }
    _call(commands.get(tool, [tool, "x", "-y", "-p-", f"-o{root}", file]), watch)


def _call(command: list[str], watch: Callable[[], None] = lambda: None) -> str:
    """The output of a tool; `watch` is called while it runs.

    Raises:
        ToolFailed: with its last words.
    """
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    with TemporaryFile() as out, TemporaryFile() as err:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment) as run:
            try:
                pause = 0.01
                while run.poll() is None:
                    time.sleep(pause)
                    pause = min(0.5, pause * 2)
                    watch()
            finally:
                run.kill()
        watch()
        text, said = (_text(file) for file in (out, err))
    if run.returncode:
        words = [line.strip() for line in (said + text).splitlines() if line.strip()]
        raise ToolFailed(words[-1][:200] if words else f"exit code {run.returncode}")
    return text


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
