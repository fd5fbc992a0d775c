"""What annotations cost before anything is decoded: import, as data, and written anew, in processor time.

    python benchmarks/annotations.py [--segments 10000] [--videos 200] [--format boris] [--json]

Videos are copies of one short film; a file of annotations in the format is written, read back by `kshot data import`
and loaded by `kshot.load_data`. Goal for 10,000 segments of 200 videos: at most 10 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from kshot import load_data
from kshot.datasets.annotations import FORMATS, Annotations, Segment, write
from kshot.datasets.annotations.forms import Film
from kshot.datasets.annotations.importing import import_files

SECONDS, FPS = 60.0, 25


def film(path: Path) -> bytes:
    """A minute of H.264 at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
        for number in range(int(SECONDS) * FPS):
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path.read_bytes()


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time of this process, children included."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--format", default="boris", choices=["boris", "label-studio", "via", "activitynet", "csv"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        content = film(folder / "0.mp4")
        names = [f"{number}.mp4" for number in range(given.videos)]
        for name in names[1:]:
            (folder / name).write_bytes(content)
        per = -(-given.segments // given.videos)
        length = SECONDS / per
        segments = [
            Segment(names[n % given.videos], start, start + 0.8 * length, f"action {n % 7}")
            for n in range(given.segments)
            for start in [n // given.videos * length]
        ]
        said = Annotations(segments, {name: Film(FPS, SECONDS) for name in names})
        file = folder / f"day{FORMATS[given.format].suffix}"
        found = {"segments": given.segments, "videos": given.videos, "format": given.format}
        found["write_s"] = round(timed(lambda: file.write_text(write(said, given.format)[0])), 2)
        started = time.perf_counter()
        found["import_s"] = round(timed(lambda: import_files([file], folder / "clips.csv")), 2)
        found["import_wall_s"] = round(time.perf_counter() - started, 2)
        found["load_s"] = round(timed(lambda: load_data(file)), 2)
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"{given.segments:,} segments of {given.videos:,} videos, {given.format}: written in {found['write_s']} s, "
            f"imported in {found['import_s']} s, loaded as data in {found['load_s']} s of processor time"
        )


if __name__ == "__main__":
    main()
