"""A timeline as a picture: filmstrip, coloured segments, and a curve for each label that occurs."""

from __future__ import annotations

import io
import warnings
from typing import Any, Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kshot import fonts
from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.stream.contract import Array
from kshot.recognizer.stream.windows import Segment

WIDTH = 10.0  # inches
FRAMES = 12
LANES = 12  # labels with a curve, at most: those that last longest

# The colours of Okabe and Ito (2008), which colour-blind readers can tell apart; names stand beside them all the same.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
INK, SOFT, FAINT = "#1f2328", "#6b7280", "#e5e7eb"


class Shown(Protocol):
    """What of a `Timeline` is drawn."""

    @property
    def duration(self) -> float: ...
    @property
    def classes(self) -> Array: ...
    @property
    def times(self) -> Array: ...
    @property
    def proba(self) -> Array: ...
    @property
    def segments(self) -> list[Segment]: ...
    @property
    def stills(self) -> list[tuple[float, Array]]: ...


def draw(timeline: Shown, kind: str) -> tuple[bytes, str]:
    """The picture as a file of that kind (png, svg or pdf), and the letters that it lacks, see `kshot.fonts`."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        style: dict[str, Any] = {"font.size": 9, "text.parse_math": False, "svg.fonttype": "none"}
        matplotlib.rcParams.update(style | {"text.color": INK})
        warnings.filterwarnings("ignore", "Glyph .* missing")
        file = io.BytesIO()
        figure, missing = fonts.drawn(lambda: _figure(timeline))
        figure.savefig(file, format=kind, dpi=150, facecolor="white")
    return file.getvalue(), "" if kind == "svg" else missing  # its text stays text, for whoever shows it


def _figure(timeline: Shown) -> Figure:
    lanes = _lanes(timeline)
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(lanes)}
    left, right, top, bottom = 1.55, 0.75, 0.1, 0.5  # inches
    across = WIDTH - left - right
    still, bar, lane, gap = across / FRAMES, 0.32, 0.42, 0.1
    height = top + still + gap + bar + gap + lane * len(lanes) + bottom
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    floor = height - top

    def row(tall: float, after: float = 0.0) -> Axes:
        nonlocal floor
        floor -= tall
        axes = figure.add_axes((left / WIDTH, floor / height, across / WIDTH, tall / height))
        axes.set_xlim(0, timeline.duration)
        axes.set_yticks([])
        axes.tick_params(bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        floor -= after
        return axes

    _filmstrip(row(still, gap), timeline)
    last = row(bar, gap)
    _bar(last, timeline, colours, across)
    for label in lanes:
        last = row(lane)
        _lane(last, timeline, label, colours[label])
    last.tick_params(bottom=True, labelbottom=True, colors=SOFT, length=3)
    last.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 3, 6, 10]))
    last.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value // 60)}:{value % 60:02.0f}"))
    hidden = len({s.label for s in timeline.segments} - {UNKNOWN}) - len(lanes)
    note = "minutes and seconds" + (f"; {hidden} labels that last less are not drawn" if hidden > 0 else "")
    note += "; grey: unknown" if any(segment.label == UNKNOWN for segment in timeline.segments) else ""
    last.set_xlabel(note, color=SOFT, fontsize=8)
    return figure


def _lanes(timeline: Shown) -> list[str]:
    """The labels that last longest, in the order in which they first occur."""
    lasts: dict[str, float] = {}
    for segment in timeline.segments:
        if segment.label != UNKNOWN:
            lasts[segment.label] = lasts.get(segment.label, 0.0) + segment.end - segment.start
    longest = sorted(lasts, key=lambda label: -lasts[label])[:LANES]
    return [label for label in lasts if label in longest]


def _filmstrip(axes: Axes, timeline: Shown) -> None:
    """Frames side by side, each the one nearest to the middle of its place."""
    if not timeline.stills:
        return
    times = np.array([seconds for seconds, _ in timeline.stills])
    place = timeline.duration / FRAMES
    for number in range(FRAMES):
        nearest = int(np.abs(times - (number + 0.5) * place).argmin())
        picture = timeline.stills[nearest][1]
        axes.imshow(picture, extent=((number + 0.02) * place, (number + 0.98) * place, 0, 1), aspect="auto")
    axes.set_xlim(0, timeline.duration)
    axes.set_ylim(0, 1)


def _bar(axes: Axes, timeline: Shown, colours: dict[str, str], inches: float) -> None:
    """All segments in one row, named where there is room."""
    axes.set_ylim(0, 1)
    for segment in timeline.segments:
        length = segment.end - segment.start
        colour = colours.get(segment.label)
        axes.broken_barh(
            [(segment.start, length)], (0, 1), facecolor=colour or FAINT, edgecolor="white", linewidth=1.2,
        )  # fmt: skip
        room = length / timeline.duration * inches
        if len(segment.label) * 0.075 + 0.08 < room:
            ink = "white" if _dark(colour or FAINT) else INK
            axes.text(segment.start + length / 2, 0.48, segment.label, ha="center", va="center", color=ink, fontsize=8)
    _name(axes, "segments", SOFT)


def _lane(axes: Axes, timeline: Shown, label: str, colour: str) -> None:
    """The probability of one label over time, and where it was believed."""
    column = [str(name) for name in timeline.classes].index(label)
    mine = [segment for segment in timeline.segments if segment.label == label]
    axes.set_ylim(-0.06, 1.06)
    axes.axhline(0, color=FAINT, lw=0.8)
    for segment in mine:
        axes.axvspan(segment.start, segment.end, color=colour, alpha=0.16, lw=0)
    axes.fill_between(timeline.times, 0, timeline.proba[:, column], color=colour, alpha=0.45, lw=0)
    axes.plot(timeline.times, timeline.proba[:, column], color=colour, lw=1.1)
    _name(axes, label, INK)
    seconds = sum(segment.end - segment.start for segment in mine)
    axes.text(1.012, 0.5, f"{seconds:.1f} s", transform=axes.transAxes, va="center", color=SOFT, fontsize=8)


def _name(axes: Axes, name: str, colour: str) -> None:
    shown = name if len(name) <= 22 else f"{name[:12]}…{name[-9:]}"
    axes.text(-0.012, 0.5, shown, transform=axes.transAxes, ha="right", va="center", color=colour, fontsize=9)


def _dark(colour: str) -> bool:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140
