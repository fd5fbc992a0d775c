"""Output folders have one writer at a time: the second gets one line and exit code 2, and nothing of either is lost."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forks import Command
from kshot.datasets import motion, prepare
from kshot.errors import DataError, OptionError, StoreError
from kshot.files import LOCK, alone, holding, locked, occupied, ours, write_atomic
from kshot.recognizer import Recognizer
from kshot.studio.project import Project

pytestmark = pytest.mark.slow

HOLD = """
import sys
from pathlib import Path
from kshot.files import locked
with locked(Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: Path, *name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds a folder."""
    arguments = [sys.executable, "-c", HOLD, str(folder), *name]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path, clip_folder: Path) -> Path:
    """A study of one row."""
    path = tmp_path_factory.mktemp("grid") / "study.toml"
    path.write_text(
        f'title = "one"\ndata = "{clips_csv}"\nbackbone = "{clip_folder}"\nshots = [1]\nway = 2\nquery = 2\n'
        f'episodes = 5\nframes = 3\n[[row]]\nname = "frozen"\n'
    )
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path, clip_folder: Path) -> Path:
    from kshot.datasets import load

    data = load(clips_csv).select("test")
    taught = Recognizer(backbone=clip_folder, frames=3)
    taught.fit(data.paths, [data.classes[number] for number in data.labels])
    return taught.save(tmp_path_factory.mktemp("taught") / "model")


def training(clips_csv: Path, clip_folder: Path, warm_store: Path, out: Path, steps: int) -> list[str]:
    options = {"backbone": clip_folder, "way": 3, "query": 2, "val-every": 5, "val-episodes": 5, "store": warm_store}
    told = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["train", str(clips_csv), "--out", str(out), *told, "--steps", str(steps)]


# The commands


@pytest.mark.parametrize("name", ["train", "train --resume", "fit", "study", "report", "export"])
def test_the_second_gets_one_line_and_exit_code_2(
    name: str, command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, grid: Path, model: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    if name == "report":
        assert command("study", grid, "--out", out, "--store", warm_store)[0] == 0
    arguments = {
        "train": training(clips_csv, clip_folder, warm_store, out, 3),
        "train --resume": [*training(clips_csv, clip_folder, warm_store, out, 3), "--resume"],
        "fit": ["fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--out", out],
        "study": ["study", grid, "--out", out, "--store", warm_store],
        "report": ["report", out],
        "export": ["export", model, "--out", out],
    }[name]
    with held_elsewhere(out):
        before = sorted(out.rglob("*"))
        code, text, error = command(*arguments)
        assert (code, text, error.count("\n")) == (2, "", 1)
        assert f"another kshot is writing to {out}: wait for it to end, or name another folder" in error
        assert sorted(out.rglob("*")) == before
    assert command(*arguments)[0] == 0, "a killed holder holds nothing up, and what it left is no content"
    assert not list(out.rglob(LOCK))


def test_two_trainings_of_one_folder(
    command: Command, clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    """Two real commands at once; they used to write 107 lines for 60 steps."""
    arguments = training(clips_csv, clip_folder, warm_store, tmp_path / "run", 60)
    first = subprocess.Popen([sys.executable, "-m", "kshot", *arguments], stderr=subprocess.PIPE, text=True)
    with first:
        while not (tmp_path / "run" / LOCK).exists():
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.01)
        code, _, error = command(*arguments)
        assert (code, error.count("\n")) == (2, 1) and "another kshot is writing to" in error
        assert first.wait(120) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 61))


def test_a_folder_taken_away_from_a_training_gets_nothing_more(
    clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path: Path
) -> None:
    arguments = training(clips_csv, clip_folder, warm_store, tmp_path / "run", 100_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "kshot", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text().count("\n") > 3):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        (tmp_path / "run").rename(tmp_path / "aside")
        with locked(tmp_path / "run"):  # as another training would
            _, error = process.communicate(timeout=120)
            assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    assert process.returncode == 2 and error.count("\n") == 1
    assert "was removed or replaced while it was written to; nothing more is written there" in error


def test_a_folder_of_something_else_is_left_as_it_was(command: Command, clips_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    (tmp_path / "lock").write_text("mine")
    for arguments in (["train", clips_csv], ["fit", clips_csv], ["study", "quick"]):
        code, _, error = command(*arguments, "--out", tmp_path)
        assert code == 2 and error.count("\n") == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"thesis.tex": "...", "lock": "mine"}


# Data sets, the studio, models in memory


def test_motion_clips_are_drawn_once_by_whoever_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(motion, "_render_all", lambda *_: drawn.append(1))
    with held_elsewhere(tmp_path / "motion") as other:
        waiting = threading.Thread(target=motion.render, args=(tmp_path / "motion", 1))
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive() and not drawn
        with (tmp_path / "motion" / "motion-1.csv").open("w", newline="") as file:  # the other is done
            csv.writer(file).writerows([motion.HEADER, *motion._rows(1)])
        other.communicate()
        waiting.join(10)
        assert not waiting.is_alive() and not drawn


def test_a_benchmark_is_prepared_by_one(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hmdb"
    with (
        held_elsewhere(tmp_path, ".hmdb.partial.lock"),
        pytest.raises(DataError, match="another process is preparing it; wait for that"),
        prepare._working(folder),
    ):
        raise AssertionError
    with pytest.raises(KeyboardInterrupt), prepare._working(folder) as work:
        assert work.is_dir()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_project_is_served_by_one(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / "project", "lock"), pytest.raises(DataError, match="open in another `kshot serve`"):
        Project(tmp_path / "project", {})
    for _ in range(2):  # a closed project is one still
        Project(tmp_path / "project", {}).close()


def test_a_model_is_saved_by_one(model: Path, tmp_path: Path, clip_folder: Path) -> None:
    taught = Recognizer.load(model, clip_folder)
    with held_elsewhere(tmp_path / "model"), pytest.raises(StoreError, match="another kshot is writing to"):
        taught.save(tmp_path / "model")
    assert Recognizer.load(taught.save(tmp_path / "model"), clip_folder).classes_.tolist() == taught.classes_.tolist()


# The lock itself


def test_holds_one_folder_and_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder"
    with locked(place):
        assert holding(place) and not occupied(place) and not holding(tmp_path)
        with pytest.raises(StoreError, match="another kshot is writing to"), locked(place):
            pass
        write_atomic(place / "file", b"x")
        assert occupied(place)
    assert [path.name for path in place.iterdir()] == ["file"] and not holding(place)
    with pytest.raises(RuntimeError), locked(tmp_path / "a" / "b"):
        raise RuntimeError
    assert not (tmp_path / "a").exists(), "folders that were made for nothing"
    with pytest.raises(OptionError, match="is a file; name a folder"), locked(place / "file"):
        pass


def test_the_same_folder_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with locked(tmp_path / "link"):
        assert holding(tmp_path / "real")
        with pytest.raises(StoreError), locked(tmp_path / "real"):
            pass


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_removed_or_replaced_meanwhile_is_noticed(tmp_path: Path, replaced: bool) -> None:
    place = tmp_path / "out"
    with locked(place):
        shutil.rmtree(place)
        if replaced:
            place.mkdir()
            (place / LOCK).touch()
        with pytest.raises(StoreError, match="out was removed or replaced while it was written to"):
            write_atomic(place / "file", b"x")
        with pytest.raises(StoreError):
            ours(place)
        write_atomic(tmp_path / "outside", b"x")
    assert [path.name for path in place.rglob("*")] == [LOCK] * replaced, "nor is another's lock removed"


def test_a_decorated_function_holds_its_folder(tmp_path: Path) -> None:
    @alone("out")
    def work(number: int, out: Path, wrong: bool = False) -> int:
        assert holding(Path(out)) and not wrong
        return number

    assert work(3, tmp_path / "a") == work(3, out=tmp_path / "a") == 3
    with pytest.raises(AssertionError):
        work(3, tmp_path / "a", wrong=True)
    assert not holding(tmp_path / "a")


def test_a_file_system_without_locks_is_told_and_the_file_itself_is_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.warns(UserWarning, match="flock not supported"), locked(tmp_path / "out"):
        with pytest.raises(StoreError, match="another kshot is writing to"), locked(tmp_path / "out"):
            pass
        write_atomic(tmp_path / "out" / "file", b"x")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


def test_a_file_system_whose_locks_fail_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def failing(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(StoreError, match=r"cannot write to .*out: No locks available"), locked(tmp_path / "out"):
        pass
