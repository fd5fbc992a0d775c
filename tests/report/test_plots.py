from __future__ import annotations

import math
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from kshot.report import labels, plots
from kshot.report.plots import Point

POINTS = [
    Point("zero", 1, 20, 1, 0),
    Point("frozen", 1, 50, 1, 0),
    Point("small", 1, 60, 1, 100),
    Point("same cost, worse", 1, 55, 1, 100),
    Point("dear and worse", 1, 58, 1, 5000),
    Point("dear", 1, 70, 1, 20000),
]


def test_the_front_holds_what_nothing_beats() -> None:
    assert [p.name for p in plots.front(POINTS)] == ["frozen", "small", "dear"]
    assert [p.name for p in plots.front(POINTS[::-1])] == ["frozen", "small", "dear"]


def test_equal_points_are_on_the_front_once() -> None:
    assert len(plots.front([Point("a", 1, 50, 1, 5), Point("b", 1, 50, 1, 5)])) == 1


def test_the_axis_begins_above_a_straggler_only() -> None:
    floor = plots._floor(POINTS)
    assert 20 < floor < 49
    assert plots._floor(POINTS[1:]) == -math.inf
    assert plots._floor([Point("a", 1, 10, 1), Point("b", 1, 90, 1)]) == -math.inf  # two: neither is the odd one


def test_zero_has_a_place_left_of_the_logarithms() -> None:
    axes = plots.cost(POINTS, "trained weights").axes[0]
    axes.figure.draw_without_rendering()
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["0", "100", "1k", "10k", "100k"]
    assert axes.get_xlim()[0] < axes.get_xticks()[0] < 100
    texts = {text.get_text() for text in axes.texts}
    assert {"zero (20.0)", "frozen", "small", "dear", "dear and worse", "same cost, worse"} <= texts


def test_labels_hide_neither_each_other_nor_leave_the_frame() -> None:
    figure = plots.cost([Point(f"method {i}", 1, 50 + i % 3, 0.2, 100 + i) for i in range(8)], "weights")
    figure.draw_without_rendering()
    boxes = np.array([Text.get_window_extent(t).extents for t in figure.axes[0].texts if t.get_text()])
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    assert len(boxes) == 8
    assert labels.shared(boxes, figure.axes[0].get_window_extent().extents[None]) == pytest.approx(sizes)
    assert (labels.shared(boxes, boxes) - sizes < 0.1 * sizes).all()


