"""Which figures a comparison gives, with the words that go with each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from kshot.report import plots
from kshot.report.comparison import Comparison, trains_in_episodes
from kshot.report.plots import Point
from kshot.report.words import in_shots
from kshot.study.results import Line, RowResult

COSTS = {  # what accuracy is drawn against: a key of the summary -> words, and a file's name
    "trained_parameters": ("trained weights", "weights"),
    "training_seconds": ("seconds of training", "seconds"),
    "multiply_adds_per_step": ("multiply-adds of a training step", "work"),
}

LINES = 6  # in colour where accuracy is drawn against shots, beside the baseline and the least accurate


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its files.
        group: the heading that it stands under.
        title: its own heading.
        caption: for readers who see it.
        alt: for readers who do not.
        svg: the file's content.
        png: the same figure as pixels.
        missing: letters that no font of this machine has, which `png` lacks.
    """

    name: str
    group: str
    title: str
    caption: str
    alt: str
    svg: bytes
    png: bytes
    missing: str = ""


def draw(comparison: Comparison, prefix: str = "") -> list[Picture]:
    """All figures that the comparison has numbers for; names of files begin with `prefix`."""
    made: list[Picture] = []

    def add(name: str, group: str, title: str, caption: str, alt: str, figure: Callable[[], Figure]) -> None:
        made.append(Picture(prefix + name, group, title, caption, alt, *plots.render(figure)))

    best = comparison.best()
    if best is None:
        return []
    _accuracy(comparison, add)
    _cost(comparison, add)
    _layers(comparison, add)
    _classes(comparison, best, add)
    return made


Add = Callable[[str, str, str, str, str, Callable[[], Figure]], None]


def _accuracy(comparison: Comparison, add: Add) -> None:
    shots, baseline, names = comparison.shots, comparison.baseline, comparison.names
    points = [_point(comparison, line) for shot in shots for line in comparison.at(shot)]
    points.sort(key=lambda p: names.index(p.name))
    several = len(comparison.settings.every_seed) > 1
    add(
        "accuracy",
        "Accuracy",
        "Every method",
        "Bars: 95 % intervals, as in the table."
        + (" Pale dots: single seeds." if several else "")
        + (f" Broken lines: the baseline, {baseline}." if baseline else ""),
        "Accuracy in percent. " + " ".join(_listed(comparison, shot) for shot in shots),
        lambda: plots.accuracy(points, baseline, 100 / comparison.settings.way),
    )
    if len(shots) > 1:
        order = [line.name for line in comparison.ranked(shots[-1])]
        chosen = {*order[:LINES], order[-1], baseline} if len(order) > LINES + 2 else set(order)
        named = [name for name in order if name in chosen]
        add(
            "shots",
            "Accuracy",
            "With more support clips",
            "How much a method gains from further clips of each class. Bars: 95 % intervals, as in the table. Methods "
            "stand side by side at each number of clips, so that none hides another."
            + (" Grey: the other methods." if len(named) < len(order) else ""),
            f"Accuracy against shots, {', '.join(map(str, shots))}; the figures are in the table.",
            lambda: plots.shots(points, named),
        )


def _cost(comparison: Comparison, add: Add) -> None:
    for shot in comparison.shots:
        for key, (words, short) in COSTS.items():
            # Training that is part of every episode takes no time beforehand, which would look free.
            always = key == "trained_parameters"
            lines = [line for line in comparison.at(shot) if always or not trains_in_episodes(line.strategy)]
            left_out = [line.name for line in comparison.at(shot) if line not in lines]
            if any(getattr(line, key) is None for line in lines):  # a study of an older version
                continue
            if key == "multiply_adds_per_step" and shot != comparison.shots[-1]:  # much like the others
                continue
            points = [_point(comparison, line, getattr(line, key) or 0.0) for line in lines]
            if len(points) < 2 or not any(p.cost for p in points):
                continue
            add(
                f"{short}-{shot}-shot",
                "Accuracy against cost",
                f"{words.capitalize()}, {in_shots(shot)}",
                (
                    "The line: the best accuracy that so much, or less, buys; methods on it are blue and named. "
                    if shot == comparison.shots[0]
                    else ""
                )
                + (f"Without {', '.join(left_out)}, trained within each episode." if left_out else ""),
                f"Accuracy against {words} at {in_shots(shot)}. Best for the cost, from least to most: "
                + ", ".join(f"{p.name} {p.accuracy:.1f} %" for p in plots.front(points)),
                lambda points=points, words=words: plots.cost(points, words),  # type: ignore[misc]
            )


