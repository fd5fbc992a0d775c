"""The tables of the page: what stands in which cell. How a cell looks is for the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kshot.backbones.published import trained_on
from kshot.fewshot import cost
from kshot.report import published
from kshot.report.comparison import Comparison, trains_in_episodes
from kshot.report.words import in_shots, signed, within
from kshot.settings import TORCH
from kshot.study import words
from kshot.study.file import Row as Method
from kshot.study.file import Study
from kshot.study.results import Line, StudyResult, budget

BESIDE = {"trained_parameters": "weights", "training_seconds": "seconds"}  # costs in the main table
COSTS = {  # the table of costs: group -> key of the summary -> heading
    "weights": {"trained_parameters": "trained", "stored_parameters": "kept"},
    "multiply-adds": {"multiply_adds_per_clip": "a clip", "multiply_adds_per_step": "a training step"},
    "bytes": {"stored_bytes": "stored", "peak_memory": "peak memory"},
    "seconds": {"seconds_per_step": "a step", "training_seconds": "training", "evaluation_seconds": "evaluation"},
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        half: the interval that follows, in paler print; "" for none.
        notes: lines in small print below.
        look: CSS class of the text; "" for none.
        shade: CSS class of the whole cell; "" for none.
        span: columns that it covers.
        link: address that the text leads to; "" for none.
    """

    text: str = ""
    half: str = ""
    notes: tuple[str, ...] = ()
    look: str = ""
    shade: str = ""
    span: int = 1
    link: str = ""


NONE = Cell("–", shade="none")


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        name: its heading, a method.
        cells: what follows.
        tag: a small mark behind the heading; "" for none.
    """

    name: str
    cells: Sequence[Cell]
    tag: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        label: what it shows, for those who hear it.
        head: the headings; those of `text` columns are aligned to the left.
        rows: below the headings.
        groups: headings above these with the number of columns that each covers, from the second column on; None for
            no such line.
        text: how many columns from the left hold words.
    """

    label: str
    head: Sequence[str]
    rows: Sequence[TableRow]
    groups: Sequence[tuple[str, int]] | None = None
    text: int = 0


@dataclass(frozen=True)
class CostTable:
    """The table of costs with what its note says.

    Attributes:
        table: a row for each method.
        devices: device, precision and encoder of the rows.
        shot: the shot that costs are of; 0 where there is one only.
    """

    table: Table
    devices: str
    shot: int


@dataclass(frozen=True)
class Published:
    """Published results below the study's best row.

    Attributes:
        name: of the benchmark.
        table: the study's best method, then the published ones.
        clips: novel clips of the published split.
        protocols: source -> how it was tested and what was read.
    """

    name: str
    table: Table
    clips: int
    protocols: dict[str, str]


def across(study: StudyResult) -> list[tuple[str, Table]]:
    """Backbones side by side: a table for each data set and shot of a study with several."""
    tables = []
    for data in dict.fromkeys(data for data, _ in study.parts()):
        for found in study.across(data):
            rows = []
            for backbone, lines in found.rows.items():
                cells = [Cell(f"{one.accuracy:.1f}", within(one.ci95)) if one else Cell("failed") for one in lines]
                learned = trained_on(backbone) or "not known"
                rows.append(TableRow(backbone, [Cell(learned, shade="text"), *cells]))
            title = f"{data}, {in_shots(found.shot)}" + ", transductive" * found.transductive
            head = ["backbone", "trained on", *found.methods]
            tables.append((title, Table(f"Backbones side by side, {title}", head, rows, text=2)))
    return tables


