"""Pictures of time budgets and of agreement, in the style of `kshot.report.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from kshot.report import labels, plots
from kshot.report.agreement import Agreement
from kshot.report.budget import Unit, bins
from kshot.report.labels import SOFT
from kshot.report.plots import COLOURS, FAINT, WIDTH

OTHERS = "#9ca3af"
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600)  # seconds
MOST = 40  # units in one picture


def shares(found: Sequence[Unit]) -> Figure:
    """Share of the observed time of each action, a bar a unit."""
    shown = found[:MOST]
    figure, axes, colours = _panel(shown, 0.3 * len(shown))
    _rows(axes, shown)
    for row, unit in enumerate(shown):
        left = 0.0
        for action, colour in _parts(unit, colours):
            share = sum(end - start for start, end in unit.bouts[action]) / unit.seconds if unit.seconds else 0.0
            axes.barh(row, 100 * share, left=100 * left, color=colour, height=0.72, edgecolor="white", linewidth=0.6)
            left += share
    axes.set_xlim(0, max(100.0, axes.get_xlim()[1]))
    axes.set_xlabel("share of the observed time, %" + _more(found))
    return figure


def bouts(found: Sequence[Unit]) -> Figure:
    """When each action is seen, a row a unit; actions at one time lie above each other."""
    shown = found[:MOST]
    figure, axes, colours = _panel(shown, 0.34 * len(shown))
    _rows(axes, shown)
    for row, unit in enumerate(shown):
        axes.barh(row, unit.seconds, color=FAINT, height=0.72, alpha=0.5)
        lanes = _lanes(unit)
        count = max(lanes.values(), default=0) + 1
        for action, colour in _parts(unit, colours):
            high = 0.72 / count
            axes.broken_barh(
                [(start, end - start) for start, end in unit.bouts[action]],
                (row - 0.36 + lanes[action] * high, high), facecolors=colour, edgecolors=colour, linewidth=0.5,
            )  # fmt: skip
    axes.set_xlim(0, max((unit.seconds for unit in shown), default=1.0) or 1.0)
    _clock(axes)
    axes.set_xlabel("minutes and seconds" + _more(found))
    return figure


def over_time(found: Sequence[Unit], width: float) -> Figure:
    """Share of time of each action in each stretch of `width` seconds, the mean of the units that last so long."""
    rows = bins(found, width)
    starts = sorted({start for _, start, *_ in rows})
    place = {start: number for number, start in enumerate(starts)}
    wide, count = np.zeros(len(starts)), np.zeros(len(starts))
    figure, axes, colours = _panel(found, 1.9)
    total = {action: np.zeros(len(starts)) for action in colours}
    for _, start, end, action, _, _, share in rows:
        total[action][place[start]] += share
        count[place[start]] += 1 / len(colours)
        wide[place[start]] = max(wide[place[start]], end - start)
    base = np.zeros(len(starts))
    for action, colour in colours.items():
        mean = total[action] / np.maximum(1.0, count)
        axes.bar(np.array(starts), 100 * mean, wide, 100 * base, color=colour, edgecolor="white", lw=0.6, align="edge")
        base += mean
    axes.set_ylim(0, max(100.0, 100 * float(base.max(initial=0.0))))
    axes.set_xlim(0, max((unit.seconds for unit in found), default=1.0) or 1.0)
    axes.grid(axis="x", visible=False)
    axes.grid(axis="y", visible=True)
    _clock(axes)
    axes.set_xlabel("minutes and seconds" + (f"; mean of up to {len(found)}" if len(found) > 1 else ""))
    axes.set_ylabel(f"share of each {width:g} s, %")
    return figure


def confusion(found: Agreement) -> Figure:
    """Of the time that the annotator gives each label, the percent that the other gives each."""
    rows = found.seconds.sum(1, keepdims=True)
    figure = plots.confusion(100 * found.seconds / np.where(rows > 0, rows, 1.0), found.labels)
    panel, bar = figure.axes
    panel.set_xlabel("compared with the annotator")
    panel.set_ylabel("annotator")
    bar.set_ylabel("% of the row's time", color=SOFT, fontsize=8)
    return figure


def _panel(shown: Sequence[Unit], height: float) -> tuple[Figure, Axes, dict[str, str]]:
    """A panel of that height in inches, the colours of actions, and a legend above."""
    colours = _colours(shown)
    legend = list(dict.fromkeys(colours.values()))
    entries = [
        (colour, "others" if colour == OTHERS else next(name for name in colours if colours[name] == colour))
        for colour in legend
    ]
    columns = max(1, min(4, len(entries), int(46 / (4 + max((len(name) for _, name in entries), default=1)))))
    lines = -(-len(entries) // columns)
    figure = Figure(figsize=(WIDTH, 0.75 + 0.19 * lines + max(0.3, height)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    handles = [Patch(facecolor=colour, label=labels.shorter(name, 26)) for colour, name in entries]
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=1.0, handleheight=0.9)
    return figure, axes, colours


def _rows(axes: Axes, shown: Sequence[Unit]) -> None:
    """Names of units beside their rows, the first on top."""
    axes.set_yticks(range(len(shown)), [labels.shorter(unit.name, 24) for unit in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _colours(found: Sequence[Unit]) -> dict[str, str]:
    """Action -> colour: one each for those that last longest, one for all others."""
    total: dict[str, float] = {}
    for unit in found:
        for action, spans in unit.bouts.items():
            total[action] = total.get(action, 0.0) + sum(end - start for start, end in spans)
    order = sorted(total, key=lambda action: (-total[action], action))
    return {action: COLOURS[place] if place < len(COLOURS) else OTHERS for place, action in enumerate(order)}


def _parts(unit: Unit, colours: dict[str, str]) -> list[tuple[str, str]]:
    return [(action, colour) for action, colour in colours.items() if action in unit.bouts]


def _lanes(unit: Unit) -> dict[str, int]:
    """Action -> lane: actions that are never seen at one time share a lane."""
    lanes: list[list[str]] = []
    found: dict[str, int] = {}
    for action, spans in unit.bouts.items():
        free = (n for n, lane in enumerate(lanes) if not any(_meet(spans, unit.bouts[other]) for other in lane))
        number = next(free, len(lanes))
        if number == len(lanes):
            lanes.append([])
        lanes[number].append(action)
        found[action] = number
    return found


def _meet(one: Sequence[tuple[float, float]], two: Sequence[tuple[float, float]]) -> bool:
    return any(a < d and c < b for a, b in one for c, d in two)


def _clock(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MultipleLocator(next((s for s in TICKS if axes.get_xlim()[1] / s <= 6), 86400)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value // 60)}:{value % 60:02.0f}"))


def _more(found: Sequence[Unit]) -> str:
    return f"; the first {MOST} of {len(found)}" if len(found) > MOST else ""