def _layers(comparison: Comparison, add: Add) -> None:
    points, variants = _ablation(comparison)
    if points:
        add(
            "layers",
            "How much to tune",
            "Choice of layers",
            "A number: that many last blocks, with final norm and projection. Bars: 95 % intervals, as in the table.",
            "Accuracy by what is tuned: "
            + ", ".join(f"{variants[int(p.cost)]} {p.accuracy:.1f} % ({in_shots(p.shot)})" for p in points),
            lambda: plots.layers(points, variants),
        )


def _classes(comparison: Comparison, best: str, add: Add) -> None:
    shot = in_shots(comparison.shots[-1])
    bars = {name: comparison.per_class(name) for name in dict.fromkeys([best, comparison.baseline]) if name}
    shares, classes = comparison.confusion(best)
    add(
        "classes",
        f"Class by class, {shot}",
        "Queries that were right",
        f"{best}, the method with the highest accuracy at {shot}"
        + (f", beside the baseline, {comparison.baseline}." if len(bars) > 1 else "."),
        f"Percent right of each class by {best}: "
        + ", ".join(f"{label} {value:.0f}" for label, value in sorted(bars[best].items(), key=lambda item: -item[1])),
        lambda: plots.per_class(bars),
    )
    add(
        "confusion",
        f"Class by class, {shot}",
        "What is taken for what",
        f"By {best}. A row adds up to 100 %. A class can only be taken for one of the "
        f"{comparison.settings.way} in its episode.",
        f"Confusion matrix of {best} over {len(classes)} classes; its diagonal is the percent right of each class.",
        lambda: plots.confusion(shares, classes),
    )


def _point(comparison: Comparison, line: Line, cost: float = 0.0) -> Point:
    found = [run.results.get(str(line.shot)) for run in comparison.finished(line.name)]
    return Point(line.name, line.shot or 0, line.accuracy, line.ci95, cost, tuple(one.accuracy for one in found if one))


def _ablation(comparison: Comparison) -> tuple[list[Point], list[str]]:
    """Rows that differ in nothing but how much of the backbone is tuned; these choices, from fewest weights to most.

    Empty unless partial tuning comes with at least two choices of layers, one of them a number of blocks.
    """
    groups: dict[str, list[Line]] = {}
    for line in comparison.lines:
        if line.tuning in ("partial", "full") and line.trained_parameters:
            groups.setdefault(_alike(comparison.finished(line.name)[0]), []).append(line)
    chosen: list[tuple[str, str, Line]] = []
    for lines in groups.values():
        partial = [line for line in lines if line.tuning == "partial"]
        layers = {line.layers for line in partial}
        if len(layers) > 1 and any(str(value).isdigit() for value in layers):
            words = zip(*(line.name.split(", ") for line in partial), strict=False)
            series = ", ".join(same[0] for same in words if len(set(same)) == 1) or partial[0].strategy
            chosen += [
                (series, "full" if line.tuning == "full" else str(line.layers or "default"), line) for line in lines
            ]
    weights = {variant: line.trained_parameters or 0 for _, variant, line in chosen}
    variants = sorted(weights, key=lambda variant: (weights[variant], variant))
    points = [
        Point(series, line.shot or 0, line.accuracy, line.ci95, variants.index(variant))
        for series, variant, line in chosen
    ]
    return points, variants


def _alike(row: RowResult) -> str:
    """What rows have in common that differ in what they tune alone."""
    return repr([row.strategy, row.head, row.strategy_options, row.head_options, row.tuning_options, row.train_shot])


def _listed(comparison: Comparison, shot: int) -> str:
    found = comparison.ranked(shot)
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return f"{in_shots(shot)}: " + ", ".join(f"{line.name} {line.accuracy:.1f}" for line in found[:12]) + more + "."
