"""A clip that is opened, whatever kind of it, and what goes wrong with it in one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av

from kshot import gate
from kshot.errors import DataError, VideoError
from kshot.excerpts import ClipName, Excerpt, clip_of, file_of
from kshot.video.container import File, reason
from kshot.video.frame_folder import Folder
from kshot.video.part import FolderPart, Part


def opened(clip: ClipName) -> File | Folder:
    """A clip, whatever kind of it: a video file, a folder of frames, or a part of one.

    Raises:
        VideoError: it is neither, or cannot be used.
        OSError: it cannot be reached.
    """
    found = clip_of(clip)
    where = Path(os.path.abspath(file_of(found)))
    part = replace(found, path=where) if isinstance(found, Excerpt) else None
    mode = os.stat(where).st_mode
    if stat.S_ISDIR(mode):
        return FolderPart(part) if part else Folder(where)
    if not stat.S_ISREG(mode):  # a pipe would block for ever, a device is not data
        raise VideoError(f"expected a video file or a folder of frames, found {gate.kind(mode)}")
    return Part(part) if part else File(where)


@contextmanager
def in_one_line(clip: ClipName) -> Iterator[None]:
    """Turns every failure into a VideoError of one line with the clip's name and the reason."""
    try:
        yield
    except (VideoError, DataError, av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        name = str(clip) if isinstance(clip, Excerpt) else os.fspath(clip)
        name = name if name.isprintable() else ascii(name)
        raise VideoError(f"{name}: {reason(error)}") from error
