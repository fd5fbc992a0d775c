"""What lies between segments: learned as none of the actions where all is marked, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import draw, write_video
from kshot import datasets
from kshot.datasets.rest import name_of, rest, with_rest
from kshot.errors import DataError, OptionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 8 seconds, each with a segment of two actions; in the second one more is shown than is marked."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for film in ("a", "b"):
        write_video(folder / f"{film}.mp4", np.concatenate([draw(number, 14, rng, 50) for number in (0, 2, 1, 2)]))
    rows = "".join(
        f"{film}.mp4,{label},{start},{start + 1}\n" for film in "ab" for label, start in (("clap", 0.5), ("wave", 4))
    )
    (folder / "marked.csv").write_text(f"path,label,start,end\n{rows}")
    return folder


def test_between_marks_stretches_are_as_long_as_they_are_and_keep_away_from_the_next() -> None:
    found = rest({"a": [(2, 4), (3, 5), (20, 22)], "b": [(1, 3)]}, {"a": [(0, 30)]}, 99)
    assert found[0] == ("a", (5.5, 7.5)) and {video for video, _ in found} == {"a"}
    assert [span for _, span in found if 4 < span[0] < 20][-1] == (17.5, 19.5)
    assert [span for _, span in found if span[0] > 20] == [(22.5, 24.5), (24.5, 26.5), (26.5, 28.5)]
    assert rest({"a": [(2, 4)]}, {"a": [(8, 12.6), (20, 21)]}, 99) == [("a", (8, 10)), ("a", (10, 12))]
    few = rest({"a": [(0, 1)]}, {"a": [(0, 101)]}, 3)
    assert [start for _, (start, _) in few] == [1.25, 50.25, 99.25]


def test_only_what_is_declared_is_no_action(folder: Path) -> None:
    data = datasets.load(folder / "marked.csv")
    assert data.classes == ("clap", "wave")
    made, name = with_rest(data)
    assert name == "none" and made.classes == ("clap", "none", "wave") and made.counts["none"] == 4
    assert made.clips[: len(data)] == data.clips and made.groups[: len(data)].tolist() == data.groups.tolist()
    part = f"{folder / 'a.mp4'}#t=5,8"
    made, _ = with_rest(data, [part])
    new = made.clips[len(data) :]
    assert new and all(clip.path == folder / "a.mp4" and clip.begin >= 5.25 and clip.stop <= 8 for clip in new)
    assert {made.groups[i] for i in range(len(data), len(made))} <= {made.groups[1]}, (
        "filmed with the segment next to it"
    )
    assert (
        made.notes[-1] == f"{len(new)} stretches of videos in which all is marked were learned as none of the actions"
    )
    assert with_rest(data, [part], "wave")[0].counts["wave"] == 2 + len(new)
    assert name_of(["none", "walk"]) == "none of the actions"


def test_what_cannot_be_said_of_the_data_is_one_line(folder: Path, clips_csv: Path) -> None:
    data = datasets.load(folder / "marked.csv")
    with pytest.raises(DataError, match="lists whole clips"):
        with_rest(datasets.load(clips_csv))
    with pytest.raises(OptionError, match=r"c\.mp4 has no segment in marked: name one of its 2 videos"):
        with_rest(data, [folder / "c.mp4"])
    with pytest.raises(DataError, match="there is no rest to learn"):
        with_rest(data, [f"{folder / 'a.mp4'}#t=0,2"])


def test_fit_learns_the_rest_where_it_is_told_to(command, folder: Path, tmp_path: Path) -> None:
    fit = ("fit", folder / "marked.csv", "--backbone", "kshot-tiny", "--method", "prototype", "--no-thumbnails")
    code, out, error = command(*fit, "--out", tmp_path / "plain")
    assert code == 0 and "none" not in out, error
    code, out, error = command(*fit, "--exhaustive", "--out", tmp_path / "model")
    assert code == 0 and "4 stretches of videos in which all is marked were learned as none" in out, error
    from kshot import Recognizer

    model = Recognizer.load(tmp_path / "model")
    assert model.background == "none" and model.classes_.tolist() == ["clap", "wave"] and model.n_clips_ == 8
    code, out, error = command(*fit, "--exhaustive-in", folder / "c.mp4", "--out", tmp_path / "other")
    assert (code, out, error.count("\n")) == (2, "", 1) and "has no segment" in error
    assert not (tmp_path / "other").exists()
