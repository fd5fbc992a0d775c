"""The recognizer itself: fit, predict, save."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from kshot import names
from kshot.activations.copies import expect_one_label
from kshot.activations.default import Default, default_backbone
from kshot.activations.encoding import encode, tail
from kshot.backbones.backbone import Backbone
from kshot.datasets.drawn import is_drawn
from kshot.errors import DataError, OptionError, VideoError, unknown
from kshot.excerpts import file_of
from kshot.progress import Progress, quiet
from kshot.recognizer import artefact, fitting, preparing
from kshot.recognizer import clips as labelled
from kshot.recognizer import videos as inputs
from kshot.recognizer.answers import ClipAnswer, of_decision
from kshot.recognizer.chance import beside_chance
from kshot.recognizer.classifier import UNKNOWN, Array, Decision, decide
from kshot.recognizer.clips import Clip, Labels
from kshot.recognizer.estimator import Estimator
from kshot.recognizer.methods import AUTO
from kshot.recognizer.preparing import backbone_of
from kshot.recognizer.stream.timeline import Timeline, timeline
from kshot.recognizer.thresholds import Threshold, thresholds_of
from kshot.video import FRAMINGS, Framing
from kshot.video.container import FOLDER_FPS
from kshot.video.looks import noted

if TYPE_CHECKING:
    from kshot.fewshot.learner import Learner

FRAMES_AT_ONCE = 64


class Recognizer(Estimator):
    """Names the action in a clip after training on a few labelled ones; follows scikit-learn's conventions.

    Args:
        backbone: name, folder or loaded Backbone; without one, that of `adapted`, else by the clips: `kshot-tiny` where
            all of them are drawn by kshot, `lite` for all others. Clips that are added later change nothing of it.
        adapted: folder of `kshot train`: start from a backbone adapted on base classes.
        method: "auto" to compare several and choose, or one: a head of `kshot.heads`, or "partial" for fine-tuning.
        frames: frames a clip; None for 8, or the unit of a backbone that sees clips.
        prompts: templates of class texts with one {} each.
        reject: whether "unknown" may be an answer. A mapping says what it is weighed by, else as with {"cost": 1.0,
            "share": 0.2, "most": 0.1}: what a label costs for a clip of none of the actions, where refusing a clip of
            a trained one costs 1; the share of such clips among all; how many of the trained ones' clips may be refused
            at most.
        background: the label of clips that show none of the actions; what looks like them is "unknown".
        store: folder of stored activations; $KSHOT_HOME/store by default.
        seed: of whatever is drawn.
        device: where the backbone computes.
        precision: in which it computes.
        encoder: what runs its frozen blocks, "torch" or on the CPU "onnx"; the model keeps it.
        keep_copies: whether to learn from the same bytes under two labels, which are refused otherwise.
        head_options: options of the method's head, where the method is one.
        texts: a file of texts that describe the actions, in place of their names (see `kshot.datasets.texts`); a model
            keeps them. The background may do without.
        deinterlace: whether to take the fields of interlaced video apart; a model keeps it, and it may be set before
            predictions alone.

    Attributes:
        classes_: (C,) labels, after `fit` as all that follow.
        n_clips_: number of clips.
        clip_seconds_: median length of a clip.
        method_: the method taken.
        learner_: backbone and cut, tuned where the method tunes.
        classifier_: from embeddings to probabilities and `known`.
        threshold_: of `known`; below it "unknown".
        report_: what to expect, see `kshot.recognizer.report.Report`; its `plain()` is JSON.
        clips_: the clips, with their embeddings.
        frames_: frames a clip, and of a window of `timeline`.
        tuned_: whether the backbone was fine-tuned on them.
        texts_: the texts that were read in place of the actions' names, None without.
    """

    def fit(self, videos: Any, labels: Labels, groups: Labels | None = None, progress: Progress = quiet) -> Self:
        """Learns from labelled clips, and forgets what was learned before.

        Args:
            videos: paths, frame folders, parts of videos (`kshot.excerpts.Excerpt`, or text "film.mp4#t=3,5"), arrays
                (T, H, W, 3) uint8 or tensors.
            labels: one text or number a clip, kept as text, see `kshot.names.label`. Missing values are refused.
            groups: what was filmed together, one text a clip; without them, or where one is missing (None, NaN, ""), a
                clip is a group by itself.
            progress: how to show progress.

        Raises:
            KshotError: what cannot be learned from, and why.
        """
        items, texts, together = preparing.checked(self, videos, labels, groups)
        preparing.expect_texts(self, texts, more=False)
        nothing = preparing.background(self)
        if nothing is not None and nothing not in texts:
            raise unknown("background label", nothing, sorted(set(texts)))
        preparing.actions({*texts} - {nothing})
        given = [file_of(inputs.name(item, number)) for number, item in enumerate(items)]
        default = default_backbone(given) if self.backbone is None and self.adapted is None else Default("")
        start = preparing.starting(self, default.name)
        new, unreadable = labelled.read_clips(
            items, texts, together, start, preparing.frames_of(self, start), store=self.store, progress=progress,
            deinterlace=self.deinterlace,
        )  # fmt: skip
        self._learn(start, new, texts, unreadable, progress, groups is not None)
        self.report_.notes.extend(f"{note}." for note in default.notes)
        return self

    def partial_fit(
        self, videos: Any, labels: Labels, groups: Labels | None = None, progress: Progress = quiet
    ) -> Self:
        """Adds clips of known or new actions; the same as `fit` on all clips together. See `fit`.

        The first clips may come here, too.
        """
        if not hasattr(self, "classifier_"):
            return self.fit(videos, labels, groups, progress)
        items, texts, together = preparing.checked(self, videos, labels, groups)
        preparing.expect_texts(self, texts, more=True)
        names.distinct([*(clip.label for clip in self.clips_), *texts])
        start, known = preparing.reached(self, progress)
        new, unreadable = labelled.read_clips(
            items, texts, together, start, self.frames_, len(known), self.store, progress, self.deinterlace
        )
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
        return self._keep([clip for clip in self.clips_ if clip.label != label], progress)

    def forget_clips(self, clips: Collection[str], progress: Progress = quiet) -> Self:
        """Drops clips, given by their names in `clips_`; the same as `fit` on the others.

        Raises:
            OptionError: no such clip.
            NotEnoughClips: too little would be left.
        """
        self._check_fitted()
        known = {clip.name for clip in self.clips_}
        if strange := next((name for name in clips if name not in known), None):
            raise OptionError(f"no clip '{strange}' was trained on")
        return self._keep([clip for clip in self.clips_ if clip.name not in clips], progress)

    def _keep(self, clips: list[Clip], progress: Progress) -> Self:
        start, clips = preparing.reached(self, progress, clips)
        return self._learn(start, clips, [], {}, progress)

    def predict(self, videos: Any, threshold: Threshold = None) -> Array:
        """The label of each video (n,), in your own words, or "unknown".

        Args:
            videos: see `fit`.
            threshold: see `answers`.
        """
        return self.answer(videos, threshold=threshold).labels

    def predict_proba(self, videos: Any) -> Array:
        """Calibrated probabilities (n, C) of the trained classes, if it is one of them; columns as `classes_`."""
        return self.answer(videos).proba

    def score(self, videos: Any, labels: Labels) -> float:
        """Share of the videos that are given their label; for those of the background that is "unknown"."""
        items, given = inputs.listed(videos), list(labels)
        if len(items) != len(given):
            raise DataError(f"expected one label a clip, found {len(items)} clips and {len(given)} labels")
        places = [inputs.name(item, index) for index, item in enumerate(items)]
        texts, nothing = names.labels(given, places.__getitem__), preparing.background(self)
        wanted = np.array([UNKNOWN if text == nothing else text for text in texts])
        return float((np.array([*map(names.tidy, self.predict(items).tolist())]) == wanted).mean())

    @property
    def unit(self) -> int:
        """Frames that the backbone sees at a time; 1 where it sees each by itself."""
        self._check_fitted()
        return backbone_of(self.learner_).unit

    @property
    def action_seconds(self) -> dict[str, float]:
        """Median seconds of the clips of each action, of those whose length is known."""
        self._check_fitted()
        clips = [clip for clip in self.clips_ if np.isfinite(clip.seconds)]
        labels = {clip.label for clip in clips}
        return {label: float(np.median([clip.seconds for clip in clips if clip.label == label])) for label in labels}

    @property
    def size(self) -> int:
        """Side in pixels of the square that the backbone sees."""
        self._check_fitted()
        return backbone_of(self.learner_).size

    @property
    def framing(self) -> Framing:
        """How a frame becomes that square."""
        self._check_fitted()
        return replace(FRAMINGS[backbone_of(self.learner_).resize], deinterlace=self.deinterlace)

    def timeline(
        self,
        video: Any,
        window: float | None = None,
        stride: int | None = None,
        smooth: float | None = None,
        shortest: float | None = None,
        fps: float = FOLDER_FPS,
        timeout: float = 60.0,
        progress: Progress = quiet,
        threshold: Threshold = None,
    ) -> Timeline:
        """What happens when in a long video; every frame is decoded once, and encoded at most once.

        A video shorter than a window is answered as `predict` answers it. Of a file that is broken in the middle, what
        comes before stays, and `notes` says so.

        Args:
            video: a path, a frame folder, an array (T, H, W, 3) uint8 or a tensor.
            window: seconds of a window; the usual length of a trained clip by default.
            stride: frames between windows, of which a window has `frames_`; None for 1, or a quarter of the unit of a
                backbone that sees clips.
            smooth: seconds on either side over which scores are averaged; half a window by default.
            shortest: seconds that a label must last to be believed; three quarters of a window by default.
            fps: frames a second of an array.
            timeout: seconds without a frame after which a file is given up.
            progress: how to show progress.
            threshold: see `answers`.

        Raises:
            VideoError: not a single frame can be read.
            OptionError: an impossible value.
        """
        self._check_fitted()
        return timeline(self, video, window, stride, smooth, shortest, fps, timeout, progress, threshold)

    def answer(self, videos: Any, allow_damaged: bool = False, threshold: Threshold = None) -> Decision:
        """Label, probabilities and knownness of each video in one pass; see `answers`.

        Raises:
            VideoError: a video cannot be read.
        """
        parts = []
        for decision in self.answers(videos, allow_damaged, threshold):
            if isinstance(decision, VideoError):
                raise decision
            parts.append(decision)
        return Decision.joined(parts, self.classes_)

    def answers(
        self, videos: Any, allow_damaged: bool = False, threshold: Threshold = None
    ) -> Iterator[Decision | VideoError]:
        """The answer for each video by itself, as soon as it is there, or why it cannot be read.

        Args:
            videos: see `fit`.
            allow_damaged: whether to answer for files of which a decoder error or more than a tenth is lost, too.
            threshold: of likeness, in place of `threshold_`: below it "unknown". One for all actions, or a mapping
                action -> threshold for some, in which "" stands for the others.

        Raises:
            OptionError: no such action, or a threshold that is no cosine.
        """
        self._check_fitted()
        limits = self.thresholds(threshold)
        listed = inputs.listed(videos)
        for taken in inputs.frames_of(listed, self.frames_, self.size, 60.0, allow_damaged, self.framing):
            if isinstance(taken, VideoError):
                yield taken
            else:
                yield replace(
                    self.decide(self.states(taken.frames)[None], limits), damage=(taken.damage,), looks=(taken.looks,)
                )

    def clip_answers(
        self, videos: Any, allow_damaged: bool = False, threshold: Threshold = None, model: str = ""
    ) -> Iterator[ClipAnswer]:
        """The answer for each video as a record for programs, as soon as it is there; what cannot be read says why.

        Args:
            videos: see `fit`.
            allow_damaged: see `answers`.
            threshold: see `answers`.
            model: what the records call this recognizer, such as its folder.
        """
        self._check_fitted()
        listed, classes = inputs.listed(videos), [str(name) for name in self.classes_]
        about = ClipAnswer("", model=model, backbone=backbone_of(self.learner_).name)
        for number, found in enumerate(self.answers(listed, allow_damaged, threshold)):
            yield of_decision(inputs.name(listed[number], number), found, classes, about)

    def thresholds(self, threshold: Threshold = None) -> Array:
        """The threshold (C,) of each action, columns as `classes_`; for the argument see `answers`."""
        self._check_fitted()
        return thresholds_of(threshold, self.threshold_, self.classes_.tolist())

    def states(self, frames: Array) -> Array:
        """Preprocessed frames (n, S, S, 3) uint8 -> (n, ...), what `decide` needs of each; one pass of the encoder.

        A backbone that sees clips needs the frames themselves: it encodes windows, not frames.
        """
        self._check_fitted()
        backbone, cut = backbone_of(self.learner_), self.learner_.cut
        if backbone.unit > 1:
            return frames
        assert cut is not None
        parts = []
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            batch = np.ascontiguousarray(frames[start : start + FRAMES_AT_ONCE])
            if self._by_clip:
                parts.append(encode(backbone, cut, batch[None], "float32", condense=False)[0])
            else:
                with torch.inference_mode():
                    parts.append(backbone(backbone.pixels(batch), cut).float().cpu().numpy())
        result: Array = np.concatenate(parts)
        return result

    def decide(self, states: Array, thresholds: Array | None = None) -> Decision:
        """Answers for windows (w, T, ...) of states.

        Args:
            states: see `states`.
            thresholds: (C,) in place of `threshold_`.
        """
        self._check_fitted()
        backbone = backbone_of(self.learner_)
        if backbone.unit > 1:
            with torch.inference_mode():
                parts = torch.split(torch.from_numpy(states), max(1, FRAMES_AT_ONCE // states.shape[1]))
                embeddings = torch.cat([tail(backbone, part.numpy(), 0) for part in parts])
        elif self._by_clip:
            changing = self.classifier_.scorer.head.by_change
            with torch.inference_mode():
                embeddings = tail(backbone, states, self.learner_.cut, changing=changing)
        else:
            embeddings = torch.from_numpy(states).to(backbone.device)
        limits = self.threshold_ if thresholds is None else thresholds
        return decide(self.classifier_, embeddings, self.classes_, limits)

    @property
    def _by_clip(self) -> bool:
        """Whether what is seen of a frame depends on the others of its clip or window."""
        return backbone_of(self.learner_).across or self.classifier_.scorer.head.by_change

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
        loaded: Self = artefact.load_model(cls, folder, backbone, device)
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

    def _learn(
        self,
        start: Learner,
        clips: Sequence[Clip],
        texts: Sequence[str],
        unreadable: dict[str, str],
        progress: Progress,
        grouped: bool = False,
    ) -> Self:
        """Learns from clips, and only then changes this recognizer. grouped: groups were given."""
        if texts and not self.keep_copies:
            expect_one_label([c.digest for c in clips], [c.label for c in clips], [c.name for c in clips])
        clips = labelled.in_order(clips)
        there = {clip.label for clip in clips}
        for label in texts:
            if label not in there:
                reason = next(iter(unreadable.values()))
                raise DataError(f"no clip of '{label}' can be read; the first reason: {reason}")
        actions = preparing.actions({*there} - {preparing.background(self)})
        support = preparing.support(self, clips, start)
        fitted = fitting.fit(support, self.method, self.reject, self.seed, progress)
        self._start, self.clips_, self.texts_ = start, clips, support.described
        self.classes_, self.n_clips_ = np.array(actions), len(clips)
        self.frames_ = preparing.frames_of(self, start)
        lengths = np.array([clip.seconds for clip in clips])
        self.clip_seconds_ = float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else 1.0
        self.method_, self.classifier_, self.threshold_ = fitted.method, fitted.classifier, fitted.threshold
        drawn = all(map(is_drawn, {file_of(clip.name) for clip in clips}))
        report = beside_chance(fitted.report, backbone_of(start).name, drawn, self.adapted is not None)
        self.report_ = replace(report, unreadable=dict(unreadable), damaged=labelled.losses(clips))
        if unreadable:
            count = "1 clip" if len(unreadable) == 1 else f"{len(unreadable)} clips"
            self.report_.notes.insert(0, f"{count} could not be read: left out.")
        together, stretches = preparing.groups_of(clips)
        said = [*backbone_of(start).notes, *noted(clip.looks for clip in clips), *stretches]
        said += names.lone(together, grouped and not stretches)
        self.report_.notes.extend(f"{note}." for note in said)
        lost = sum(clip.tokens is None for clip in clips)
        if lost and self.method == AUTO:
            self.report_.notes.append(
                f"Fine-tuning of the last layer and where clips change were not compared: {lost} of the clips are no "
                "longer what they were."
            )
        self.learner_, self.tuned_ = preparing.tuned(start, fitted.weights), bool(fitted.weights)
        return self
