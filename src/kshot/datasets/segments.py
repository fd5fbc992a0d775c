"""Segments of videos as clips: what they must obey, and which of them were filmed together.

Two segments of one video are no strangers: its place, its people and its light are in both. So a video is a group.
Where an action has fewer than three videos nothing could be left out then, and stretches of a video's time are groups
in their place, parted where it pauses longest. What is measured so is about these videos only, which a sentence says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kshot.errors import DataError
from kshot.excerpts import DIGITS, Clip, Excerpt, clip_of, file_of, seconds, shared

VIDEOS = 3
"""Videos of each action that it takes for a video to be a group."""

BLOCKS = 6
"""Stretches of time that all videos together are parted into, where there are fewer videos; 2 a video, at least."""


def checked(
    name: str, paths: Sequence[Any], labels: Sequence[str], spans: np.ndarray, place: Callable[[int], str]
) -> tuple[list[Clip], list[str]]:
    """The clips that paths and spans say, and sentences on those that overlap.

    Args:
        name: of the data set, for messages.
        paths: of the videos, one a clip.
        labels: of the clips.
        spans: (N, 2) seconds, NaN for a video's own ends.
        place: where clip i stands in the source.

    Raises:
        DataError: times that there cannot be, or a segment that stands there twice under one label.
    """
    if spans.shape != (len(paths), 2):
        raise DataError(f"{name}: expected start and end of {len(paths)} clips, found an array of shape {spans.shape}")
    clips: list[Clip] = []
    first: dict[tuple[str, str], int] = {}
    for index, (path, (start, end)) in enumerate(zip(paths, spans.tolist(), strict=True)):
        for what, value in (("start", start), ("end", end)):
            if value < 0 or math.isinf(value):
                raise DataError(f"{name}: {place(index)}: {what} {value:g} lies outside of {path.name}")
        begin = 0.0 if math.isnan(start) else round(start, DIGITS)
        if round(end, DIGITS) <= begin:
            raise DataError(
                f"{name}: {place(index)}: a segment from {seconds(begin)} to {seconds(end)} s has no length"
            )
        clips.append(clip_of(path, (start, end)))
        before = first.setdefault((str(clips[-1]), labels[index]), index)
        if before != index and isinstance(clips[-1], Excerpt):
            raise DataError(f"{name}: segment {clips[-1].name} is listed twice, {place(before)} and {place(index)}")
    return clips, _overlaps(clips, labels, place)


def _overlaps(clips: Sequence[Clip], labels: Sequence[str], place: Callable[[int], str]) -> list[str]:
    """A sentence on segments of one label that show the same moments of a video."""
    numbers = shared([f"{label}\0{file_of(clip)}" for clip, label in zip(clips, labels, strict=True)], ends(clips))
    alike: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        alike.setdefault(number, []).append(index)
    found = [chain for chain in alike.values() if len(chain) > 1]
    if not found:
        return []
    count, (one, other) = sum(map(len, found)), found[0][:2]
    return [
        f"{count:,} segments overlap others of the same label and video, the first {place(one)} and {place(other)}: "
        f"never support of each other's queries"
    ]


def ends(clips: Sequence[Clip]) -> list[tuple[float, float]]:
    """Begin and stop of each clip in seconds, infinite for the end of its video."""
    return [(clip.begin, clip.stop) if isinstance(clip, Excerpt) else (0.0, math.inf) for clip in clips]


def grouped(clips: Sequence[Clip], labels: Sequence[str], groups: Sequence[str]) -> tuple[list[str], list[str]]:
    """Groups for the segments without one, and a sentence where they are stretches of time.

    Args:
        clips: all of them; a whole video without a group is a group by itself, and stays without.
        labels: of the clips.
        groups: of the clips, "" for none; a name of one's own stays.
    """
    made = list(groups)
    parted = {clip.path for clip in clips if isinstance(clip, Excerpt)}
    own = [i for i, clip in enumerate(clips) if not groups[i] and file_of(clip) in parted]
    if not own:
        return made, []
    videos: dict[str, set[str]] = {}
    for clip, label, group in zip(clips, labels, groups, strict=True):
        videos.setdefault(label, set()).add(group or str(file_of(clip)))
    needed = {labels[i] for i in own}
    few = sorted(label for label in needed if len(videos[label]) < VIDEOS)
    by_video: dict[str, list[int]] = {}
    files = {file_of(clips[i]) for i in own}
    alone = {file.name for file in files if [other.name for other in files].count(file.name) == 1}
    for i in own:
        file = file_of(clips[i])
        by_video.setdefault(file.name if file.name in alone else str(file), []).append(i)
    if not few:
        for video, members in by_video.items():
            for i in members:
                made[i] = video
        return made, []
    spans, gaps = ends(clips), []
    count = max(2, math.ceil(BLOCKS / len(by_video)))
    for video, members in by_video.items():
        members.sort(key=lambda i: spans[i])
        numbers, pauses = _blocks([spans[i] for i in members], count)
        gaps += pauses
        for i, number in zip(members, numbers, strict=True):
            made[i] = f"{video}, block {number + 1}"
    apart = f", {seconds(round(min(gaps), 2))} s apart at least" if gaps else ""
    names = ", ".join(f"'{label}'" for label in few[:3]) + (f" and {len(few) - 3} more" if len(few) > 3 else "")
    return made, [
        f"{len(own):,} segments of {len(by_video)} video{'s' * (len(by_video) != 1)}, fewer than {VIDEOS} of {names}: "
        f"groups are stretches of a video's time{apart}, so what is said of new clips is said of these videos only"
    ]


def _blocks(spans: Sequence[tuple[float, float]], count: int) -> tuple[list[int], list[float]]:
    """The number of the stretch of each segment, and how long the pauses between stretches are.

    A stretch holds about as many segments as any other. It ends at the longest pause near the place where it would;
    where segments overlap without a pause it goes on.

    Args:
        spans: (begin, stop) of the segments of one video, in order.
        count: of stretches, at most.
    """
    reach = np.maximum.accumulate([stop for _, stop in spans])
    pauses = np.array([begin for begin, _ in spans[1:]]) - reach[:-1]  # (n - 1,) before segment 1, 2, ...
    near = max(0, len(spans) // (4 * count))
    places, gaps = [], []
    for number in range(1, count):
        target = round(number * len(spans) / count) - 1
        low, high = max(0, target - near), min(len(pauses), target + near + 1)
        if low < high:
            place = max(range(low, high), key=lambda place: (pauses[place], -abs(place - target)))
            if pauses[place] >= 0 and place not in places:
                places.append(place)
                gaps.append(float(pauses[place]))
    numbers = np.searchsorted(np.array(sorted(places), np.int64), np.arange(len(spans)), side="left")
    return [int(number) for number in numbers], gaps
