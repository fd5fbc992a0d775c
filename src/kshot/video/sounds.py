"""How long the sound of a file goes on."""

from __future__ import annotations

from contextlib import suppress

import av

from kshot.excerpts import ClipName, file_of


def heard(path: ClipName) -> float:
    """Second up to which there is sound; 0 for none. Some containers give one length for sound and picture.

    Args:
        path: of a video.
    """
    last = 0.0
    with suppress(av.FFmpegError, IndexError, OSError), av.open(str(file_of(path))) as file:
        file.seek(file.duration or 0)
        for packet in file.demux(audio=0):
            if packet.pts is not None and packet.time_base:
                last = max(last, float(packet.pts * packet.time_base))
    return last
