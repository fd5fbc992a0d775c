"""A recognizer's arguments and what it has learned, in the manner of scikit-learn."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from kshot.errors import OptionError
from kshot.recognizer.methods import AUTO
from kshot.settings import PROMPTS, TORCH, Arithmetic

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone
    from kshot.datasets.texts import Descriptions
    from kshot.fewshot.learner import Learner
    from kshot.recognizer.classifier import Classifier
    from kshot.recognizer.clips import Clip
    from kshot.recognizer.report import Odds, Report

Array = NDArray[Any]


class Estimator:
    """Base of `Recognizer`, which says what the arguments and attributes are."""

    classes_: Array
    n_clips_: int
    report_: Report
    clip_seconds_: float
    method_: str
    classifier_: Classifier
    threshold_: float
    learner_: Learner
    clips_: list[Clip]
    frames_: int
    tuned_: bool
    texts_: Descriptions | None

    _start: Learner

    def __init__(
        self,
        backbone: str | Path | Backbone | None = None,
        adapted: str | Path | None = None,
        method: str = AUTO,
        frames: int | None = None,
        prompts: Sequence[str] = PROMPTS,
        reject: bool | Mapping[str, float] = True,
        background: str | None = None,
        store: str | Path | None = None,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        encoder: str = TORCH,
        keep_copies: bool = False,
        head_options: Mapping[str, Any] | None = None,
        texts: str | Path | Descriptions | None = None,
        deinterlace: bool = False,
    ) -> None:
        self.backbone = backbone
        self.adapted = adapted
        self.method = method
        self.frames = frames
        self.prompts = prompts
        self.reject = reject
        self.background = background
        self.store = store
        self.seed = seed
        self.device = device
        self.precision = precision
        self.encoder = encoder
        self.keep_copies = keep_copies
        self.head_options = head_options
        self.texts = texts
        self.deinterlace = deinterlace

    @property
    def arithmetic(self) -> Arithmetic:
        """How its backbone computes."""
        return Arithmetic(device=self.device, precision=self.precision, encoder=self.encoder)

    @property
    def odds(self) -> Odds | None:
        """What `known` says of whether a moment of a film shows none of the actions; None where that cannot be told, or
        `threshold_` alone is to decide, as it is not the one that was trained."""
        unknown = self.report_.unknown
        trained = self.threshold_ < -1 if unknown.threshold is None else self.threshold_ == unknown.threshold
        return unknown.odds if trained else None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in _parameters(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Sets constructor arguments.

        Raises:
            OptionError: there is no such argument.
        """
        known = _parameters(type(self))
        for name, value in params.items():
            if name not in known:
                raise OptionError(f"a Recognizer has no argument '{name}': it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        said = [f"{n}={v!r}" for n, v in self.get_params().items() if v is not defaults[n].default]
        return f"{type(self).__name__}({', '.join(said)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks a classifier, if it is there to ask."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, string=True),
        )

    def _check_fitted(self) -> None:
        if not hasattr(self, "classifier_"):
            raise OptionError("this Recognizer has not been fitted yet: call fit, or load a model folder")


def _parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)
