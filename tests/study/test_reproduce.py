"""docs/reproduce.md does what it says: every command in it runs, in order, on a miniature of HMDB51 in its real layout.

The miniature is a rar of rars of real clips under their HMDB51 names; the CLIP is one of ViT-B/16's format with random
weights, fetched from a hub that runs here. What is put in place of what a reader types stands in the tables below.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from forks import Command
from hmdb import Files, write_archive
from hubs import serving
from kshot.activations import decoding
from kshot.datasets.hmdb51 import COUNTS
from kshot.fewshot import cost
from kshot.study import file as study_file
from kshot.study import forecast
from kshot.study.summary import load_study
from rars import write_tool
from tiny import random_clip

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
BACKBONE = "openai/clip-vit-base-patch16"

TYPED = {  # in a command
    "--from hmdb51_org.rar": "--from hmdb51_org.rar --allow-missing",  # 21 of the 51 classes, a few clips each
    "--device cuda": "--device cpu",
    "--protocol clip-fsar": "--protocol clip-fsar --episodes 20",
}
FILED = {  # in the shipped studies: pattern -> what stands there instead
    r"steps = \d+": "steps = 2",
    r"val_every = \d+": "val_every = 2",
    r"val_episodes = \d+": "val_episodes = 2",
    r"episodes = 10_000": "episodes = 20",
    r"episodes = 80": "episodes = 2",
    r"shots = .*": "shots = [1]",
    r"seeds = .*": "seeds = [0]",
    r"lr = \[.*\]": "lr = [3e-5]",
    r'"full", "lora", "adaptformer", "st-adapter"': '"full", "lora"',
    r'    "Meta-learning, (?:adaptformer|st-adapter)",\n': "",
    r'"proj", "block"': '"block"',
    r"layers = \[2, 3\]": "layers = [2]",
}
CLIPS = {"train": 3, "val": 3, "test": 9}  # of each class


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


def miniature(shared: Path) -> Files:
    """Real clips of J-HMDB, which bear HMDB51's names, of as many sources as there are."""
    made: Files = {}
    for split, number in CLIPS.items():
        for label in COUNTS[split]:
            folder = shared / "clips" / "jhmdb" / label
            if folder.is_dir():
                clips = sorted(folder.iterdir(), key=lambda path: (path.stem[-1], path.name))[:number]
                made[label] = {path.name: path.read_bytes() for path in clips}
    return made


@pytest.fixture
def place(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the archive lies and every command is typed."""
    write_archive(tmp_path / "hmdb51_org.rar", miniature(shared))
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{write_tool(tmp_path / 'tools')}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "studies-small").mkdir()
    for file in study_file.SHIPPED.glob("*.toml"):
        text = file.read_text("utf-8")
        for pattern, instead in FILED.items():
            text = re.sub(pattern, instead, text)
        (tmp_path / "studies-small" / file.name).write_text(text)
    monkeypatch.setattr(forecast, "SLOW", 0.01)  # seconds that timing a row may take
    monkeypatch.setattr(
        cost, "multiply_adds", lambda work: (work(), 10**6)[1]
    )  # done, but not counted, which takes longer
    monkeypatch.setattr(decoding, "processes", lambda *_: 0)  # decode here: a process takes longer to start
    monkeypatch.setattr(study_file, "SHIPPED", tmp_path / "studies-small")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fetched(line: str, place: Path) -> None:
    """Runs `hf download` against a hub on this machine."""
    made = random_clip(place / "remote", width=32, depth=3, size=32, patch=16)
    with serving({file.name: file.read_bytes() for file in made.iterdir()}, BACKBONE) as hub:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(place / "hf"), "NO_PROXY": "127.0.0.1"}
        tool = Path(sys.executable).with_name("hf")
        done = subprocess.run(
            [tool, *shlex.split(line)[1:]], capture_output=True, text=True, timeout=300, env=environment
        )
    assert done.returncode == 0, (done.stderr, hub.requests)


def test_every_command_runs(place: Path, command: Command) -> None:
    lines = commands()
    assert len(lines) > 10
    for typed in (*TYPED, BACKBONE):
        assert any(typed in line for line in lines), f"nothing to replace: {typed}"
    outputs: dict[str, str] = {}
    for line in lines:
        if line.startswith("hf "):
            fetched(line, place)
            continue
        run = line
        for typed, instead in TYPED.items():
            run = run.replace(typed, instead)
        code, outputs[line], error = command(*shlex.split(run, comments=True)[1:])
        assert code == 0 or line == "kshot doctor", f"{run}\n{error}"  # doctor may find fault with this machine

    def printed(*words: str) -> str:
        return next(out for line, out in outputs.items() if all(word in line for word in words))

    there = "train  12 of 31 classes, 36 of 4,280 clips"
    assert there in printed("data verify")
    assert "36 train, 12 val, 45 test clips" in printed("paper-laptop", "--dry-run")
    assert "at 10e12 multiply-adds a second" in printed("--speed 10")
    assert "text" in printed("evaluate hmdb51:published")
    for name, rows in (("laptop", 7), ("gpu", 11), ("paper-protocol", 7)):
        report = load_study(place / "studies" / name)
        assert [len(report.rows), *(row.error for row in report.rows)] == [rows, *([""] * rows)]
        protocol = "paper" if name == "paper-protocol" else None
        assert (report.settings.protocol, report.settings.query) == (protocol, 1 if protocol else 5)
    page = (place / "studies" / "gpu" / "report.html").read_text("utf-8")
    assert "hmdb51" in page
    assert "lacks" in page  # the clips that the miniature has not


def test_the_page_names_what_ships() -> None:
    text = PAGE.read_text("utf-8")
    for name, rows in (("paper-laptop", 8), ("paper", 15)):
        assert len(study_file.read_study(name).rows) == rows
        assert f"`{name}`, {rows} rows" in text
    whole = {row.name: row for row in study_file.read_study("paper").rows}
    small = study_file.read_study("paper-laptop")
    assert all(whole[row.name] == row for row in small.rows), "the laptop's rows are those of the paper's study"
    same = ("shots", "seeds", "episodes", "baseline", "shared_group", "train", "search")
    assert all(getattr(small, name) == getattr(study_file.read_study("paper"), name) for name in same)
    for split, counts in COUNTS.items():
        assert f"{sum(counts.values()):,}" in text, split
