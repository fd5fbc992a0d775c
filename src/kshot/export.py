"""A trained model as a file that other runtimes read: image encoder and head in one graph, and a note beside it.

    DIR/model.onnx    pixels (n, T, 3, S, S) float32 -> proba (n, C), known (n,); n is free
    DIR/model.json    labels, threshold, frames and preprocessing: all that a program needs besides the graph

A further format is one function and one line in `FORMATS`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import kshot
from kshot import seals
from kshot.backbones import graphs, hub
from kshot.errors import KshotError, OptionError, unknown
from kshot.files import disk, locked, write_atomic
from kshot.progress import Progress, quiet
from kshot.recognizer.record import Record
from kshot.video import FRAMINGS

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone
    from kshot.recognizer import Recognizer

TOLERANCE = 1e-4  # largest difference to PyTorch, in probability or in `known`, that is written
SQUARES = {  # how frames become square, for whoever feeds the graph
    "short": "short side to `size`, PIL bicubic, then the centre",
    "short-256": "short side to `short_side`, PIL bicubic, then the centre of `size`",
    "squash": "both sides to `size`, PIL bicubic",
    "squash-bilinear": "both sides to `size`, PIL bilinear",
    "short-bilinear": "short side to `size`, PIL bilinear, then the centre",
    "short-256-bilinear": "short side to `short_side`, PIL bilinear, then the centre of `size`",
}


@dataclass(frozen=True)
class Exported(Record):
    """What an export wrote.

    Attributes:
        folder: where it lies.
        files: paths of the graph and of the note beside it.
        bytes: size of the graph.
        difference: the largest to PyTorch, in probability or in `known`, on noise.
    """

    folder: str
    files: list[str]
    bytes: int
    difference: float


def export(
    model: Recognizer | str | Path,
    out: str | Path | None = None,
    format: str = "onnx",
    backbone: str | Path | None = None,
    progress: Progress = quiet,
) -> Exported:
    """Writes a trained model for other runtimes, after checking that it answers as PyTorch does.

    Args:
        model: a fitted Recognizer, or the folder of one.
        out: folder to write to; by default a folder named after the format inside the model's own.
        format: one of `FORMATS`.
        backbone: where the backbone of a folder's model lies, if not where it was.
        progress: how to show progress.

    Returns:
        What was written.

    Raises:
        OptionError: an unknown format, a missing package, no place to write to, a model that is no such graph.
        CheckpointError: `model` is no whole model folder.
        KshotError: the graph answers differently.
        StoreError: the folder cannot be written.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    graphs.expect_packages(f"export to {format}", "export")
    if isinstance(model, str | Path):
        from kshot.recognizer import Recognizer

        if out is None and hub.remote(model):
            raise OptionError(f"{model} lies on the hub: name a folder to write to with --out")
        out = Path(model) / format if out is None else out
        model = Recognizer.load(model, backbone)
    if out is None:
        raise OptionError("a Recognizer in memory has no folder of its own: pass out")
    if not hasattr(model, "classifier_"):
        raise OptionError("this Recognizer has not been fitted yet: call fit, or load a model folder")
    with locked(Path(out)):
        return FORMATS[format](model, Path(out), progress)


class Whole(nn.Module):
    """Encoder and head of a Recognizer, on the CPU in single precision: pixels (n, T, 3, S, S) -> proba, known.

    Args:
        backbone: the encoder.
        classifier: embeddings (n, T, P) -> proba, known.
        changing: whether it looks at frames pooled by how much each place changes.
    """

    def __init__(self, backbone: Backbone, classifier: nn.Module, changing: bool = False) -> None:
        super().__init__()
        self.backbone = backbone.copy().to("cpu")
        self.backbone.set_precision(torch.float32)
        self.backbone.image.plain = True
        self.changing = changing
        self.classifier = copy.deepcopy(classifier).to("cpu").float()
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        unit = self.backbone.unit
        rows = pixels.shape[1] // unit
        flat = pixels.flatten(0, 1) if unit == 1 else pixels.view(-1, *self.backbone.input_shape)
        embeddings = self.backbone.encode_from(flat, 0, rows, changing=self.changing)
        proba, known = self.classifier(embeddings.view(-1, rows, embeddings.shape[-1]))
        return proba, known


def _onnx(model: Recognizer, folder: Path, progress: Progress) -> Exported:
    backbone = model.learner_.backbone
    assert backbone is not None
    if backbone.episodic:
        raise OptionError(
            "this model looks at its support clips whenever it answers, so it is no graph of one clip alone"
        )
    head = model.classifier_.scorer.head
    if not head.is_graph:
        raise OptionError(
            f"the head {head.name} of this model is no graph that other runtimes can read: fit with another --method"
        )
    whole = Whole(backbone, model.classifier_, head.by_change)
    graphs.expect_room(backbone.name, whole.backbone.image)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(3, model.frames_, 3, backbone.size, backbone.size, generator=draw)
    pixels[1] = pixels[1, :1]  # stands still: no rounding may be taken for a change
    with progress("export", 3, "steps") as step, tempfile.TemporaryDirectory(prefix="kshot-export-") as place:
        step(0, "translating")
        program = graphs.translate(whole, pixels, ("pixels",), ("proba", "known"))
        step(1, "checking")
        file = Path(place) / "model.onnx"
        program.save(file)
        difference = graphs.compare(whole, file, pixels)
        if not difference <= TOLERANCE:  # a NaN is no agreement either
            raise KshotError(
                f"the ONNX graph differs from PyTorch by {difference:.1g}, more than {TOLERANCE:g}; not written"
            )
        step(1, "writing")
        graph = file.read_bytes()
        sha256 = hashlib.sha256(graph).hexdigest()
        note = _note(model, backbone) | {"model": file.name, "sha256": sha256, "files": {file.name: sha256}}
        with disk(folder):
            write_atomic(folder / file.name, graph)
            write_atomic(folder / "model.json", json.dumps(seals.sealed(note), indent=1, ensure_ascii=False).encode())
        step(1, "")
    files = [str(folder / name) for name in (file.name, "model.json")]
    return Exported(str(folder), files, len(graph), difference)


FORMATS: dict[str, Callable[[Recognizer, Path, Progress], Exported]] = {"onnx": _onnx}


def _note(model: Recognizer, backbone: Backbone) -> dict[str, Any]:
    """What a program must know to feed the graph and to read its answer."""
    framing = FRAMINGS[backbone.resize]
    return {
        "kind": "kshot export",
        "format": 1,
        "kshot": kshot.__version__,
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "method": model.method_,
        "labels": [str(label) for label in model.classes_],
        "unknown": "unknown",
        "threshold": None if math.isinf(model.threshold_) else float(model.threshold_),
        "frames": model.frames_,
        "sampling": "the frame on show in the middle of each of `frames` equal stretches of time; at a constant rate "
        "floor((i + 0.5) * count / frames)",
        "size": backbone.size,
        "resize": SQUARES[backbone.resize],
        "short_side": None if framing.squash else framing.length(backbone.size),
        "filter": "bilinear" if framing.bilinear else "bicubic",
        "mean": backbone.mean.flatten().tolist(),
        "std": backbone.std.flatten().tolist(),
        "pixels": "(n, frames, 3, size, size) float32: (RGB / 255 - mean) / std",
        "answer": "labels[argmax(proba)], or `unknown` where known < threshold (threshold null: never)",
    }
