"""Outside tools for rar: what each prints is read as names and links, what each is called with, and how each fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kshot.datasets import rar_tools
from kshot.datasets.rar_tools import TOOLS, ToolFailed, extract, list_members

NAMES = ["a/one.avi", "b c/two (x).avi"]

LISTINGS = {
    "unar": lambda link: json.dumps(
        {
            "lsarContents": [
                {"XADFileName": name, **({"XADIsLink": 1} if link and i else {})} for i, name in enumerate(NAMES)
            ]
        }
    ),
    "7z": lambda link: "".join(
        f"Path = {name}\nSize = 3\nSymbolic Link = {'../x' if link and i else ''}\n\n" for i, name in enumerate(NAMES)
    ),
    "bsdtar": lambda link: "\n".join(NAMES),
    "unrar": lambda link: "\n".join(NAMES),
}
DETAILS = {
    "bsdtar": lambda link: f"-rw-r--r-- 0 {NAMES[0]}\n{'l' if link else '-'}rw-r--r-- 0 {NAMES[1]}\n",
    "unrar": lambda link: f"Name: {NAMES[0]}\nType: {'Unix symbolic link' if link else 'File'}\n",
}
"""What is printed when kinds are asked for, where that is another call."""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH; `put` writes programs into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys, pathlib\narguments = sys.argv[1:]\n{script}")
    path.chmod(0o755)


def listing(folder: Path, tool: str, link: bool) -> None:
    plain = LISTINGS["7z" if tool == "7zz" else tool](link)
    details = DETAILS.get(tool, lambda _: plain)(link)
    put(
        folder,
        "lsar" if tool == "unar" else tool,
        f"print({details!r} if arguments[0] in ('-tvf', 'lt') else {plain!r})",
    )


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("tool", TOOLS)
def test_names_and_links_as_each_tool_prints_them(tools: Path, tmp_path: Path, tool: str, link: bool) -> None:
    listing(tools, tool, link)
    assert list_members(tool, tmp_path / "x.rar") == (NAMES, link)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_fails_is_met_with_its_last_words(tools: Path, tmp_path: Path, tool: str, stream: str) -> None:
    for name in ("lsar", tool):
        put(tools, name, f"print('reading', 'CRC is wrong', '', sep='\\n', file=sys.{stream}); sys.exit(3)")
    with pytest.raises(ToolFailed, match="CRC is wrong"):
        list_members(tool, tmp_path / "x.rar")
    with pytest.raises(ToolFailed, match="CRC is wrong"):
        extract(tool, tmp_path / "x.rar", tmp_path, lambda: None)
    put(tools, tool, "sys.exit(3)")
    with pytest.raises(ToolFailed, match="exit code 3"):
        extract(tool, tmp_path / "x.rar", tmp_path, lambda: None)


@pytest.mark.parametrize(("text", "why"), [("no json", "no listing"), ('{"lsarError": 2}', "damaged")])
def test_a_listing_of_unar_that_is_none(tools: Path, tmp_path: Path, text: str, why: str) -> None:
    put(tools, "lsar", f"print({text!r})")
    with pytest.raises(ToolFailed, match=why):
        list_members("unar", tmp_path / "x.rar")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_gets_the_archive_and_the_folder_and_never_a_password_to_wait_for(
    tools: Path, tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tools, tool, f"pathlib.Path({str(tmp_path / 'seen')!r}).write_text(repr((arguments, sys.stdin.read())))")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    calls: list[int] = []
    extract(tool, Path("-x.rar"), tmp_path / "out", lambda: calls.append(1))
    arguments, stdin = eval((tmp_path / "seen").read_text())
    assert str(tmp_path / "-x.rar") in arguments, "an absolute path is no option, whatever it begins with"
    assert any(str(tmp_path / "out") in argument for argument in arguments) and stdin == ""
    assert calls, "what it wrote is measured at least once"
    assert tool in ("unar", "bsdtar") or "-p-" in arguments


def test_a_tool_is_watched_while_it_runs_and_ended_with_what_watches_it(tools: Path, tmp_path: Path) -> None:
    put(tools, "bsdtar", "import time; time.sleep(600)")

    class Enough(Exception):
        pass

    def watch() -> None:
        raise Enough

    with pytest.raises(Enough):
        extract("bsdtar", tmp_path / "x.rar", tmp_path, watch)


def test_long_last_words_are_cut(tools: Path, tmp_path: Path) -> None:
    put(tools, "unrar", "print('w' * 5000); sys.exit(1)")
    with pytest.raises(ToolFailed) as error:
        rar_tools.list_members("unrar", tmp_path / "x.rar")
    assert len(str(error.value)) == 200
