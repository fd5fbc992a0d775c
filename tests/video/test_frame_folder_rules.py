"""Frame folders, rule by rule: which files are frames and in which order, what is missing, and when each is on show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kshot.errors import VideoError
from kshot.video import container, frame_folder
from kshot.video.clock import Clock
from kshot.video.container import FOLDER_FPS
from kshot.video.damage import Damage
from kshot.video.frame_folder import Folder, is_image, natural


def of(folder: Path, names: list[str], size: tuple[int, int] = (6, 4)) -> Folder:
    """A folder with files of these names, the first by name a small picture."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    made = Folder(folder)
    Image.new("RGB", size).save(made.files[0], "PNG")
    return made


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.Png", "1.jpeg", "a.b.png", " .png"])
def test_frames_are_known_by_their_suffix_in_any_case(name: str) -> None:
    assert is_image(name)


@pytest.mark.parametrize("name", ["a.gif", ".a.png", ".png", "png", "a.png.txt", "a.jpgx", "", "a", "a.bmp"])
def test_other_files_and_hidden_ones_are_no_frames(name: str) -> None:
    assert not is_image(name)


def test_only_frames_count_whatever_else_lies_there(tmp_path: Path) -> None:
    folder = of(tmp_path / "a", ["1.png", "2.png", "notes.txt", ".3.png", "thumbs.db"])
    assert [file.name for file in folder.files] == ["1.png", "2.png"] and folder.failure == ""
    assert frame_folder.passed_over(tmp_path / "a") == ["notes.txt", "thumbs.db"]


@pytest.mark.parametrize("names", [[], ["notes.txt", ".1.png"]])
def test_a_folder_without_frames_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(VideoError) as told:
        Folder(tmp_path)
    assert str(told.value) == "expected JPEG or PNG frames in the folder, found none"


def test_a_folder_may_have_as_many_frames_as_a_clip_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_FRAMES", 3)
    names = ["1.png", "2.png", "3.png"]
    assert len(of(tmp_path / "a", names).files) == 3
    with pytest.raises(VideoError) as told:
        of(tmp_path / "a", [*names, "4.png"])
    assert str(told.value) == container.too_long()


def test_what_is_no_file_is_named_before_anything_is_opened(tmp_path: Path) -> None:
    (tmp_path / "1.png").mkdir()
    with pytest.raises(VideoError, match=r"1\.png is a folder: expected a regular file"):
        Folder(tmp_path)


def test_names_are_in_the_order_in_which_a_person_counts() -> None:
    ordered = ["1.png", "01.png", "2.png", "10.png", "a1b2.png", "a1b10.png", "a2b1.png", "a10.png", "b.png"]
    rng = np.random.default_rng(0)
    for _ in range(20):
        shuffled = [ordered[i] for i in rng.permutation(len(ordered))]
        found = sorted(shuffled, key=natural)
        assert found[2:] == ordered[2:] and set(found[:2]) == {"1.png", "01.png"}
    assert natural("a10") == [(1, 0, "a"), (0, 10, "10")]
    assert natural("²") == [(1, 0, "²")], "a digit that is no number"


# ---- when frames are on show ---------------------------------------------------------------------------------------


def test_every_frame_is_on_show_for_the_same_time(tmp_path: Path) -> None:
    folder = of(tmp_path / "a", [f"{n}.png" for n in range(12)], size=(6, 4))
    scan = folder.scan()
    assert (scan.frames, scan.exact, scan.width, scan.height) == (12, True, 6, 4)
    assert scan.time_base == 1 / Fraction(FOLDER_FPS) and scan.seconds == 12 / FOLDER_FPS
    for numbers in (scan.pts, scan.keyframes):
        assert numbers.tolist() == list(range(12)) and numbers.dtype == np.int64
    assert scan.clock == Clock(12) and scan.times.tolist() == pytest.approx([n / FOLDER_FPS for n in range(12)])
    assert folder.announced() == (12 / FOLDER_FPS, FOLDER_FPS) and folder.cut() is None
    assert list(folder.stream()) == [(n / FOLDER_FPS, file) for n, file in enumerate(folder.files)]


def test_picked_frames_come_with_their_files_each_once(tmp_path: Path) -> None:
    folder = of(tmp_path / "a", [f"{n}.png" for n in range(5)])
    seen: list[Clock] = []

    def pick(clock: Clock) -> np.ndarray:
        seen.append(clock)
        return np.array([3, 0, 3])

    indices, files = folder.frames(pick)
    assert indices.tolist() == [3, 0, 3] and files == {0: folder.files[0], 3: folder.files[3]}
    assert seen == [Clock(5)]


def test_the_first_frame_that_is_read_says_the_size(tmp_path: Path) -> None:
    folder = of(tmp_path / "a", ["1.png", "2.png"])
    Image.new("RGB", (8, 10), (255, 0, 0)).save(folder.files[1])
    assert folder.shape is None
    assert folder.image(folder.files[1]).shape == (10, 8, 3) and folder.shape == (10, 8)
    assert folder.image(folder.files[0]).shape == (10, 8, 3) and folder.shape == (10, 8)


def test_a_picture_of_too_many_pixels_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = of(tmp_path / "a", ["1.png"], size=(6, 4))
    monkeypatch.setattr(container, "MAX_PIXELS", 24)
    assert folder.image(folder.files[0]).shape == (4, 6, 3)
    monkeypatch.setattr(container, "MAX_PIXELS", 23)
    with pytest.raises(VideoError) as told:
        folder.image(folder.files[0])
    assert str(told.value) == "1.png has more than 23 pixels (MAX_PIXELS)"


