"""Checks that need no PyTorch, made before it is imported: a slip of the keyboard is answered at once.

Each raises what the function behind the command would raise seconds later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot import gate, processes, settings
from kshot.errors import CheckpointError, KshotError, unknown
from kshot.settings.fields import Front

if TYPE_CHECKING:
    from kshot.study.file import Study


def expect_settings(
    front: type[Front], protocol: str | None, part: str, given: Mapping[str, Any], head: str | None = None
) -> None:
    """Refuses settings, members of families and options of theirs, and a protocol that there are not.

    Args:
        front: the settings of a command.
        protocol: its name; None for none.
        part: of the protocol, "training" or "testing".
        given: the settings that the user gave.
        head: the one that options of a head are of where none is named; by default the strategy's own, if any.
    """
    from kshot import heads, tuning
    from kshot.fewshot import protocols
    from kshot.fewshot.strategies import get_strategy

    expect_processes()
    preset = protocols.preset(protocol, part) if protocol is not None else {}
    values = front.of(preset | front.chosen((), given)).values()
    if "strategy" in values:
        head = get_strategy(values["strategy"], **values["strategy_options"] or {}).default_head
        tuning.expect(values["tuning"], values["tuning_options"] or {})
    if head := values.get("head") or head:
        heads.expect(head, values["head_options"] or {})
    expect_arithmetic(values["device"], values["precision"], values["encoder"])
    if values.get("texts") is not None:
        gate.regular(values["texts"])
    if "resize" in values:
        from kshot.video.views import framing

        framing(values["resize"])


def expect_processes() -> None:
    """Refuses an environment that says half of what several processes need."""
    processes.asked()


def expect_arithmetic(device: str, precision: str = "float32", encoder: str = settings.TORCH) -> None:
    """Refuses a device, precision or encoder that there is not; whether the device is here is seen later."""
    settings.expect_device(device)
    if precision not in settings.PRECISIONS:
        raise unknown("precision", precision, settings.PRECISIONS)
    if encoder not in settings.ENCODERS:
        raise unknown("encoder", encoder, settings.ENCODERS)


def expect_engine(spread: settings.Spread) -> None:
    """Refuses an engine or a share that there is not, and Ray where it is not installed or does not answer."""
    from kshot.activations import actors, plan

    plan.expect_engine(**spread.values())
    if spread.engine == settings.RAY:
        actors.expect_ray(spread.address)


def expect_method(name: str, options: Mapping[str, Any]) -> None:
    """Refuses a method of the recognizer that there is not, and options that its head does not take."""
    from kshot import heads

    heads.expect_inductive(name)
    if name not in (known := ["auto", "partial", *(head for head in heads.HEADS if head not in heads.TRANSDUCTIVE)]):
        raise unknown("method", name, known)
    if name in heads.HEADS:
        heads.expect(name, options)


def expect_data(text: str | None) -> None:
    """Refuses data that is not there."""
    from kshot import datasets

    if text is None:
        return
    source = text if Path(text).exists() else text.partition("?")[0]
    if source.partition(":")[0] not in (*datasets.DATASETS, *datasets.BENCHMARKS) and not Path(source).exists():
        datasets.load(text)  # which says so


def expect_study(
    study: str | Path, protocol: str | None, data: Sequence[str], seeds: Sequence[int], episodes: int | None
) -> Study:
    """A study as it will run; refuses what cannot be, and data that is not there."""
    from kshot.study.file import planned

    plan = planned(study, protocol, seeds, episodes)
    for one in data or plan.data:
        expect_data(one)
    return plan


def expect_model(model: str | Path) -> None:
    """Refuses a folder that is no model's."""
    from kshot.backbones import hub

    if hub.remote(model) is None:
        gate.expect_config(hub.local(model), "a model", "kshot fit")


def expect_run(folder: Path | None) -> None:
    """Refuses a folder that is no run's."""
    if folder is not None:
        gate.expect_config(folder, "a run", "kshot train")


def expect_file(path: Path | None, error: type[KshotError] = CheckpointError) -> None:
    """Refuses a file that is not there."""
    if path is not None:
        gate.regular(path, error=error)
