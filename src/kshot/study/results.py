"""What a study found: types of what is saved, and read back from there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from kshot import gate, seals
from kshot.errors import DataError, OptionError
from kshot.fewshot.forms import Seed
from kshot.fewshot.result import Costs, Damaged, Result, TextAlone
from kshot.forms import Count, Finite, Form, Names, Saved
from kshot.heads import TRANSDUCTIVE
from kshot.study.file import Study


class Outcome(Form):
    """What a row found at a shot.

    Attributes:
        accuracy: mean over episodes, percent.
        ci95: half-width of its 95 % interval, percent; None for a single episode.
        episodes: how many.
        text_alone: what the class texts say without clips, where the head reads both.
        per_class: class -> percent of its queries that were right.
        confusion: class -> class answered -> percent.
        best_step: the step of the weights kept, 0 for the untrained start; None where nothing was trained. Rows of
            older versions say it for the last shot alone.
    """

    accuracy: Finite
    ci95: Finite | None = None
    episodes: Count
    text_alone: TextAlone | None = None
    per_class: dict[str, Finite]
    confusion: dict[str, dict[str, Finite]]
    best_step: Count | None = None


class Tried(Form):
    """One combination of a search.

    Attributes:
        arguments: setting -> value.
        val_accuracy: percent on the val episodes.
        best_step: the step of the weights kept.
        seconds: of its training.
    """

    arguments: dict[str, Any]
    val_accuracy: Finite
    best_step: Count
    seconds: Finite


class Search(Form):
    """What a search chose on val.

    Attributes:
        chosen: setting -> value.
        seed: with which it was searched.
        tried: every combination.
    """

    chosen: dict[str, Any]
    seed: Seed
    tried: list[Tried]


class RowResult(Costs, Saved):
    """A row of a study with one seed, finished or failed. Its costs beside `costs` are those of its training.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        seed: of its training and its episodes.
        name: the method.
        strategy: by its name.
        tuning: the tuning method, by its name.
        layers: what partial fine-tuning changed; None for its default.
        head: as it was used, or asked for by a row that failed.
        strategy_options: of the strategy.
        tuning_options: of the tuning method.
        head_options: of the head.
        train: further settings of its training.
        search: the row's own search, if any.
        episodes: the row's own number of test episodes, if any.
        train_shot: shot of training and val episodes; 0 for the same as at test.
        results: shot -> what was found.
        costs: shot -> what it cost, training included.
        searched: what its search found, at the first shot where each has its own.
        searches: shot -> what the search at it found, where each shot has its own.
        chosen: settings that a search chose, at the first shot where each has its own.
        val_episodes: on how many its weights, steps and settings were chosen; None where nothing was.
        val_accuracy: percent, of the weights kept; None without val classes.
        best_step: the step of the weights kept.
        clips: how many were evaluated.
        fingerprint: of the backbone.
        missing: clips of the published split that were not there.
        notes: what of the data was passed over, left out or kept apart.
        unreadable: clip -> why it was left out.
        damaged: clips that count although something of them is lost.
        error: why it failed; "" for a finished one.
        files: result file beside it -> its sha256.
        folder: where it lies in the study's folder; in study.json.
    """

    FORMAT: ClassVar[int] = 1

    data: str
    backbone: str
    seed: Seed
    name: str
    strategy: str
    tuning: str
    layers: str | int | None
    head: str | None
    strategy_options: dict[str, Any] = Field(default_factory=dict)
    tuning_options: dict[str, Any] = Field(default_factory=dict)
    head_options: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, list[Any]] | None = None
    episodes: int | None = None
    train_shot: int | None = 1
    results: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Outcome] = Field(default_factory=dict)
    costs: dict[str, Costs] = Field(default_factory=dict)
    searched: Search | None = None
    searches: dict[str, Search] = Field(default_factory=dict)
    chosen: dict[str, Any] | None = None
    val_accuracy: Finite | None = None
    val_episodes: Count | None = None
    best_step: Count | None = None
    clips: Count = 0
    fingerprint: str = ""
    missing: Names = Field(default_factory=list)
    notes: Names = Field(default_factory=list)
    unreadable: dict[str, str] = Field(default_factory=dict)
    damaged: list[Damaged] = Field(default_factory=list)
    error: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    folder: str = ""

    @property
    def transductive(self) -> bool:
        """Whether a query's scores depend on the other queries of its episode."""
        return self.head in TRANSDUCTIVE or bool(self.tuning_options.get("transductive"))

    def result(self, study: Path, shot: str | int) -> Result:
        """Its result file for a shot, in a study's folder.

        Raises:
            DataError: it is gone, damaged, no longer the sealed one, or outside of the study's folder.
        """
        where, name = gate.inside(study, self.folder), f"{shot}-shot.json"
        path = gate.inside(where, name)
        result = Result.parse(gate.read_json(path), path)
        if self.files and seals.sha256(path) != self.files.get(name):
            raise DataError(
                f"{path} is damaged: its sha256 is not the one that its row sealed; remove that folder's "
                f"row.json and run the study again"
            )
        return result


