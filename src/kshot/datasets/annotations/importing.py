"""`kshot data import`: files of annotations into one table of clips, or into another format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kshot.datasets.annotations import writable, write
from kshot.datasets.annotations.loading import counted, gather, overlaps, relative
from kshot.errors import DataError, OptionError, unknown
from kshot.files import disk, plain, write_atomic


def import_files(
    files: Sequence[Path],
    out: Path,
    videos: Path | None = None,
    fps: float | None = None,
    format: str = "csv",
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Writes the segments of files of annotations; paths of videos are as seen from the file that is written.

    Args:
        files: in any format of `kshot.datasets.annotations`.
        out: the file to write.
        videos: a folder in which videos are looked for by name, or one video.
        fps: frames a second, for formats that count frames.
        format: of `out`.
        allow_missing: whether segments of videos that are missing are left out.

    Returns:
        out, format, formats (of the files), segments, videos, labels (label -> segments), counted (a phrase) and notes.

    Raises:
        DataError: a file cannot be used, or there is no segment.
        OptionError: unknown format, no folder for `out`, or `out` is read.
        StoreError: `out` cannot be written.
    """
    if format not in writable():
        raise unknown("format", format, writable())
    if not plain(out).parent.is_dir():
        raise OptionError(f"there is no folder for {out}: make it first, or name another")
    found = gather(files, videos, fps, "leave" if allow_missing else "refuse")
    read = [*files, *map(Path, found.films)]
    if out.exists() and any(one.exists() and out.samefile(one) for one in read):
        raise OptionError(f"--out {out} is one of the files to read: name another")
    if not found.segments:
        told = "; ".join(found.notes) or "there are none"
        raise DataError(f"{', '.join(map(str, files))}: no segment can be taken: {told}")
    text, lost = write(relative(found, out.parent), format)
    with disk(out):
        write_atomic(out, _encoded(text, found.films))
    return {
        "out": str(out),
        "format": format,
        "formats": sorted(set(found.formats)),
        "segments": len(found.segments),
        "videos": len({one.path for one in found.segments}),
        "labels": dict(sorted(Counter(one.label for one in found.segments).items())),
        "counted": counted(found.segments),
        "notes": [*found.notes, *overlaps(found.segments), *lost],
    }


def _encoded(text: str, films: Iterable[str]) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        odd = [name for name in films if name != name.encode(errors="replace").decode()]
        what = "name of 1 film is" if len(odd) == 1 else f"names of {len(odd):,} films are"
        raise DataError(
            f"the {what} no UTF-8 text, so no file could say it: rename {odd[0]}{' and others' * (len(odd) > 1)} first"
        ) from None
