"""`motion`: the bundled data set, drawn figures that perform 40 actions, rendered to H.264 files."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kshot.datasets.actions import ACTIONS
from kshot.datasets.drawn import MARK
from kshot.datasets.filming import FREE, SIZE, camera_of, frames
from kshot.errors import DataError, OptionError, unknown
from kshot.files import disk, locked, whole
from kshot.paths import home

VERSION = 3
RATE = 24
"""Frames a second."""
CLIPS = 40
"""Clips a class. Where fewer are wanted, they are the first ones."""
HEADER = ("path", "label", "split", "group")
"""Columns of the table."""


def _write(path: Path, pictures: Iterator[NDArray[np.uint8]]) -> None:
    """Encode the frames as H.264 in one thread, so that the file is the same each time; appears when complete."""
    with whole(path) as part, av.open(str(part), "w", format="mp4") as file:
        file.metadata["comment"] = MARK
        options = {"preset": "veryfast", "crf": "20", "g": "12"}
        # PyAV 18.1's encoder looks ahead differently each time.
        options["x264-params"] = "threads=1:sync-lookahead=0:rc-lookahead=0"
        stream = file.add_stream("libx264", rate=RATE, options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, RATE)
        for pixels in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())


def draw(path: Path, parts: Sequence[tuple[str, int]], seed: int = 0) -> Path:
    """Writes one file that shows drawn clips one after another.

    Args:
        path: of the file, an mp4.
        parts: (action, number of the clip) of each.
        seed: of performers, scenes, viewpoints and manners.

    Returns:
        The path.

    Raises:
        OptionError: no such action.
        StoreError: the file cannot be written.
    """
    for name, _ in parts:
        if name not in ACTIONS:
            raise unknown("action", name, ACTIONS)
    with disk(path):
        _write(path, (frame for name, clip in parts for frame in frames(name, clip, seed)))
    return path


def _rows(clips: int) -> list[tuple[str, str, str, str]]:
    """Path, label, split and group of every clip."""
    return [
        (f"{name.replace(' ', '-')}/{clip:03d}.mp4", name, action.split, f"{action.split}-{clip // 2:02d}")
        for name, action in ACTIONS.items()
        for clip in range(clips)
    ]


def render_part(folder: Path, clips: int, seed: int, part: int, parts: int, camera: str = FREE) -> None:
    """Renders every clip that is missing among numbers part, part + parts, ..., in the order of the table.

    Args:
        folder: where the clips lie.
        clips: a class.
        seed: of performers, scenes, viewpoints and manners.
        part: number of this part, from 0.
        parts: how many there are.
        camera: of `kshot.datasets.filming.CAMERAS`.
    """
    for path, name, _, _ in _rows(clips)[part::parts]:
        if not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _write(folder / path, frames(name, int(Path(path).stem), seed, camera))


def render(
    folder: str | Path,
    clips: int = CLIPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    camera: str = FREE,
) -> Path:
    """Render `clips` clips of every class into a folder, in one process for each core; what is there stays.

    Args:
        folder: made if it is missing; holds one folder of mp4 files for each class and one CSV for each number of
            clips. Use another folder for another seed or camera.
        clips: clips a class, at least 1.
        seed: of performers, scenes, viewpoints and manners.
        progress: called with (clips there, clips in all).
        camera: of `kshot.datasets.filming.CAMERAS`.

    Returns:
        The CSV (`path,label,split,group`), written last: where it names every clip, they are all there. One of a
        version of kshot with other actions is completed, and no clip is drawn again.

    Raises:
        OptionError: `clips` is less than 1, or no such camera.
        DataError: a process that draws failed.
        StoreError: the clips cannot be written.
    """
    if clips < 1:
        raise OptionError(f"motion needs at least 1 clip a class, found {clips}: ask for 1 or more")
    camera_of(camera)
    folder, rows = Path(folder), _rows(clips)
    table = folder / f"motion-{clips}.csv"
    if _holds(table, rows):
        return table
    with locked(folder, wait=True), disk(folder):  # another may be drawing the same clips: they are drawn once
        if not _holds(table, rows):
            _render_all(folder, clips, seed, camera, rows, progress)
            with whole(table) as part, part.open("w", newline="") as file:
                csv.writer(file).writerows([HEADER, *rows])
    return table


def _holds(table: Path, rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether a table is there and is that of these rows: one of older actions lacks some."""
    if not table.exists():
        return False
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        return [tuple(row) for row in csv.reader(file)] == [HEADER, *rows]


def _render_all(
    folder: Path,
    clips: int,
    seed: int,
    camera: str,
    rows: list[tuple[str, str, str, str]],
    progress: Callable[[int, int], None] | None,
) -> None:
    # Plain child interpreters: multiprocessing would run the caller's main module again.
    parts = max(1, min(os.cpu_count() or 1, 8, len(rows) // 16))
    command = [sys.executable, "-m", "kshot.datasets.motion", str(folder), str(clips), str(seed)]
    children = [
        subprocess.Popen([*command, str(part), str(parts), camera], stderr=subprocess.PIPE, text=True)
        for part in range(parts)
    ]
    try:
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            if progress:
                progress(sum((folder / row[0]).exists() for row in rows), len(rows))
        for child in children:
            _, complaint = child.communicate()
            if child.returncode:
                reason = complaint.strip().splitlines()[-1] if complaint.strip() else f"exit code {child.returncode}"
                raise DataError(
                    f"rendering motion into {folder} failed ({reason}); run it again, it goes on from there"
                )
    finally:
        for child in children:
            child.kill()
            child.wait()
    if progress:
        progress(len(rows), len(rows))


def cached(
    clips: int = CLIPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    camera: str = FREE,
) -> Path:
    """`render` into kshot's own folder, once for each seed and camera; result and errors are those of `render`.

    Args:
        clips: clips a class, at least 1.
        seed: of performers, scenes, viewpoints and manners.
        progress: called with (clips there, clips in all).
        camera: of `kshot.datasets.filming.CAMERAS`.
    """
    camera_of(camera)
    folder = f"v{VERSION}-seed{seed}" + ("" if camera == FREE else f"-{camera}")
    return render(home() / "motion" / folder, clips, seed, progress, camera)


if __name__ == "__main__":
    clips_a_class, drawn, which, of = (int(argument) for argument in sys.argv[2:6])
    render_part(Path(sys.argv[1]), clips_a_class, drawn, which, of, sys.argv[6])
