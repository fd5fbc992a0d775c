"""The recogniser itself: teach, ask, keep."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from kshot import runs
from kshot.backbone import PROMPTS, Backbone
from kshot.errors import DataError, NotEnoughClips, OptionError, VideoError
from kshot.heads.formulas import class_means, pool, unit
from kshot.learner import Learner
from kshot.progress import Progress, quiet
from kshot.recognizer import artefact
from kshot.recognizer import videos as inputs
from kshot.recognizer.decider import Array, Decider, Decision, decide
from kshot.recognizer.timeline import Timeline, timeline
from kshot.video import FOLDER_FPS

if TYPE_CHECKING:
    from torch import nn

FRAMES_AT_ONCE = 64


class Recognizer:
    """Names the action in a clip after being shown a few labelled ones.

    Args:
        backbone: name, folder or loaded Backbone.
        adapted: folder of `kshot train`: start from a backbone adapted on base classes.
        method: "auto" to choose by itself, or the name of a method.
        frames: frames a clip.
        prompts: templates of class texts with one {} each.
        reject: whether "unknown" may be an answer.
        background: the label of clips that show none of the actions; what looks like them is "unknown".
        store: folder of stored activations; $KSHOT_HOME/store by default.
        seed: of whatever is drawn.
        device, precision: where and how the backbone computes.

    After `fit`: `classes_` (C,) labels, `n_clips_`, `report_` (what to expect; plain JSON), `clip_seconds_` (median
    length of a taught clip), `learner_`, `decider_`, `threshold_`.
    """

    classes_: Array
    n_clips_: int
    report_: dict[str, Any]
    clip_seconds_: float
    decider_: nn.Module
    threshold_: float
    learner_: Learner

    def __init__(
        self,
        backbone: str | Path | Backbone = "kshot-tiny",
        adapted: str | Path | None = None,
        method: str = "auto",
        frames: int = 8,
        prompts: Sequence[str] = PROMPTS,
        reject: bool = True,
        background: str | None = None,
        store: str | Path | None = None,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "float32",
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

    def fit(
        self, videos: Any, labels: Sequence[str], groups: Sequence[str] | None = None, progress: Progress = quiet
    ) -> Self:
        """Learns from labelled clips.

        Args:
            videos: paths, frame folders, arrays (T, H, W, 3) uint8 or tensors.
            labels: one text a clip.
            groups: what was filmed together, one text a clip; a clip is a group by itself without them.

        Raises:
            KshotError: what cannot be learned from, and why.
        """
        clips = inputs.listed(videos)
        texts = [str(label) for label in labels]
        if len(clips) != len(texts):
            raise DataError(f"expected one label a clip, found {len(clips)} clips and {len(texts)} labels")
        if len(set(texts)) < 2:
            raise NotEnoughClips(f"expected at least two actions to tell apart, found {len(set(texts))}")
        learner = self._learner()
        assert learner.backbone is not None
        read = list(inputs.frames_of(clips, self.frames, learner.backbone.size))
        bad = {inputs.name(c, i): str(r) for i, (c, r) in enumerate(zip(clips, read, strict=True)) if _failed(r)}
        if bad:
            raise VideoError(next(iter(bad.values())))
        self.learner_ = learner
        self.classes_, numbers = np.unique(np.array(texts), return_inverse=True)
        self.n_clips_ = len(clips)
        self.clip_seconds_ = float(np.median([inputs.seconds(clip) for clip in clips]))
        states = _states(learner, np.concatenate(read))  # type: ignore[arg-type]
        embeddings = torch.from_numpy(states).view(len(clips), self.frames, -1)
        means = class_means(pool(embeddings)[None, :, 0], torch.from_numpy(numbers)[None], len(self.classes_))
        self.decider_ = Decider(unit(means)[0])
        self.threshold_ = -math.inf
        self.report_ = {
            "method": "prototype",
            "methods": [],
            "accuracy": None,
            "why": "not estimated yet",
            "classes": [
                {"label": str(c), "clips": int((numbers == i).sum()), "accuracy": None, "advice": ""}
                for i, c in enumerate(self.classes_)
            ],
            "confusions": [],
            "suspects": [],
            "curve": [],
            "unknown": {"auroc": None, "fpr95": None, "threshold": None, "how": ""},
            "notes": [],
        }
        return self

    def predict(self, videos: Any) -> Array:
        """The label of each video (n,), in your own words, or "unknown"."""
        return self.answer(videos).labels

    def predict_proba(self, videos: Any) -> Array:
        """Calibrated probabilities (n, C) of the taught classes; columns as `classes_`."""
        return self.answer(videos).proba

    def score(self, videos: Any, labels: Sequence[str]) -> float:
        """Share of the videos that are given their label."""
        return float((self.predict(videos) == np.asarray(labels, dtype=np.str_)).mean())

    def timeline(
        self,
        video: Any,
        window: float | None = None,
        stride: int = 1,
        smooth: float | None = None,
        shortest: float | None = None,
        fps: float = FOLDER_FPS,
        timeout: float = 60.0,
        progress: Progress = quiet,
    ) -> Timeline:
        """What happens when in a long video; every frame is decoded once, and encoded once if it is looked at.

        A video shorter than a window is answered as `predict` answers it. Of a file that is broken in the middle, what
        comes before stays, and `notes` tells.

        Args:
            video: a path, a frame folder, an array (T, H, W, 3) uint8 or a tensor.
            window: seconds of a window; the usual length of a taught clip by default.
            stride: frames between windows; a window has `frames` of them.
            smooth: seconds on either side over which scores are averaged; half a window by default.
            shortest: seconds that a label must last to be believed; three quarters of a window by default.
            fps: frames a second of an array.
            timeout: seconds without a frame after which a file is given up.

        Raises:
            VideoError: not a single frame can be read.
            OptionError: an impossible value.
        """
        self._check_fitted()
        return timeline(self, video, window, stride, smooth, shortest, fps, timeout, progress)

    def states(self, frames: Array) -> Array:
        """Preprocessed frames (n, S, S, 3) uint8 -> (n, ...), what `decide` needs of each; one pass of the encoder."""
        self._check_fitted()
        return _states(self.learner_, frames)

    def decide(self, states: Array) -> Decision:
        """Answers for windows (w, T, ...) of states."""
        self._check_fitted()
        return decide(self.decider_, torch.from_numpy(states), self.classes_, self.threshold_)

    def save(self, folder: str | Path, thumbnails: bool = True) -> Path:
        """Writes the model folder."""
        self._check_fitted()
        return artefact.save(self, Path(folder), thumbnails)

    @classmethod
    def load(cls, folder: str | Path, backbone: str | Path | Backbone | None = None, device: str = "cpu") -> Self:
        """Reads a model folder."""
        loaded: Self = artefact.load(cls, Path(folder), backbone, device)
        return loaded

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

    def answer(self, videos: Any) -> Decision:
        """Label, probabilities and knownness of each video in one pass.

        Raises:
            VideoError: a video cannot be read.
        """
        self._check_fitted()
        clips = inputs.listed(videos)
        assert self.learner_.backbone is not None
        read = []
        for frames in inputs.frames_of(clips, self.frames, self.learner_.backbone.size):
            if isinstance(frames, VideoError):
                raise frames
            read.append(frames)
        if not read:
            empty = np.zeros((0, len(self.classes_)), np.float32)
            return Decision(empty, empty[:, 0], np.zeros(0, self.classes_.dtype))
        states = self.states(np.concatenate(read))
        return self.decide(states.reshape(len(read), self.frames, *states.shape[1:]))

    def _learner(self) -> Learner:
        run = runs.read(self.adapted) if self.adapted is not None else None
        if run is not None and run.resize != "short":
            raise OptionError(
                f"run {self.adapted} was trained with resize {run.resize}, but a recogniser sees frames with resize "
                f"short: train it so"
            )
        backbone = None if run is not None and self.backbone == "kshot-tiny" else self.backbone
        learner, _ = runs.learner(run, backbone, "prototype", None, self.device, self.precision)
        return learner

    def _check_fitted(self) -> None:
        if not hasattr(self, "decider_"):
            raise OptionError("this Recognizer has been taught nothing yet: call fit, or load a model folder")


def _states(learner: Learner, frames: Array) -> Array:
    backbone = learner.backbone
    assert backbone is not None
    parts = []
    with torch.inference_mode():
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            pixels = backbone.pixels(np.ascontiguousarray(frames[start : start + FRAMES_AT_ONCE]))
            parts.append(backbone(pixels).float().cpu().numpy())
    result: Array = np.concatenate(parts)
    return result


def _failed(result: object) -> bool:
    return isinstance(result, VideoError)


def _parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)
