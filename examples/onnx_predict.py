"""Names the action in a clip with an exported kshot model; needs neither kshot nor torch.

kshot export MODEL --format onnx
pip install numpy onnxruntime av pillow
python onnx_predict.py MODEL/onnx clip.mp4
"""

import json
import sys
from pathlib import Path

import av
import numpy as np
import onnxruntime
from PIL import Image


def square(image: Image.Image, size: int, side: int | None, filter: Image.Resampling) -> np.ndarray:
    """Short side to `side`, then the centre, or both sides where that is None: (size, size, 3) uint8."""
    if side is None:
        return np.asarray(image.resize((size, size), filter))
    long = int(side * max(image.size) / min(image.size))
    image = image.resize((side, long) if image.width <= image.height else (long, side), filter)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def middles(video: av.container.InputContainer, shown: list[int | None], frames: int) -> np.ndarray:
    """The frames on show in the middle of equal stretches of time; at a constant rate their numbers tell."""
    stream, count, parts = video.streams.video[0], len(shown), np.arange(frames) + 0.5
    guessed = video.format.name == "avi" and stream.codec_context.has_b_frames
    if count > 1 and not guessed and None not in shown:
        times = np.array(shown) - shown[0]
        steps, mean = np.diff(times), times[-1] / (count - 1)
        variable = abs(times - mean * np.arange(count)).max() >= mean or steps.max() > 2 * steps.min() + 1
        if variable and steps.min() > 0:
            end = times[-1] + max(1, round(1 / stream.average_rate / stream.time_base))
            return np.searchsorted(times, parts * end / frames + 1e-6 / float(stream.time_base), side="right") - 1
    return (parts * count / frames).astype(int)


def predict(folder: Path, clip: str) -> tuple[str, dict[str, float]]:
    """The label of a clip, and the probability of each."""
    note = json.loads((folder / "model.json").read_text("utf-8"))
    with av.open(clip) as video:
        shown, frames = zip(*((frame.pts, frame.to_image()) for frame in video.decode(video=0)), strict=True)
        chosen = middles(video, shown, note["frames"])
    how = note["size"], note.get("short_side", note["size"]), Image.Resampling[note.get("filter", "bicubic").upper()]
    pixels = np.stack([square(frames[index], *how) for index in chosen]).astype(np.float32)
    pixels = ((pixels / 255 - np.float32(note["mean"])) / np.float32(note["std"])).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(folder / note["model"], providers=["CPUExecutionProvider"])
    proba, known = session.run(None, {"pixels": pixels[None]})
    taught = note["threshold"] is None or known[0] >= note["threshold"]
    label = note["labels"][proba[0].argmax()] if taught else note["unknown"]
    return label, {name: round(float(share), 4) for name, share in zip(note["labels"], proba[0], strict=True)}


if __name__ == "__main__":
    print(*predict(Path(sys.argv[1]), sys.argv[2]), sep="\n")
