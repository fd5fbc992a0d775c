"""The figures of a report: plain numbers in, a matplotlib figure out.

Every figure is one panel as wide as a phone held upright, on white, in the colours of Okabe and Ito (2008), which
colour-blind readers can tell apart; shapes and labels say the same as the colours. `render` draws and saves in one
style and leaves matplotlib's own settings alone.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from kshot import fonts
from kshot.report import labels
from kshot.report.labels import INK, SOFT
from kshot.report.words import in_shots

WIDTH = 4.6  # inches
CROWD = 9  # points that can all have their names beside them
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "D", "^", "v", "P")
FAINT = "#e5e7eb"


@dataclass(frozen=True)
class Point:
    """What a method reached at one shot.

    Attributes:
        name: of the method.
        shot: support clips a class.
        accuracy: percent.
        ci95: half-width of its 95 % interval, percent.
        cost: what it is drawn against, where it is.
        seeds: accuracy of each seed, percent; none where single seeds are not drawn.
    """

    name: str
    shot: int
    accuracy: float
    ci95: float
    cost: float = 0.0
    seeds: tuple[float, ...] = ()


def render(draw: Callable[[], Figure]) -> tuple[bytes, bytes, str]:
    """Draws a figure in kshot's style. The same figure gives the same bytes.

    Args:
        draw: makes the figure.

    Returns:
        Its SVG, its PNG, and the letters that no font of this machine has, which the PNG lacks.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser's fonts know more scripts
        figure, missing = fonts.drawn(draw)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both files
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=200)
    families = ", ".join(["'DejaVu Sans'", "Verdana", "sans-serif"]).encode()
    return svg.getvalue().replace(b"'DejaVu Sans'", families), png.getvalue(), missing


_STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a class may be called "a$b"
    "text.color": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.handletextpad": 0.3,
    "legend.columnspacing": 1.4,
    "svg.fonttype": "none",  # text stays text: it can be searched and shown in any script
    "svg.hashsalt": "kshot",
    "figure.facecolor": "white",
}


def accuracy(points: Sequence[Point], baseline: str = "", chance: float = 0.0) -> Figure:
    """A line for each method; for each shot a dot with its interval, and a pale one for each seed.

    Broken lines mark the baseline, a dotted one guessing, where it is in sight.
    """
    names, shots = _names(points), _shots(points)
    figure, axes = _panel(height=1.0 + max(0.32, 0.2 + 0.08 * len(shots)) * len(names))
    for place, shot in enumerate(shots):
        mine = [p for p in points if p.shot == shot]
        offset = (place - (len(shots) - 1) / 2) * 0.5 / len(shots)
        rows = np.array([names.index(p.name) + offset for p in mine])
        colour, marker = _look(place)
        for point, row in zip(mine, rows, strict=True):
            if len(point.seeds) > 1:
                axes.plot(point.seeds, [row] * len(point.seeds), marker, color=colour, alpha=0.3, ms=3.2, mec="none")
        axes.errorbar(
            [p.accuracy for p in mine], rows, xerr=[p.ci95 for p in mine],
            fmt=marker, color=colour, ms=5, lw=1.6, label=in_shots(shot),
        )  # fmt: skip
        for point in mine:
            if point.name == baseline:
                axes.axvline(point.accuracy, color=colour, lw=1, ls=(0, (4, 3)), alpha=0.55, zorder=1)
    low, high = axes.get_xlim()
    if low < chance < high:
        axes.axvline(chance, color=SOFT, lw=1, ls=":", zorder=1)
        axes.text(chance, -0.62, " guessing", color=SOFT, fontsize=8, va="center")
    axes.set_ylim(len(names) - 0.4, -0.8)
    axes.set_yticks(range(len(names)), [labels.wrapped(name) for name in names])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("accuracy, %")
    _legend_above(figure, len(shots))
    return figure


