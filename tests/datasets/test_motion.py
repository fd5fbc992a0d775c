"""The bundled actions: classes and splits, pairs that only order tells apart, and clips that are the same each time."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from kshot import datasets
from kshot.datasets import filming, motion
from kshot.datasets.actions import ACTIONS
from kshot.datasets.bodies import joints
from kshot.errors import DataError, OptionError, StoreError

PAIRS = [
    ("raise both arms", "lower both arms"),
    ("kneel down", "rise from kneeling"),
    ("lie down", "get up from the floor"),
    ("pick up from the floor", "put down on the floor"),
    ("push", "pull"),
    ("sit down", "stand up"),
    ("open the arms", "close the arms"),
]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CSV of one clip a class."""
    return motion.render(tmp_path_factory.mktemp("motion"), clips=1)


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_enough_actions_in_each_split() -> None:
    counts = Counter(action.split for action in ACTIONS.values())
    assert counts == {"train": 18, "val": 10, "test": 12}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_pairs_show_the_same_poses_in_opposite_order(one: str, other: str) -> None:
    assert ACTIONS[one].split == ACTIONS[other].split
    phase = np.linspace(0, 1, 25)
    np.testing.assert_allclose(ACTIONS[one].at(phase), ACTIONS[other].at(phase)[::-1], atol=1e-9)


def test_actions_move_without_jumps_and_cycles_close() -> None:
    for name, action in ACTIONS.items():
        phase = np.linspace(0, 1, 201)
        points = joints(action.at(phase * 2 + 0.3 if action.cyclic else phase))
        assert np.ptp(points, axis=0).max() > 0.1, name
        assert np.abs(np.diff(points, axis=0)).max() < 0.1, name


def test_phases_beyond_the_ends() -> None:
    sit, walk = ACTIONS["sit down"], ACTIONS["walk"]
    np.testing.assert_array_equal(sit.at(np.array([-0.2, 1.3])), sit.keys[[0, -1]])
    np.testing.assert_allclose(walk.at(np.array([0.3])), walk.at(np.array([1.3])), atol=1e-9)


def test_table_and_files(rendered: Path) -> None:
    with rendered.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "split", "group"]
    assert [row["label"] for row in rows] == list(ACTIONS)
    assert all(row["split"] == ACTIONS[row["label"]].split for row in rows)
    assert {row["group"] for row in rows} == {"train-00", "val-00", "test-00"}
    for row in rows[::6]:
        with av.open(str(rendered.parent / row["path"])) as file:
            stream = file.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 112, 112)
            assert stream.average_rate == 24
            assert 24 <= sum(1 for _ in file.decode(video=0)) <= 36
    assert not list(rendered.parent.rglob(".*"))


def test_rendering_again_gives_the_same_frames_and_table(rendered: Path, tmp_path: Path) -> None:
    motion.render_part(tmp_path, clips=1, seed=0, part=3, parts=12)
    again = sorted(tmp_path.rglob("*.mp4"))
    assert len(again) == 4
    for path in again:
        np.testing.assert_array_equal(frames(path), frames(rendered.parent / path.relative_to(tmp_path)))
    before = rendered.read_bytes()
    rendered.unlink()
    assert motion.render(rendered.parent, clips=1).read_bytes() == before


def test_a_clip_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = motion._rows(16), motion._rows(40)
    assert set(few) <= set(many)
    assert len(many) == 40 * 40
    assert Counter(row[3] for row in many if row[1] == "wave") == {f"test-{g:02d}": 2 for g in range(20)}


NEW = ("push", "pull", "sit-ups", "chop wood", "walk on the hands")
"""Val actions that came later than the others."""


@pytest.mark.parametrize(("name", "clip"), [("walk", 0), ("wave", 7), ("pedal on the back", 3)])
def test_a_clip_does_not_depend_on_which_other_actions_there_are(
    name: str, clip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = np.stack(list(filming.frames(name, clip, 0)))
    older = {one: action for one, action in ACTIONS.items() if one not in NEW}
    assert len(older) == 35
    monkeypatch.setattr(filming, "ACTIONS", older)
    np.testing.assert_array_equal(np.stack(list(filming.frames(name, clip, 0))), known)


def test_a_folder_of_fewer_actions_is_completed_and_old_clips_stay(tmp_path: Path) -> None:
    rows = [row for row in motion._rows(1) if row[1] not in NEW]
    for path, *_ in rows:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"drawn long ago")
    with (tmp_path / "motion-1.csv").open("w", newline="") as file:
        csv.writer(file).writerows([motion.HEADER, *rows])
    table = motion.render(tmp_path, clips=1)
    with table.open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == list(ACTIONS)
    assert all((tmp_path / path).read_bytes() == b"drawn long ago" for path, *_ in rows)
    for name in NEW:
        assert len(frames(tmp_path / name.replace(" ", "-") / "000.mp4")) >= 24


