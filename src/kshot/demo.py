"""The main job end to end, offline: drawn clips, every strategy on the same episodes, one table and a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from kshot.progress import Progress, quiet
from kshot.report import report
from kshot.study import runner as study

NEXT_STEPS = """\
Your own clips: put them into folders named after their actions, then
  kshot evaluate CLIPS --split all --shot 1          how far the backbone gets without training
  kshot train DATA.csv --out runs/mine               adapt it to classes with split 'train' in a CSV; see README.md"""


def demo(out: str | Path = "demo", seed: int = 0, progress: Progress = quiet) -> dict[str, Any]:
    """Runs the study "quick" on `motion` with `kshot-tiny` and renders its report.

    Args:
        out: folder for runs, results, tables and report.html; finished rows in it are not run again.
        seed: of training and episodes.
        progress: how to show progress.

    Returns:
        What `DIR/study.json` holds, with `report` (path of the page), `seconds` and `next_steps`.

    Raises:
        KshotError: the folder holds something else, or the disk refuses.
    """
    started = time.monotonic()
    done = study.run("quick", out, seeds=(seed,), progress=progress)
    page = report(out, progress=progress)
    return done | {
        "report": page["page"],
        "seconds": round(time.monotonic() - started, 1),
        "next_steps": NEXT_STEPS,
    }
