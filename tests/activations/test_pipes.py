"""What is no file, among clips and among frames, holds nobody up: the commands end, and name it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kshot

pytestmark = pytest.mark.slow

ENDS = 300  # seconds; a command that opens a pipe never does


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path) -> Path:
    """Train and val classes with a pipe and an endless device beside the clips, and among the frames of one."""
    root = tmp_path_factory.mktemp("pipes")
    for split, labels in (("train", ("clap", "wave", "jump")), ("val", ("arms", "photo", "video"))):
        for label in labels:
            folder = root / split / label
            folder.mkdir(parents=True)
            for clip in range(1, 6):
                shutil.copy(clips_csv.with_name(f"{label}-{clip}.mp4"), folder)
            shutil.copytree(clips_csv.with_name(f"{label}-0"), folder / "frames")
    folder = root / "train" / "clap"
    os.mkfifo(folder / "pipe.mp4")
    (folder / "endless.mp4").symlink_to("/dev/zero")
    for name, kind in (("003.png", "pipe"), ("004.png", "endless")):
        shutil.copytree(folder / "frames", folder / kind)
        (folder / kind / name).unlink()
    os.mkfifo(folder / "pipe" / "003.png")
    (folder / "endless" / "004.png").symlink_to("/dev/zero")
    return root


NAMED = {
    "pipe.mp4": "found a pipe",
    "endless.mp4": "found a device",
    "pipe": "003.png is a pipe",
    "endless": "004.png is a device",
}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kshot.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=ENDS,
        env={**os.environ, "PYTHONPATH": str(Path(kshot.__file__).parents[1])},
    )


def check(unreadable: dict[str, str]) -> None:
    assert {Path(path).name for path in unreadable} == set(NAMED)
    for path, reason in unreadable.items():
        assert NAMED[Path(path).name] in reason


def test_extract(data: Path, clip_folder: Path, tmp_path: Path) -> None:
    arguments = ("extract", data, "--backbone", clip_folder, "--store", tmp_path, "--frames", 4, "--json", "--strict")
    done = run(*arguments)
    assert done.returncode == 1, done.stderr
    check(json.loads(done.stdout)["unreadable"])
    dry = run(*arguments[:-1], "--dry-run")
    assert dry.returncode == 0, dry.stderr


def test_train(data: Path, clip_folder: Path, tmp_path: Path) -> None:
    done = run(
        "train", data, "--out", tmp_path / "run", "--backbone", clip_folder, "--store", tmp_path / "store",
        "--frames", 4, "--steps", 2, "--way", 3, "--query", 2, "--val-episodes", 5, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout)["unreadable"])


def test_fit_and_predict(data: Path, clip_folder: Path, tmp_path: Path) -> None:
    done = run(
        "fit", data / "train", "--out", tmp_path / "model", "--backbone", clip_folder, "--store", tmp_path / "store",
        "--frames", 4, "--method", "prototype", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout)["unreadable"])
    good = data / "train" / "wave" / "wave-1.mp4"
    bad = [data / "train" / "clap" / name for name in NAMED]
    told = run("predict", tmp_path / "model", good, *bad, "--json")
    assert told.returncode == 2 and "Traceback" not in told.stderr
    answers = json.loads(told.stdout)["answers"]
    assert "label" in answers[0]
    for answer in answers[1:]:
        assert NAMED[Path(answer["video"]).name] in answer["error"]
