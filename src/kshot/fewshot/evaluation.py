"""The one episode loop, and the result that it writes down."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

import kshot
from kshot import datasets, processes
from kshot.activations.activations import Activations, from_features
from kshot.activations.copies import kept_apart, naming_left_out
from kshot.activations.default import settled
from kshot.activations.extraction import extract
from kshot.activations.turns import turn
from kshot.backbones.prompts import expect_prompts
from kshot.backbones.texts import Wording
from kshot.datasets import SPLITS, Dataset
from kshot.datasets.texts import Descriptions, read_texts
from kshot.errors import DataError, OptionError
from kshot.fewshot import cost, protocols, runs
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.intervals import interval
from kshot.fewshot.learner import Learner
from kshot.fewshot.ready import expect_fitting
from kshot.fewshot.result import ClipScore, Conditions, Costs, Damaged, File, Named, Result, TextAlone, machine
from kshot.fewshot.scoring import Scorer, episodic_scorer, head_scorer, run_episodes, scaled_scorer, trained_scorer
from kshot.fewshot.texts import class_texts, expect_texts, text_notes, wording
from kshot.fewshot.together import expect_same_clips, expect_same_settings, expect_same_work, only_stored
from kshot.files import disk, plain
from kshot.heads import get_head
from kshot.progress import Progress, quiet
from kshot.settings import DTYPES, TORCH, Evaluating
from kshot.settings.fields import Settings
from kshot.settings.types import EvaluatingKeywords

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone
    from kshot.fewshot.strategies.base import Strategy

__all__ = ["Result", "evaluate", "machine", "score"]


@processes.joined
def evaluate(
    data: str | Path | Dataset | None = None,
    backbone: str | Path | Backbone | None = None,
    adapted: str | Path | None = None,
    *given: Settings,
    features: str | Path | None = None,
    out: str | Path | None = None,
    protocol: str | None = None,
    progress: Progress = quiet,
    **settings: Unpack[EvaluatingKeywords],
) -> Result:
    """Few-shot accuracy over random episodes.

    In processes that were started together (see `kshot.processes`) each scores a part of them; all have the result.

    Args:
        data: whatever `kshot.datasets.load` takes; leave out with `features`.
        backbone: name, folder or loaded Backbone; the adapted run's own by default, else by the data, see
            `default_backbone` in `kshot.activations.default`.
        adapted: folder written by `kshot train`. It sees clips as it was trained, unless frames, resize or deinterlace
            are given.
        given: settings as objects, such as `EpisodeShape(shot=5)`; all of an object's values count as given.
        features: ready-made features (.npz) instead of data and backbone.
        out: also write the whole result, episodes included, to this file.
        protocol: name of a protocol (see `kshot.fewshot.protocols`) for every setting that is not given here.
        progress: how to show progress.
        settings: the fields of `kshot.settings.Evaluating`, as `shot=5` or `head="otam"`; what is None has its default.

    Raises:
        KshotError: whatever cannot be done as asked; nothing is written then.
    """
    started, peak = time.monotonic(), cost.Peak()
    source = datasets.either(data, features)
    chosen = Evaluating.chosen(given, settings)
    preset = protocols.preset(protocol, "testing") if protocol is not None else {}
    plan = Evaluating.of(preset | chosen)
    progress = progress if processes.first() else quiet
    expect_same_settings(plan, backbone=backbone)
    expect_prompts(plan.view.prompts)
    described = read_texts(plan.view.texts) if plan.view.texts is not None else None
    run = runs.read_run(adapted) if adapted is not None else None
    if run is not None:
        plan = Evaluating.of(preset | run.sight | chosen)
    loaded = datasets.load(source)
    if features is not None and loaded.features is None:
        raise DataError(f"{features} holds no features; pass it as data, with a backbone")
    if run is None and loaded.features is None:
        loaded, backbone = settled(loaded, backbone)
    else:
        expect_fitting(loaded, run, backbone, chosen)
    clips = _novel(loaded, plan.evaluation.split, run)
    # Impossible episodes are refused here, before anything is decoded.
    sampler_of(clips, plan)
    if out is not None and processes.first():
        plain(out)
        with disk(Path(out)):
            Path(out).parent.mkdir(parents=True, exist_ok=True)
    learner, strategy, plan = _learner(clips, backbone, run, plan)
    reading = [clips.classes] * (learner.head.needs_text and (strategy is None or strategy.learns_from != "support"))
    asked = reading or described is not None
    said = expect_texts(learner, plan.view.prompts, described, reading, loaded.classes, run) if asked else []
    expect_same_work(clips, run=run and run.digest, backbone=learner.backbone and learner.backbone.fingerprint)
    activations = _activations(clips, learner, plan, progress)
    split = SPLITS.get(plan.evaluation.split, plan.evaluation.split)
    activations, left_out = kept_apart(replace(activations, keep_copies=plan.shape.keep_copies), loaded, split)
    with naming_left_out(left_out):
        result = score(learner, activations, strategy, plan, progress, described, alone=True)
    result.split, result.data = split, loaded.name
    if loaded.features is not None:
        result.fingerprint = runs.features_fingerprint(loaded)
    lacking = loaded.missing_from(split) + (run.config["result"].get("missing", []) if run is not None else [])
    result.missing = list(dict.fromkeys(lacking))
    result.notes = [*clips.notes, *activations.notes, *left_out, *dict.fromkeys([*said, *result.notes])]
    how = result.options
    if plan.shape.keep_copies:
        how.keep_copies = True
    if loaded.features is None:
        how.frames, how.resize = plan.view.frames, plan.view.resize
        if plan.view.deinterlace:
            how.deinterlace = True
        if plan.compute.dtype != DTYPES[0]:
            how.dtype = plan.compute.dtype
    if protocol is not None:
        how.protocol = protocols.followed(protocol, preset, plan.values())
    if run is not None:
        how.adapted, how.tuning, how.weights = str(adapted), Named(**run.config["tuning"]), run.digest
    result.cost = _cost(learner, activations, strategy, result, peak)
    result.seconds = round(time.monotonic() - started, 3)
    if out is not None and processes.first():
        result.save(out)
    return result


def _novel(loaded: Dataset, split: str, run: runs.Run | None) -> Dataset:
    """The clips of a split; those that a run was trained or selected on are noted, and refused of the test split."""
    clips = loaded.select(split)
    if run is None or not (seen := run.seen & set(clips.classes)):
        return clips
    if SPLITS.get(split, split) == "test":
        raise DataError(
            f"run {run.folder} was trained or selected on class '{min(seen)}' of split test: its test figure would be "
            f"worthless; use the data set it was trained on, or --split all if you know why"
        )
    told = (
        f"the run was trained or selected on {len(seen)} of these {len(clips.classes)} classes: no figure of new ones"
    )
    return clips.changed(notes=(*clips.notes, told))


def sampler_of(clips: Dataset, plan: Evaluating, copies: NDArray[np.str_] | None = None) -> Sampler:
    """The sampler of an evaluation's episodes; refuses what cannot be drawn from these clips."""
    shape, groups = plan.shape, None if plan.shape.shared_group else clips.groups
    seed, least = plan.evaluation.seed, plan.evaluation.least_shot
    return Sampler(clips.labels, clips.classes, shape.way, shape.shot, shape.query, seed, groups, copies, least)


