"""The page: numbers and pictures of a study turned into HTML. The words are in `templates/`."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from kshot.backbones.published import trained_on
from kshot.fewshot.strategies import STRATEGIES, get_strategy
from kshot.report import tables, words
from kshot.report.comparison import Comparison
from kshot.report.filmstrips import Reel
from kshot.report.findings import answers, findings
from kshot.report.pictures import Picture
from kshot.report.tables import CostTable, Published, Table
from kshot.study import words as study_words
from kshot.study.results import RowResult, StudyResult
from kshot.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

SPLITS = {
    "test": "novel classes, which no method has seen in training or in choosing its weights",
    "val": "validation classes, which served to choose weights, so this is no final figure",
    "train": "base classes, which the methods were trained on, so this is no final figure",
    "all": "classes of the whole data set",
}


@dataclass(frozen=True)
class Part:
    """What the page says about one comparison.

    Attributes:
        comparison: its figures.
        pictures: its plots, those of a group one after the other.
        reel: its clips.
    """

    comparison: Comparison
    pictures: Sequence[Picture]
    reel: Reel

    @property
    def table(self) -> Table:
        """Accuracy, difference and cost of each method."""
        return tables.main(self.comparison)

    @property
    def declared(self) -> Table | None:
        """The comparisons that the study declares, where it does."""
        return tables.declared(self.comparison)

    @property
    def family(self) -> str:
        """What the intervals of the declared comparisons are over, and what they speak of."""
        return study_words.family(self.comparison.declared)

    @property
    def scopes(self) -> str:
        """What the intervals of the table are over, and what they speak of."""
        return study_words.scopes(self.comparison.lines)

    @property
    def costs(self) -> CostTable | None:
        """What every method costs, where more is known than the main table says."""
        return tables.costs(self.comparison)

    @property
    def published(self) -> Published | None:
        """Published results on the same novel classes, where there are any."""
        return tables.matching(self.comparison)

    @property
    def runs(self) -> Table:
        """Every run, as it came out."""
        return tables.runs(self.comparison)

    @property
    def lost(self) -> list[RowResult]:
        """Runs that failed of methods that otherwise went through; the table names those that failed altogether."""
        names = [name for name in self.comparison.names if self.comparison.lines_of(name)]
        return [run for name in names for run in self.comparison.failures(name)]

    @property
    def groups(self) -> list[tuple[str, list[Picture]]]:
        """The plots under each heading."""
        return [(name, list(some)) for name, some in groupby(self.pictures, key=lambda picture: picture.group)]


def compose(study: StudyResult, parts: Sequence[Part]) -> str:
    """The whole page, from what was read of a study and what was drawn."""
    comparisons, settings = [part.comparison for part in parts], study.settings
    used = dict.fromkeys(row.strategy for row in settings.rows)
    return template(
        "page.html",
        study=study,
        settings=settings,
        parts=parts,
        comparisons=comparisons,
        answers=answers(comparisons),
        findings=[] if settings.compare else findings(comparisons),
        split=SPLITS.get(settings.split, settings.split),
        few=any(line.episodes < settings.episodes for line in study.summary if line.shot is not None),
        data=list(dict.fromkeys(f"{c.data} ({c.clips})" for c in comparisons)),
        backbones=list(dict.fromkeys(c.backbone for c in comparisons)),
        strategies={name: get_strategy(name).about for name in used if name in STRATEGIES},
        repeat=study.plain()["settings"],
        across=tables.across(study),
        scopes=study_words.scopes(study.summary),
        seeds=study_words.seeds(settings),
        learned=[
            f"{name} was trained on {of}"
            for name in dict.fromkeys(c.backbone for c in comparisons)
            if (of := trained_on(name))
        ],
        methods=tables.methods(settings, comparisons),
        versions=_facts(study, comparisons),
        lists=_lists(comparisons),
    )


def template(name: str, **values: Any) -> str:
    """A page, or a part of one, from a template of this room."""
    filters: dict[str, Callable[..., Any]] = {
        "shots": words.in_shots,
        "within": words.within,
        "signed": words.signed,
        "number": words.number,
        "either": words.either,
        "day": words.day,
        "toml": words.as_toml,
        "breakable": _breakable,
        "spans": _spans,
        "uri": _uri,
    }
    return render("kshot.report", name, filters, **values)


def _facts(study: StudyResult, comparisons: Sequence[Comparison]) -> dict[str, str]:
    """What a number may depend on beside the settings."""
    return {
        "date": study.date,
        "kshot": ", ".join(dict.fromkeys([study.version, *(v for c in comparisons for v in c.versions)])),
        "seeds": study_words.seeds(study.settings),
        **{f"backbone {c.backbone}": f"fingerprint {c.fingerprint}" for c in comparisons if c.fingerprint},
        **study.machine,
    }


def _lists(comparisons: Sequence[Comparison]) -> dict[str, list[str]]:
    """Clips that were lost, and what else was left out, each once."""
    lost = {clip: reason for c in comparisons for clip, reason in c.unreadable.items()}
    lists = {
        "Clips that could not be read": lost.values(),
        "Damaged clips that counted": [text for c in comparisons for text in c.damaged.values()],
        "Clips of the published split that this copy lacks": [clip for c in comparisons for clip in c.missing],
        "Passed over, left out or kept apart": [note for c in comparisons for note in c.notes],
    }
    return {what: list(dict.fromkeys(names)) for what, names in lists.items() if names}


def _breakable(name: str) -> Markup:
    """A method, with places where a narrow column may break it."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\+(?=\w)", "+<wbr>", escape(name)))


def _spans(text: str) -> Markup:
    """A text whose `quoted` parts are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _uri(data: bytes, kind: str) -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
