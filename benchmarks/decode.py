"""Time of choosing and decoding 8 frames of a 300-frame file, as ratios to what one would do by hand.

Three ways, side by side in one run on files made here (320x240, H.264, keyframe every 12 or 250 frames):
  kshot   `video.read`: packet scan, choice, sparse decode
  seeks   PyAV by hand, told beforehand which frames to take and where the keyframes lie: only the needed seeks
  all     PyAV decoding every frame, turning only the wanted ones into arrays
All run in one thread, so processor time is measured: other load on the machine hardly moves it.

    python benchmarks/decode.py [--repeats 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kshot import video

FRAMES, WIDTH, HEIGHT, RATE = 300, 320, 240, 30
LIMITS = {"seeks": 1.2, "all": 1.0}


def make(path: Path, keyframe_every: int) -> None:
    """A textured scene that drifts and turns bright and dark, with noise, as a camera would give it."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"g": str(keyframe_every), "sc_threshold": "0", "crf": "23", "preset": "medium"}
        for index in range(FRAMES):
            top, left = index * 2 % 240, index * 3 % 320
            image = texture[top : top + HEIGHT, left : left + WIDTH].astype(np.int16)
            image += rng.integers(-12, 13, image.shape, dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def by_hand(path: Path, pts: list[int], keys: list[int]) -> np.ndarray:
    """Seek only where a keyframe lies between here and the wanted frame, else decode on."""
    images: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        here, frames = -1, container.decode(stream)
        for wanted in pts:
            key = max(k for k in keys if k <= wanted)
            if key > here:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
            for frame in frames:
                here = frame.pts
                if here >= wanted:
                    images.append(frame.to_ndarray(format="rgb24"))
                    break
    return np.stack(images)


def every(path: Path, indices: list[int]) -> np.ndarray:
    """Decode all frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        kept = set(indices)
        return np.stack([f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(stream)) if i in kept])


def measure(keyframe_every: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of each way, and the median of kshot's ratio to the others within a round."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        make(path, keyframe_every)
        scan = video.scan(path)
        indices = video.choose(scan.frames, 8).tolist()
        pts, keys = scan.pts[indices].tolist(), scan.pts[scan.keyframes].tolist()
        ways: dict[str, Callable[[], np.ndarray]] = {
            "kshot": lambda: video.read(path, 8),
            "seeks": lambda: by_hand(path, pts, keys),
            "all": lambda: every(path, indices),
        }
        first = {name: way() for name, way in ways.items()}
        if not all(np.array_equal(first["kshot"], images) for images in first.values()):
            raise SystemExit("the three ways disagree about the frames")
        rounds: list[dict[str, float]] = []
        for _ in range(repeats):
            seconds = {}
            for name, way in ways.items():
                begin = time.process_time()
                way()
                seconds[name] = time.process_time() - begin
            rounds.append(seconds)
    row = {f"{name}_ms": 1e3 * statistics.median(r[name] for r in rounds) for name in ways}
    row |= {f"to_{name}": statistics.median(r["kshot"] / r[name] for r in rounds) for name in LIMITS}
    return {"keyframe_every": keyframe_every, "keyframes": len(keys), **{k: round(v, 3) for k, v in row.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(keyframe_every, options.repeats) for keyframe_every in (12, 250)]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            f"keyframe every {row['keyframe_every']:>3}: kshot {row['kshot_ms']:6.1f} ms, "
            f"seeks {row['seeks_ms']:6.1f} ms, all {row['all_ms']:6.1f} ms; "
            f"kshot/seeks {row['to_seeks']:.2f} (<= {LIMITS['seeks']}), "
            f"kshot/all {row['to_all']:.2f} (<= {LIMITS['all']})"
        )


if __name__ == "__main__":
    main()
