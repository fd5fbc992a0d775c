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


def predict(folder: Path, clip: str) -> tuple[str, dict[str, float]]:
    """The label of a clip, and the probability of each."""
    note = json.loads((folder / "model.json").read_text("utf-8"))
    with av.open(clip) as video:
        frames = [frame.to_image() for frame in video.decode(video=0)]
    chosen = ((np.arange(note["frames"]) + 0.5) * len(frames) / note["frames"]).astype(int)
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
