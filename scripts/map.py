"""Draws docs/img/map.svg, the map in docs/architecture.md: python scripts/map.py"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PAGE = Path(__file__).parents[1] / "docs" / "img" / "map.svg"
INK, SOFT, LINE = "#22313f", "#5d6d7e", "#aab7c4"
COLOURS = ("#fdebd0", "#d5f5e3", "#d6eaf8", "#e8daef", "#f2f3f4")

FLOW = (
    ("video file", "clips of users"),
    ("frames", "video/"),
    ("trunk, frozen", "backbones/"),
    ("STORE", "activations/"),
    ("tail, tuned", "tuning/"),
    ("embeddings", "fewshot/"),
    ("head", "heads/"),
    ("scores", "episode or clip"),
)
FLOORS = (
    ("leaves: nothing imports them", 4, ("cli/", "studio/", "report/", "export", "demo", "doctor", "catalogue")),
    ("two products on one engine", 3, ("recognizer/  (+ stream/)", "study/")),
    ("the engine", 2, ("fewshot/  (+ strategies/)",)),
    ("what is computed once", 1, ("activations/",)),
    ("families: one file, one line, one test each", 1, ("tuning/", "heads/", "datasets/")),
    ("what a frame is, and what sees it", 0, ("backbones/", "video/")),
    (
        "the ground",
        4,
        ("settings", "files", "gate", "names", "seals", "draws", "options", "errors", "progress", "paths", "system"),
    ),
)


def box(axes: plt.Axes, x: float, y: float, width: float, height: float, text: str, colour: str, size: float) -> None:
    axes.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.08", fc=colour, ec=LINE, lw=1))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size, color=INK)


def draw(path: Path = PAGE) -> None:
    plt.rcParams |= {"font.family": "DejaVu Sans", "svg.hashsalt": "kshot", "svg.fonttype": "path"}
    figure, axes = plt.subplots(figsize=(11, 6.9))
    axes.set(xlim=(0, 16), ylim=(0, 10))
    axes.axis("off")
    axes.text(0.1, 9.72, "The way of a clip", size=12, weight="bold", color=INK)
    step = 16 / len(FLOW)
    for number, (name, where) in enumerate(FLOW):
        x = number * step + 0.1
        stored = name == "STORE"
        box(axes, x, 8.55, step - 0.42, 0.72, name, COLOURS[0] if stored else "white", 8.8 if not stored else 9.5)
        axes.text(x + (step - 0.42) / 2, 8.3, where, ha="center", va="center", size=7.6, color=SOFT)
        if number:
            axes.add_patch(
                FancyArrowPatch((x - 0.31, 8.91), (x - 0.01, 8.91), arrowstyle="-|>", mutation_scale=9, color=SOFT)
            )
    axes.text(3 * step + 0.75, 7.98, "computed once for each clip", ha="center", size=7.6, style="italic", color=SOFT)
    axes.text(0.1, 7.3, "The house: imports go down, never up", size=12, weight="bold", color=INK)
    height, top = 0.72, 6.3
    for floor, (label, colour, rooms) in enumerate(FLOORS):
        y = top - floor * (height + 0.28)
        axes.text(0.1, y + height / 2, label, va="center", size=8.4, color=SOFT)
        width = 11.2 / len(rooms)
        for number, name in enumerate(rooms):
            size = 9 if len(rooms) < 7 else 7.6
            box(axes, 4.75 + number * width, y, width - 0.14, height, name, COLOURS[colour], size)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE)
