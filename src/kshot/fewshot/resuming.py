"""What a run folder says of a training: what came of it, and whether one that begins may go on there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot import processes
from kshot.errors import OptionError
from kshot.fewshot import runs
from kshot.fewshot.result import Damaged, machine
from kshot.fewshot.strategies import get_strategy
from kshot.files import occupied
from kshot.settings import Augmentation, EpisodeShape, Schedule, Selection, View

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone

KEPT_ELSEWHERE = (
    "select",
    "val_episodes",
    "way",
    "query",
    "shot",
    "shared_group",
)  # in a run's config


SHOWN = 3  # settings that differ, in a message


@dataclass(frozen=True)
class Trained:
    """What `train` answers.

    Attributes:
        run: the run folder.
        weights: number of trained parameters.
        best_step: the step whose weights were kept.
        steps: steps taken.
        val_accuracy: percent, None without val classes.
        seconds: in all.
        missing: clips of a benchmark's base and val classes that this copy of it lacks.
        notes: what was passed over or left out, in sentences.
        unreadable: clip -> why it was left out.
        damaged: clips that count although something of them is lost.
        backbone: name of the backbone that was adapted.
        val_way: classes of a val episode: fewer than asked for where there are fewer val classes.
    """

    run: Path
    weights: int
    best_step: int
    steps: int
    val_accuracy: float | None
    seconds: float
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: tuple[Damaged, ...] = ()
    backbone: str = ""
    val_way: int = 0

    def report(self) -> dict[str, Any]:
        """What `kshot train --json` prints."""
        damaged = [one.model_dump() for one in self.damaged]
        return asdict(self) | {"run": str(self.run), "seconds": round(self.seconds, 3), "damaged": damaged}


def computed(folder: Path, backbone: Backbone) -> tuple[list[dict[str, str]], list[str]]:
    """How the steps of the run in `folder` were computed and are from here on, each way once; and what to say of it.

    It is what the last bits of trained weights depend on beside the settings.
    """
    now = {"device": str(backbone.device)} | {name: machine()[name] for name in ("threads", "torch", "processor")}
    if (count := processes.world()) > 1:
        now["processes"] = str(count)
    before: list[dict[str, str]] = []
    if (folder / "checkpoint.safetensors").exists():
        before = runs.read_config(folder).get("computed", [])
    if not before or before[-1] == now:
        return before or [now], []
    once, here = ({"processes": "1"} | one for one in (before[-1], now))
    changed = [f"{name} {was} and now {here.get(name)}" for name, was in once.items() if was != here.get(name)]
    told = f"this run was begun with {', '.join(changed)}: its weights differ in their last bits from an unbroken run's"
    return [*before, now], [told]


def trained_of(folder: Path, config: dict[str, Any]) -> Trained:
    """What the config of a finished run says."""
    result = config["result"]
    return Trained(
        folder,
        result["trained_parameters"],
        result["best_step"],
        result["steps"],
        result["val_accuracy"],
        result["training_seconds"],
        tuple(result.get("missing", ())),
        tuple(result.get("notes", ())),
        result["unreadable"],
        tuple(Damaged(**one) for one in result.get("damaged", ())),
        config["backbone"]["name"],
        config["val_episodes"]["way"],
    )


def recorded_backbone(folder: Path) -> str | None:
    """The backbone of the run in `folder`, None where there is none."""
    if not (folder / "config.json").exists():
        return None
    return str(runs.read_config(folder)["backbone"]["name"])


def refuse_occupied(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    if occupied(folder):
        if not (folder / "config.json").exists():
            raise OptionError(f"--out {folder} is not empty and holds no run; name another folder")
        if not resume:
            raise OptionError(f"--out {folder} holds a run already; add --resume to go on with it, or name another")


def finished(folder: Path, config: dict[str, Any]) -> Trained | None:
    """The finished run in `folder`; None where there is none, or one to go on with.

    Raises:
        OptionError: it was started with other settings.
        CheckpointError: its config cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        return None
    before = _before(runs.read_config(folder))
    asked: dict[str, Any] = json.loads(json.dumps(config))
    asked["backbone"]["name"] = before["backbone"]["name"]  # another path to the same weights will do
    _expect_batches(folder, before["schedule"]["accumulate"], asked["schedule"]["accumulate"])
    for name, value in asked.items():
        if name != "version" and before.get(name) != value:
            changed = _changed(name, before.get(name), value)
            more = f" and {len(changed) - SHOWN} more" * (len(changed) > SHOWN)
            raise OptionError(
                f"run {folder} was started with other settings: {'; '.join(changed[:SHOWN])}{more}; "
                f"repeat the first command with --resume, or name another --out"
            )
    return trained_of(folder, before) if "result" in before else None


def _changed(name: str, before: Any, now: Any) -> list[str]:
    """What differs of a setting, for people: of a mapping only the keys whose values do."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [f"{name} was {before}, now {now}"] if before != now else []
    keys = dict.fromkeys([*now, *before])
    return [one for key in keys for one in _changed(f"{name}.{key}", before.get(key), now.get(key))]


def _expect_batches(folder: Path, before: int, now: int) -> None:
    """Refuses to go on with other batches a step: what one process accumulates, or several deal out."""
    if before == now:
        return
    count = processes.world()
    said = f"run {folder} takes {before} batches a step, and {count} process{'es' * (count > 1)} would take {now} now: "
    if before % count:
        raise OptionError(f"{said}go on with a number of processes that divides {before}")
    raise OptionError(f"{said}add --accumulate {before // count} to keep its numbers, or name another --out")


def _before(config: dict[str, Any]) -> dict[str, Any]:
    """A config of any version with the settings that it does not name, as they were before there was a choice."""
    once = View().record() | Augmentation().record() | EpisodeShape().record() | {"augment": [], "no_flip": []}
    schedule = Schedule().record() | Selection().record() | config["schedule"]
    strategy = config["strategy"]
    options = asdict(get_strategy(strategy["name"])) | strategy["options"]
    return (
        once
        | config
        | {"schedule": {name: schedule[name] for name in schedule if name not in KEPT_ELSEWHERE}}
        | {"strategy": strategy | {"options": options}}
    )
