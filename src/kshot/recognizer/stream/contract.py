"""What long videos and cameras need of a recognizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from kshot.recognizer.classifier import Decision
from kshot.recognizer.report import Odds
from kshot.video import Framing

Array = NDArray[Any]


class WindowClassifier(Protocol):
    """What the engine needs of a recognizer; see `kshot.recognizer.Recognizer`.

    Attributes:
        frames_: a window.
        unit: frames that the backbone sees at a time; 1 where each is encoded by itself.
        classes_: (C,) labels.
        clip_seconds_: usual length of a clip.
        threshold_: of `known`, below it "unknown".
        odds: what `known` says of whether a moment of a film shows none of the actions; None where the threshold
            alone is to decide.
        action_seconds: label -> usual length of its clips.
    """

    frames_: int
    classes_: Array
    clip_seconds_: float
    threshold_: float

    @property
    def unit(self) -> int: ...

    @property
    def odds(self) -> Odds | None: ...

    @property
    def action_seconds(self) -> Mapping[str, float]: ...

    @property
    def size(self) -> int: ...

    @property
    def framing(self) -> Framing: ...

    def states(self, frames: Array, /) -> Array: ...

    def decide(self, states: Array, /) -> Decision: ...