def _learner(
    clips: Dataset, backbone: str | Path | Backbone | None, run: runs.Run | None, plan: Evaluating
) -> tuple[Learner, Strategy | None, Evaluating]:
    """What is evaluated, the strategy of its run, and the plan with as many frames as its backbone takes."""
    scoring, compute = plan.scoring, plan.compute
    if clips.features is not None and run is None:
        learner = Learner.frozen(None, scoring.head or "prototype", scoring.head_options)
        learner.head.eval().expect_trained()
        learner.head.expect_frames(clips.features.shape[1])
        return learner, None, plan
    learner, strategy = runs.learner(run, backbone, scoring.head, scoring.head_options, compute)
    assert learner.backbone is not None
    frames = learner.backbone.frames_of(plan.view.frames)
    learner.head.expect_frames(frames if clips.features is None else clips.features.shape[1], learner.backbone.unit)
    if strategy is None or strategy.learns_from != "support":
        learner.head.eval().expect_trained()  # before anything is decoded
    return learner, strategy, replace(plan, view=replace(plan.view, frames=frames))


def _activations(clips: Dataset, learner: Learner, plan: Evaluating, progress: Progress) -> Activations:
    """The activations of the clips at the learner's cut; the same in all processes that work together."""
    if clips.features is not None:
        found = from_features(clips, learner.cut)
    else:
        with turn(plan.compute.store) as extracting:
            found = _stored(clips, learner, only_stored(plan, extracting), progress)
    expect_same_clips(found)
    return found


