"""Every error that kshot raises on purpose: what was expected, what was found, what to do.

The command line prints the message as one line and exits with 2; a library user catches `KshotError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KshotError(Exception):
    """Base of all errors that are the caller's to mend."""


class DataError(KshotError):
    """A data set, label or split that cannot be used."""


class NotEnoughClips(DataError):
    """A class or split with too few clips for the way, shot and query asked for."""


class VideoError(KshotError):
    """A clip that cannot be read, with the reason."""


class ClipLost(VideoError):
    """A clip that could not be decoded for want of memory, even alone: a fault of the moment, not of the clip."""


class CheckpointError(KshotError):
    """Weights or a run folder that are missing, damaged or belong to another backbone."""


class StoreError(KshotError):
    """Stored activations that are missing, damaged or belong to another key."""


class EngineError(KshotError):
    """A cluster that is not installed, does not answer or does not do."""


class RankLost(KshotError):
    """A process of those that work together failed or is gone."""


class OptionError(KshotError):
    """An argument that does not exist or has an impossible value."""


def unknown(kind: str, name: object, known: Iterable[str]) -> OptionError:
    """The error for a name that is not in a family: lists the known ones and the nearest.

    Args:
        kind: what the name should be of, in the singular.
        name: what was found.
        known: names of the family.

    >>> unknown("head", "protoype", ["prototype", "text"]).args[0]
    "unknown head 'protoype': did you mean 'prototype'? Known: prototype, text"
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return OptionError(f"unknown {kind} '{name}': {hint}Known: {', '.join(names)}")
