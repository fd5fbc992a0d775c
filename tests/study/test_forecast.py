"""A study's dry run: the clips, bytes and multiply-adds that it counts are those of the run itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from forks import Command
from kshot.activations import decoding, encoding
from kshot.datasets.hmdb51 import COUNTS
from kshot.errors import OptionError
from kshot.fewshot import cost, learner
from kshot.fewshot.cost import as_time
from kshot.study import counting, forecast
from kshot.study import runner as study

pytestmark = pytest.mark.slow

SMALL = """
data = "{data}"
backbone = "{backbone}"
shots = [1, 2]
seeds = [0, 1]
way = 2
query = 2
episodes = 40
frames = 3

[train]
steps = 3
val_every = 2
val_episodes = 5
accumulate = 2
query = 1

[search]
lr = [1e-3, 1e-4]

[[row]]
name = "frozen"

[[row]]
name = "meta"
strategy = "meta"

[[row]]
name = "both, a run for each shot"
strategy = "finetune-meta"
strategy_options = {{ batch = 7 }}
layers = 2
train_shot = 0

[[row]]
name = "adapters"
strategy = "finetune"
strategy_options = {{ batch = 6, classifier = "text" }}
tuning = "adaptformer"
search = {{}}

[[row]]
name = "views"
strategy = "meta"
search = {{}}
train = {{ views = 2, select = "none" }}

[[row]]
name = "direct"
strategy = "direct"
search = {{}}
episodes = 2
train = {{ val_episodes = 2 }}

[[row]]
name = "broken"
head = "trx"
"""


@pytest.fixture
def source(clips_csv: Path, clip_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL.format(data=clips_csv, backbone=clip_folder))
    return path


def test_what_is_counted_is_what_is_done(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foretold: list[forecast.Work] = []
    monkeypatch.setattr(forecast.Tail, "seconds", lambda self, work: foretold.append(work) or 0.0)
    told = forecast.forecast(source, speed=1.0)
    (part,) = told["parts"]
    monkeypatch.undo()

    done: dict[str, list[int]] = {}  # row -> clips through its tail without gradients, and with them
    row, tail = [""], encoding.tail

    def counted(backbone, values, cut, *more, **named):  # type: ignore[no-untyped-def]
        done.setdefault(row[0], [0, 0])[torch.is_grad_enabled()] += len(values)
        return tail(backbone, values, cut, *more, **named)

    run_row = study._run_row

    def noted(cell, *rest):  # type: ignore[no-untyped-def]
        row[0] = cell.row.name
        return run_row(cell, *rest)

    monkeypatch.setattr(cost, "multiply_adds", lambda work: (work(), 0)[1])  # done, but not counted, which takes longer
    monkeypatch.setattr(decoding, "processes", lambda *_: 0)  # decode here: a process takes longer to start
    for module in (encoding, learner):
        monkeypatch.setattr(module, "tail", counted)
    monkeypatch.setattr(study, "_run_row", noted)
    report = study.run(source, tmp_path / "out", store=tmp_path / "store")

    works = [sum(foretold[i : i + 3], forecast.Work()) for i in range(0, len(foretold), 3)]
    counts = {
        made["name"]: (work.forward, work.learning)
        for made, work in zip([r for r in part["rows"] if "error" not in r], works, strict=True)
    }
    for name in ("frozen", "meta", "both, a run for each shot", "adapters", "views"):
        assert counts[name] == tuple(done[name]), name
    assert counts["direct"][1] >= done["direct"][1] > 0  # reckoned with the most steps that it may choose
    failed = {r.name: r.error for r in report.rows if r.error}
    assert {r["name"]: r["error"] for r in part["rows"] if "error" in r}.keys() == failed.keys() == {"broken"}

    on_disk = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert told["bytes"] == pytest.approx(on_disk, rel=0.05)


def test_a_benchmark_need_not_be_there(clip_folder: Path) -> None:
    told = forecast.forecast("quick", ["hmdb51"], [str(clip_folder)], speed=2.0)
    (part,) = told["parts"]
    assert part["clips"] == {"train": 4280, "val": 1194, "test": 1292}
    assert part["decoding"] is None
    data, there = forecast.clips_of("hmdb51")
    assert (there, data.select("test").counts) == (False, COUNTS["test"])
    data, _ = forecast.clips_of("kinetics100")  # its list tells how many of each class, which is not shipped
    assert set(data.select("test").counts.values()) == {100}


def test_twice_the_speed_is_half_the_time_of_computing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast._Part, "_scoring", lambda *_: 0.0)
    monkeypatch.setattr(forecast._Part, "_decoding", lambda *_: 0.0)
    slow, fast = (forecast.forecast(source, speed=speed) for speed in (1e-6, 2e-6))
    assert slow["seconds"] == pytest.approx(2 * fast["seconds"], rel=0.01)
    rows = [r for r in slow["parts"][0]["rows"] if "error" not in r]
    for made in rows:
        assert made["seconds"] == pytest.approx(made["multiply_adds"] / 1e6, rel=0.01, abs=0.2)
    with pytest.raises(OptionError, match="speed must be above 0, found -1"):
        forecast.forecast(source, speed=-1.0)


def test_what_a_step_holds_is_what_the_graph_keeps(backbone) -> None:  # type: ignore[no-untyped-def]
    """Of one linear layer: its input, once."""
    layer = torch.nn.Linear(8, 4)

    class Tail(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def encode_from(self, x: torch.Tensor, cut: int, frames: int) -> torch.Tensor:
            return self.layer(x)

    assert counting.held_bytes(Tail(), torch.ones(16, 8), 1, 1) == 16 * 8 * 4  # type: ignore[arg-type]
    layer.requires_grad_(False)
    assert counting.held_bytes(Tail(), torch.ones(16, 8), 1, 1) == 0  # type: ignore[arg-type]


def test_the_command(source: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "SLOW", 0.01)
    code, out, error = command("study", source, "--out", tmp_path / "out", "--dry-run")
    assert (code, error) == (0, "")
    assert "at this cpu, decoding" in out
    assert "in all: " in out
    assert "broken cannot run: head 'trx'" in out
    assert not (tmp_path / "out").exists()
    code, out, _ = command("study", source, "--out", tmp_path / "out", "--dry-run", "--speed", 5, "--json")
    told = json.loads(out)
    assert (code, told["speed"]) == (0, 5)
    assert all(np.isfinite(made["seconds"]) for made in told["parts"][0]["rows"] if "error" not in made)
    code, _, error = command("study", source, "--out", tmp_path / "out", "--speed", 5)
    assert (code, error.strip()) == (2, "kshot: --speed belongs to --dry-run")


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"),
        (8.4, "8 s"),
        (99.6, "2 min"),
        (3600, "60 min"),
        (6000, "1.7 h"),
        (170_000, "47 h"),
        (1.4e6, "16 days"),
    ],
)
def test_times_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert as_time(seconds) == text
