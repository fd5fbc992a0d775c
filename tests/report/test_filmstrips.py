from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import studies
from kshot.report import filmstrips
from kshot.report.comparison import Comparison, compared
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult


def comparison(folder: Path, data: str, way: int = 3, frames: int = 8) -> Comparison:
    plan = Study("s", (Row("frozen"),), (data,), ("b",), (1,), episodes=10, way=way, frames=frames)
    found = studies.write(folder, plan, lambda *_: 0.5, classes=("a", "b", "c", "d"))
    return compared(StudyResult.parse(found, "study.json"), folder)[0]


def clips(folder: Path, names: str, frames: int = 4) -> str:
    """A folder of class folders of frame folders: frame i of a clip is of the grey i * 20."""
    for name in names:
        for clip in ("first", "second"):
            path = folder / "clips" / "test" / name / clip
            path.mkdir(parents=True)
            for i in range(frames):
                Image.new("RGB", (40, 20), (i * 20,) * 3).save(path / f"{i}.png")
    return str(folder / "clips")


def test_pairs_are_shares_of_the_episodes_that_hold_both(tmp_path: Path) -> None:
    found = comparison(tmp_path, "d")
    confusion = {
        "a": {"a": 70.0, "b": 30.0},
        "b": {"b": 90.0, "a": 10.0},
        "c": {"c": 80.0, "d": 20.0},
        "d": {"d": 100.0},
    }
    found.runs[0].results["1"].confusion.update(confusion)
    # Two of three classes beside one's own: another class is in 2 / 3 of the episodes.
    assert filmstrips._pairs(found, "frozen") == [
        ("a", "b", pytest.approx(45), pytest.approx(15)),
        ("c", "d", pytest.approx(30), 0.0),
    ]


def test_a_strip_shows_the_frames_that_a_model_is_given(tmp_path: Path) -> None:
    reel = filmstrips.reel(comparison(tmp_path, clips(tmp_path, "abcd"), frames=2))
    assert [strip.label for strip, _ in reel.known] == ["d", "c", "b", "a"]  # best known first
    assert [percent for _, percent in reel.known] == pytest.approx([70, 56.67, 43.33, 30], abs=0.01)
    image = np.asarray(Image.open(io.BytesIO(reel.known[0][0].jpeg)))
    assert image.shape == (96, 2 * 96 + 2, 3)
    assert abs(int(image[48, 48, 0]) - 20) < 3 and abs(int(image[48, 96 + 2 + 48, 0]) - 60) < 3  # frames 1 and 3 of 4
    assert reel.known[0][0].file == "first" and reel.mixed[0].one.file == "second"
    assert not reel.notes and not reel.some


def test_many_frames_are_thinned_out(tmp_path: Path) -> None:
    reel = filmstrips.reel(comparison(tmp_path, clips(tmp_path, "abcd", 12), frames=12))
    assert Image.open(io.BytesIO(reel.known[0][0].jpeg)).width == 8 * 98 - 2


def test_an_unreadable_clip_gives_way_to_the_next(tmp_path: Path) -> None:
    data = clips(tmp_path, "abcd")
    (tmp_path / "clips" / "test" / "a" / "first" / "0.png").write_bytes(b"no picture")
    reel = filmstrips.reel(comparison(tmp_path, data))
    assert reel.notes == [] and reel.known[-1][0].file == "second"


def test_a_class_that_is_gone_is_noted_and_the_others_are_shown(tmp_path: Path) -> None:
    reel = filmstrips.reel(comparison(tmp_path, clips(tmp_path, "abc")))
    assert [strip.label for strip, _ in reel.known] == ["c", "b", "a"]
    assert reel.notes == ["No filmstrip of d: the data set has no clip of it now"]


def asked(folder: Path, name: str, clip: str, right: int, asked: int, **taken: int) -> dict[str, Any]:
    path = folder / "clips" / "test" / name / clip
    return {"clip": str(path), "label": name, "asked": asked, "right": right, "taken_for": taken}


def told(found: Comparison, *seeds: list[dict[str, Any]]) -> Comparison:
    """The comparison, its result files telling these clips, a list for each seed."""
    for run, per_clip in zip(found.runs, seeds, strict=True):
        path = found.folder / run.folder / "1-shot.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"per_clip": per_clip}))
    return found


def test_typical_clips_are_those_most_reliably_right_or_wrong(tmp_path: Path) -> None:
    data = clips(tmp_path, "abcd")
    plan = Study("s", (Row("frozen"),), (data,), ("b",), (1,), (0, 1), episodes=10, way=3)
    made = studies.write(tmp_path, plan, lambda *_: 0.5, classes=("a", "b", "c", "d"))
    found = compared(StudyResult.parse(made, "study.json"), tmp_path)[0]
    first = [
        asked(tmp_path, "a", "first", 3, 3),  # always right, but seldom asked
        asked(tmp_path, "a", "second", 49, 50, b=1),
        asked(tmp_path, "b", "first", 10, 50, a=25, c=15),
        asked(tmp_path, "b", "second", 0, 2, d=2),
        asked(tmp_path, "c", "first", 20, 50, d=30),
    ]
    second = [asked(tmp_path, "a", "second", 50, 50), asked(tmp_path, "b", "first", 5, 50, a=20, c=25)]
    reel = filmstrips.reel(told(found, first, second))
    shown = [(s.strip.label, s.strip.file, s.right, s.queries, s.other, s.taken) for s in reel.successes]
    assert shown[:2] == [("a", "second", 99, 100, "b", 1), ("c", "first", 20, 50, "d", 30)]
    shown = [(s.strip.label, s.strip.file, s.right, s.queries, s.other, s.taken) for s in reel.failures]
    assert shown == [("b", "first", 15, 100, "a", 45), ("c", "first", 20, 50, "d", 30)]


def test_clips_that_were_moved_are_found_by_name_and_lost_ones_left_out(tmp_path: Path) -> None:
    found = comparison(tmp_path, clips(tmp_path, "abcd"))
    rows = [asked(tmp_path / "old", "a", "second", 9, 9), asked(tmp_path / "old", "b", "gone", 9, 9)]
    reel = filmstrips.reel(told(found, rows))
    assert [(s.strip.label, s.strip.file, s.other) for s in reel.successes] == [("a", "second", "")]
    assert reel.failures == [] and reel.notes == []


def test_results_of_older_versions_have_no_single_clips(tmp_path: Path) -> None:
    found = comparison(tmp_path, clips(tmp_path, "abcd"))
    path = found.folder / found.runs[0].folder / "1-shot.json"
    values = json.loads(path.read_text())
    values.pop("per_clip", None), values.pop("cost", None)
    path.write_text(json.dumps(values))
    reel = filmstrips.reel(found)
    assert reel.known and reel.successes == reel.failures == []


@pytest.mark.parametrize(("count", "of", "low"), [(0, 10, 0.0), (10, 10, 0.7225), (5, 10, 0.2366), (500, 1000, 0.4691)])
def test_reliability_is_the_lower_end_of_wilsons_interval(count: int, of: int, low: float) -> None:
    assert filmstrips._reliably(count, of) == pytest.approx(low, abs=1e-4)


def test_features_have_no_clips(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=np.zeros((4, 2, 3)), label=list("abcd"), split=["test"] * 4)
    reel = filmstrips.reel(comparison(tmp_path, str(tmp_path / "f.npz")))
    assert reel.known == reel.mixed == []
    assert reel.notes[0].endswith("these are ready-made features, without clips")
