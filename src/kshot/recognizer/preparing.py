"""What a recognizer is fitted to: the clips as they were given, the learner to start from, and the support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kshot import heads, names, settings
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.backbones.texts import Wording
from kshot.datasets import segments
from kshot.datasets.texts import Descriptions, read_texts
from kshot.errors import CheckpointError, DataError, NotEnoughClips, OptionError
from kshot.excerpts import Excerpt, clip_of, file_of
from kshot.fewshot import runs
from kshot.fewshot.learner import Learner
from kshot.progress import Progress
from kshot.recognizer import clips as labelled
from kshot.recognizer import videos as inputs
from kshot.recognizer.classifier import UNKNOWN
from kshot.recognizer.clips import Clip, Labels
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.estimator import Estimator
from kshot.recognizer.methods import AUTO, METHODS, TEXT_SCALE, Support, expect, method

Array = NDArray[Any]

FINE_TUNED = "partial"  # the tuning method, and the recognizer's method that uses it


def checked(
    recognizer: Estimator, videos: Any, labels: Labels, groups: Labels | None
) -> tuple[list[Path | Excerpt | Array], list[str], list[str]]:
    """Videos, labels and groups, one of each a clip.

    Raises:
        OptionError: an argument of the recognizer that there cannot be.
        DataError: labels or groups that do not fit the clips.
    """
    expect(recognizer.method, recognizer.head_options or {})
    settings.expect(seed=recognizer.seed)
    if recognizer.frames is not None:
        settings.expect(frames=recognizer.frames)
        _expect_enough(recognizer.method, recognizer.frames)
    ErrorCosts.of(recognizer.reject)
    items, given = inputs.listed(videos), list(labels)
    if len(items) != len(given):
        raise DataError(f"expected one label a clip, found {len(items)} clips and {len(given)} labels")
    places = [inputs.name(item, index) for index, item in enumerate(items)]
    texts = names.labels(given, places.__getitem__)
    together = [""] * len(items) if groups is None else [*names.groups(groups, lambda index: f"clip {index}")]
    if len(together) != len(items):
        raise DataError(f"expected one group a clip, found {len(items)} clips and {len(together)} groups")
    nothing = background(recognizer)
    reserved = next((t for t in texts if names.plain(t) == UNKNOWN and t != nothing), None)
    if reserved is not None:
        raise DataError(
            f"'{UNKNOWN}' is what a recognizer answers when it knows no better, so no action can be called that: "
            f"rename it, or say background='{reserved}' if these clips show none of the actions"
        )
    return items, texts, together


def expect_texts(recognizer: Estimator, labels: Labels, more: bool) -> None:
    """Refuses texts in place of class names that do not fit the labels, before anything is decoded.

    Args:
        recognizer: with what it was given.
        labels: of the clips.
        more: whether the texts may be of other actions, too.

    Raises:
        DataError: see `kshot.datasets.texts.Descriptions.expect`.
    """
    if (described := texts_of(recognizer)) is not None:
        nothing = background(recognizer)
        known = [*described.of] if more else labels
        described.expect([label for label in dict.fromkeys(labels) if label != nothing], known)


def texts_of(recognizer: Estimator) -> Descriptions | None:
    """The texts that stand in place of class names, read anew where a file gives them.

    Raises:
        DataError: see `kshot.datasets.texts.read_texts`.
    """
    texts = recognizer.texts
    return read_texts(texts) if isinstance(texts, str | Path) else texts


def frames_of(recognizer: Estimator, learner: Learner) -> int:
    """Frames a clip: as many as are asked for, or as the backbone takes.

    Raises:
        OptionError: no whole units of the backbone, or fewer than the method compares.
    """
    backbone = backbone_of(learner)
    frames = backbone.frames_of(recognizer.frames)
    _expect_enough(recognizer.method, frames, backbone.unit)
    return frames


def _expect_enough(name: str, frames: int, unit: int = 1) -> None:
    """Refuses fewer rows, each of `unit` frames, than a method compares."""
    if name == AUTO or frames // unit >= (least := method(name).least_frames):
        return
    if unit > 1:
        raise OptionError(
            f"method '{name}' compares successive embeddings, and this backbone gives one for {unit} frames: expected "
            f"at least {least * unit} frames a clip, found {frames}"
        )
    raise OptionError(f"method '{name}' compares successive frames: expected at least {least} a clip, found {frames}")


def background(recognizer: Estimator) -> str | None:
    """The label of the background, as labels are kept."""
    given = recognizer.background
    return None if given is None else names.label(given, "background", "name", OptionError)


def starting(recognizer: Estimator, default: str = "") -> Learner:
    """What methods start from: the backbone as it came or as a run adapted it, with what fine-tuning may change.

    Its head is the run's where that is the recognizer's method, else of no account.

    Args:
        recognizer: with what it was given.
        default: name of the backbone where it was given neither one nor a run.

    Raises:
        OptionError: a run that a recognizer cannot start from, or a method that needs one.
    """
    if recognizer.adapted is None:
        _expect_run(recognizer.method, None)
        given = default if recognizer.backbone is None else recognizer.backbone
        return Learner.build(backbones.loaded(given, recognizer.arithmetic), FINE_TUNED)
    run = runs.read_run(recognizer.adapted)
    _expect_run(recognizer.method, run)
    if run.resize != "short":
        raise OptionError(
            f"run {recognizer.adapted} was trained with resize {run.resize}, but a recognizer sees frames with resize "
            f"short: train it so"
        )
    if (before := run.sight["deinterlace"]) != recognizer.deinterlace:
        raise OptionError(
            f"run {recognizer.adapted} was trained with deinterlace {before}, found {recognizer.deinterlace}: "
            f"give both the same"
        )
    own = _head(recognizer.method, run)
    learner, _ = runs.learner(
        run, recognizer.backbone, None if own else "prototype", recognizer.head_options if own else None,
        recognizer.arithmetic,
    )  # fmt: skip
    found = backbone_of(learner)
    if found.episodic:
        raise OptionError(
            f"run {recognizer.adapted} tuned {run.config['tuning']['name']}, which looks at the support clips whenever "
            f"it answers; a recognizer answers for one clip alone: train with another tuning method"
        )
    if learner.drifting:
        raise OptionError(
            f"run {recognizer.adapted} was trained with exact, so its batch norms drifted, which no model keeps: train "
            f"without it"
        )
    frames = found.frames_of(recognizer.frames)
    if found.across and run.frames != frames:
        raise OptionError(
            f"run {recognizer.adapted} was trained with {run.frames} frames a clip, found {frames}: give both the same"
        )
    return learner


def _head(name: str, run: runs.Run) -> bool:
    """Whether a run has trained the head that is this method."""
    if name == AUTO:
        return False
    head = method(name).head
    return heads.find(head).learns and run.config["head"]["name"] == head


def _expect_run(name: str, run: runs.Run | None) -> None:
    """Refuses a method whose head must be trained before, without a run that has."""
    if name == AUTO or not method(name).needs_training or (run is not None and _head(name, run)):
        return
    found = "there is none" if run is None else f"the head of {run.folder} is '{run.config['head']['name']}'"
    raise OptionError(
        f"method '{name}' needs a run that has trained this head, and {found}: make one with `kshot train DATA --out "
        f"RUN --head {name}` and give it with --adapted RUN"
    )


def reached(recognizer: Estimator, progress: Progress, chosen: list[Clip] | None = None) -> tuple[Learner, list[Clip]]:
    """What methods start from, and the trained clips, with activations where their files are what they were.

    Args:
        recognizer: a fitted one.
        progress: how to show progress.
        chosen: some of its clips; None for all.
    """
    learner, clips = getattr(recognizer, "_start", None), recognizer.clips_ if chosen is None else chosen
    if learner is None or _another_head(recognizer, learner):
        learner = starting(recognizer, backbone_of(recognizer.learner_).name)
    if not _reads_tokens(recognizer.method):
        return learner, clips
    lost = [clip for clip in clips if clip.tokens is None and file_of(clip.name).exists()]
    if not lost:
        return learner, clips
    again, _ = labelled.read_clips(
        [clip_of(clip.name) for clip in lost], [clip.label for clip in lost], [clip.group for clip in lost], learner,
        recognizer.frames_, store=recognizer.store, progress=progress, deinterlace=recognizer.deinterlace,
    )  # fmt: skip
    found = {clip.digest: clip for clip in again}
    return learner, [
        replace(clip, tokens=found[clip.digest].tokens, changing=found[clip.digest].changing)
        if clip.tokens is None and clip.digest in found
        else clip
        for clip in clips
    ]


def _reads_tokens(name: str) -> bool:
    """Whether a method looks at more of the clips than their embeddings."""
    return name == AUTO or method(name).tunes or method(name).by_change


def _another_head(recognizer: Estimator, learner: Learner) -> bool:
    """Whether the method became another since the learner was made, and its head may be the run's."""
    if recognizer.method == AUTO:
        return False
    head = method(recognizer.method).head
    return heads.find(head).learns and learner.head.name != head