def cost(points: Sequence[Point], label: str) -> Figure:
    """Accuracy against cost at one shot, the cost on a logarithmic axis with a place of its own for zero.

    The line is the front: the best accuracy for at most so much cost. Methods on it are in colour. Methods far below
    all others are marked at the lower edge, with their accuracy, so that the others stay apart.
    """
    figure, axes = _panel(height=3.5)
    floor = _floor(points)
    positive = [p.cost for p in points if p.cost > 0] or [1.0]
    first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive) * 1.0001))
    zero = 10.0 ** (first - 0.8)
    at = {id(p): p.cost if p.cost > 0 else zero for p in points}
    best = front(points)
    axes.set_xscale("log")
    end = 10.0 ** (last + 0.15)
    line = [(at[id(p)], max(p.accuracy, floor)) for p in best] + [(end, best[-1].accuracy)]
    axes.step(*zip(*line, strict=True), where="post", color=BLUE, lw=1.2, alpha=0.6, zorder=2)
    dots = [(at[id(p)], max(p.accuracy, floor)) for p in points]
    for point, dot in sorted(zip(points, dots, strict=True), key=lambda pair: pair[0] in best):
        colour, marker = (BLUE, "o") if point in best else (SOFT, "D")
        if point.accuracy < floor:
            axes.plot(*dot, "v", color=SOFT, ms=6, zorder=3)
        else:
            axes.errorbar(*dot, yerr=point.ci95, fmt=marker, color=colour, ms=5, lw=1.2, zorder=3)
    decades = [10.0**power for power in range(first, last + 1)]
    none = any(p.cost <= 0 for p in points)
    axes.xaxis.set_major_locator(FixedLocator([zero] * none + decades[:: math.ceil(len(decades) / 7)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == zero else labels.compact(value)))
    axes.set_xlim(zero / 2 if none else decades[0] / 1.6, end)
    if none:
        axes.axvline(10.0 ** (first - 0.4), color="#9ca3af", lw=0.8, ls=(0, (2, 2)), zorder=1)
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy, %")
    axes.margins(y=0.14)
    if floor > -math.inf:
        axes.set_ylim(bottom=floor - 0.03 * (axes.get_ylim()[1] - floor))
    texts = [labels.shorter(p.name, 26) + (f" ({p.accuracy:.1f})" if p.accuracy < floor else "") for p in points]
    strong = [p in best for p in points]
    shown = [len(points) <= CROWD or p in best or p.accuracy < floor for p in points]
    labels.beside_dots(figure, axes, dots, texts, strong, shown)
    return figure


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none costs less and is at least as accurate, or costs the same and is more so.

    Returned by cost; of points alike in both, the first.
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def shots(points: Sequence[Point], named: Sequence[str]) -> Figure:
    """Accuracy against support clips a class: a line for each method, in colour and with its name where `named`.

    The named ones stand side by side at each number of shots, so that of two alike none hides the other.
    Methods far below all others run along the lower edge, with their last accuracy, so that the others stay apart.
    """
    names, ticks, floor = _names(points), _shots(points), _floor(points)
    figure, axes = _panel(height=max(3.4, 0.9 + 0.24 * len(named)))
    logarithmic = max(ticks) > 10 * min(ticks)
    at = np.log(ticks) if logarithmic else np.array(ticks, dtype=float)
    beside = _beside(at, len(named))
    ends: list[tuple[float, float, str, str]] = []
    for name in sorted(names, key=lambda name: name in named):
        mine = sorted((p for p in points if p.name == name), key=lambda p: p.shot)
        y = [max(p.accuracy, floor) for p in mine]
        if name not in named:
            axes.plot([p.shot for p in mine], y, color="#cbd0d8", lw=1, zorder=1)
            continue
        colour, marker = _look(place := named.index(name))
        moved = at[[ticks.index(p.shot) for p in mine]] + beside[place]
        x = (np.exp(moved) if logarithmic else moved).tolist()
        style = ("-", (0, (4, 2)), (0, (1, 1.5)))[place // len(COLOURS) % 3]
        below = mine[-1].accuracy < floor
        bars = [p.ci95 if p.accuracy >= floor else 0 for p in mine]
        marker = "v" if below else marker
        axes.errorbar(x, y, yerr=bars, color=colour, marker=marker, ms=4.5, lw=1.5, ls=style, elinewidth=1)
        ends.append((x[-1], y[-1], labels.shorter(name, 26) + (f" ({mine[-1].accuracy:.1f})" if below else ""), colour))
    if logarithmic:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("support clips a class (shots)")
    axes.set_ylabel("accuracy, %")
    labels.at_ends(figure, axes, ends)
    return figure


def layers(points: Sequence[Point], variants: Sequence[str]) -> Figure:
    """Accuracy of what is tuned, from least to most; `Point.cost` is the place in `variants`."""
    names, shots = _names(points), _shots(points)
    figure, axes = _panel(height=3.4)
    series = [(name, shot) for name in names for shot in shots]
    beside = _beside(np.arange(len(variants), dtype=float), len(series))
    for place, (name, shot) in enumerate(series):
        mine = sorted((p for p in points if (p.name, p.shot) == (name, shot)), key=lambda p: p.cost)
        colour, marker = _look(place)
        label = in_shots(shot) if len(names) == 1 else f"{labels.short(name)}, {in_shots(shot)}"
        axes.errorbar(
            [p.cost + beside[place] for p in mine], [p.accuracy for p in mine], yerr=[p.ci95 for p in mine],
            color=colour,
            marker=marker, ms=5, lw=1.5, elinewidth=1.2, label=label,
        )  # fmt: skip
    axes.set_xticks(range(len(variants)), [labels.wrapped(v.replace("+", "+ "), 10, 3) for v in variants])
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("what is tuned, fewest weights first")
    axes.set_ylabel("accuracy, %")
    _legend_above(figure, min(len(series), 2 if len(names) > 1 else 6))
    return figure


def per_class(bars: Mapping[str, Mapping[str, float]]) -> Figure:
    """Percent right of each class: `bars` is method -> class -> percent, the first method gives the order."""
    methods = list(bars)
    classes = sorted(bars[methods[0]], key=lambda name: -bars[methods[0]][name])
    figure, axes = _panel(height=1.0 + (0.16 + 0.1 * len(methods)) * len(classes))
    thick = 0.74 / len(methods)
    for place, method in enumerate(methods):
        rows = np.arange(len(classes)) + (place - (len(methods) - 1) / 2) * thick
        values = [bars[method].get(name, 0.0) for name in classes]
        colour = (BLUE, ORANGE)[place % 2]
        axes.barh(rows, values, height=thick * 0.92, color=colour, label=labels.shorter(method, 34))
    axes.set_yticks(range(len(classes)), [labels.short(name) for name in classes])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("queries of the class that were right, %")
    _legend_above(figure, 1 if sum(map(len, methods)) > 44 else len(methods))
    return figure


def confusion(shares: NDArray[np.float64], classes: Sequence[str]) -> Figure:
    """Percent (C, C) of the queries of a true class (row) that were given each class (column)."""
    count = len(classes)
    figure, axes = _panel(height=WIDTH * (0.98 if count > 6 else 0.8))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    size = 8.5 if count <= 14 else max(3.5, 8.5 * 14 / count)
    names = [labels.shorter(name, 20) for name in classes]
    axes.set_xticks(range(count), names, rotation=90 if count > 5 else 30, fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("what the clip shows")
    if count <= 20:
        for row, column in np.argwhere(shares >= 0.5):
            value = shares[row, column]
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=size * 0.85,
                color="white" if value > 55 else INK,
            )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.outline.set(visible=False)
    bar.set_label("% of the row's queries", color=SOFT, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _panel(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)  # measures texts
    return figure, figure.subplots()


def _names(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(p.name for p in points))


def _shots(points: Sequence[Point]) -> list[int]:
    return sorted({p.shot for p in points})


def _beside(places: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """How far (count,) each of so many lines is moved along an axis with values at ascending `places`, in its unit.

    Lines that follow each other in rank, and so may lie together, get places far apart.
    """
    span = float(np.ptp(places)) or 1.0
    room = float(np.diff(places).min()) if len(places) > 1 else span
    slots = np.argsort([*range(0, count, 2), *range(1, count, 2)])
    return np.asarray((slots - (count - 1) / 2) * min(0.016 * span, 0.6 * room / max(1, count)), dtype=np.float64)


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def _legend_above(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside upper left", ncols=columns)


def _floor(points: Sequence[Point]) -> float:
    """Where an axis may begin: above points far below the rest, if those are few; else below all of them."""
    order = sorted(points, key=lambda p: p.accuracy)
    spread = order[-1].accuracy - order[0].accuracy
    for few in range(max(1, len(order) // 4), 0, -1):
        rest = order[few:]
        if len(rest) >= 2 and rest[0].accuracy - order[few - 1].accuracy > 0.5 * spread:
            low, high = min(p.accuracy - p.ci95 for p in rest), max(p.accuracy + p.ci95 for p in rest)
            return low - 0.25 * (high - low)
    return -math.inf
