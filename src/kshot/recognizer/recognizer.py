"""The recognizer itself: teach, ask, keep."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from kshot import names, settings
from kshot.activations.copies import expect_one_label
from kshot.activations.encoding import encode
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.backbones.hub import BUNDLED
from kshot.backbones.texts import expect_prompts
from kshot.errors import CheckpointError, DataError, NotEnoughClips, OptionError, VideoError, unknown
from kshot.fewshot import runs
from kshot.fewshot.learner import Learner
from kshot.progress import Progress, quiet
from kshot.recognizer import artefact
from kshot.recognizer import clips as taught
from kshot.recognizer import videos as inputs
from kshot.recognizer.calibrate import Costs
from kshot.recognizer.clips import Clip
from kshot.recognizer.decider import UNKNOWN, Array, Decider, Decision, decide, restore
from kshot.recognizer.methods import METHODS, TEXT_SCALE, Support
from kshot.recognizer.stream.timeline import Timeline, timeline
from kshot.recognizer.teach import AUTO, teach
from kshot.settings import PROMPTS
from kshot.video.container import FOLDER_FPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES_AT_ONCE = 64
FINE_TUNED = "partial"  # the tuning method, and the recognizer's method that uses it


class Recognizer:
    """Names the action in a clip after being shown a few labelled ones; follows scikit-learn's conventions.

    Args:
        backbone: name, folder or loaded Backbone.
        adapted: folder of `kshot train`: start from a backbone adapted on base classes.
        method: "auto" to choose by itself, or the name of a method.
        frames: frames a clip.
        prompts: templates of class texts with one {} each.
        reject: whether "unknown" may be an answer. A mapping says what it is weighed by, else as with {"cost": 1.0,
            "share": 0.2, "most": 0.1}: what a label costs for a clip of none of the actions, where refusing a clip of
            a taught one costs 1; the share of such clips among all; how many of the taught may be refused at most.
        background: the label of clips that show none of the actions; what looks like them is "unknown".
        store: folder of stored activations; $KSHOT_HOME/store by default.
        seed: of whatever is drawn.
        device, precision: where and how the backbone computes.
        keep_copies: whether to learn from the same bytes under two labels, which are refused otherwise.

    After `fit`: `classes_` (C,) labels, `n_clips_`, `clip_seconds_` (median length of a taught clip), `method_`,
    `learner_`, `decider_`, `threshold_` (of `known`; below it "unknown") and `report_`, what to expect, as plain JSON:

        method, methods     the method taken; each with its accuracy on held-out clips, none refused
        accuracy            value, low, high (95 %), clips, how; None where it cannot be estimated, with `why`.
                            balanced: value, low, high with all classes equally frequent. gained: points of 1 that were
                            added as left_out, a share of a clip's class, did not teach when it was asked
        classes             label, clips, accuracy and advice of each
        confusions          label, taken_for, count, of
        suspects            clip, label, looks_like, reason ("mislabelled" or "duplicate"), other
        curve               accuracy by clips a class to learn from, none refused
        unknown             auroc, fpr95, threshold (None if it never is), refused and caught (shares of clips of
                            taught and of other actions), costs, clips, trade (threshold, refused, caught), how
        notes, unreadable   sentences; name and reason of clips that were left out
        damaged             clip, kept (share) and reason of those that are damaged but count
    """

    classes_: Array
    n_clips_: int
    report_: dict[str, Any]
    clip_seconds_: float
    method_: str
    decider_: Decider
    threshold_: float
    learner_: Learner
    clips_: list[Clip]
    tuned_: bool

    def __init__(
        self,
        backbone: str | Path | Backbone = BUNDLED,
        adapted: str | Path | None = None,
        method: str = AUTO,
        frames: int = 8,
        prompts: Sequence[str] = PROMPTS,
        reject: bool | Mapping[str, float] = True,
        background: str | None = None,
        store: str | Path | None = None,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        keep_copies: bool = False,
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
        self.keep_copies = keep_copies

    def fit(
        self, videos: Any, labels: Sequence[str], groups: Sequence[str] | None = None, progress: Progress = quiet
    ) -> Self:
        """Learns from labelled clips, and forgets what was learned before.

        Args:
            videos: paths, frame folders, arrays (T, H, W, 3) uint8 or tensors.
            labels: one text or number a clip; see `kshot.names.label`. Missing values are refused.
            groups: what was filmed together, one text a clip; without them, or where one is missing (None, NaN, ""), a
                clip is a group by itself.
            progress: how to show progress.

        Raises:
            KshotError: what cannot be learned from, and why.
        """
        items, texts, together = self._checked(videos, labels, groups)
        if self._nothing is not None and self._nothing not in texts:
            raise unknown("background label", self._nothing, sorted(set(texts)))
        _check_actions({*texts} - {self._nothing})
        start = self._starting()
        new, unreadable = taught.read(items, texts, together, start, self.frames, store=self.store, progress=progress)
        return self._learn(start, new, texts, unreadable, progress, groups is not None)

    def partial_fit(
        self, videos: Any, labels: Sequence[str], groups: Sequence[str] | None = None, progress: Progress = quiet
    ) -> Self:
        """Adds clips of known or new actions; the same as `fit` on all clips together. See `fit`.

        The first clips may come here, too.
        """
        if not hasattr(self, "decider_"):
            return self.fit(videos, labels, groups, progress)
        items, texts, together = self._checked(videos, labels, groups)
        names.distinct([*(clip.label for clip in self.clips_), *texts])
        start, known = self._reached(progress)
        new, unreadable = taught.read(items, texts, together, start, self.frames, len(known), self.store, progress)
        return self._learn(start, [*known, *new], texts, unreadable, progress, groups is not None)

    def forget(self, label: str, progress: Progress = quiet) -> Self:
        """Drops an action and its clips; the same as `fit` on the others.

        Raises:
            OptionError: no such action.
            NotEnoughClips: too little would be left.
        """
        self._check_fitted()
        known = sorted({clip.label for clip in self.clips_})
        label = next((name for name in known if names.tidy(name) == names.tidy(str(label))), label)
        if label not in known:
            raise unknown("action", label, known)
        start, clips = self._reached(progress)
        return self._learn(start, [clip for clip in clips if clip.label != label], [], {}, progress)

    def predict(self, videos: Any) -> Array:
        """The label of each video (n,), in your own words, or "unknown"."""
        return self.answer(videos).labels

    def predict_proba(self, videos: Any) -> Array:
        """Calibrated probabilities (n, C) of the taught classes, if it is one of them; columns as `classes_`."""
        return self.answer(videos).proba

    def score(self, videos: Any, labels: Sequence[str]) -> float:
        """Share of the videos that are given their label; for those of the background that is "unknown"."""
        items, told = inputs.listed(videos), list(labels)
        if len(items) != len(told):
            raise DataError(f"expected one label a clip, found {len(items)} clips and {len(told)} labels")
        places = [inputs.name(item, index) for index, item in enumerate(items)]
        texts = names.labels(told, places.__getitem__)
        wanted = np.array([UNKNOWN if text == self._nothing else text for text in texts])
        return float((np.array([*map(names.tidy, self.predict(items).tolist())]) == wanted).mean())

    @property
    def size(self) -> int:
        """Side in pixels of the square that the backbone sees."""
        self._check_fitted()
        assert self.learner_.backbone is not None
        return self.learner_.backbone.size

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

    def answer(self, videos: Any, allow_damaged: bool = False) -> Decision:
        """Label, probabilities and knownness of each video in one pass; see `answers`.

        Raises:
            VideoError: a video cannot be read.
        """
        parts = []
        for decision in self.answers(videos, allow_damaged):
            if isinstance(decision, VideoError):
                raise decision
            parts.append(decision)
        if not parts:
            empty = np.zeros((0, len(self.classes_)), np.float32)
            return Decision(empty, empty[:, 0], np.zeros(0, self.classes_.dtype))
        return Decision(
            np.concatenate([part.proba for part in parts]),
            np.concatenate([part.known for part in parts]),
            np.concatenate([part.labels for part in parts]),
            tuple(damage for part in parts for damage in part.damage),
        )

    def answers(self, videos: Any, allow_damaged: bool = False) -> Iterator[Decision | VideoError]:
        """The answer for each video by itself, as soon as it is there, or why it cannot be read.

        allow_damaged: whether to answer for files of which a decoder error or more than a tenth is lost, too.
        """
        self._check_fitted()
        assert self.learner_.backbone is not None
        size = self.learner_.backbone.size
        for taken in inputs.frames_of(inputs.listed(videos), self.frames, size, allow_damaged=allow_damaged):
            if isinstance(taken, VideoError):
                yield taken
            else:
                yield replace(self.decide(self.states(taken.frames)[None]), damage=(taken.damage,))

    def states(self, frames: Array) -> Array:
        """Preprocessed frames (n, S, S, 3) uint8 -> (n, ...), what `decide` needs of each; one pass of the encoder."""
        self._check_fitted()
        backbone, cut = _backbone(self.learner_), self.learner_.cut
        assert cut is not None
        parts = []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            batch = np.ascontiguousarray(frames[start : start + FRAMES_AT_ONCE])
            if backbone.across:
                parts.append(encode(backbone, cut, batch[None], "float32", condense=False)[0])
            else:
                with torch.inference_mode():
                    parts.append(backbone(backbone.pixels(batch)).float().cpu().numpy())
        result: Array = np.concatenate(parts)
        return result

    def decide(self, states: Array) -> Decision:
        """Answers for windows (w, T, ...) of states."""
        self._check_fitted()
        backbone = _backbone(self.learner_)
        if backbone.across:
            with torch.inference_mode():
                embeddings = self.learner_.embed(states)
        else:
            embeddings = torch.from_numpy(states).to(backbone.device)
        return decide(self.decider_, embeddings, self.classes_, self.threshold_)

    def save(self, folder: str | Path, thumbnails: bool = True) -> Path:
        """Writes the model folder: config.json, safetensors and a card to read; see docs/recognizer.md.

        A model that is there already is replaced, at once or not at all.

        Args:
            folder: made where absent.
            thumbnails: whether small pictures of the clips go into it.

        Raises:
            OptionError: the folder holds something else.
            StoreError: it cannot be written.
        """
        self._check_fitted()
        return artefact.save(self, Path(folder), thumbnails)

    @classmethod
    def load(cls, folder: str | Path, backbone: str | Path | Backbone | None = None, device: str = "cpu") -> Self:
        """Reads a model folder, or "hf://owner/name" from the Hugging Face hub.

        Args:
            folder: as `save` wrote it.
            backbone: where the backbone lies, if not where it was; it must be the same one.
            device: where to compute.

        Raises:
            CheckpointError: no model, damaged, of another version, or another backbone.
        """
        loaded: Self = artefact.load(cls, folder, backbone, device)
        return loaded

    def push_to_hub(self, repo_id: str, thumbnails: bool = False, private: bool = True) -> str:
        """Uploads the model folder to the Hugging Face hub; returns its address.

        Args:
            repo_id: "owner/name", made where absent.
            thumbnails: whether pictures of your clips go with it.
            private: whether a new repository is.

        Raises:
            CheckpointError: the hub refuses or cannot be reached.
        """
        self._check_fitted()
        return artefact.push(self, repo_id, thumbnails, private)

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

    def _checked(
        self, videos: Any, labels: Sequence[str], groups: Sequence[str] | None
    ) -> tuple[list[Path | Array], list[str], list[str]]:
        """Videos, labels and groups, one of each a clip."""
        if self.method != AUTO and self.method not in METHODS:
            raise unknown("method", self.method, [AUTO, *METHODS])
        settings.expect(frames=self.frames, seed=self.seed)
        Costs.of(self.reject)
        items, told = inputs.listed(videos), list(labels)
        if len(items) != len(told):
            raise DataError(f"expected one label a clip, found {len(items)} clips and {len(told)} labels")
        places = [inputs.name(item, index) for index, item in enumerate(items)]
        texts = names.labels(told, places.__getitem__)
        together = [""] * len(items) if groups is None else names.groups(groups, lambda index: f"clip {index}")
        if len(together) != len(items):
            raise DataError(f"expected one group a clip, found {len(items)} clips and {len(together)} groups")
        reserved = next((t for t in texts if names.plain(t) == UNKNOWN and t != self._nothing), None)
        if reserved is not None:
            raise DataError(
                f"'{UNKNOWN}' is what a recognizer answers when it knows no better, so no action can be called that: "
                f"rename it, or say background='{reserved}' if these clips show none of the actions"
            )
        return items, texts, together

    @property
    def _nothing(self) -> str | None:
        """The label of the background, as labels are kept."""
        return None if self.background is None else names.label(self.background, "background", "name", OptionError)

    def _starting(self) -> Learner:
        """What methods start from: the backbone as it came or as a run adapted it, with what fine-tuning may change."""
        if self.adapted is None:
            given = self.backbone
            loaded = given if isinstance(given, Backbone) else backbones.load(given, self.device, self.precision)
            return Learner.build(loaded, FINE_TUNED)
        run = runs.read(self.adapted)
        if run.resize != "short":
            raise OptionError(
                f"run {self.adapted} was trained with resize {run.resize}, but a recognizer sees frames with resize "
                f"short: train it so"
            )
        backbone = None if self.backbone == BUNDLED else self.backbone
        learner, _ = runs.learner(run, backbone, "prototype", None, self.device, self.precision)
        own = _backbone(learner)
        if own.episodic:
            raise OptionError(
                f"run {self.adapted} tuned {run.config['tuning']['name']}, which looks at the support clips whenever "
                f"it answers; a recognizer answers for one clip alone: train with another tuning method"
            )
        if own.across and run.frames != self.frames:
            raise OptionError(
                f"run {self.adapted} was trained with {run.frames} frames a clip, found {self.frames}: "
                f"give both the same"
            )
        return learner

    def _reached(self, progress: Progress) -> tuple[Learner, list[Clip]]:
        """What methods start from, and the taught clips, with activations where their files are what they were."""
        learner = getattr(self, "_start", None) or self._starting()
        if self.method not in (AUTO, FINE_TUNED):
            return learner, self.clips_
        lost = [clip for clip in self.clips_ if clip.tokens is None and Path(clip.name).exists()]
        if not lost:
            return learner, self.clips_
        again, _ = taught.read(
            [Path(clip.name) for clip in lost], [clip.label for clip in lost], [clip.group for clip in lost], learner,
            self.frames, store=self.store, progress=progress,
        )  # fmt: skip
        found = {clip.digest: clip.tokens for clip in again}
        return learner, [replace(clip, tokens=clip.tokens or found.get(clip.digest)) for clip in self.clips_]

    def _learn(
        self,
        start: Learner,
        clips: Sequence[Clip],
        texts: Sequence[str],
        unreadable: dict[str, str],
        progress: Progress,
        grouped: bool = False,
    ) -> Self:
        """Teaches from clips, and only then changes this recognizer. grouped: groups were given."""
        if texts and not self.keep_copies:
            expect_one_label([c.digest for c in clips], [c.label for c in clips], [c.name for c in clips])
        clips = taught.in_order(clips)
        there = {clip.label for clip in clips}
        for label in texts:
            if label not in there:
                reason = next(iter(unreadable.values()))
                raise DataError(f"no clip of '{label}' can be read; the first reason: {reason}")
        actions = _check_actions({*there} - {self._nothing})
        support = self._support(clips, start)
        lesson = teach(support, self.method, self.reject, self.seed, progress)
        self._start, self.clips_ = start, clips
        self.classes_, self.n_clips_ = np.array(actions), len(clips)
        lengths = np.array([clip.seconds for clip in clips])
        self.clip_seconds_ = float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else 1.0
        self.method_, self.decider_, self.threshold_ = lesson.method, lesson.decider, lesson.threshold
        self.report_ = lesson.report | {"unreadable": dict(unreadable), "damaged": taught.losses(clips)}
        if unreadable:
            count = "1 clip" if len(unreadable) == 1 else f"{len(unreadable)} clips"
            self.report_["notes"].insert(0, f"{count} could not be read: left out.")
        self.report_["notes"] += [f"{note}." for note in names.lone([clip.group for clip in clips], grouped)]
        lost = sum(clip.tokens is None for clip in clips)
        if lost and self.method == AUTO:
            self.report_["notes"].append(
                f"Fine-tuning of the last layer was not compared: {lost} of the clips are no longer what they were."
            )
        self.learner_, self.tuned_ = tuned(start, lesson.weights), bool(lesson.weights)
        return self

    def _put_back(self, config: dict[str, Any], parts: dict[str, dict[str, Tensor]], backbone: Backbone) -> None:
        """Everything that `fit` learns, from a model folder that has been read."""
        named, self.backbone = self.backbone, backbone
        self._start = self._starting()
        self.backbone = named
        self.learner_, self.tuned_ = tuned(self._start, parts["tuned"]), bool(parts["tuned"])
        self.decider_ = restore(config["decider"], parts["decider"]).to(backbone.device)
        self.clips_ = artefact.clips(config, parts["clips"][""].numpy())
        self.classes_, self.n_clips_ = np.array(config["classes"]), len(self.clips_)
        self.method_, self.clip_seconds_ = config["method"], config["clip_seconds"]
        self.threshold_ = -math.inf if config["threshold"] is None else config["threshold"]
        self.report_ = config["report"]

    def _support(self, clips: Sequence[Clip], learner: Learner) -> Support:
        backbone = _backbone(learner)
        labels = {clip.label for clip in clips}
        background = self._nothing in labels
        classes = (*sorted({*labels} - {self._nothing}), *([str(self._nothing)] if background else []))
        number = {label: place for place, label in enumerate(classes)}
        needed = self.method in METHODS and METHODS[self.method].needs_text
        expect_prompts(self.prompts)
        text: Tensor | None = None
        notes: list[str] = []
        try:
            with torch.no_grad():
                text, notes = backbone.embed_text(classes, self.prompts), backbone.text_notes(classes, self.prompts)
        except CheckpointError:  # a backbone that came without a tokenizer
            pass
        except (DataError, OptionError) as error:  # names that it cannot tell apart
            if needed:
                raise
            notes = [f"Class names play no part: {error}."]
        tokens = [clip.tokens for clip in clips]
        lost = next((clip.name for clip in clips if clip.tokens is None), None)
        if lost is not None and self.method == FINE_TUNED:
            raise DataError(f"method '{FINE_TUNED}' learns from the clips' frames, and {lost} is no longer what it was")

        def gather(indices: NDArray[np.int64]) -> Array:
            return np.stack([tokens[i]() for i in indices])

        able = lost is None and 0 < learner.cut <= backbone.depth and not backbone.across  # type: ignore[operator]
        return Support(
            classes=classes,
            labels=np.array([number[clip.label] for clip in clips], np.int64),
            groups=np.array([clip.group or clip.digest for clip in clips]),
            names=tuple(clip.name for clip in clips),
            embeddings=torch.from_numpy(np.stack([clip.embeddings for clip in clips])).to(backbone.device),
            text=text,
            text_notes=tuple(notes) if needed or self.method == AUTO else (),
            text_scale=backbone.logit_scale or TEXT_SCALE,
            background=background,
            tuner=learner if able else None,
            tokens=gather if able else None,
        )

    def _check_fitted(self) -> None:
        if not hasattr(self, "decider_"):
            raise OptionError("this Recognizer has been taught nothing yet: call fit, or load a model folder")


def _check_actions(labels: Set[str]) -> list[str]:
    """The actions in order; NotEnoughClips if there is nothing to tell apart."""
    actions = sorted(labels)
    if len(actions) < 2:
        found = f"only '{actions[0]}'" if actions else "none"
        raise NotEnoughClips(f"expected clips of at least two actions to tell apart, found {found}: add another action")
    return actions


def tuned(learner: Learner, weights: Mapping[str, Tensor]) -> Learner:
    """The learner with these weights of its own tuned; itself without any."""
    if not weights:
        return learner
    made = replace(learner, backbone=_backbone(learner).copy())
    made.load(weights, "fine-tuning", whole=False)
    return made


def _backbone(learner: Learner) -> Backbone:
    assert learner.backbone is not None
    return learner.backbone


def _parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)