def test_seeds_clips_and_performers_differ() -> None:
    def first(name: str, clip: int, seed: int) -> bytes:
        return next(filming.frames(name, clip, seed)).tobytes()

    assert first("wave", 0, 0) == first("wave", 0, 0)
    assert len({first("wave", clip, seed) for clip in range(3) for seed in range(2)}) == 6
    one, other = filming.Group.make("test", 0, 0), filming.Group.make("test", 1, 0)
    assert one.look != other.look


def test_a_fixed_camera_sees_the_same_place_whoever_does_what() -> None:
    """Backgrounds agree but for noise and the performer; the performers and their movements are those of `motion`."""

    def middle(name: str, clip: int, camera: str) -> np.ndarray:
        return np.stack(list(filming.frames(name, clip, 0, camera))).astype(float).mean(0)

    def corner(picture: np.ndarray) -> np.ndarray:
        return picture[:12, :12].mean((0, 1))

    asked = [("walk", 0), ("sit down", 5), ("wave", 11), ("lie down", 2)]
    fixed = [middle(*one, "fixed") for one in asked]
    free = [middle(*one, "free") for one in asked]
    for one in fixed[1:]:
        assert np.abs(corner(one) - corner(fixed[0])).max() < 1, "but for noise"
    assert min(np.abs(corner(one) - corner(free[0])).max() for one in free[1:]) > 10
    for (name, clip), one in zip(asked, fixed, strict=True):
        assert len(list(filming.frames(name, clip, 0, "fixed"))) == len(list(filming.frames(name, clip, 0)))
        assert np.abs(one - fixed[0]).max() > 20 or name == "walk", "the performer is not there"


def test_free_is_the_camera_where_none_is_named() -> None:
    one, other = (list(filming.frames("wave", 3, 0, *camera)) for camera in ((), ("free",)))
    np.testing.assert_array_equal(one, other)


def test_shifts_are_the_same_pictures_turned_or_as_negatives() -> None:
    plain = np.stack(list(filming.frames("wave", 3, 0)))
    np.testing.assert_array_equal(
        np.stack(list(filming.frames("wave", 3, 0, "upside-down"))), np.rot90(plain, 2, (1, 2))
    )
    np.testing.assert_array_equal(np.stack(list(filming.frames("wave", 3, 0, "negative"))), 255 - plain)


def test_a_camera_is_an_option_of_the_data_set(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path))
    read = datasets.load("motion:1?camera=fixed&split=val")
    assert read.name == "motion?camera=fixed" and len(read) == 10 and set(read.splits) == {"val"}
    assert {path.parents[1].name for path in read.paths} == {f"v{motion.VERSION}-seed0-fixed"}
    (clip,) = [path for path in read.paths if path.parent.name == read.classes[0].replace(" ", "-")]
    drawn = list(filming.frames(read.classes[0], 0, 0, "fixed"))
    assert np.abs(frames(clip).astype(float) - np.stack(drawn)).mean() < 6, "the files are of another camera"
    for wrong in ("motion:1?camera=fixd", "motion:1?camera="):
        with pytest.raises(OptionError, match=r"unknown camera .*fixed"):
            datasets.load(wrong)
    assert not list((tmp_path / "motion").glob("*fixd*"))


def test_goes_on_where_it_was_stopped(rendered: Path) -> None:
    files = sorted(rendered.parent.rglob("*.mp4"))
    times = {file: file.stat().st_mtime_ns for file in files}
    content = files[4].read_bytes()
    files[4].unlink()
    rendered.unlink()
    calls: list[tuple[int, int]] = []
    motion.render(rendered.parent, clips=1, progress=lambda done, total: calls.append((done, total)))
    assert files[4].read_bytes() == content
    assert all(file.stat().st_mtime_ns == times[file] for file in files if file != files[4])
    assert calls[-1] == (40, 40)


def test_nothing_to_do_is_nothing_done(rendered: Path) -> None:
    calls: list[tuple[int, int]] = []
    assert motion.render(rendered.parent, 1, progress=lambda *c: calls.append(c)) == rendered
    assert not calls


def test_refuses_no_clips(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least 1 clip a class, found 0"):
        motion.render(tmp_path, clips=0)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write to .*motion: Not a directory"):
        motion.render(tmp_path / "file" / "motion", clips=1)


def test_a_class_folder_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ACTIONS:
        (tmp_path / name.replace(" ", "-")).write_text("in the way")
    with pytest.raises(DataError, match=r"rendering motion .* failed .*Error"):
        motion.render(tmp_path, clips=1)
    assert not list(tmp_path.glob("*.csv"))


def test_cached_is_in_the_home(home: Path, rendered: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path))
    folder = tmp_path / "motion" / f"v{motion.VERSION}-seed0"
    folder.parent.mkdir()
    os.symlink(rendered.parent, folder)
    assert motion.cached(clips=1) == folder / rendered.name
