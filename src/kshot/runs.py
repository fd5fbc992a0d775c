"""Run folders: trained weights, how they came about, and how to put them back.

RUN/config.json           everything needed to repeat the run
RUN/weights.safetensors   the trained weights alone (none for a strategy that learns inside episodes)
RUN/metrics.jsonl         loss of every step, accuracy of every look at the val classes
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot import fit
from kshot.errors import CheckpointError
from kshot.learner import Learner
from kshot.strategies import get_strategy
from kshot.strategies.base import Strategy

if TYPE_CHECKING:
    from kshot.backbone import Backbone
    from kshot.datasets import Dataset

FORMAT = 1
PARTS = ("backbone", "strategy", "tuning", "head", "frames", "base_classes", "val_classes")


@dataclass(frozen=True)
class Run:
    """A run folder that has been read. digest: sha256 of its weights, "" where it has none."""

    folder: Path
    config: dict[str, Any]
    digest: str

    @property
    def frames(self) -> int:
        """Frames a clip it was trained with."""
        return int(self.config["frames"])

    @property
    def resize(self) -> str:
        """What was done to its frames before the crop."""
        return str(self.config.get("resize", "short"))

    @property
    def seen(self) -> set[str]:
        """Classes that training or selection looked at."""
        return {*self.config["base_classes"], *self.config["val_classes"]}


def read(folder: str | Path) -> Run:
    """Reads a run folder.

    Raises:
        CheckpointError: not a finished run folder, or of another version of kshot.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        form = config["format"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a run folder: expected config.json in it, as `kshot train` writes"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); train again") from None
    if form != FORMAT:
        raise CheckpointError(
            f"{path} has format {form}, this kshot reads format {FORMAT}: use the kshot that wrote it"
        )
    if lost := [part for part in PARTS if part not in config]:
        raise CheckpointError(f"{path} is damaged: it lacks '{lost[0]}'; copy it again or train again")
    if "result" not in config:
        raise CheckpointError(f"run {folder} is not finished; run the same `kshot train` command with --resume")
    weights = folder / "weights.safetensors"
    if get_strategy(config["strategy"]["name"]).learns_from == "base" and not weights.exists():
        raise CheckpointError(f"run {folder} has lost its weights.safetensors; copy it again or train again")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""
    if digest != config["result"]["weights_sha256"]:
        raise CheckpointError(
            f"{weights} is damaged: its sha256 is not the one in config.json; copy it again or train again"
        )
    return Run(folder, config, digest)


def learner(
    run: Run | None,
    backbone: str | Path | Backbone | None,
    head: str | None,
    head_options: Mapping[str, Any] | None,
    device: str,
    precision: str,
) -> tuple[Learner, Strategy | None]:
    """The learner of a run (frozen without one) with its own head or another, and the run's strategy.

    Raises:
        CheckpointError: the run was trained from another backbone, or its weights do not fit.
    """
    from kshot import backbone as backbones

    if backbone is None:
        backbone = run.config["backbone"]["name"] if run else "kshot-tiny"
    loaded = backbone if isinstance(backbone, backbones.Backbone) else backbones.load(backbone, device, precision)
    if run is None:
        return Learner.frozen(loaded, head or "prototype", head_options), None
    if loaded.fingerprint != run.config["backbone"]["fingerprint"]:
        raise CheckpointError(
            f"run {run.folder} was trained from backbone {run.config['backbone']['name']} "
            f"({run.config['backbone']['fingerprint'][:12]}), found {loaded.name} ({loaded.fingerprint[:12]}): "
            f"pass that one with --backbone"
        )
    own = run.config["head"]
    same = head is None or head == own["name"]
    name, options = (own["name"], {**own["options"], **(head_options or {})}) if same else (head, head_options)
    tuned = run.config["tuning"]
    built = Learner.build(loaded, tuned["name"], tuned["options"], str(name), options)
    if run.digest:
        weights, _ = fit.load(run.folder / "weights.safetensors")
        if not same:  # another head keeps its own weights, if it has any
            weights = {n: w for n, w in weights.items() if n.startswith("backbone.")}
        built.load(weights, str(run.folder), whole=same)
    asked = run.config["strategy"]
    return built, get_strategy(asked["name"], **asked["options"] | run.config["result"]["chosen"])


def features_fingerprint(data: Dataset) -> str:
    """sha256 of ready-made features, their labels and groups."""
    assert data.features is not None
    mark = hashlib.sha256(data.features.tobytes())
    mark.update(json.dumps([data.labels.tolist(), list(data.classes), data.groups.tolist()]).encode())
    return mark.hexdigest()
