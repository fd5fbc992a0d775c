"""A clip that is opened, whatever kind of it, and what goes wrong with it in one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from kshot import gate
from kshot.errors import VideoError
from kshot.video.container import File, reason
from kshot.video.frame_folder import Folder


def opened(path: str | os.PathLike[str]) -> File | Folder:
    """A clip, whatever kind of it: a video file or a folder of frames.

    Raises:
        VideoError: it is neither, or cannot be used.
        OSError: it cannot be reached.
    """
    where = Path(os.path.abspath(path))
    mode = os.stat(where).st_mode
    if stat.S_ISDIR(mode):
        return Folder(where)
    if not stat.S_ISREG(mode):  # a pipe would block for ever, a device is not data
        raise VideoError(f"expected a video file or a folder of frames, found {gate.kind(mode)}")
    return File(where)


@contextmanager
def in_one_line(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns every failure into a VideoError of one line with the file's name and the reason."""
    try:
        yield
    except (VideoError, av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        name = os.fspath(path)
        name = name if name.isprintable() else ascii(name)
        raise VideoError(f"{name}: {reason(error)}") from error
