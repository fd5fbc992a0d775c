"""Decoding for extraction: how many clips at a time, and how long one takes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from kshot.activations.recipe import Recipe
from kshot.errors import OptionError, VideoError
from kshot.excerpts import Clip
from kshot.video import Taken
from kshot.video.workers import decode

SAMPLE = 6  # clips that are timed


def processes(workers: int | None, timeout: float = 60.0) -> int:
    """Decoding processes; 0 for none, decoding in this one.

    Args:
        workers: how many; None for one a core, at most 8.
        timeout: seconds a clip may take.

    Raises:
        OptionError: less than 0 processes, or no time.
    """
    if (workers or 0) < 0 or timeout <= 0:
        raise OptionError(f"expected 0 workers or more and a timeout above 0, found {workers} and {timeout:g} seconds")
    return min(os.cpu_count() or 1, 8) if workers is None else workers


def decoders(workers: int | None = None) -> int:
    """Clips that are decoded at a time. Encoding uses every core; decoding shares them as long as there are workers."""
    return max(1, min(processes(workers), os.cpu_count() or 1))


def spread(clips: Sequence[int]) -> list[int]:
    """A few of the clips, from all over the data set: those that a dry run times."""
    return list(clips[:: max(1, len(clips) // SAMPLE)][:SAMPLE])


def timed_decoding(
    clips: Sequence[Clip], frames: int, size: int, resize: str, allow_damaged: bool = False, deinterlace: bool = False
) -> tuple[float, list[Taken | VideoError]]:
    """Seconds that decoding a clip takes one process, and what came of each clip.

    Args:
        clips: at least one.
        frames: a clip.
        size: side of the frames, in pixels.
        resize: what is done to a frame before its square is cut out.
        allow_damaged: whether to decode clips of which much is lost.
        deinterlace: whether the fields of interlaced video are taken apart.
    """
    recipe = Recipe(0, frames, resize=resize, deinterlace=deinterlace)
    jobs = [recipe.job(clip, size, allow_damaged=allow_damaged) for clip in (clips[0], *clips)]
    decoded = decode(jobs, workers=1)
    next(decoded)  # the first one also starts the process
    begin = time.monotonic()
    results = [result for _, result in decoded]
    return (time.monotonic() - begin) / len(clips), results
