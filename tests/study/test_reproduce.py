"""docs/reproduce.md does what it says: every command in it runs, in order, on miniatures of three data sets.

The miniatures are real clips under the names of HMDB51 (a rar of rars), UCF101 (a rar) and Kinetics (folders); the
CLIPs are of ViT-B/16's and RN50's formats with random weights, fetched from a hub that runs here. What is put in place
of what a reader types stands in the tables below.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from checkpoints import RESNET_CFG, TEXT_CFG, open_clip
from forks import Command
from hmdb import Files, write_archive
from hubs import serving
from kshot.activations import decoding
from kshot.datasets.hmdb51 import COUNTS, HMDB51
from kshot.datasets.kinetics100 import KINETICS100
from kshot.datasets.ucf101 import UCF101
from kshot.fewshot import cost
from kshot.study import file as study_file
from kshot.study import forecast
from kshot.study.summary import load_study
from rars import write_rar, write_tool
from tiny import random_clip

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
BACKBONE, RESNET = "openai/clip-vit-base-patch16", "timm/resnet50_clip.openai"

TYPED = {  # in a command
    "--from hmdb51_org.rar": "--from hmdb51_org.rar --allow-missing",  # 21 of the 51 classes, a few clips each
    "--from UCF101.rar": "--from UCF101.rar --allow-missing",
    "--from k400 --download": "--from k400 --allow-missing --list train.csv --list val.csv --list test.csv",
    "--device cuda": "--device cpu",
    "--shot 1 --augment time,crops": "--shot 1 --steps 2 --val-every 2 --val-episodes 2 --views 2 --augment time,crops",
    "--adapted runs/cao2024": "--adapted runs/cao2024 --episodes 20",
}
FEW = "episodes = 20\ntrain = { steps = 2, val_every = 2, val_episodes = 2, views = 1 }"
FILED = {  # in the shipped studies: pattern -> what stands there instead
    r'protocol = "cao2024"': f'protocol = "cao2024"\n{FEW}',
    r"episodes = 200": "episodes = 2",
    r'"partial", "full", "lora", "adaptformer", "st-adapter", "aim", "clip-adapter"': '"partial", "lora"',
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
OTHERS = {"train": (5, 2), "val": (2, 2), "test": (5, 2)}  # of UCF101 and Kinetics: classes, clips of each


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


def others(shared: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The same clips under names of UCF101 and of Kinetics-100: path -> bytes."""
    clips = sorted((shared / "clips" / "jhmdb").glob("*/*.avi"), key=lambda path: (path.stem[-1], path.name))
    ucf, kinetics = dict[str, bytes](), dict[str, bytes]()
    for split, (classes, number) in OTHERS.items():
        for label in UCF101.classes[split][:classes]:
            for part in range(number):
                ucf[f"UCF-101/{label}/v_{label}_g{part + 1:02d}_c01.avi"] = clips[len(ucf)].read_bytes()
        with (shared / "splits" / f"kinetics100_{split}.csv").open(newline="") as text:
            rows = list(csv.DictReader(text))
        for label in KINETICS100.classes[split][:classes]:
            for row in [row for row in rows if row["label"] == label][:number]:
                name = Path(row["path"]).with_suffix(".avi").name
                kinetics[f"{label.replace(' ', '_')}/{name}"] = clips[len(kinetics)].read_bytes()
    return ucf, kinetics


@pytest.fixture
def place(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the archives lie and every command is typed."""
    write_archive(tmp_path / "hmdb51_org.rar", miniature(shared))
    ucf, kinetics = others(shared)
    write_rar(tmp_path / "UCF101.rar", list(ucf.items()))
    for name, data in kinetics.items():
        (tmp_path / "k400" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "k400" / name).write_bytes(data)
    for split in OTHERS:
        shutil.copy(shared / "splits" / f"kinetics100_{split}.csv", tmp_path / f"{split}.csv")
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
    name = BACKBONE if BACKBONE in line else RESNET
    made = random_clip(place / "remote", width=32, depth=3, size=32, patch=16)
    if name == RESNET:
        words = json.loads((made / "config.json").read_text())["text_config"]["vocab_size"]
        net = open_clip(RESNET_CFG, TEXT_CFG | {"context_length": 77, "vocab_size": words})
        with torch.no_grad():
            for weight in net.parameters():
                weight.normal_(0, 0.1)
        net.save_pretrained(place / "rn50")
        shutil.copy(made / "tokenizer.json", place / "rn50")
        made = place / "rn50"
    with serving({file.name: file.read_bytes() for file in made.iterdir()}, name) as hub:
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
    for typed in (*TYPED, BACKBONE, RESNET):
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
        failing = "study cao2024" in line and RESNET in line and "--dry-run" not in line  # adapters need transformers
        fine = code == (1 if failing else 0)
        assert fine or line == "kshot doctor", f"{run}\n{error}"  # doctor may find fault with this machine

    def printed(*words: str) -> str:
        return next(out for line, out in outputs.items() if all(word in line for word in words))

    there = "train  12 of 31 classes, 36 of 4,280 clips"
    assert there in printed("data verify")
    assert "36 train, 12 val, 45 test clips" in printed("paper-laptop", "--dry-run")
    assert "at 10e12 multiply-adds a second" in printed("--speed 10")
    assert all(name in printed("cao2024", "--device cuda", "--dry-run") for name in ("ucf101", "kinetics100", RESNET))
    laptop, whole = (load_study(place / "studies" / name) for name in ("laptop", "cao2024"))
    assert [len(laptop.rows), *(row.error for row in laptop.rows)] == [7, *([""] * 7)]
    assert (laptop.settings.protocol, laptop.settings.query) == (None, 5)
    assert (whole.settings.protocol, whole.settings.query, whole.settings.resize) == ("cao2024", 1, "squash-257")
    assert len(whole.rows) == 3 * 2 * 9  # data sets, backbones, rows
    failed = {(row.backbone, row.name) for row in whole.rows if row.error}
    assert failed == {(RESNET, "Finetuning, lora"), (RESNET, "Meta-learning, lora")}, "no transformer blocks"
    page = (place / "studies" / "cao2024" / "report.html").read_text("utf-8")
    assert all(name in page for name in ("hmdb51:spelled", "ucf101:spelled", "kinetics100"))
    assert "lacks" in page  # the clips that the miniature has not
    config = json.loads((place / "runs" / "cao2024" / "config.json").read_text())
    assert config["protocol"]["name"] == "cao2024" and config["augment"] == ["time", "crops"]
    assert config["base_classes"][0] == "brush_hair" and config["prompts"] == ["a photo of action about {spelled}"]


def test_the_page_names_what_ships() -> None:
    text = PAGE.read_text("utf-8")
    for name, rows in (("paper-laptop", 8), ("cao2024", 19)):
        assert len(study_file.read_study(name).rows) == rows
        assert f"`{name}`, {rows} rows" in text
    whole = {row.name: row for row in study_file.read_study("paper").rows}
    small = study_file.read_study("paper-laptop")
    assert all(whole[row.name] == row for row in small.rows), "the laptop's rows are those of the paper's study"
    same = ("shots", "seeds", "episodes", "baseline", "shared_group", "train", "search")
    assert all(getattr(small, name) == getattr(study_file.read_study("paper"), name) for name in same)
    for bench in (HMDB51, UCF101, KINETICS100):
        assert all(f"{clips:,}" in text for clips in bench.clips.values()), bench.name