def main(comparison: Comparison) -> Table:
    """A row for each method: accuracy and difference for each shot, then cost."""
    wide = 2 if comparison.baseline else 1
    costs = [key for key in BESIDE if any(getattr(line, key) for line in comparison.lines)]
    groups = [(in_shots(shot), wide) for shot in comparison.shots] + [("cost of training", len(costs))] * bool(costs)
    below = ["accuracy, %", "difference"][:wide] * len(comparison.shots) + [BESIDE[key] for key in costs]
    rows = []
    for name in comparison.names:
        own = comparison.lines_of(name)
        if own:
            cells = [cell for shot in comparison.shots for cell in _figures(comparison, own.get(shot))[:wide]]
            cells += [_cost(next(iter(own.values())), key) for key in costs]
        else:
            cells = [_failed(comparison.failures(name)[0].error, max(1, len(below)))]
        rows.append(TableRow(name, cells, "baseline" if name == comparison.baseline else ""))
    return Table(comparison.title, ["method", *below], rows, groups)


def _failed(reason: str, span: int) -> Cell:
    return Cell(f"failed: {reason}", shade="failed", span=span)


def _figures(comparison: Comparison, line: Line | None) -> list[Cell]:
    """Accuracy and difference of a method at a shot."""
    if line is None:
        return [NONE, NONE]
    planned, episodes = len(comparison.settings.seeds_of(line.name)), comparison.settings.episodes
    notes = [f"{line.episodes:,} episodes"] if line.episodes < episodes else []
    notes += [f"{line.seeds} of {planned} seeds"] if line.seeds < planned else []
    notes += [said] if (said := budget(line, comparison.lines)) else []
    notes += [f"text alone {line.text_alone:.1f}"] if line.text_alone is not None else []
    notes += [words.kept(line)] if line.kept and line.difference is None else []
    look = "best" if line.name == comparison.leader(line.shot or 0) else ""
    return [Cell(f"{line.accuracy:.1f}", within(line.ci95, 1), tuple(notes), look), _difference(comparison, line)]


def _difference(comparison: Comparison, line: Line) -> Cell:
    value, half = line.difference, line.difference_ci95
    if value is None:
        return Cell() if line.name == comparison.baseline else NONE
    if words.same(line):
        return Cell(words.kept(line) or words.SAME, shade="none")
    clear = words.marked(line, comparison.settings)
    look, mark = ("unclear", "") if not clear else ("up", "▲ ") if value > 0 else ("down", "▼ ")
    seeds = line.paired or line.seeds
    notes = [f"{line.agree} of {seeds} seeds"] if seeds > 1 else []
    notes += [words.kept(line)] if line.kept else []
    return Cell(mark + signed(value, half), within(half), tuple(notes), look)


def declared(comparison: Comparison) -> Table | None:
    """A row for each declared comparison and shot; None where the study declares none."""
    rows = []
    for one in comparison.declared:
        _, shot, outcome, agree, p, corrected = words.declared(one)
        found = Cell(outcome, shade="none")
        if one.difference and not one.same:
            look, mark = ("unclear", "") if not one.differs else ("up", "▲ ") if one.difference > 0 else ("down", "▼ ")
            half = one.ci95 or 0.0
            found = Cell(mark + signed(one.difference, half), within(one.ci95), look=look)
        rows_of = Cell(f"{one.of} − {one.to}", shade="text")
        rows.append(TableRow(one.name, [rows_of, Cell(shot), found, Cell(agree), Cell(p), Cell(corrected)]))
    head = ["declared comparison", "rows", *words.DECLARED[1:]]
    return Table(f"Declared comparisons, {comparison.title}", head, rows, text=2) if rows else None


def _cost(line: Line, key: str) -> Cell:
    text = cost.written(line, key)
    again = key == "training_seconds" and getattr(line, key) and trains_in_episodes(line.strategy)
    return NONE if text == "–" else Cell(text, notes=("per episode too",) if again else ())


def costs(comparison: Comparison) -> CostTable | None:
    """What every method costs; None for a study of an older version, whose few costs stand in the main table."""
    if not comparison.shots:
        return None
    lines = comparison.at(comparison.shots[-1])
    known = set(cost.present(lines))
    if known <= {*BESIDE, "evaluation_seconds"}:
        return None
    groups = {group: [key for key in keys if key in known] for group, keys in COSTS.items()}
    shown = [(group, key) for group, keys in groups.items() for key in keys]
    table = Table(
        f"Costs, {comparison.title}",
        ["method", *(COSTS[group][key] for group, key in shown)],
        [TableRow(line.name, [_cost(line, key) for _, key in shown]) for line in lines],
        [(group, len(keys)) for group, keys in groups.items() if keys],
    )
    devices = dict.fromkeys(", ".join(_on(line)) for line in lines if line.device)
    return CostTable(table, "; ".join(devices), comparison.shots[-1] if len(comparison.shots) > 1 else 0)