def _stored(clips: Dataset, learner: Learner, plan: Evaluating, progress: Progress) -> Activations:
    """The activations of videos, extracted where they are not stored yet."""
    assert learner.backbone is not None and learner.cut is not None
    return extract(
        clips, learner.backbone, learner.cut, store=plan.compute.store, frames=plan.view.frames,
        resize=plan.view.resize, deinterlace=plan.view.deinterlace, stored_only=plan.compute.stored_only,
        dtype=plan.compute.dtype, condense=learner.backbone.image.exact, progress=progress,
    )  # fmt: skip


def _cost(
    learner: Learner, activations: Activations, strategy: Strategy | None, result: Result, peak: cost.Peak
) -> Costs:
    """What `Result.cost` holds; to be asked for at the end, since counting takes memory and time too."""
    backbone = learner.backbone
    found = Costs(
        stored_bytes=cost.stored_bytes(activations),
        peak_memory=peak.read(backbone.device if backbone is not None else "cpu"),
        extraction_seconds=round(activations.seconds, 3),
        evaluation_seconds=result.seconds,
        device=str(backbone.device) if backbone is not None else "cpu",
        precision=backbone.precision if backbone is not None else "float32",
        encoder=backbone.encoder if backbone is not None else TORCH,
    )
    if backbone is not None:
        rows = activations.gather([0]).shape[1]
        found.multiply_adds_per_clip = cost.of_clip(backbone, rows * backbone.unit if activations.cut else rows)
    if strategy is not None and strategy.learns_from == "support":
        data, shape = activations.data, (result.way, result.shot, result.query, result.seed)
        episode = Sampler(data.labels, data.classes, *shape).draw([0])
        support, query = activations.gather(episode.support[0]), activations.gather(episode.query[0])
        step = cost.of_episode(strategy, learner, support, episode.support_labels[0], query, result.way)
        if step is not None:
            found.multiply_adds_per_step, found.seconds_per_step = step
    return found


def score(
    learner: Learner,
    activations: Activations,
    strategy: Strategy | None = None,
    plan: Evaluating | None = None,
    progress: Progress = quiet,
    described: Descriptions | None = None,
    alone: bool = False,
    **settings: Unpack[EvaluatingKeywords],
) -> Result:
    """Accuracy of a learner on episodes of clips whose activations are stored at its cut.

    Args:
        learner: what is evaluated.
        activations: of the clips.
        strategy: of the run it comes from, if any.
        plan: the settings; made of keyword arguments by default, as in `evaluate`.
        progress: how to show progress.
        described: texts in place of class names, if any; the plan's own file is not read.
        alone: whether to find `Result.text_alone`, too.
        settings: see `plan`.
    """
    started = time.monotonic()
    plan = plan or Evaluating.of(Evaluating.chosen((), settings))
    data, shape, backbone = activations.data, plan.shape, learner.backbone
    sampler = sampler_of(data, plan, activations.copies)
    learner.head.eval()
    words: Wording | None = None
    text_scorer: list[tuple[Scorer, int]] = []
    inside = strategy is not None and strategy.learns_from == "support"
    notes = learner.transductive(by_head=not inside)
    if strategy is not None and inside:
        for name in _statistics(plan):
            raise OptionError(f"{name} has no meaning for a strategy that learns inside every episode")
        scorer, chunk = trained_scorer(strategy, learner, activations, shape.way), 1
    else:
        if learner.head.needs_text:
            words = wording(plan.view.prompts, described, learner.head)
            notes += text_notes(learner, data.classes, words)
        (scorer, chunk), *text_scorer = _scorers(learner, activations, plan, words, alone)
    right, answers = run_episodes(scorer, sampler, plan.evaluation.episodes, chunk, progress)
    accuracy = right.mean(1) * 100
    per_class, confusion = _shares(data, answers)
    result = Result(
        accuracy=float(accuracy.mean()),
        chance=round(100 / shape.way, 4),
        ci95=interval(accuracy) if len(accuracy) > 1 else None,
        episodes=plan.evaluation.episodes,
        way=shape.way,
        shot=shape.shot,
        query=shape.query,
        seed=plan.evaluation.seed,
        split="all",
        head=learner.head.name,
        strategy=strategy.name if strategy is not None else "frozen",
        backbone=backbone.name if backbone is not None else "features",
        data=data.name,
        clips=len(data),
        per_class=per_class,
        confusion=confusion,
        fingerprint=backbone.fingerprint if backbone is not None else "",
        seconds=round(time.monotonic() - started, 3),
        version=kshot.__version__,
        options=Conditions(
            shared_group=shape.shared_group,
            center=f"mean of the {len(data)} clips evaluated" if plan.evaluation.center else None,
            scale="mean and deviation of the support clips of each episode" if plan.evaluation.scale else None,
            head_options=learner.head_options,
            prompts=words.templates() if words is not None else None,
            least_shot=plan.evaluation.least_shot,
        ),
        unreadable=activations.unreadable,
        notes=notes,
        damaged=[Damaged(**one) for one in activations.losses()],
        per_clip=_per_clip(data, answers),
        episode_accuracy=accuracy,
    )
    if words is not None and described is not None:
        result.options.texts = File(**described.record())
    for one, at_once in text_scorer:
        result.text_alone = TextAlone.of(run_episodes(one, sampler, plan.evaluation.episodes, at_once)[0])
    return result


