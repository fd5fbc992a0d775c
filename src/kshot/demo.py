"""The main job end to end, offline: drawn clips, every strategy on the same episodes, one table and a report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kshot.progress import Progress, quiet
from kshot.report import report
from kshot.study.results import StudyResult
from kshot.study.runner import run

NEXT_STEPS = """\
Your own clips: put them into folders named after their actions, then
  kshot evaluate CLIPS --split all --shot 1          how far the backbone gets without training
  kshot train DATA.csv --out runs/mine               adapt it to classes with split 'train' in a CSV; see README.md"""


@dataclass(frozen=True)
class Demo:
    """What a demo came to.

    Attributes:
        study: its results.
        report: the page to look at.
        seconds: in all.
        next_steps: what to do with one's own clips.
    """

    study: StudyResult
    report: str
    seconds: float
    next_steps: str = NEXT_STEPS

    def plain(self) -> dict[str, Any]:
        """What `kshot demo --json` prints: the study, with the page, seconds and next steps."""
        about = {"report": self.report, "seconds": self.seconds, "next_steps": self.next_steps}
        return self.study.plain({"format"}) | about


def demo(out: str | Path = "demo", seed: int = 0, progress: Progress = quiet) -> Demo:
    """Runs the study "quick" on `motion` with `kshot-tiny` and renders its report.

    Args:
        out: folder for runs, results, tables and report.html; finished rows in it are not run again.
        seed: of training and episodes.
        progress: how to show progress.

    Raises:
        KshotError: the folder holds something else, or the disk refuses.
    """
    started = time.monotonic()
    done = run("quick", out, seeds=(seed,), progress=progress)
    page = report(out, progress=progress)
    return Demo(done, page["page"], round(time.monotonic() - started, 1))
