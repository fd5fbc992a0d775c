"""What a user may call a video, as the frames that a backbone is given.

A path (a file or a folder of frames), a part of one (see `kshot.excerpts`), an array (T, H, W, 3) or a tensor goes
through the same choice of frames and the same preprocessing.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kshot import video
from kshot.errors import OptionError, VideoError
from kshot.excerpts import Clip, ClipName, Excerpt, clip_of
from kshot.video import FRAMINGS, Framing, Taken, workers
from kshot.video.container import FOLDER_FPS

Array = NDArray[Any]
Video = ClipName | Array  # or a torch tensor, which becomes an array first

CLIPS_A_PROCESS = 8


def listed(videos: Any) -> list[Clip | Array]:
    """Videos as paths, parts of videos and arrays (T, H, W, 3) uint8; a single one becomes a list of one.

    Raises:
        OptionError: something else, or an array of another shape or type.
        DataError: a part of a video that there cannot be.
    """
    single = isinstance(videos, (str, os.PathLike, Excerpt)) or (_is_array(videos) and videos.ndim == 4)
    if not single and (not isinstance(videos, Iterable) or getattr(videos, "ndim", 1) == 0):
        raise OptionError(f"expected videos, as paths or arrays, found {type(videos).__name__}")
    return [_one(item, number) for number, item in enumerate([videos] if single else videos)]


def name(item: Clip | Array, number: int) -> str:
    """What messages and reports call a video."""
    return str(item) if isinstance(item, Clip) else f"clip {number}"


def digest(frames: Array) -> str:
    """sha256 of preprocessed frames."""
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()


def frames_of(
    videos: Sequence[Clip | Array],
    frames: int,
    size: int,
    timeout: float = 60.0,
    allow_damaged: bool = False,
    framing: Framing = FRAMINGS["short"],
) -> Iterator[Taken | VideoError]:
    """Chosen and preprocessed frames (frames, size, size, 3) uint8 of each video, in order, or why there are none.

    Files are decoded in processes of their own, which a broken file may crash or hang.
    """
    jobs = [
        workers.Job(item, frames, size=size, framing=framing, allow_damaged=allow_damaged)
        for item in videos
        if isinstance(item, Clip)
    ]
    count = min(os.cpu_count() or 1, 8, -(-len(jobs) // CLIPS_A_PROCESS))
    with closing(workers.decode(jobs, count, timeout)) as decoded:
        for item in videos:
            yield next(decoded)[1] if isinstance(item, Clip) else Taken(prepare(item, frames, size, framing))


def prepare(clip: Array, frames: int, size: int, framing: Framing = FRAMINGS["short"]) -> Array:
    """(T, H, W, 3) uint8 -> (frames, size, size, 3), the frames and pixels that a file of this clip would give."""
    return video.preprocess(clip[video.choose(len(clip), frames)], size, framing)


def seconds(item: Clip | Array) -> float:
    """How long a video lasts; arrays are taken to have as many frames a second as folders of frames."""
    if isinstance(item, Excerpt):
        return item.stop - item.begin if math.isfinite(item.stop) else video.scan(item).seconds
    return video.scan(item).seconds if isinstance(item, Path) else len(item) / FOLDER_FPS


def _is_array(item: Any) -> bool:
    return hasattr(item, "ndim") and hasattr(item, "dtype")


def _one(item: Any, number: int) -> Clip | Array:
    if isinstance(item, (str, os.PathLike, Excerpt)):
        if not str(item):
            raise OptionError(f"clip {number} has no path")
        return clip_of(item)
    if not _is_array(item):
        raise OptionError(
            f"clip {number}: expected a path, a frame folder or an array (T, H, W, 3), found {type(item).__name__}"
        )
    tensor = not isinstance(item, np.ndarray)
    values = item.detach().cpu().numpy() if tensor else item
    if tensor and values.ndim == 4 and values.shape[1] == 3 != values.shape[3]:
        values = values.transpose(0, 2, 3, 1)  # tensors of video usually come as (T, 3, H, W)
    if values.dtype != np.uint8 or values.ndim != 4 or values.shape[3] != 3 or not all(values.shape):
        raise OptionError(
            f"clip {number}: expected frames (T, H, W, 3) of uint8, found {values.dtype} of shape {tuple(values.shape)}"
        )
    return np.ascontiguousarray(values)
