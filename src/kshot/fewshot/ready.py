"""Ready-made features and what goes with them: no backbone, no view of clips, and runs trained on features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kshot.datasets import Dataset
from kshot.errors import DataError, OptionError
from kshot.fewshot.runs import Run
from kshot.settings import Training

SIGHT = ("frames", "resize", "deinterlace", "dtype", "precision", "encoder")
"""Settings of how clips are seen, stored and encoded, which is over and done with where there are features."""


def expect_fitting(loaded: Dataset, run: Run | None, backbone: object, chosen: Mapping[str, Any]) -> None:
    """Refuses features with a run or backbone for videos, and videos with a run that was trained on features.

    Args:
        loaded: what is evaluated.
        run: the adapted run, if any.
        backbone: that is asked for, if any.
        chosen: settings that the user gave.

    Raises:
        DataError: the run was trained on something else.
        OptionError: a backbone, run or setting that features have no use for.
    """
    channels = run.channels if run is not None else None
    if run is not None and channels is not None and loaded.features is None:
        raise DataError(f"run {run.folder} was trained on ready-made features: give features of the same network")
    if loaded.features is None:
        return
    other = backbone is not None and getattr(backbone, "name", backbone) != f"features:{loaded.channels}"
    if other or (run is not None and channels is None):
        raise OptionError(
            "ready-made features need no backbone, and an adapted run only if features were what it was trained on: "
            "leave both out"
        )
    if run is not None and loaded.channels != channels:
        raise DataError(
            f"{loaded.name} holds features of {loaded.channels:,} channels, run {run.folder} was trained on "
            f"{channels:,}: give features of the same network"
        )
    expect_no_sight(loaded, chosen)


def expect_no_sight(loaded: Dataset, chosen: Mapping[str, Any]) -> None:
    """Refuses settings that would say how features were made, and change nothing.

    Args:
        loaded: the features.
        chosen: settings that the user gave; those that say what is so anyway may stand.

    Raises:
        OptionError: names them.
    """
    assert loaded.features is not None
    so = Training.defaults() | {"frames": loaded.features.shape[1]}
    if idle := [name for name in SIGHT if chosen.get(name, so[name]) not in (so[name], Training.defaults()[name])]:
        raise OptionError(
            f"{loaded.name} holds ready-made features, which are as they were made: {', '.join(idle)} would change "
            f"nothing, leave {'it' if len(idle) == 1 else 'them'} out"
        )


def without_sight(loaded: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a data set has a use for, of those that several of a study share."""
    return {name: value for name, value in settings.items() if loaded.features is None or name not in SIGHT}
