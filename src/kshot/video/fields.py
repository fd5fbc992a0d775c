"""Woven fields taken apart: frames of interlaced video without the combs that movements leave in them.

FFmpeg's yadif gives a frame for each frame, with what lies between its own lines taken from the frames before and after
it; what is not interlaced passes as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

FILTER = ("yadif", "mode=send_frame:deint=interlaced")


def deinterlaced(frames: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    """Decoded frames with their seconds, as `File.stream` gives them, each without combs.

    A frame of another size than the first one passes as it is.

    Args:
        frames: (seconds, PyAV's frame), in order of presentation.
    """
    from av.filter import Graph

    graph: Any = None
    size = (0, 0)
    times: deque[float] = deque()
    for count, (seconds, frame) in enumerate(frames):
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