def test_a_picture_file_has_a_size_that_a_picture_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = of(tmp_path / "a", ["1.png"])
    size = folder.files[0].stat().st_size
    monkeypatch.setattr(frame_folder, "FRAME_BYTES", size)
    folder.scan()
    folder.image(folder.files[0])
    monkeypatch.setattr(frame_folder, "FRAME_BYTES", size - 1)
    for read in (folder.scan, lambda: folder.image(folder.files[0])):
        with pytest.raises(VideoError, match=f"has {size} bytes: expected at most {size - 1}"):
            read()


def test_a_gif_with_the_suffix_of_a_png_is_no_frame(tmp_path: Path) -> None:
    folder = of(tmp_path / "a", ["1.png"])
    Image.new("L", (4, 4)).save(folder.files[0], "GIF")
    with pytest.raises(VideoError, match=r"^1\.png is not a readable JPEG or PNG \("):
        folder.image(folder.files[0])
    with pytest.raises(OSError, match="cannot identify image file"):
        folder.scan()


# ---- what is missing -----------------------------------------------------------------------------------------------


def slow_damage(numbers: list[int]) -> tuple[int, int] | None:
    """How many numbers of the series are missing, and the last before the first gap."""
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    if not steps or min(steps) < 1 or np.median(steps) > 1:
        return None
    missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
    return (len(missing), missing[0] - 1) if missing else None


def test_missing_numbers_are_those_of_a_slow_count(tmp_path: Path) -> None:
    folder = of(tmp_path / "a", ["1.png"])
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(300):
        first, count = int(rng.integers(0, 5)), int(rng.integers(1, 25))
        kept = np.flatnonzero(rng.uniform(size=count) < rng.choice([0.3, 0.8, 0.95, 1.0]))
        numbers = (first + kept * int(rng.choice([1, 1, 1, 5]))).tolist()
        folder.files = [tmp_path / f"clip2_{number:04d}.png" for number in numbers]
        slow, found = slow_damage(numbers), folder.damage()
        seen.add(slow is None)
        if slow is None:
            assert found is None, numbers
            continue
        lost, before = slow
        assert found == Damage(
            len(numbers) / (len(numbers) + lost),
            f"{lost} of {len(numbers) + lost} numbered frames are missing, the first after clip2_{before:04d}.png",
        )
    assert seen == {True, False}


@pytest.mark.parametrize(
    "names", [["a.png", "b.png", "c.png"], ["1_a.png", "1_b.png", "1_c.png"], ["1.png"], ["a5.png", "b9.png", "c3.png"]]
)
def test_names_that_do_not_count_miss_nothing(tmp_path: Path, names: list[str]) -> None:
    assert of(tmp_path / "a", names).damage() is None


# ---- two series ----------------------------------------------------------------------------------------------------


def refused(folder: Path, names: list[str]) -> str:
    with pytest.raises(VideoError) as told:
        of(folder, names)
    return str(told.value)


def test_two_series_are_named_by_their_first_frames_and_counted(tmp_path: Path) -> None:
    names = ["img_10.png", "img_2.png", "img_3.png", "flow_x_2.png", "flow_x_1.png"]
    assert refused(tmp_path / "a", names) == (
        "expected one series of frames in the folder, found 2: 3 like img_2.png, 2 like flow_x_1.png: move all but one "
        "of them into other folders"
    )


@pytest.mark.parametrize(("kinds", "more"), [(3, ""), (4, " and 1 more kinds"), (6, " and 3 more kinds")])
def test_of_many_series_three_are_named(tmp_path: Path, kinds: int, more: str) -> None:
    told = refused(tmp_path / "a", [f"{kind}{n}.png" for kind in "abcdef"[:kinds] for n in (1, 2)])
    counts = "2 like a1.png, 2 like b1.png, 2 like c1.png"
    assert told.startswith(f"expected one series of frames in the folder, found {kinds}: {counts}{more}: move")


def test_messages_do_not_depend_on_how_a_disk_lists_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{kind}{n}.png" for kind in "dbcaef" for n in (10, 9)]
    said = {refused(tmp_path / "a", names)}
    scandir = os.scandir
    for seed in range(5):

        @contextmanager
        def shuffled(path: Path, seed: int = seed) -> Iterator[list[os.DirEntry[str]]]:
            with scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            yield [found[i] for i in np.random.default_rng(seed).permutation(len(found))]

        monkeypatch.setattr(os, "scandir", shuffled)
        said.add(refused(tmp_path / "a", []))
    assert len(said) == 1 and "2 like a9.png, 2 like b9.png, 2 like c9.png and 3 more kinds" in said.pop()


def test_case_and_numbers_make_no_series_of_their_own(tmp_path: Path) -> None:
    assert len(of(tmp_path / "a", ["IMG_1.PNG", "img_2.png", "Img_10.png"]).files) == 3
    assert len(of(tmp_path / "b", ["start.png", "middle.png", "end.png"]).files) == 3, "pictures without any series"
    assert "found 2" in refused(tmp_path / "c", ["1.png", "2.jpg", "3.png"]), "another suffix is another series"


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_pictures_without_an_agreed_range_are_refused(mode: str) -> None:
    with pytest.raises(VideoError) as told:
        frame_folder.rgb(Image.new(mode, (2, 2)))
    assert str(told.value) == (
        f"expected pictures of 8 or 16 bits a colour, found mode '{mode}': save them as 8-bit RGB"
    )


def test_of_16_bits_the_upper_8_are_taken() -> None:
    values: Any = np.array([[0, 255, 256, 0xFFFF]], np.uint16)
    grey = np.asarray(frame_folder.rgb(Image.fromarray(values)))
    assert grey.tolist() == [[[0] * 3, [0] * 3, [1] * 3, [255] * 3]]
