"""What is unusual about the pictures of a file: fields woven into frames, and light beyond an ordinary screen's.

Such files are decoded as they are stored, unless the fields are asked to be taken apart (`kshot.video.fields`), for
which the frames before and after are decoded too; PyAV's wheels have no filter that maps PQ or HLG to an ordinary
screen. So results say how many there are, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

INTERLACED = "interlaced"
HDR = {16: "HDR (PQ)", 18: "HDR (HLG)"}
"""By the number of the transfer characteristics, ITU-T H.273, table 3."""

_WHY = {
    INTERLACED: "frames are taken as stored, so edges that move are combed; --deinterlace takes the fields apart, and "
    "`kshot data cut --deinterlace` makes copies without",
    "HDR": "colours are taken as stored, paler than those of ordinary video; convert such clips to SDR (BT.709)",
}


def looks(interlaced: bool, transfer: int) -> tuple[str, ...]:
    """What is unusual about the pictures of a file.

    Args:
        interlaced: whether the decoder calls a frame interlaced.
        transfer: number of the transfer characteristics, as FFmpeg and H.273 count them.

    Returns:
        `INTERLACED` and a value of `HDR`, those that hold; empty for an ordinary file.
    """
    return (INTERLACED,) * interlaced + ((HDR[transfer],) if transfer in HDR else ())


def noted(found: Iterable[tuple[str, ...]]) -> list[str]:
    """A sentence, without its full stop, for each kind of unusual pictures, with the number of clips that have it.

    Args:
        found: for each clip what `looks` gave.
    """
    clips = list(found)
    notes = []
    for kind, why in _WHY.items():
        names = [one for clip in clips for one in clip if one.startswith(kind)]
        if names:
            whole = " and ".join(dict.fromkeys(sorted(names)))
            notes.append(f"{len(names)} clip{' is' if len(names) == 1 else 's are'} {whole}: {why}")
    return notes
