"""Views without any video: which names there are, what is drawn for a clip, and what a mirror makes false."""

from __future__ import annotations

import numpy as np
import pytest

from kshot.draws import key
from kshot.errors import OptionError
from kshot.video import FRAMINGS
from kshot.video.views import SIDES, describe, framing, has_side, never_flipped, parse

ALL = ("time", "crop", "flip")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("flip, time", ("time", "flip")), ("crop", ("crop",)), (["flip", "crop", "time"], ("time", "crop", "flip")),
        ("crops,time", ("time", "crops")),
        ("time,time", ("time",)), (("crop", "crop"), ("crop",)),
    ],
)  # fmt: skip
def test_names_come_once_and_in_one_order(given: str | list[str], names: tuple[str, ...]) -> None:
    assert parse(given) == names


def test_a_name_that_is_none_is_told_with_the_nearest() -> None:
    with pytest.raises(
        OptionError, match=r"^unknown augmentation 'crp': did you mean 'crop'\? Known: time, crop, crops, flip$"
    ):
        parse("time,crp")
    with pytest.raises(OptionError, match=r"^unknown augmentation '': Known"):
        parse("")
    with pytest.raises(OptionError) as told:
        parse([])
    assert str(told.value) == "views need an augmentation: expected some of time, crop, crops, flip, found none"


@pytest.mark.parametrize(
    "label",
    [f"turn {side}" for side in sorted(SIDES)] + ["Left", "LEFT hand", "swipeRight", "hand_left_up", "left2right"],
)
def test_names_with_a_side(label: str) -> None:
    assert has_side(label)


@pytest.mark.parametrize(
    "label", ["copyright", "leftover", "brighten", "moving up", "", "42", "rightful", "alright", "clockwork"]
)
def test_names_without_a_side(label: str) -> None:
    assert not has_side(label)


def test_classes_that_are_never_mirrored_are_those_named_or_those_with_a_side() -> None:
    classes = ("wave", "turn left", "bow", "turn right")
    assert never_flipped(classes, None) == ("turn left", "turn right")
    assert never_flipped(classes, []) == ()
    assert never_flipped(classes, [" bow", "wave"]) == ("wave", "bow"), "in the order of the data set"
    with pytest.raises(OptionError, match="unknown class 'wav': did you mean 'wave'"):
        never_flipped(classes, ["wav"])


@pytest.mark.parametrize("resize", FRAMINGS)
def test_view_0_is_the_same_for_every_clip_and_augmentation(resize: str) -> None:
    for augment in ((), ALL, ("flip",)):
        for clip in (0, 1, 2**60):
            assert framing(resize, augment, 0, clip) == FRAMINGS[resize]


@pytest.mark.parametrize("resize", FRAMINGS)
@pytest.mark.parametrize("augment", [(), ("time",), ("crop",), ("flip",), ("crop", "flip"), ALL])
def test_what_is_drawn_for_a_view_is_a_function_of_view_and_clip(resize: str, augment: tuple[str, ...]) -> None:
    base = FRAMINGS[resize]
    for view, clip in ((1, 0), (1, 5), (2, 5), (9, 2**59)):
        x, y, side = (int(key(17, view, clip, number)) / 2**64 for number in range(3))
        found = framing(resize, augment, view, clip)
        assert found == framing(resize, augment, view, clip)
        assert found.flip == (side < 0.5 if "flip" in augment else base.flip)
        assert found.squash == base.squash
        if "crop" in augment:
            assert found.place == pytest.approx((x, y)) and found.margin == max(base.margin, 256 / 224)
        else:
            assert (found.place, found.margin) == (base.place, base.margin)


def test_places_are_spread_over_the_whole_square_and_half_of_the_views_are_mirrored() -> None:
    drawn = [framing("short", ALL, view, clip) for view in range(1, 5) for clip in range(100)]
    places = np.array([one.place for one in drawn])
    assert np.histogram2d(*places.T, bins=4, range=[[0, 1]] * 2)[0].min() > 10
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.15, "x and y are drawn by themselves"
    assert np.mean([one.flip for one in drawn]) == pytest.approx(0.5, abs=0.08)


def test_crops_are_drawn_for_each_frame_by_itself() -> None:
    one = framing("squash-257", ("crops",), 1, 7, frames=8)
    assert one.place is None and len(set(one.places)) == 8 and one.margin == 1.15
    assert one == framing("squash-257", ("crops",), 1, 7, frames=8) != framing("squash-257", ("crops",), 2, 7, frames=8)
    drawn = np.array([framing("short", ("crops",), 1, clip, 8).places for clip in range(100)])
    assert drawn.min() >= 0 and drawn.max() < 1 and abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 1, 0])[0, 1]) < 0.25
    with pytest.raises(OptionError, match="crop is one random square a clip, crops one a frame: take one of them"):
        parse("crop,crops")


def test_an_unknown_resize_is_told_in_every_view() -> None:
    for view in (0, 1):
        with pytest.raises(OptionError, match="unknown resize 'shrt': did you mean 'short'"):
            framing("shrt", (), view)


@pytest.mark.parametrize(
    ("resize", "augment", "words"),
    [
        ("short", (), "short side to size (PIL bicubic), centre crop"),
        ("short", ("time",), "short side to size (PIL bicubic), centre crop"),
        ("short-256", (), "short side to 256/224 of size (PIL bicubic), centre crop"),
        ("squash-256", (), "both sides to 256/224 of size (PIL bicubic), centre crop"),
        ("squash-257", (), "both sides to 1.15 of size, rounded down (PIL bilinear), centre crop"),
        ("short", ("crop",), "short side to 256/224 of size (PIL bicubic), random crop"),
        ("short", ("flip",), "short side to size (PIL bicubic), centre crop, mirrored at random"),
        ("short", ("crops",), "short side to 256/224 of size (PIL bicubic), random crop of each frame"),
        (
            "squash-256",
            ("time", "crop", "flip"),
            "both sides to 256/224 of size (PIL bicubic), random crop, mirrored at random",
        ),
    ],
)
def test_the_words_that_stand_in_the_keys_of_stores_stay(resize: str, augment: tuple[str, ...], words: str) -> None:
    assert describe(resize, augment) == words