def test_shared_area_by_hand() -> None:
    one = np.array([[0.0, 0.0, 4.0, 2.0]])
    others = np.array([[3.0, 1.0, 9.0, 9.0], [-1.0, -1.0, 1.0, 1.0], [4.0, 0.0, 5.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    assert labels.shared(one, others).tolist() == [2.0]  # 1 + 1 + 0 + 0


def test_names_at_line_ends_stand_apart() -> None:
    points = [Point(f"m{i}", shot, 60 + 0.01 * i + shot, 0.1) for i in range(6) for shot in (1, 5)]
    figure = plots.shots(points, [f"m{i}" for i in range(6)])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without the lines that lead there
    heights = sorted(box.y0 for box in boxes)
    assert np.diff(heights).min() > 0.9 * boxes[0].height


@pytest.mark.parametrize("ticks", [(1, 5), (1, 2, 3, 4, 5, 10), (1, 4, 16)])
def test_of_curves_that_are_the_same_each_is_seen(ticks: tuple[int, ...]) -> None:
    """Every method has a place of its own beside each number of shots, nearer to that than to another."""
    names = [f"m{i}" for i in range(8)]
    figure = plots.shots([Point(name, shot, 60, 1) for name in names for shot in ticks], names)
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "", "_", "|")]
    places = np.array([line.get_xdata() for line in lines], dtype=float)
    assert places.shape == (8, len(ticks))
    figure.draw_without_rendering()
    pixels = figure.axes[0].transData.transform(np.stack([places, np.full_like(places, 60)], -1).reshape(-1, 2))[:, 0]
    pixels = pixels.reshape(places.shape) * 72 / figure.dpi
    assert np.diff(np.sort(pixels, 0), axis=0).min() > 1, "points between the middles of two markers"
    centre = figure.axes[0].transData.transform([(shot, 60) for shot in ticks])[:, 0] * 72 / figure.dpi
    assert (np.abs(pixels[:, :, None] - centre).argmin(-1) == np.arange(len(ticks))).all()


def test_curves_of_layers_stand_side_by_side() -> None:
    points = [Point(name, 1, 60 + at, 1, at) for name in ("a", "b") for at in range(3)]
    first, second = (line.get_xdata() for line in plots.layers(points, ["x", "y", "z"]).axes[0].lines[:2])
    assert (np.asarray(second, float) - np.asarray(first, float) > 0.02).all()


def test_the_confusion_matrix_is_drawn_as_given() -> None:
    shares = np.array([[90.0, 10.0, 0.0], [0.2, 99.8, 0.0], [50.0, 0.0, 50.0]])
    axes = plots.confusion(shares, ["a", "b", "c"]).axes[0]
    assert np.array_equal(axes.images[0].get_array(), shares)
    cells = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert cells == {(0, 0): "90", (0, 1): "10", (1, 1): "100", (2, 0): "50", (2, 2): "50"}


def test_class_bars_are_ordered_by_the_first_method() -> None:
    bars = {"best": {"x": 20.0, "y": 80.0}, "base": {"x": 30.0, "y": 10.0}}
    axes = plots.per_class(bars).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["y", "x"]
    assert [[bar.get_width() for bar in group] for group in axes.containers] == [[80, 20], [10, 30]]


def test_files_are_repeatable_and_matplotlib_is_left_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    first = plots.render(lambda: plots.accuracy(POINTS, "frozen", 20))
    with matplotlib.rc_context({"font.size": 30}):  # the caller's own style does not matter
        second = plots.render(lambda: plots.accuracy(POINTS, "frozen", 20))
    assert first == second and dict(matplotlib.rcParams) == before


def test_names_stay_text_whatever_they_are_made_of() -> None:
    points = [Point("a$b_{2}$ <i> & \\alpha", 1, 50, 1), Point("跳ぶ", 1, 60, 1)]
    svg = plots.render(lambda: plots.accuracy(points))[0].decode()
    found = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    assert "a$b_{2}$ &lt;i&gt; &amp; \\alpha" in found and "跳ぶ" in found
    assert "DejaVu Sans', Verdana, sans-serif" in svg


@pytest.mark.parametrize("count", [1, 20])
def test_any_number_of_methods_can_be_drawn(count: int) -> None:
    points = [
        Point(f"a method with quite a long name, {i}", s, 50 + i / 9, math.nan, i * 10)
        for i in range(count)
        for s in (1, 5)
    ]
    names = [p.name for p in points[::2]]
    for draw in (
        lambda: plots.accuracy(points), lambda: plots.shots(points, names[:6]),
        lambda: plots.cost([p for p in points if p.shot == 1], "seconds"),
    ):  # fmt: skip
        svg, png, _ = plots.render(draw)
        assert b"nan" not in svg.lower() and png.startswith(b"\x89PNG")


def test_long_names_lose_their_middle() -> None:
    assert labels.short("Meta-learning, partial, block+ln_post+proj") == "Meta-learning,…+ln_post+proj"
    assert labels.short("wave") == "wave"


def test_a_long_name_keeps_its_end() -> None:
    long = "frozen, a classifier trained in each episode, "
    assert labels.wrapped(long + "baseline++") == "frozen, a classifier…\nbaseline++"
    assert labels.wrapped(long + "tip-adapter-f") == "frozen, a classifier…\ntip-adapter-f"
    assert labels.wrapped("frozen") == "frozen" and labels.wrapped("") == ""
