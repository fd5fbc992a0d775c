"""What may be called a video: paths, arrays and tensors in any shape that is clear, and one line for what is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clips import write_folder
from kshot.errors import OptionError, VideoError
from kshot.recognizer import videos
from kshot.recognizer.record import Record
from kshot.video import Taken
from kshot.video.container import FOLDER_FPS


def frames(count: int = 6, height: int = 10, width: int = 14, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def test_a_single_video_is_a_list_of_one() -> None:
    clip = frames()
    for single in ("a.mp4", Path("a.mp4")):
        assert videos.listed(single) == [Path("a.mp4")]
    (found,) = videos.listed(clip)
    assert np.array_equal(found, clip)


def test_several_videos_of_any_kind_keep_their_order() -> None:
    clip = frames()
    first, second, third = videos.listed(["a.mp4", clip, torch.from_numpy(clip)])
    assert first == Path("a.mp4") and np.array_equal(second, clip) and np.array_equal(third, clip)
    assert len(videos.listed(np.stack([clip, clip]))) == 2, "an array of five axes is several"
    assert videos.listed([]) == []


def test_tensors_may_have_their_colours_first() -> None:
    clip = frames()
    first = torch.from_numpy(clip).permute(0, 3, 1, 2)
    (found,) = videos.listed(first)
    assert np.array_equal(found, clip) and found.flags.c_contiguous
    (found,) = videos.listed([first[..., :3][..., :1].expand(-1, -1, -1, 3).permute(0, 2, 3, 1)])
    assert found.shape == (6, 10, 3, 3), "colours last stay where they are"
    narrow = torch.zeros(2, 3, 5, 3, dtype=torch.uint8)
    assert videos.listed([narrow])[0].shape == (2, 3, 5, 3), "where both could be colours, the last are"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (3, r"clip 1: expected a path, a frame folder or an array \(T, H, W, 3\), found int"),
        (frames().astype(np.float32), r"clip 1: expected frames \(T, H, W, 3\) of uint8, found float32 of shape"),
        (frames()[..., :1], r"found uint8 of shape \(6, 10, 14, 1\)"),
        (frames()[0], r"found uint8 of shape \(10, 14, 3\)"),
        (frames()[:0], r"found uint8 of shape \(0, 10, 14, 3\)"),
        (frames().transpose(0, 3, 1, 2), r"found uint8 of shape \(6, 3, 10, 14\)"),
    ],
)
def test_what_is_no_video_is_told_by_its_number(item: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        videos.listed(["a.mp4", item])


def test_names_and_lengths() -> None:
    assert videos.name(Path("deep") / "a.mp4", 3) == str(Path("deep") / "a.mp4")
    assert videos.name(frames(), 3) == "clip 3"
    assert videos.seconds(frames(50)) == 50 / FOLDER_FPS


def test_a_digest_is_of_the_pixels_alone() -> None:
    clip = frames()
    assert videos.digest(clip) == hashlib.sha256(clip.tobytes()).hexdigest()
    assert videos.digest(np.asfortranarray(clip)) == videos.digest(clip) != videos.digest(clip + 1)


def test_an_array_gives_the_frames_that_a_folder_of_it_gives(tmp_path: Path) -> None:
    clips = [frames(20, seed=1), frames(3, seed=2)]
    folder = write_folder(tmp_path / "clip", clips[0])
    found = list(videos.frames_of([clips[1], folder, clips[0], tmp_path / "none"], 8, 8))
    assert [type(one) for one in found] == [Taken, Taken, Taken, VideoError], "in the order of the videos"
    assert all(one.frames.shape == (8, 8, 8, 3) for one in found[:3])  # type: ignore[union-attr]
    assert np.array_equal(found[1].frames, found[2].frames)  # type: ignore[union-attr]
    assert not np.array_equal(found[0].frames, found[2].frames)  # type: ignore[union-attr]
    assert videos.seconds(folder) == pytest.approx(20 / FOLDER_FPS)


@dataclass(frozen=True)
class Pair(Record):
    """A record with a default.

    Attributes:
        left: a number.
        right: another one.
    """

    left: int
    right: int = 7


def test_records_are_read_by_name_and_from_older_and_newer_files() -> None:
    made = Pair.of_plain({"left": 1})
    assert made == Pair(1, 7) and made.plain() == {"left": 1, "right": 7} and made["right"] == 7
    assert Pair.of_plain({"left": 1, "right": 2, "of a later version": 3}) == Pair(1, 2)
    for name in ("plain", "of_plain", "middle", "__doc__"):
        with pytest.raises(KeyError):
            made[name]
    with pytest.raises(TypeError):
        Pair.of_plain({"right": 2})
