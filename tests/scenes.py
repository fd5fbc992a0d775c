"""A drifting scene, written as a video by PyAV, and read back by code that shares nothing with kshot."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

COUNT = 48
STILL = [*range(30), *range(45, 121, 15)]  # a picture a tick, then one in 15: 36 frames, the last at tick 120


def scene(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Coarse texture that drifts, so that every frame differs from every other: uint8 (count, height, width, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    return np.stack(
        [texture[(rows + i) % texture.shape[0], (columns + 2 * i) % texture.shape[1]] for i in range(count)]
    )


def write(
    path: Path,
    frames: np.ndarray | None = None,
    codec: str = "libx264",
    times: list[int] | None = None,
    muxer: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Encode frames at 25 a second; `times` gives each its time in 25ths of a second."""
    frames = scene(COUNT) if frames is None else frames
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.options = {name.replace("_", "-"): value for name, value in options.items()}
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = times[index] if times else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def everything(path: Path) -> np.ndarray:
    """Plain decode of the whole file, sharing no code with kshot."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