def support(recognizer: Estimator, clips: Sequence[Clip], learner: Learner) -> Support:
    """What methods may use of these clips.

    Raises:
        OptionError: class names that the method needs and the text tower cannot tell apart.
        DataError: clips whose frames the method needs and that are out of reach.
    """
    backbone, name = backbone_of(learner), recognizer.method
    labels, nothing = {clip.label for clip in clips}, background(recognizer)
    classes = (*sorted({*labels} - {nothing}), *([str(nothing)] if nothing in labels else []))
    number = {label: place for place, label in enumerate(classes)}
    needed, described = name != AUTO and method(name).needs_text, texts_of(recognizer)
    words = _wording(recognizer, described, [label for label in classes if label != nothing])
    text, notes = _text(backbone, classes, words, needed)
    before = getattr(recognizer, "texts_", None)
    if described is not None and before is not None and described.record() != before.record():
        notes.append(f"{described.file} has changed since the last training.")
    if described is not None and not needed and name != AUTO:
        notes = [f"{described.file} is not used: method '{name}' reads no class texts."]
    tokens = [clip.tokens for clip in clips]
    lost = next((clip.name for clip in clips if clip.tokens is None), None)
    if lost is not None and name == FINE_TUNED:
        raise DataError(f"method '{FINE_TUNED}' learns from the clips' frames, and {lost} is no longer what it was")

    def gather(indices: NDArray[np.int64]) -> Array:
        return np.stack([tokens[i]() for i in indices])

    able = lost is None and 0 < learner.cut <= backbone.depth and not backbone.across  # type: ignore[operator]
    seen = [clip.changing for clip in clips if clip.changing is not None]
    own = name not in METHODS and learner.head.trained and learner.head.name == name
    return Support(
        classes=classes,
        labels=np.array([number[clip.label] for clip in clips], np.int64),
        groups=np.array([group or clip.digest for clip, group in zip(clips, groups_of(clips)[0], strict=True)]),
        names=tuple(clip.name for clip in clips),
        embeddings=torch.from_numpy(np.stack([clip.embeddings for clip in clips])).to(backbone.device),
        text=text,
        text_notes=tuple(notes) if needed or name == AUTO or described is not None else (),
        text_scale=backbone.logit_scale or TEXT_SCALE,
        background=nothing in labels,
        unit=backbone.unit,
        learner=learner if able else None,
        tokens=gather if able else None,
        head=learner.head if own else None,
        head_options=learner.head_options if own else recognizer.head_options or {},
        changing=torch.from_numpy(np.stack(seen)).to(backbone.device) if len(seen) == len(clips) else None,
        described=described,
    )


