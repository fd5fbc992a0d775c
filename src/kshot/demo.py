"""The main job end to end, offline: drawn clips, every strategy on the same episodes, a table and a report.

And a part of it once more where the backbone sees badly.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kshot import processes
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
        study: the results of the study "quick".
        report: the page to look at.
        shift: the results of the study "quick-shift", the same under a shift of domain.
        shift_report: its page.
        seconds: in all.
        next_steps: what to do with one's own clips.
    """

    study: StudyResult
    report: str
    shift: StudyResult
    shift_report: str
    seconds: float
    next_steps: str = NEXT_STEPS

    def plain(self) -> dict[str, Any]:
        """What `kshot demo --json` prints: the study, with the page, the other study, seconds and next steps."""
        shift = self.shift.plain({"format"}) | {"report": self.shift_report}
        about = {"report": self.report, "shift": shift, "seconds": self.seconds, "next_steps": self.next_steps}
        return self.study.plain({"format"}) | about


@processes.joined
def demo(out: str | Path = "demo", seed: int = 0, progress: Progress = quiet) -> Demo:
    """Runs the studies "quick" and "quick-shift" on `motion` with `kshot-tiny` and renders their reports.

    Args:
        out: folder for runs, results, tables and report.html, those of "quick-shift" in its folder upside-down;
            finished rows in it are not run again.
        seed: of training and episodes.
        progress: how to show progress.

    Raises:
        KshotError: the folder holds something else, or the disk refuses.
    """
    started = time.monotonic()
    beside = Path(out) / "upside-down"
    done = run("quick", out, seeds=(seed,), progress=progress)
    shift = run("quick-shift", beside, seeds=(seed,), progress=progress)
    page, other = processes.from_first(lambda: [report(folder, progress=progress)["page"] for folder in (out, beside)])
    return Demo(done, page, shift, other, round(time.monotonic() - started, 1))
