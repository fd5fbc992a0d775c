"""What reaches a terminal: text alone, whatever labels and file names hold."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from clips import draw, write_video
from forks import Command
from kshot.progress import bars
from kshot.terminal import beneath, console, harmless, printing

EVIL = "[red]wave\x1b]0;owned\x07\x1b[2J\x9b31m\r:smile:\u202e"
SHOWN = r"[red]wave\x1b]0;owned\x07\x1b[2J\x9b31m\x0d:smile:\u202e"


def test_control_characters_are_shown_and_letters_stay() -> None:
    assert harmless(EVIL) == SHOWN
    plain = "winken\tgrüßen\n手を振る می‌خواهم 👩‍🚀 שלום"
    assert harmless(plain) == plain
    assert harmless(os.fsdecode(b"caf\xe9.mp4")) == r"caf\udce9.mp4"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_all_that_is_printed_is_harmless_and_fits_the_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with printing():
        print(EVIL, "手", os.fsdecode(b"\xff"))
        print("wave\x1b[2J", file=sys.stderr)
        sys.stdout.writelines(["a\x1b", "b\n"])
        beneath(sys.stdout).write("\x1b[1mdata\x1b[0m\n")
    assert sys.stdout is out and out.errors == "strict"
    out.flush()
    err.flush()
    hand = "手" if encoding == "utf-8" else r"\u624b"
    assert out.buffer.getvalue().decode(encoding) == (  # type: ignore[attr-defined]
        f"{SHOWN} {hand} \\udcff\na\\x1bb\n\x1b[1mdata\x1b[0m\n"
    )
    assert err.buffer.getvalue() == b"wave\\x1b[2J\n"  # type: ignore[attr-defined]


def test_tables_and_bars_take_labels_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    console(width=200).print(table)
    console(width=200).print(EVIL)
    out, _ = capsys.readouterr()
    assert out.count(SHOWN) == 4 and "\x1b" not in out and "\r" not in out
    with bars(EVIL, 1, "clips") as step:
        step(1, note=f"{EVIL[:9]}\x1b[2J")
    _, err = capsys.readouterr()
    assert "[red]wave\\x1b" in err.replace("\n", "") and "\x1b[2J" not in err


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of class folders: markup in labels, file names that a terminal would obey, bytes that are no UTF-8."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("[red]wave", "bow")):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        for clip in range(2):
            made = write_video(folder / f"{clip}.mp4", draw(number, 3, rng))
            with contextlib.suppress(OSError):  # some file systems take UTF-8 alone
                os.rename(os.fsencode(made), os.fsencode(folder) + b"/caf\xe9\x1b[1m" + str(clip).encode() + b".mp4")
        (folder / "broken\x1b[3m.mp4").write_bytes(b"no video")
    return tmp_path / "clips"


def test_hostile_labels_and_names_through_the_commands(
    command: Command, hostile: Path, clip_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    code, out, err = command("fit", hostile, "--backbone", clip_folder, "--out", model)
    assert code == 0, err
    assert "[red]wave" in out and "broken\\x1b[3m" in out + err
    videos = sorted(path for path in hostile.rglob("*.mp4") if "broken" not in path.name)
    code, told, complaints = command("predict", model, *videos, hostile / "none\x1b[5m.mp4")
    assert code == 2 and "none\\x1b[5m.mp4" in complaints
    assert not {"\x1b", "\x07", "\r"} & set(out + err + told + complaints)
    code, told, complaints = command("predict", model, *videos, "--json")
    assert code == 0, complaints
    answers = json.loads(told)["answers"]
    assert [one["video"] for one in answers] == [str(path) for path in videos], "JSON keeps them as they are"
    assert {name for one in answers for name in one["proba"]} == {"[red]wave", "bow"}
    code, out, err = command("predict", model, "/nowhere/[bold]\x1b[2J.mp4")
    assert code == 2 and "[bold]\\x1b[2J" in err and "\x1b" not in err
    code, out, err = command("fit", hostile, "--out", tmp_path / "m2", "--method", "\x1b[2J")
    assert code == 2 and "'\\x1b[2J'" in err and "\x1b" not in err
    (hostile / "bow").rename(hostile / "bow\x1b]0;owned\x07")
    code, out, err = command("fit", hostile, "--backbone", clip_folder, "--out", tmp_path / "m3")
    assert code == 2 and "label 'bow\\x1b]0;owned\\x07' holds U+001B" in err, "a label that is obeyed is refused"


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii:strict"}],
)
def test_names_that_are_no_utf8_print_under_every_locale(environment: dict[str, str]) -> None:
    """On a real terminal: a message with such a name is one line, without a traceback."""
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "kshot.cli", b"caf\xe9\x1b[2J"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=clean | environment, timeout=300
    )
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError):
        while part := os.read(main, 1 << 16):
            said += part
    os.close(main)
    assert done.returncode == 2 and said.count(b"\n") == 1 and said.startswith(b"kshot: "), said
    assert b"caf\\udce9\\x1b[2J" in said and b"\x1b" not in said


@pytest.mark.parametrize(
    ("closed", "code", "told"),
    [
        (">&-", 2, "kshot: standard output is closed: leave it open, or send it to a file or /dev/null\n"),
        ("2>&-", 2, ""),
    ],
)
def test_a_closed_stream_is_no_traceback(closed: str, code: int, told: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m kshot predict nowhere nothing {closed}', sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, "", told)