def _scorers(
    learner: Learner, activations: Activations, plan: Evaluating, words: Wording | None, alone: bool
) -> list[tuple[Scorer, int]]:
    """A scorer by the learner's head, and how many episodes it takes at a time.

    With `alone` a second one, by the texts alone, where the head reads texts and is not head `text` itself. Not where
    every episode is embedded by itself: that would take as long again.
    """
    import torch

    data = activations.data
    if plan.evaluation.scale and learner.head.needs_text:
        raise OptionError(
            f"scale changes the channels of clips, not of class names, and head '{learner.head.name}' compares both: "
            f"leave it out, or take a head without texts, such as prototype"
        )
    with torch.no_grad():
        text = class_texts(learner, data.classes, words)() if words is not None else None
    if learner.backbone is not None and learner.backbone.episodic:
        for name in _statistics(plan):
            raise OptionError(f"{name} has no meaning for a tuning that embeds every episode by itself")
        return [(episodic_scorer(learner, activations, text), 1)]
    embeddings = learner.embed_all(activations)
    if plan.evaluation.center:
        embeddings = embeddings - embeddings.mean(dim=(0, 1))
    if plan.evaluation.scale:
        return [scaled_scorer(learner.head, embeddings, plan.shape)]
    heads = [learner.head]
    if alone and text is not None and learner.head.name != "text":
        heads.append(get_head("text", phases=learner.head.phases).to(embeddings.device).eval())
    episodes, equal = plan.evaluation.episodes, plan.evaluation.least_shot is None
    return [head_scorer(head, embeddings, data.labels, text, plan.shape, episodes, equal) for head in heads]


def _statistics(plan: Evaluating) -> list[str]:
    """The settings asked for that move or scale stored embeddings."""
    return [name for name in ("center", "scale") if getattr(plan.evaluation, name)]


def _shares(data: Dataset, answers: NDArray[np.int64]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What `Result.per_class` and `Result.confusion` hold, from how often each clip was given each class."""
    confusion = np.stack([answers[data.labels == c].sum(0) for c in range(len(data.classes))])
    drawn = [c for c in range(len(data.classes)) if confusion[c].any()]
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1) * 100
    taken = {
        data.classes[c]: {other: float(shares[c, d]) for d, other in enumerate(data.classes) if shares[c, d] > 0}
        for c in drawn
    }
    return {data.classes[c]: float(shares[c, c]) for c in drawn}, taken


def _per_clip(data: Dataset, answers: NDArray[np.int64]) -> list[ClipScore]:
    """What `Result.per_clip` holds, from how often each clip was given each class."""
    found = []
    for clip in np.flatnonzero(answers.any(1)).tolist():
        counts, own = answers[clip], int(data.labels[clip])
        wrong = [c for c in np.argsort(-counts, kind="stable").tolist() if counts[c] and c != own]
        found.append(
            ClipScore(
                clip=str(data.clips[clip]),
                label=data.classes[own],
                queries=int(counts.sum()),
                right=int(counts[own]),
                taken_for={data.classes[c]: int(counts[c]) for c in wrong},
            )
        )
    return found
