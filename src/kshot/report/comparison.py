"""What a study's folder says about one data set and backbone: the summary, the single runs, the result files."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kshot.errors import DataError, KshotError
from kshot.fewshot.result import ClipScore, Result
from kshot.fewshot.strategies import get_strategy
from kshot.study.estimates import difference
from kshot.study.file import Study
from kshot.study.results import Contrast, Line, RowResult, StudyResult

SHOWN = 5  # folders of rows that are named


@dataclass(frozen=True)
class Comparison:
    """The methods of a study on one data set with one backbone: those that are transductive, or all others.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        settings: the study's.
        lines: the summary, one for each method and shot that finished.
        runs: one for each method and seed, failed ones included.
        folder: the study's.
        transductive: whether these are the transductive ones.
        declared: comparisons that the study declares.
    """

    data: str
    backbone: str
    settings: Study
    lines: list[Line]
    runs: list[RowResult]
    folder: Path
    transductive: bool = False
    declared: list[Contrast] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Data and backbone."""
        return f"{self.data} with {self.backbone}" + ", transductive methods" * self.transductive

    @property
    def baseline(self) -> str:
        """The method that others are compared to; "" where there is none or it failed."""
        return self.settings.baseline if self.lines_of(self.settings.baseline) else ""

    @property
    def names(self) -> list[str]:
        """The methods, in the order of the study."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @cached_property
    def shots(self) -> list[int]:
        """Those that a method finished, the lowest first."""
        return sorted({line.shot for line in self.lines if line.shot is not None})

    def at(self, shot: int) -> list[Line]:
        """The summary at one shot."""
        return [line for line in self.lines if line.shot == shot]

    def lines_of(self, name: str) -> dict[int, Line]:
        """The summary of a method, by shot; empty where it failed."""
        return {line.shot: line for line in self.lines if line.name == name and line.shot is not None}

    def finished(self, name: str) -> list[RowResult]:
        """The runs of a method that went through."""
        return [run for run in self.runs if run.name == name and not run.error]

    def failures(self, name: str) -> list[RowResult]:
        """The runs of a method that failed."""
        return [run for run in self.runs if run.name == name and run.error]

    def ranked(self, shot: int) -> list[Line]:
        """The summary at one shot, the highest accuracy first; behind all others, methods that lost seeds."""
        planned = self.settings.seeds_of
        return sorted(self.at(shot), key=lambda line: (line.seeds < len(planned(line.name)), -line.accuracy))

    def best(self) -> str | None:
        """The method with the highest accuracy at the highest shot; None where all failed."""
        return self.ranked(self.shots[-1])[0].name if self.shots else None

    def per_class(self, name: str) -> dict[str, float]:
        """Percent right of each class at the highest shot, mean over seeds."""
        found = [run.results[str(self.shots[-1])].per_class for run in self.finished(name)]
        return {label: float(np.mean([f[label] for f in found if label in f])) for label in found[0]}

    def confusion(self, name: str) -> tuple[NDArray[np.float64], list[str]]:
        """Percent (C, C) of each class's queries (rows) given each class, at the highest shot, mean over seeds."""
        classes = list(self.per_class(name))
        found = [run.results[str(self.shots[-1])].confusion for run in self.finished(name)]
        shares = [[[one.get(true, {}).get(given, 0.0) for given in classes] for true in classes] for one in found]
        mean: NDArray[np.float64] = np.array(shares).mean(0)
        return mean, classes

    def per_clip(self, name: str) -> list[ClipScore]:
        """Of each clip that was a query at the highest shot, what came of it over all seeds.

        Empty where a result file is lost, as a part of the seeds is not all of them, or of an older version.
        """
        found: dict[str, ClipScore] = {}
        results = [self._results.get((name, run.seed, self.shots[-1])) for run in self.finished(name)]
        for result in results if None not in results else ():
            for one in result.per_clip if result else ():
                into = found.setdefault(
                    one.clip, ClipScore(clip=one.clip, label=one.label, queries=0, right=0, taken_for={})
                )
                into.queries += one.queries
                into.right += one.right
                into.taken_for = dict(Counter(into.taken_for) + Counter(one.taken_for))
        return list(found.values())

    def paired(self, one: str, other: str, shot: int) -> tuple[float, float] | None:
        """Difference of two methods on the episodes and seeds that both took, and half of its 95 % interval.

        None where a result file is lost or they share no seed.
        """

        def read(run: RowResult) -> NDArray[np.float64]:
            return self._results[run.name, run.seed, shot].episode_accuracy

        try:
            found = difference(self.finished(one), self.finished(other), shot, read)
        except KeyError:
            return None
        return (found[0].mean, found[0].ci95) if found else None

    def ahead(self, one: str, other: str, shot: int) -> bool:
        """Whether a method leads another by more than the interval of `paired`."""
        pair = self.paired(one, other, shot)
        return pair is not None and pair[0] > pair[1]

    def leader(self, shot: int) -> str:
        """The most accurate method, where it is `ahead` of every other and no comparisons are declared; else ""."""
        best, *others = (line.name for line in self.ranked(shot))
        alone = not self.settings.compare and all(self.ahead(best, other, shot) for other in others)
        return best if alone else ""

    @property
    def classes(self) -> int:
        """How many classes were evaluated, 0 where every run failed."""
        good = next((run for run in self.runs if not run.error), None)
        return len(next(iter(good.results.values())).per_class) if good else 0

    @property
    def clips(self) -> str:
        """How much was evaluated, in words."""
        good = next((run for run in self.runs if not run.error), None)
        return f"{good.clips:,} clips of {self.classes} classes" if good else "nothing evaluated"

    @property
    def fingerprint(self) -> str:
        """Of the backbone's weights and preprocessing."""
        return next((run.fingerprint for run in self.runs if run.fingerprint), "")

    @property
    def versions(self) -> list[str]:
        """Versions of kshot that results were made with."""
        return list(dict.fromkeys(result.version for result in self._results.values()))

    @property
    def unreadable(self) -> dict[str, str]:
        """Clips that could not be read, with the reason."""
        return {clip: why for result in self._results.values() for clip, why in result.unreadable.items()}

    @property
    def damaged(self) -> dict[str, str]:
        """What is lost of clips that counted all the same."""
        return {
            one.clip: f"{one.clip}: {one.kept:.0%} of it is there: {one.reason}"
            for result in self._results.values()
            for one in result.damaged
        }

    @property
    def missing(self) -> list[str]:
        """Clips of a benchmark that the copy at work lacked."""
        return list(dict.fromkeys(clip for result in self._results.values() for clip in result.missing))

    @property
    def notes(self) -> list[str]:
        """What of the data was passed over, left out or kept apart."""
        return list(dict.fromkeys(note for run in self.runs for note in run.notes))

    @property
    def lost(self) -> list[str]:
        """A sentence on result files that are gone, torn or altered; none where all are there."""
        asked = [(run, int(shot)) for run in self.runs if not run.error for shot in run.results]
        gone = [(run, shot) for run, shot in asked if (run.name, run.seed, shot) not in self._results]
        if not gone:
            return []
        places = list(dict.fromkeys(run.folder for run, _ in gone))
        shown = ", ".join(places[:SHOWN]) + f" and {len(places) - SHOWN} more" * (len(places) > SHOWN)
        return [
            f"{self.title}: {len(gone)} of {len(asked)} result files are lost or damaged, in {shown}: figures of "
            f"single clips and of pairs that need them are left out, and lists of lost clips "
            f"may be short; the table is whole. Run the study again to have them"
        ]

    @cached_property
    def _results(self) -> dict[tuple[str, int, int], Result]:
        """(method, seed, shot) -> its result file; files that are gone, torn or altered are left out."""
        return dict(self._read())

    def _read(self) -> Iterator[tuple[tuple[str, int, int], Result]]:
        for run in self.runs:
            for shot in run.results:
                try:
                    yield (run.name, run.seed, int(shot)), run.result(self.folder, shot)
                except DataError:
                    continue


def trains_in_episodes(strategy: str) -> bool:
    """Whether training is part of every test episode, so that a method's seconds of training tell little."""
    try:
        return get_strategy(strategy).learns_from == "support"
    except KshotError:  # a strategy of another version
        return False


def compared(study: StudyResult, folder: Path) -> list[Comparison]:
    """The comparisons of a study, in its order; transductive methods behind the others of the same clips."""
    kinds = dict.fromkeys((run.data, run.backbone) for run in study.rows)
    found: list[Comparison] = []
    for (data, backbone), together in itertools.product(kinds, (False, True)):
        lines = [line for line in study.lines(data, backbone) if line.shot is not None]
        lines = [line for line in lines if (line.name in study.transductive) == together]
        mine = [run for run in study.rows if (run.data, run.backbone) == (data, backbone)]
        if runs := [run for run in mine if run.transductive == together]:
            first = not any((one.data, one.backbone) == (data, backbone) for one in found)
            declared = study.declared(data, backbone) if first else []
            found.append(Comparison(data, backbone, study.settings, lines, runs, folder, together, declared))
    return found