FORMERLY = "these classes, these trainings, new episodes"
"""What the intervals of older versions speak of."""


class Line(Costs):
    """A line of a study's summary: a method at a shot, over its seeds; or a method that failed, with its error.

    What intervals are over and what they speak of is explained in `kshot.study.estimates`. Lines of older versions have
    neither: theirs are over the episodes of all seeds, and speak of these trainings alone.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        name: the method.
        shot: support clips a class; None for a method that failed.
        seeds: how many seeds finished.
        accuracy: mean over the seeds, percent.
        ci95: half-width of its 95 % interval, percent; NaN for a single episode.
        over: what that interval is over, "seeds" or "episodes".
        estimand: what it speaks of.
        kept: in how many seeds the untrained start was kept; None where nothing is trained, or it is not known.
        episodes: a seed.
        difference: to the baseline on the same episodes, percent; None for the baseline itself, or without one.
        difference_ci95: half-width of its 95 % interval, percent.
        difference_over: as `over`.
        difference_estimand: as `estimand`.
        paired: seeds that the difference is of, which both finished; None in lines of older versions.
        agree: seeds whose difference has the sign of the mean.
        text_alone: accuracy of the class texts without clips, on the same episodes, percent; None where the head does
            not read both.
        strategy: by its name.
        tuning: the tuning method, by its name.
        layers: what partial fine-tuning changed.
        head: as it was used.
        missing: how many clips of the published split were not there.
        chosen: settings that a search chose, in words; "none" where every one of them kept the untrained start.
        val_episodes: on how many its weights, steps and settings were chosen; None where nothing was.
        error: why the method failed.
    """

    data: str
    backbone: str
    name: str
    shot: Count | None = None
    seeds: Count = 0
    accuracy: Finite = 0.0
    ci95: float = 0.0
    over: str = "episodes"
    estimand: str = FORMERLY
    kept: Count | None = None
    episodes: Count = 0
    difference: Finite | None = None
    difference_ci95: float = 0.0
    difference_over: str = "episodes"
    difference_estimand: str = FORMERLY
    paired: Count | None = None
    agree: Count = 0
    text_alone: Finite | None = None
    strategy: str = ""
    tuning: str = ""
    layers: str | int | None = None
    head: str | None = None
    missing: Count = 0
    chosen: str = ""
    val_episodes: Count | None = None
    error: str = ""


def budget(line: Line, lines: Sequence[Line]) -> str:
    """What a method's choice on val rests on, where it is less than that of others in a table; else "".

    >>> one, other = (Line(data="d", backbone="b", name=str(n), val_episodes=n) for n in (40, 300))
    >>> budget(one, [one, other]), budget(other, [one, other])
    ('chosen on 40 val episodes; others 300', '')
    """
    most = max((one.val_episodes or 0 for one in lines), default=0)
    if not line.val_episodes or line.val_episodes == most:
        return ""
    return f"chosen on {line.val_episodes:,} val episodes; others {most:,}"


