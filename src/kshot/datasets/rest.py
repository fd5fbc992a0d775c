"""What shows none of the actions: stretches between the segments of videos in which all that shows one is marked.

Unlabelled is not negative. Only who marked a video knows whether all of it was looked through, so nothing is taken from
a video, or a part of one, that is not declared so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from kshot import names
from kshot.datasets.annotations.places import header
from kshot.datasets.dataset import Dataset, build
from kshot.datasets.segments import ends
from kshot.errors import DataError, OptionError
from kshot.excerpts import Clip, ClipName, Excerpt, clip_of, file_of, span_of

Span = tuple[float, float]
V = TypeVar("V")

NONE = ("none", "none of the actions", "nothing")
"""The first that is no action is the name of what shows none."""


def name_of(actions: Sequence[str]) -> str:
    """What the class of what shows none of these actions is called."""
    return next(name for name in NONE if name not in {names.tidy(action) for action in actions})


def told(count: int) -> str:
    """What is said of so many stretches."""
    return f"{count:,} stretches of videos in which all is marked were learned as none of the actions"


def rest(marked: Mapping[V, Sequence[Span]], whole: Mapping[V, Sequence[Span]], most: int) -> list[tuple[V, Span]]:
    """Stretches between what is marked.

    Each is as long as the marks usually are, and ends a quarter of that before the next mark: people do not mark to the
    frame. They are spread over all that is declared.

    Args:
        marked: video -> (start, end) in seconds of all that shows an action; not empty.
        whole: video -> (start, end) of the parts in which all is marked.
        most: stretches.

    Returns:
        (video, (start, end)) of each, in seconds.
    """
    length = float(np.median([end - start for spans in marked.values() for start, end in spans]))
    free = []
    for video, parts in whole.items():
        for first, last in parts:
            begin = first
            for start, end in [*sorted(marked.get(video, ())), (last, math.inf)]:
                count = int((min(start, last) - length / 4 - begin) / length)
                at = [round(begin + number * length, 3) for number in range(count + 1)]
                free += [(video, span) for span in pairwise(at)]
                begin = max(begin, end + length / 4)
    chosen = np.unique(np.linspace(0, len(free) - 1, min(most, len(free))).round().astype(int))
    return [free[at] for at in chosen]


def with_rest(data: Dataset, where: Sequence[ClipName] = (), name: str | None = None) -> tuple[Dataset, str]:
    """Segments of videos in which all is marked, and with them stretches that show none of the actions.

    Args:
        data: its clips are segments of videos.
        where: videos, or parts of them as in "film.mp4#t=0,600", in which all is marked; empty for all videos.
        name: of the class that they become; None for the first of `NONE` that is no action.

    Returns:
        The data with the stretches, no more than twice as many as an action has segments, and the name of their class.

    Raises:
        DataError: clips that are whole videos, a video that does not say how long it is, or no room between segments.
        OptionError: a video that has no segment.
    """
    name = name_of(data.classes) if name is None else name
    clips = [clip for clip in data.clips if isinstance(clip, Excerpt)]
    if not clips:
        raise DataError(
            f"{data.name} lists whole clips: that all is marked can be said of annotated videos alone, whose segments "
            "have a start and an end"
        )
    seconds = {video: _seconds(video) for video in dict.fromkeys(clip.path for clip in clips)}
    declared = [clip_of(one) for one in where] or list[Clip](seconds)
    marked: dict[Path, list[Span]] = {video: [] for video in seconds}
    whole: dict[Path, list[Span]] = {}
    for clip in clips:
        marked[clip.path].append((clip.begin, min(clip.stop, seconds[clip.path])))
    places = {os.path.abspath(video): video for video in seconds}
    for one, (start, end) in zip(declared, ends(declared), strict=True):
        if (video := places.get(os.path.abspath(file_of(one)))) is None:
            raise OptionError(f"{one} has no segment in {data.name}: name one of its {len(seconds)} videos")
        whole.setdefault(video, []).append((start, min(end, seconds[video])))
    found = rest(marked, whole, 2 * math.ceil(len(clips) / max(1, len({*data.classes} - {name}))))
    if not found:
        raise DataError(f"{data.name}: nothing between its segments is as long as they are: there is no rest to learn")
    groups = dict(zip(map(str, data.clips), data.groups.tolist(), strict=True))
    labels = [data.classes[label] for label in data.labels]
    split = dict(zip(labels, data.splits.tolist(), strict=True)).get(name, "")
    made = build(
        data.name,
        [*data.paths, *(video for video, _ in found)],
        [*labels, *[name] * len(found)],
        [*data.splits.tolist(), *[split] * len(found)],
        [*data.groups.tolist(), *(groups[str(_nearest(clips, *one))] for one in found)],
        spans=np.concatenate([np.array([span_of(clip) for clip in data.clips]), [span for _, span in found]]),
    )
    return replace(made, missing=data.missing, notes=(*data.notes, told(len(found)))), name


def _nearest(clips: Sequence[Excerpt], video: Path, span: Span) -> Excerpt:
    """The segment of a video next to a stretch of it: they were filmed together."""
    return min((c for c in clips if c.path == video), key=lambda clip: max(clip.begin - span[1], span[0] - clip.stop))


def _seconds(video: Path) -> float:
    if not (found := header(video).seconds):
        raise DataError(f"{video}: its header does not say how long it is, so where its rest ends is not known")
    return found
