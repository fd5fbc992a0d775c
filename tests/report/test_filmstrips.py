from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import studies
from kshot.report import filmstrips
from kshot.report.comparison import Comparison, compared
from kshot.study import Row, Study


def comparison(folder: Path, data: str, way: int = 3, frames: int = 8) -> Comparison:
    plan = Study("s", (Row("frozen"),), (data,), ("b",), (1,), episodes=10, way=way, frames=frames)
    return compared(studies.write(folder, plan, lambda *_: 0.5, classes=("a", "b", "c", "d")), folder)[0]


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
    found.rows[0]["results"]["1"]["confusion"] = confusion
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


def test_features_have_no_clips(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=np.zeros((4, 2, 3)), label=list("abcd"), split=["test"] * 4)
    reel = filmstrips.reel(comparison(tmp_path, str(tmp_path / "f.npz")))
    assert reel.known == reel.mixed == []
    assert reel.notes[0].endswith("these are ready-made features, without clips")