def _on(line: Line) -> list[str]:
    """Device, precision, and the encoder where it is not PyTorch."""
    by = [] if line.encoder in (None, TORCH) else [f"encoder {line.encoder}"]
    return [str(line.device), str(line.precision), *by]


def matching(comparison: Comparison) -> Published | None:
    """Published results on the same novel classes below the study's best row; None where there are none."""
    settings, best, shots = comparison.settings, comparison.best(), comparison.shots
    if best is None or comparison.transductive or settings.split not in ("test", "novel"):
        return None
    found = published.matching(comparison.data, settings.way, shots, comparison.classes)
    if not found:
        return None
    name = published.known_as(comparison.data)
    own = {shot: Cell(f"{line.accuracy:.1f}", within(line.ci95, 1)) for shot, line in comparison.lines_of(best).items()}
    first = [Cell(comparison.backbone, shade="text"), *(own.get(shot, Cell("–")) for shot in shots), Cell()]
    rows = [TableRow(best, first, "this study")]
    for row in found:
        cells = [Cell(published.written(row.accuracy.get(shot)) or "–") for shot in shots]
        source = Cell(row.source.name, link=row.source.link)
        rows.append(TableRow(row.method, [Cell(row.backbone, shade="text"), *cells, source], "published"))
    protocols = {row.source.name: f"{row.source.protocol}. Read: {row.source.read}." for row in found}
    head = ["method", "backbone", *map(in_shots, shots), "read at"]
    return Published(name, Table(f"Published on {name}", head, rows, text=2), published.SETS[name][1], protocols)


def methods(settings: Study, comparisons: Sequence[Comparison]) -> Table:
    """Strategy, tuned weights, head and options of each method."""
    runs = [run for comparison in comparisons for run in comparison.runs]
    heads = {run.name: run.head for run in runs if run.head}
    trained = {run.name: run.trained_parameters or 0 for run in runs if not run.error}
    rows = []
    for method in settings.rows:
        tuned = " ".join(str(value) for value in (method.tuning, method.layers) if value is not None)
        words = (
            method.strategy,
            tuned if trained.get(method.name, 1) else "nothing",
            heads.get(method.name) or method.head or "–",
            ", ".join(f"{key} = {value}" for key, value in _options(method).items()) or "–",
        )
        rows.append(TableRow(method.name, [Cell(word, shade="text") for word in words]))
    return Table("Methods", ["method", "strategy", "tunes", "head", "options"], rows, text=5)


def _options(row: Method) -> dict[str, Any]:
    """All options of a method, by name."""
    return {**row.strategy_options, **row.tuning_options, **row.head_options, **row.train}


def runs(comparison: Comparison) -> Table:
    """A row for each method and seed, as it came out."""
    rows = []
    for run in comparison.runs:
        cells = [Cell(str(run.seed))]
        if run.error:
            cells.append(_failed(run.error, len(comparison.shots) + 2))
        else:
            found = [run.results.get(str(shot)) for shot in comparison.shots]
            cells += [Cell(f"{one.accuracy:.2f}", within(one.ci95, 2)) if one else Cell("–") for one in found]
            cells.append(Cell("–" if run.val_accuracy is None else f"{run.val_accuracy:.1f}"))
            cells.append(Cell(f"{run.training_seconds or 0.0:,.1f}"))
        rows.append(TableRow(run.name, cells))
    head = ["method", "seed", *map(in_shots, comparison.shots), "val", "seconds"]
    return Table(f"Every run, {comparison.title}", head, rows)