class Contrast(Form):
    """What came of a comparison that a study declared, for one data set, backbone and shot.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        name: of the comparison.
        of: the row that stands first.
        to: the row that is taken from it.
        shot: support clips a class.
        paired: seeds that both finished.
        episodes: a seed, those that both took.
        difference: accuracy of `of` minus that of `to` on the same seeds and episodes, percent; None where no seed
            finished both.
        ci95: half-width of its 95 % interval, percent; None for a single episode.
        over: what the interval is over, "seeds" or "episodes".
        estimand: what it speaks of.
        agree: seeds whose difference has the sign of the mean.
        kept: seeds in which both rows kept their untrained start.
        p: probability of such a difference where there is none; None where it is not known.
        holm: the same after Holm's correction within the comparisons that the study declares.
    """

    data: str
    backbone: str
    name: str
    of: str
    to: str
    shot: Count
    paired: Count = 0
    episodes: Count = 0
    difference: Finite | None = None
    ci95: Finite | None = None
    over: str = ""
    estimand: str = ""
    agree: Count = 0
    kept: Count = 0
    p: Finite | None = None
    holm: Finite | None = None

    @property
    def differs(self) -> bool:
        """Whether there is a difference, at 5 % over all comparisons that were declared."""
        return self.holm is not None and self.holm < 0.05 and not self.same

    @property
    def same(self) -> bool:
        """Whether both rows gave the same answers, or kept their start with every seed and differ by rounding alone."""
        by = abs(self.difference or 0.0)
        return self.difference is not None and ((by == 0 and not self.ci95) or (self.kept == self.paired and by < 0.05))


def _settings(value: Any) -> Study:
    if isinstance(value, Study):
        return value
    try:  # strict, but lists are tuples in JSON
        return TypeAdapter(Study).validate_json(json.dumps(value), strict=True)
    except OptionError as error:
        raise ValueError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


class StudyResult(Saved):
    """A finished study.

    Attributes:
        title: its own.
        version: of kshot that wrote it.
        date: of its last run, as 2026-11-22.
        settings: what was asked for.
        machine: what a number may depend on beside the code.
        rows: each method with each seed, failed ones included.
        summary: each method at each shot, over its seeds.
        comparisons: those that the study declared.
    """

    FORMAT: ClassVar[int] = 1

    title: str
    version: str
    date: str
    settings: Annotated[
        Study, PlainValidator(_settings), PlainSerializer(lambda study: json.loads(json.dumps(asdict(study))))
    ]
    machine: dict[str, str]
    rows: list[RowResult]
    summary: list[Line]
    comparisons: list[Contrast] = Field(default_factory=list)

    def parts(self) -> list[tuple[str, str]]:
        """Each data set and backbone, by name."""
        return list(dict.fromkeys((line.data, line.backbone) for line in self.summary))

    def lines(self, data: str, backbone: str) -> list[Line]:
        """The lines of a data set and backbone."""
        return [line for line in self.summary if (line.data, line.backbone) == (data, backbone)]

    @property
    def transductive(self) -> set[str]:
        """The methods whose scores of a query depend on the other queries of its episode; none stands beside others."""
        return {row.name for row in self.rows if row.transductive}

    def declared(self, data: str, backbone: str) -> list[Contrast]:
        """The declared comparisons of a data set and backbone."""
        return [one for one in self.comparisons if (one.data, one.backbone) == (data, backbone)]

    def across(self, data: str) -> list[Across]:
        """Every backbone's accuracies on a data set, side by side; nothing where there is only one.

        Transductive methods have tables of their own, behind the others.
        """
        names = [backbone for one, backbone in self.parts() if one == data]
        if len(names) < 2:
            return []
        every = list(dict.fromkeys(line.name for name in names for line in self.lines(data, name)))
        shots = sorted({line.shot for name in names for line in self.lines(data, name) if line.shot is not None})
        tables = []
        for shot, transductive in itertools.product(shots, (False, True)):
            methods = [name for name in every if (name in self.transductive) == transductive]
            if not methods:
                continue
            rows = {}
            for name in names:
                found = {line.name: line for line in self.lines(data, name) if line.shot == shot}
                rows[name] = [found.get(method) for method in methods]
            tables.append(Across(shot, methods, rows, transductive))
        return tables


@dataclass(frozen=True)
class Across:
    """Backbones side by side at one shot.

    Attributes:
        shot: support clips a class.
        methods: names of the rows of the study.
        rows: backbone -> a line for each method, None where it failed.
        transductive: whether these are the transductive methods, or the others.
    """

    shot: int
    methods: list[str]
    rows: dict[str, list[Line | None]]
    transductive: bool = False
