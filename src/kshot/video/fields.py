"""Woven fields taken apart: frames of interlaced video without the combs that movements leave in them.

FFmpeg's yadif gives a frame for each frame, with what lies between its own lines taken from the frames before and after
it; what is not interlaced passes as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kshot.excerpts import ClipName
from kshot.video.clock import Clock
from kshot.video.container import Pick
from kshot.video.looks import INTERLACED
from kshot.video.opening import opened

FILTER = ("yadif", "mode=send_frame:deint=interlaced")


def deinterlaced(frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    """Decoded frames with their seconds, as `File.stream` gives them, each without combs.

    A frame of another size than the first one passes as it is, and so does a picture of a folder.

    Args:
        frames: (seconds, PyAV's frame), in order of presentation.
    """
    from av.filter import Graph

    graph: Any = None
    size = (0, 0)
    times: deque[float] = deque()
    for count, (seconds, frame) in enumerate(frames):
        if not hasattr(frame, "interlaced_frame"):
            yield seconds, frame
            continue
        if graph is None:
            graph, size = Graph(), (frame.width, frame.height)
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            graph.link_nodes(source, graph.add(*FILTER), graph.add("buffersink")).configure()
        if (frame.width, frame.height) != size:
            yield seconds, frame
            continue
        times.append(seconds)
        frame.pts = count  # as many come out as go in, in order: that of the file may be missing
        graph.push(frame)
        yield from _pulled(graph, times)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph, times)


def _pulled(graph: Any, times: deque[float]) -> Iterator[tuple[float, Any]]:
    from av.error import BlockingIOError, EOFError

    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield times.popleft(), frame


class Deinterlaced:
    """A clip, open as `opened` gives it, whose interlaced frames have their fields taken apart; else as it is.

    Args:
        clip: the open clip.
    """

    def __init__(self, clip: Any) -> None:
        self._clip = clip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clip, name)

    def looks(self) -> tuple[str, ...]:
        """What is unusual about the pictures and still so."""
        return tuple(kind for kind in self._clip.looks() if kind != INTERLACED)

    def stream(self) -> Iterator[tuple[float, Any]]:
        """All frames with their seconds."""
        return deinterlaced(self._clip.stream())

    def frames(self, pick: Pick) -> tuple[np.ndarray, dict[int, Any]]:
        """The picked indices and their frames, for which those before and after them are decoded too."""
        picked = np.zeros(0, np.int64)

        def wider(clock: Clock) -> np.ndarray:
            nonlocal picked
            picked = pick(clock)
            return np.unique((picked[:, None] + (-1, 0, 1)).clip(0, clock.count - 1))

        found = self._clip.frames(wider)[1]
        done = {}
        for index in set(picked.tolist()):
            near = [place for place in (index - 1, index, index + 1) if place in found]
            if getattr(found[index], "interlaced_frame", False):
                alone = list(deinterlaced((0.0, found[place]) for place in near))
                done[index] = alone[near.index(index)][1]
            else:
                done[index] = found[index]
        return picked, done


def seen(clip: ClipName, deinterlace: bool) -> Any:
    """A clip, opened: see `kshot.video.opening.opened`.

    Args:
        clip: a video file, a folder of frames or a part of one.
        deinterlace: whether to take the fields of interlaced video apart.
    """
    found = opened(clip)
    return Deinterlaced(found) if deinterlace else found
