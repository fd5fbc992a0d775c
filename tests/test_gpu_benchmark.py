"""The benchmark of a GPU runs, with small sizes on a CPU: its figures say nothing there, but all of them are found."""

from __future__ import annotations

import json
import math
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def test_every_figure_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--small", "--device", "cpu", "--json"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = json.loads(capsys.readouterr().out)
    assert (found["small"], found["precision"], found["otam"]["episodes"]) == (True, "float32", 200)
    figures = [*found["encoding"].values(), *found["last_block"].values(), found["otam"]["seconds"]]
    assert len(figures) == 9 and all(math.isfinite(figure) and figure >= 0 for figure in figures)
    assert found["last_block"]["steps_a_second"] > 0 and found["peak_bytes"] > 0
