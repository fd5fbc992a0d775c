"""Files are written whole, through links, and never in place of what is no plain file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forks import Command
from kshot.errors import KshotError, OptionError, StoreError
from kshot.fewshot.evaluation import evaluate
from kshot.files import disk, plain, whole, write_atomic


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/full")


def folder(path: Path) -> None:
    path.mkdir()


OTHERS = pytest.mark.parametrize(
    ("make", "word"), [(pipe, "a pipe"), (device, "a device"), (folder, "a folder")], ids=["pipe", "device", "folder"]
)


@OTHERS
def test_what_is_no_plain_file_is_refused_and_stays(make: Callable[[Path], None], word: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    make(path)
    before = os.stat(path).st_mode
    with pytest.raises(OptionError, match=f"out.json is {word}: expected the name of a file to write"):
        write_atomic(path, b"data")
    assert os.stat(path).st_mode == before and [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real.json", tmp_path / "link.json"
    link.symlink_to("there/real.json")
    write_atomic(link, b"first")  # the target is not there yet
    assert link.is_symlink() and target.read_bytes() == b"first"
    with target.open("rb") as reader:
        write_atomic(link, b"second")
        assert reader.read() == b"first", "atomically, beside the target"
    assert link.is_symlink() and target.read_bytes() == b"second"
    assert [p.name for p in target.parent.iterdir()] == ["real.json"]
    link.unlink()
    link.symlink_to("link.json")
    with pytest.raises((OptionError, OSError)):
        write_atomic(link, b"in a circle")


def test_a_failure_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ValueError), whole(path) as part:
        part.write_bytes(b"half")
        raise ValueError
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a"]
    assert plain(tmp_path / "new") == tmp_path / "new"


@OTHERS
def test_every_out_is_refused_before_the_work(
    make: Callable[[Path], None], word: str, command: Command, clips_csv: Path, adapted: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All commands that write one file of the user's naming."""
    for module in ("evaluation", "features"):
        monkeypatch.setattr(f"kshot.fewshot.{module}.extract", lambda *_, **__: pytest.fail("the work was begun"))
    np.save(tmp_path / "raw.npy", np.ones((112, 2, 4), np.float32))
    names = {kind: tmp_path / f"out{kind}" for kind in (".json", ".npz", ".csv", ".png")}
    for path in names.values():
        make(path)
    shape = ("--way", 3, "--query", 2, "--episodes", 5)
    for arguments in (
        ("evaluate", clips_csv, "--adapted", adapted, *shape, "--out", names[".json"]),
        ("data", "features", "import", tmp_path / "raw.npy", "--clips", clips_csv, "--out", names[".npz"]),
        ("data", "features", "export", clips_csv, "--out", names[".npz"]),
        ("data", "features", "export", clips_csv, "--out", tmp_path / "new.npz", "--table", names[".csv"]),
        ("predict", tmp_path / "model", "a.mp4", "--timeline", "--out", names[".csv"]),
        ("predict", tmp_path / "model", "a.mp4", "--timeline", "--picture", names[".png"]),
    ):
        code, out, error = command(*arguments)
        assert (code, out, error.count("\n")) == (2, "", 1), (arguments, error)
        assert f"is {word}: expected the name of a file to write" in error
    assert all(not os.path.isfile(path) for path in names.values())
    assert not (tmp_path / "new.npz").exists()


def test_a_result_is_not_written_over_a_device(tmp_path: Path, clips_csv: Path) -> None:
    with pytest.raises(KshotError, match="/dev/full is a device"):
        evaluate(clips_csv, out="/dev/full", way=3, query=2, episodes=5)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, " GB free); what was written before stays valid: make room or name another place"),
        (errno.EACCES, "Permission denied; what was written before stays valid: see that you may write there"),
        (None, "odd; what was written before stays valid: see that you may write there, or name another place"),
    ],
)
def test_what_a_disk_refuses_says_what_helps(number: int | None, told: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as found, disk(tmp_path / "x"):
        raise OSError("odd") if number is None else OSError(number, os.strerror(number))
    assert str(found.value).startswith(f"cannot write to {tmp_path / 'x'}: ") and told in str(found.value)
