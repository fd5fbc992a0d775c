"""Run folders: trained weights, how they came about, and how to put them back.

RUN/config.json           everything needed to repeat the run, sealed; see `kshot.seals`
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

from kshot import gate, heads, seals, tuning
from kshot.errors import CheckpointError, OptionError
from kshot.fewshot import fit
from kshot.fewshot.learner import Learner
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.strategies.base import Strategy
from kshot.files import write_atomic
from kshot.settings import TORCH, Arithmetic, Training

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone
    from kshot.datasets import Dataset

FORMAT = 1
FILES = ("weights.safetensors", "metrics.jsonl")


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
    def channels(self) -> int | None:
        """Channels of the ready-made features that it was trained on; None for a run on videos."""
        kind, _, channels = self.config["backbone"]["name"].partition(":")
        return int(channels) if kind == "features" and channels.isdecimal() else None

    @property
    def resize(self) -> str:
        """What was done to its frames before the crop."""
        return str(self.config.get("resize", "short"))

    @property
    def sight(self) -> dict[str, Any]:
        """The settings by which it saw clips."""
        return {"frames": self.frames, "resize": self.resize, "deinterlace": self.config.get("deinterlace", False)}

    @property
    def seen(self) -> set[str]:
        """Classes that training or selection looked at."""
        return {*self.config["base_classes"], *self.config["val_classes"]}


def read_run(folder: str | Path) -> Run:
    """Reads a run folder.

    Raises:
        CheckpointError: not a finished run folder, or of another version of kshot.
    """
    folder = Path(folder)
    config = read_config(folder)
    if "result" not in config:
        raise CheckpointError(f"run {folder} is not finished; run the same `kshot train` command with --resume")
    weights = folder / "weights.safetensors"
    if _strategy(folder, config).learns_from == "base" and not weights.exists():
        raise CheckpointError(f"run {folder} has lost its weights.safetensors; copy it again or train again")
    digest = weights_digest(folder)
    if digest != config["result"]["weights_sha256"]:
        raise CheckpointError(
            f"{weights} is damaged: its sha256 is not the one in config.json; copy it again or train again"
        )
    return Run(folder, config, digest)


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` of a run folder says, finished or not; everything that is read from it is of the right kind.

    Raises:
        CheckpointError: see `read_run`.
    """
    from kshot.fewshot import forms

    path = folder / "config.json"
    gate.expect_config(folder, "a run", "kshot train")
    config = seals.read_sealed(path, CheckpointError, "copy it again or train again")
    if config.get("format") != FORMAT:
        if "format" not in config:
            raise CheckpointError(f"{path} is damaged or of something else: it lacks 'format'")
        raise CheckpointError(
            f"{path} has format {gate.shortened(config['format'])}, this kshot reads format {FORMAT}: use the kshot "
            f"that wrote it"
        )
    gate.typed(config, forms.RunFile, path, CheckpointError)
    head, tuned = (
        about | {"options": room.of_record(about["name"], about["options"])}
        for room, about in ((heads, config["head"]), (tuning, config["tuning"]))
    )
    return config | {"schedule": Training.renamed(config["schedule"]), "head": head, "tuning": tuned}


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes `config.json`, sealed with what the folder holds once the run is finished."""
    about = seals.sealed(config, folder, FILES if "result" in config else ())
    write_atomic(folder / "config.json", json.dumps(about, indent=1).encode())


def by_encoder(backbone: Backbone) -> dict[str, str]:
    """What a folder says of the encoder: nothing of PyTorch, as before there were others."""
    return {} if backbone.encoder == TORCH else {"encoder": backbone.encoder}


def weights_digest(folder: Path) -> str:
    """sha256 of a run's weights, "" where it has none."""
    weights = folder / "weights.safetensors"
    if not weights.exists():
        return ""
    gate.regular(weights, error=CheckpointError)
    return seals.sha256(weights)


def learner(
    run: Run | None,
    backbone: str | Path | Backbone | None,
    head: str | None,
    head_options: Mapping[str, Any] | None,
    how: Arithmetic,
) -> tuple[Learner, Strategy | None]:
    """The learner of a run (frozen without one) with its own head or another, and the run's strategy.

    Raises:
        CheckpointError: the run was trained from another backbone, or its weights do not fit.
    """
    from kshot.backbones import backbone as backbones
    from kshot.backbones import hub

    if backbone is None:
        assert run is not None
        named = run.config["backbone"]["name"]
        try:
            loaded = backbones.loaded(named, how)
        except CheckpointError as error:
            away = hub.elsewhere(named)
            raise CheckpointError(f"run {run.folder} was trained from backbone {named}: {error}{away}") from None
    else:
        loaded = backbones.loaded(backbone, how)
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
    name, options = (own["name"], {**own["options"], **(head_options or {})}) if same else (head, head_options or {})
    if head is not None or head_options:  # what the caller asks for is the caller's to mend, not the run's
        heads.expect(str(name), head_options or {})
    tuned = run.config["tuning"]
    try:
        exact = bool(run.config["schedule"].get("exact"))
        built = Learner.build(loaded, tuned["name"], tuned["options"], str(name), options, exact)
    except Exception as error:  # what a damaged or made-up config asks for can fail in any way
        if not same and isinstance(error, OptionError):  # another head, which does not go with its tuning
            raise
        raise CheckpointError(
            f"{run.folder / 'config.json'} asks for what cannot be built ({error}); copy it again or train again"
        ) from None
    if run.digest:
        weights, _ = fit.load_tensors(run.folder / "weights.safetensors")
        fit.expect_finite(run.folder / "weights.safetensors", weights)
        if not same:  # another head keeps its own weights, if it has any
            weights = {n: w for n, w in weights.items() if n.startswith("backbone.")}
        built.load(weights, str(run.folder), whole=same)
    return built, _strategy(run.folder, run.config)


def _strategy(folder: Path, config: Mapping[str, Any]) -> Strategy:
    """The strategy of a run, with what it chose."""
    asked = config["strategy"]
    try:
        return get_strategy(asked["name"], **asked["options"] | config["result"]["chosen"])
    except (OptionError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} asks for what cannot be built ({error})") from None


def features_fingerprint(data: Dataset) -> str:
    """sha256 of ready-made features, their labels and groups."""
    assert data.features is not None
    mark = hashlib.sha256()
    for start in range(0, len(data.features), 1024):  # a few at a time: they may fill the memory
        mark.update(data.features[start : start + 1024].tobytes())
    mark.update(json.dumps([data.labels.tolist(), list(data.classes), data.groups.tolist()]).encode())
    return mark.hexdigest()
