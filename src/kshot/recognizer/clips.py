"""Labelled clips: read once, kept as activations and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kshot import datasets
from kshot.activations.activations import Activations
from kshot.activations.encoding import embed, encode, tail
from kshot.activations.extraction import extract
from kshot.errors import DataError, VideoError
from kshot.excerpts import Excerpt, file_of, span_of
from kshot.progress import Progress, quiet
from kshot.recognizer import videos as inputs
from kshot.recognizer.report import DamagedClip
from kshot.video import FRAMINGS

if TYPE_CHECKING:
    from kshot.fewshot.learner import Learner

Array = NDArray[Any]
Labels = Sequence[Any] | Array  # a text or number a clip

DTYPE = "float16"  # of activations, as the store keeps them
STRIP = 96  # pixels of the side of a thumbnail's frame


@dataclass(frozen=True)
class Clip:
    """A labelled clip.

    Attributes:
        name: its path, with the times of a part of a video ("film.mp4#t=3,5"), or "clip 3".
        label: of its action.
        group: what it was filmed together with, "" for nothing.
        digest: of its bytes, or of the frames taken from an array.
        seconds: how long it lasts; NaN where that is not known.
        embeddings: (T, P) float32 by the learner that methods start from.
        tokens: gives activations (T, ...) at that learner's cut; None once they are out of reach, as after loading.
        strip: small frames (T, side, side, 3) of an array; those of a file are read when they are needed.
        damaged: what is lost of it, None for nothing.
        changing: (T, P) as the embeddings, but pooled by how much each place changes (see `kshot.backbones.places`);
            None where that cannot be had.
        looks: what is unusual about its pictures, see `kshot.video.looks`; empty once it comes from a saved model.
    """

    name: str
    label: str
    group: str
    digest: str
    seconds: float
    embeddings: Array
    tokens: Callable[[], Array] | None = None
    strip: Array | None = None
    damaged: DamagedClip | None = None
    changing: Array | None = None
    looks: tuple[str, ...] = ()


def read_clips(
    videos: Sequence[Path | Excerpt | Array],
    labels: Labels,
    groups: Sequence[str],
    learner: Learner,
    frames: int,
    first: int = 0,
    store: str | Path | None = None,
    progress: Progress = quiet,
    deinterlace: bool = False,
) -> tuple[list[Clip], dict[str, str]]:
    """Clips, and the name and reason of each that cannot be read.

    Args:
        videos: paths, parts of videos and arrays (T, H, W, 3) uint8.
        labels: one a clip.
        groups: one a clip, "" for a clip that is a group by itself.
        learner: whose cut the activations are of.
        frames: a clip.
        first: number of the first clip, for the names of arrays.
        store: where activations of files are kept.
        progress: how to show progress.
        deinterlace: whether to take the fields of interlaced video apart.

    Raises:
        DataError: not one can be read.
    """
    files = [i for i, item in enumerate(videos) if isinstance(item, Path | Excerpt)]
    arrays = [i for i, item in enumerate(videos) if not isinstance(item, Path | Excerpt)]
    found: dict[int, Clip] = {}
    unreadable: dict[str, str] = {}
    if files:
        try:
            found, unreadable = _files(videos, labels, groups, files, learner, frames, store, progress, deinterlace)
        except DataError as error:
            if not arrays:
                raise
            unreadable = {str(videos[i]): str(error) for i in files}
    for i in arrays:
        found[i] = _array(videos[i], f"clip {first + i}", labels[i], groups[i], learner, frames)
    return [found[i] for i in sorted(found)], unreadable


def _files(
    videos: Sequence[Path | Excerpt | Array],
    labels: Labels,
    groups: Sequence[str],
    files: Sequence[int],
    learner: Learner,
    frames: int,
    store: str | Path | None,
    progress: Progress,
    deinterlace: bool,
) -> tuple[dict[int, Clip], dict[str, str]]:
    """The clips whose numbers are `files`, by their number, and those that cannot be read."""
    backbone, cut = learner.backbone, learner.cut
    assert backbone is not None and cut is not None
    given = [item for i in files if not isinstance(item := videos[i], np.ndarray)]
    parts = any(isinstance(item, Excerpt) for item in given)
    data = datasets.build(
        "your clips",
        [file_of(item) for item in given],
        [labels[i] for i in files],
        [""] * len(files),
        [str(i) for i in files],
        spans=np.array([span_of(item) for item in given]) if parts else None,
    )
    stored = extract(
        data, backbone, cut, store=store, frames=frames, dtype=DTYPE, condense=backbone.image.exact,
        deinterlace=deinterlace, progress=progress,
    )  # fmt: skip
    embeddings, found = learner.embed_all(stored).cpu().numpy(), {}
    changing = embed(backbone, stored, changing=True).cpu().numpy() if weighs_places(learner, frames) else None
    looks = stored.store.looks() if stored.store else {}
    for row, place in enumerate(stored.data.groups):
        i, name = int(place), str(videos[int(place)])
        damaged = stored.damaged.get(name)
        found[i] = Clip(
            name, labels[i], groups[i], stored.digests[row], _seconds(videos[i]), embeddings[row],
            partial(_row, stored, row), damaged=DamagedClip(name, **damaged.plain()) if damaged else None,
            changing=None if changing is None else changing[row], looks=looks.get(stored.digests[row], ()),
        )  # fmt: skip
    return found, stored.unreadable


def _array(video: Any, name: str, label: str, group: str, learner: Learner, frames: int) -> Clip:
    backbone, cut = learner.backbone, learner.cut
    assert backbone is not None and cut is not None
    taken = inputs.prepare(video, frames, backbone.size, FRAMINGS[backbone.resize])
    tokens = encode(backbone, cut, taken[None], DTYPE, backbone.image.exact)
    with torch.no_grad():
        values = tail(backbone, tokens, cut)[0].cpu().numpy()
        seen = weighs_places(learner, frames)
        changing = tail(backbone, tokens, cut, changing=True)[0].cpu().numpy() if seen else None
    small = np.stack([np.asarray(Image.fromarray(frame).resize((STRIP, STRIP))) for frame in taken])
    return Clip(
        name, label, group, inputs.digest(taken), inputs.seconds(video), values, partial(np.squeeze, tokens, 0), small,
        changing=changing,
    )  # fmt: skip


def weighs_places(learner: Learner, frames: int) -> bool:
    """Whether a learner's activations of so many frames a clip tell where it changes."""
    backbone, cut = learner.backbone, learner.cut
    assert backbone is not None and cut is not None
    return 0 < cut <= backbone.depth and frames > 1 and backbone.image.changes and not backbone.across


def in_order(clips: Sequence[Clip]) -> list[Clip]:
    """The same clips give the same order, however they came."""
    return sorted(clips, key=lambda clip: (clip.label, clip.digest, clip.name))


def losses(clips: Sequence[Clip]) -> list[DamagedClip]:
    """What is lost of clips that count all the same."""
    return [clip.damaged for clip in clips if clip.damaged]


def _row(stored: Activations, row: int) -> Array:
    values: Array = stored.gather([row])[0]
    return values


def _seconds(item: Any) -> float:
    try:
        return inputs.seconds(item)
    except VideoError:
        return float("nan")