def groups_of(clips: Sequence[Clip]) -> tuple[list[str], list[str]]:
    """The group of each clip, "" for one by itself, and a sentence where it is a stretch of a video's time.

    Parts of a video without a group have one all the same, see `kshot.datasets.segments`.
    """
    return segments.grouped(
        [clip_of(clip.name) for clip in clips], [clip.label for clip in clips], [clip.group for clip in clips]
    )


def _wording(recognizer: Estimator, described: Descriptions | None, actions: Sequence[str]) -> Wording:
    """How the actions are put into words; refuses texts that do not fit them."""
    phases = bool((recognizer.head_options or {}).get("phases", False))
    if described is not None:
        described.expect(actions, [*described.of])  # of an action that was forgotten it may say more
        return Wording(recognizer.prompts, described.of if phases else described.expect_apart(), phases)
    if phases:
        raise OptionError(
            "phases are texts in order: give them as a CSV label,text, a row a phase, with --texts FILE (texts=...)"
        )
    return Wording(recognizer.prompts)


def _text(
    backbone: Backbone, classes: tuple[str, ...], prompts: Wording, needed: bool
) -> tuple[Tensor | None, list[str]]:
    """(C, P) of the class names, or (C, K, P) of phases, None without, and what is to be said of them."""
    prompts.templates()  # refuses impossible ones
    if not backbone.has_text and not needed:
        return None, [f"Class names play no part: backbone '{backbone.name}' has no text side."]
    try:
        with torch.no_grad():
            return backbone.embed_text(classes, prompts), backbone.text_notes(classes, prompts)
    except CheckpointError:  # a backbone that came without a tokenizer
        return None, []
    except (DataError, OptionError) as error:  # names that it cannot tell apart
        if needed:
            raise
        return None, [f"Class names play no part: {error}."]


def tuned(learner: Learner, weights: Mapping[str, Tensor]) -> Learner:
    """The learner with these weights of its own tuned; itself without any."""
    if not weights:
        return learner
    made = replace(learner, backbone=backbone_of(learner).copy())
    made.load(weights, "fine-tuning", whole=False)
    return made


def backbone_of(learner: Learner) -> Backbone:
    """The backbone of a learner of videos."""
    assert learner.backbone is not None
    return learner.backbone


def actions(labels: Set[str]) -> list[str]:
    """The actions in order.

    Raises:
        NotEnoughClips: there is nothing to tell apart.
    """
    found = sorted(labels)
    if len(found) < 2:
        only = f"only '{found[0]}'" if found else "none"
        raise NotEnoughClips(f"expected clips of at least two actions to tell apart, found {only}: add another action")
    return found
