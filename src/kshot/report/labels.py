"""Texts in figures: names cut to what a label can hold, and places where they hide little."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, SOFT = "#1f2328", "#6b7280"


def compact(value: float) -> str:
    """A number for an axis: 0.1, 30, 1k, 20M.

    Examples:
        >>> [compact(v) for v in (0.1, 100, 1000, 2.5e7)]
        ['0.1', '100', '1k', '25M']
    """
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{sign}"
    return f"{value:g}"


def short(name: str) -> str:
    """A name cut to what a label can hold."""
    return shorter(name, 28)


def shorter(name: str, most: int) -> str:
    """A long name without its middle: what tells rows of a study apart is often the end."""
    if len(name) <= most:
        return name
    words, head, tail = name.split(), 1, 1
    while head + tail < len(words):  # whole words from both ends, as many as there is room for
        more = (head, tail + 1) if tail <= head else (head + 1, tail)
        if len(" ".join([*words[: more[0]], "…", *words[-more[1] :]])) > most:
            break
        head, tail = more
    kept = " ".join([*words[:head], "…", *words[-tail:]])
    if len(words) > 1 and len(kept) <= most:
        return kept
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail].rstrip()}…{name[-tail:].lstrip()}"


def wrapped(name: str, width: int = 25, lines: int = 2) -> str:
    whole = textwrap.wrap(name, width)
    if len(whole) > lines:  # the end tells rows of a study apart
        whole = [f"{whole[0]}…", *whole[1 - lines :]]
    return "\n".join(whole or [""])


def at_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names right of the lines' ends, pushed apart where they would overlap."""
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    lines = axes.get_window_extent().height / (11 * figure.dpi / 72)  # of text that the frame has room for
    gap = (high - low) / max(lines - 1, 1)
    order = sorted(range(len(ends)), key=lambda i: ends[i][1])
    places = [ends[i][1] for i in order]
    for _ in range(400):
        for left in range(len(places) - 1):
            if (missing := gap - (places[left + 1] - places[left])) > 1e-9:
                places[left] -= missing / 2
                places[left + 1] += missing / 2
    axes.set_ylim(min(low, places[0] - gap), max(high, places[-1] + gap))
    for place, i in zip(places, order, strict=True):
        last, accuracy, name, colour = ends[i]
        axes.annotate(
            name, (last, accuracy), (1.08, place), "data", ("axes fraction", "data"),
            va="center", color=INK, fontsize=8, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip


def beside_dots(
    figure: Figure,
    axes: Axes,
    dots: Sequence[tuple[float, float]],
    texts: Sequence[str],
    strong: Sequence[bool],
    shown: Sequence[bool],
) -> None:
    """Writes the shown texts beside their dots, strong ones first, where each hides least of others and the frame."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # placed once: a text must not move the frame again
    point = figure.dpi / 72
    frame = np.array([axes.get_window_extent().extents]) / point
    centres = axes.transData.transform(dots) / point
    taken = np.hstack([centres - 4, centres + 4])
    for i in sorted(range(len(dots)), key=lambda i: not strong[i]):
        if not shown[i]:
            continue
        text = axes.annotate(
            texts[i], dots[i], (0, 0), textcoords="offset points", va="bottom", fontsize=8, zorder=4,
            color=INK if strong[i] else SOFT,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
        )  # fmt: skip
        size = text.get_window_extent()
        width, height = size.width / point, size.height / point
        spots = _spots(width, height)
        boxes = np.hstack([centres[i] + spots, centres[i] + spots + (width, height)])
        hidden = shared(boxes, taken) + 3 * (width * height - shared(boxes, frame))
        best = int(hidden.argmin())
        x, y = spots[best].tolist()
        text.set_position((x, y))
        if not -height <= y <= 10:  # far from its dot: a line leads there
            axes.annotate(
                "", dots[i], (min(max(0.0, x), x + width), y if y > 0 else y + height), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": "#9ca3af", "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
            )  # fmt: skip
        taken = np.vstack([taken, boxes[best]])


def _spots(width: float, height: float) -> NDArray[np.float64]:
    """Where the lower left corner of a text of that size may stand, in points from its dot, the best first: (S, 2)."""
    spots = [(7.0, -height / 2), (-7.0 - width, -height / 2)]
    for away in (6.0, 16.0, 26.0, 36.0, 46.0):
        for below in (away, -away - height):
            spots += [(-width / 2, below), (4.0, below), (-4.0 - width, below)]
    return np.array(spots)


def shared(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area (S,) that boxes (S, 4) share with others (K, 4), summed over these; a box is x0, y0, x1, y1."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: NDArray[np.float64] = (high - low).clip(min=0).prod(-1).sum(1)
    return area
