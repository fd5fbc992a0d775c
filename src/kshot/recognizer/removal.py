"""Clips taken out of a model folder: it is fitted again without them, or withdrawn where that cannot be done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kshot import gate, seals
from kshot.errors import DataError, KshotError, NotEnoughClips
from kshot.files import disk, locked, write_atomic
from kshot.progress import Progress, quiet
from kshot.recognizer import artefact

Chosen = Callable[[dict[str, Any]], bool]
"""Whether a clip of config.json, with its name, label, group and digest, is to go."""


@dataclass
class ModelRemoval:
    """What was taken out of a model, or would be.

    Attributes:
        clips: whose embeddings, names and groups the model kept.
        thumbnails: pictures that went with the old model.
        exports: an export inside the folder that was removed.
        left: clips that it is fitted on now.
        withdrawn: why it could not be fitted again, so that it answers no more; "" where it was.
    """

    clips: int = 0
    thumbnails: int = 0
    exports: int = 0
    left: int = 0
    withdrawn: str = ""
    _chosen: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def plain(self) -> dict[str, int]:
        """What was removed, as JSON."""
        return {"clips": self.clips, "thumbnails": self.thumbnails, "exports": self.exports}


def clips_of_model(folder: Path) -> list[dict[str, Any]]:
    """Name, label, group and digest of each clip that a model keeps; none of one that was withdrawn.

    Raises:
        CheckpointError: no model, or damaged.
    """
    if artefact.withdrawn(folder):
        return []
    clips: list[dict[str, Any]] = artefact.read_config(folder)["clips"]
    return clips


def remove_from_model(
    folder: Path, chosen: Chosen, dry: bool = False, backbone: str | None = None, progress: Progress = quiet
) -> ModelRemoval:
    """Fits a model again on its other clips, as `fit` on those alone would have; its embeddings are all that takes.

    Where that cannot be done (fewer than two actions left, a backbone or videos out of reach), nothing of the clips
    may stay in the weights either: they are removed, and the model says that it was withdrawn.

    Args:
        folder: the model folder.
        chosen: which clips go.
        dry: count only.
        backbone: where the model's backbone lies now, if it was moved.
        progress: how to show progress.

    Raises:
        CheckpointError: no model, or damaged.
        StoreError: the disk refuses.
    """
    clips = clips_of_model(folder)
    gone = [clip for clip in clips if chosen(clip)]
    found = ModelRemoval(len(gone), left=len(clips) - len(gone))
    if not gone:
        if not dry:
            sweep(folder)
        return found
    found.thumbnails = sum(1 for _ in (folder / "thumbnails").glob("*.jpg"))
    export = folder / "onnx"
    found.exports = int(_is_export(export))
    if len({clip["label"] for clip in clips if not chosen(clip)}) < 2:
        found.withdrawn = "clips of fewer than two actions are left"
    if dry:
        return found
    with locked(folder):
        if not found.withdrawn:
            try:
                _fit_again(folder, chosen, found.thumbnails > 0, backbone, progress)
            except (KshotError, NotEnoughClips) as error:
                found.withdrawn = str(error)
        if found.withdrawn:
            _withdraw(folder, found.withdrawn)
        if found.exports:
            with disk(export):
                shutil.rmtree(export)
    return found


def _fit_again(folder: Path, chosen: Chosen, thumbnails: bool, backbone: str | None, progress: Progress) -> None:
    from kshot.recognizer.recognizer import Recognizer

    model = Recognizer.load(folder, backbone)
    gone = {clip["name"] for clip in clips_of_model(folder) if chosen(clip)}
    model.forget_clips(gone, progress)
    model.save(folder, thumbnails)


def _withdraw(folder: Path, why: str) -> None:
    """Takes the weights, pictures and names out of a model folder; what stays says that there was a model."""
    config = artefact.read_config(folder)
    kept = {name: config[name] for name in ("kind", "format", "kshot", "backbone", "classes")}
    with disk(folder):
        # from here on the model is refused; a kill leaves files that the next call removes
        write_atomic(folder / "config.json", json.dumps(seals.sealed(kept | {"withdrawn": why}), indent=1).encode())
    sweep(folder)


def sweep(folder: Path) -> None:
    """Removes what a kill left of a model that was fitted again or withdrawn.

    Raises:
        CheckpointError: no model, or damaged.
        StoreError: the disk refuses.
    """
    with disk(folder):
        if not artefact.withdrawn(folder):
            artefact.sweep(folder, artefact.read_config(folder))
            return
        for pattern in ("weights-*.safetensors", "adapted-*", "thumbnails", "README.md"):
            for path in folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_export(folder: Path) -> bool:
    try:
        about = gate.read_json(folder / "model.json")
    except DataError:
        return False
    return isinstance(about, dict) and about.get("kind") == "kshot export"
