"""The model folder: config.json, safetensors, a card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot import __version__, runs
from kshot import backbone as backbones
from kshot.errors import CheckpointError
from kshot.recognizer.decider import Decider
from kshot.store import disk, write_atomic

if TYPE_CHECKING:
    from kshot.backbone import Backbone

KIND, FORMAT = "kshot recogniser", 1


def save(recognizer: Any, folder: Path, thumbnails: bool) -> Path:
    """Writes the folder; config.json comes last."""
    from safetensors.torch import save as pack

    backbone = recognizer.learner_.backbone
    data = pack({"classes": recognizer.decider_.classes.contiguous()})
    mark = hashlib.sha256(data).hexdigest()
    config = {
        "kind": KIND,
        "format": FORMAT,
        "kshot": __version__,
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "classes": recognizer.classes_.tolist(),
        "adapted": recognizer.adapted is not None,
        "frames": recognizer.frames,
        "clips": recognizer.n_clips_,
        "clip_seconds": recognizer.clip_seconds_,
        "threshold": None if np.isinf(recognizer.threshold_) else recognizer.threshold_,
        "report": recognizer.report_,
        "weights": {"file": f"weights-{mark[:16]}.safetensors", "sha256": mark},
    }
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / config["weights"]["file"], data)
        if recognizer.adapted is not None:  # the tuned weights go along: the run folder, without its history
            (folder / "adapted").mkdir(exist_ok=True)
            for name in ("weights.safetensors", "config.json"):
                write_atomic(folder / "adapted" / name, (Path(recognizer.adapted) / name).read_bytes())
        write_atomic(folder / "config.json", json.dumps(config, indent=1, ensure_ascii=False).encode())
    return folder


def load(cls: Any, folder: Path, backbone: str | Path | Backbone | None, device: str) -> Any:
    """Reads the folder into a new Recognizer."""
    from safetensors.torch import load as unpack

    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a model folder: expected config.json in it, as `kshot fit` writes"
        ) from None
    data = (folder / config["weights"]["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != config["weights"]["sha256"]:
        raise CheckpointError(f"{folder / config['weights']['file']} is damaged: copy the model again")
    name = backbone if backbone is not None else config["backbone"]["name"]
    loaded = name if isinstance(name, backbones.Backbone) else backbones.load(name, device)
    if loaded.fingerprint != config["backbone"]["fingerprint"]:
        raise CheckpointError(f"model {folder} was taught on another backbone than {loaded.name}")
    run = runs.read(folder / "adapted") if config["adapted"] else None
    made = cls(backbone=name, adapted=run.folder if run else None, frames=config["frames"], device=device)
    made.learner_, _ = runs.learner(run, loaded, "prototype", None, device, loaded.precision)
    made.decider_ = Decider(unpack(data)["classes"])
    made.classes_ = np.array(config["classes"])
    made.n_clips_, made.clip_seconds_ = config["clips"], config["clip_seconds"]
    made.threshold_ = -np.inf if config["threshold"] is None else config["threshold"]
    made.report_ = config["report"]
    return made
