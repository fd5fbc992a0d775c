"""What a study's folder says about one data set and backbone: the summary, the single rows, the result files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot.errors import DataError, KshotError
from kshot.fewshot.evaluation import interval
from kshot.fewshot.strategies import get_strategy
from kshot.study.runner import result_of


@dataclass(frozen=True)
class Comparison:
    """The rows of a study that share data and backbone.

    Attributes:
        lines: the summary, one for each method and shot. rows: one for each method and seed, failed ones included.
        folder: the study's.
    """

    data: str
    backbone: str
    settings: dict[str, Any]
    lines: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.data} with {self.backbone}"

    @property
    def baseline(self) -> str:
        """The method that others are compared to; "" where there is none or it failed."""
        name: str = self.settings["baseline"]
        return name if self.lines_of(name) else ""

    @property
    def names(self) -> list[str]:
        """The methods, in the order of the study."""
        return list(dict.fromkeys(row["name"] for row in self.rows))

    @cached_property
    def shots(self) -> list[int]:
        return sorted({line["shot"] for line in self.lines if "shot" in line})

    def at(self, shot: int) -> list[dict[str, Any]]:
        """The summary at one shot."""
        return [line for line in self.lines if line.get("shot") == shot]

    def lines_of(self, name: str) -> dict[int, dict[str, Any]]:
        """The summary of a method, by shot; empty where it failed."""
        return {line["shot"]: line for line in self.lines if line["name"] == name and "shot" in line}

    def finished(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["name"] == name and "error" not in row]

    def failures(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["name"] == name and "error" in row]

    def ranked(self, shot: int) -> list[dict[str, Any]]:
        """The summary at one shot, the highest accuracy first; behind all others, methods that lost seeds."""
        lines = self.at(shot)
        most = max((line["seeds"] for line in lines), default=0)
        return sorted(lines, key=lambda line: (line["seeds"] < most, -line["accuracy"]))

    def best(self) -> str | None:
        """The method with the highest accuracy at the highest shot; None where all failed."""
        return self.ranked(self.shots[-1])[0]["name"] if self.shots else None

    def per_class(self, name: str) -> dict[str, float]:
        """Percent right of each class at the highest shot, mean over seeds."""
        found = [row["results"][str(self.shots[-1])]["per_class"] for row in self.finished(name)]
        return {label: float(np.mean([f[label] for f in found if label in f])) for label in found[0]}

    def confusion(self, name: str) -> tuple[NDArray[np.float64], list[str]]:
        """Percent (C, C) of each class's queries (rows) given each class, at the highest shot, mean over seeds."""
        classes = list(self.per_class(name))
        found = [row["results"][str(self.shots[-1])]["confusion"] for row in self.finished(name)]
        shares = [[[one.get(true, {}).get(given, 0.0) for given in classes] for true in classes] for one in found]
        mean: NDArray[np.float64] = np.array(shares).mean(0)
        return mean, classes

    def per_clip(self, name: str) -> list[dict[str, Any]]:
        """Of each clip asked at the highest shot, over all seeds: clip, label, asked, right and taken_for (counts).

        Empty where result files are gone or of an older version.
        """
        found: dict[str, dict[str, Any]] = {}
        for row in self.finished(name):
            for one in self._results.get((name, row["seed"], self.shots[-1]), {}).get("per_clip", []):
                empty = {"clip": one["clip"], "label": one["label"], "asked": 0, "right": 0, "taken_for": Counter()}
                into = found.setdefault(one["clip"], empty)
                into["asked"] += one["asked"]
                into["right"] += one["right"]
                into["taken_for"].update(one["taken_for"])
        return list(found.values())

    def paired(self, one: str, other: str, shot: int) -> tuple[float, float] | None:
        """Difference of two methods on the episodes and seeds that both took, and half of its 95 % interval.

        None where a result file is gone or they share no seed.
        """
        seeds = {row["seed"] for row in self.finished(one)} & {row["seed"] for row in self.finished(other)}
        differences = []
        for seed in sorted(seeds):
            found = [self._results.get((name, seed, shot)) for name in (one, other)]
            if not all(found):
                return None
            first, second = (np.array(result["episode_accuracy"]) for result in found if result)
            count = min(len(first), len(second))
            differences.append(first[:count] - second[:count])
        if not differences:
            return None
        joined = np.concatenate(differences)
        return float(joined.mean()), interval(joined)

    @staticmethod
    def trains_in_episodes(line: dict[str, Any]) -> bool:
        """Whether a method's training is part of every test episode, so that its seconds of training tell little."""
        try:
            return get_strategy(line["strategy"]).learns_from == "support"
        except KshotError:  # a strategy of another version
            return False

    @property
    def classes(self) -> int:
        """How many classes were evaluated, 0 where every row failed."""
        good = next((row for row in self.rows if "error" not in row), None)
        return len(next(iter(good["results"].values()))["per_class"]) if good else 0

    @property
    def clips(self) -> str:
        """How much was evaluated, in words."""
        good = next((row for row in self.rows if "error" not in row), None)
        return f"{good['clips']:,} clips of {self.classes} classes" if good else "nothing evaluated"

    @property
    def fingerprint(self) -> str:
        """Of the backbone's weights and preprocessing."""
        return next((row["fingerprint"] for row in self.rows if row.get("fingerprint")), "")

    @property
    def versions(self) -> list[str]:
        """Versions of kshot that results were made with."""
        return list(dict.fromkeys(result["version"] for result in self._results.values()))

    @property
    def unreadable(self) -> dict[str, str]:
        """Clips that could not be read, with the reason."""
        return {clip: why for result in self._results.values() for clip, why in result["unreadable"].items()}

    @property
    def damaged(self) -> dict[str, str]:
        """What is lost of clips that counted all the same."""
        found = [one for result in self._results.values() for one in result.get("damaged", ())]
        return {one["clip"]: f"{one['clip']}: {one['kept']:.0%} of it is there: {one['reason']}" for one in found}

    @property
    def missing(self) -> list[str]:
        """Clips of a benchmark that the copy at work lacked."""
        return list(dict.fromkeys(clip for result in self._results.values() for clip in result.get("missing", ())))

    @property
    def notes(self) -> list[str]:
        """What of the data was passed over, left out or kept apart."""
        return list(dict.fromkeys(note for row in self.rows for note in row.get("notes", ())))

    @cached_property
    def _results(self) -> dict[tuple[str, int, int], dict[str, Any]]:
        """(method, seed, shot) -> what its result file holds; files that are gone, torn or altered are left out."""
        return dict(self._read())

    def _read(self) -> Iterator[tuple[tuple[str, int, int], dict[str, Any]]]:
        for row in self.rows:
            for shot in row.get("results", {}):
                try:
                    result = result_of(self.folder, row, shot)
                except DataError:
                    continue
                yield (row["name"], row["seed"], int(shot)), result


def compared(study: dict[str, Any], folder: Path) -> list[Comparison]:
    """The comparisons of a study, in its order."""
    kinds = dict.fromkeys((row["data"], row["backbone"]) for row in study["rows"])

    def mine(things: list[dict[str, Any]], kind: tuple[str, str]) -> list[dict[str, Any]]:
        return [thing for thing in things if (thing["data"], thing["backbone"]) == kind]

    return [
        Comparison(*kind, study["settings"], mine(study["summary"], kind), mine(study["rows"], kind), folder)
        for kind in kinds
    ]
