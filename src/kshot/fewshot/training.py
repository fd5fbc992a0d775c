"""`train`: one strategy, one tuning method, one run folder."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import kshot
from kshot import datasets, processes
from kshot.activations.activations import Activations, content, from_features
from kshot.activations.copies import expect_one_label, kept_apart, naming_left_out
from kshot.activations.default import settled
from kshot.activations.drawn_views import extract_views
from kshot.activations.extraction import extract
from kshot.activations.turns import turn
from kshot.backbones.prompts import expect_prompts
from kshot.backbones.texts import Wording
from kshot.datasets import Dataset
from kshot.datasets.outputs import expect_outside
from kshot.datasets.texts import Descriptions, read_texts
from kshot.errors import OptionError
from kshot.fewshot import cost, protocols, runs
from kshot.fewshot.evaluation import score
from kshot.fewshot.fit import Fitted, fit, seeded
from kshot.fewshot.learner import Learner
from kshot.fewshot.penalty import pulled
from kshot.fewshot.ready import expect_no_sight
from kshot.fewshot.result import Followed, machine
from kshot.fewshot.resuming import (
    KEPT_ELSEWHERE,
    Trained,
    computed,
    finished,
    recorded_backbone,
    refuse_occupied,
    trained_of,
)
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.strategies.base import Objective, Strategy
from kshot.fewshot.texts import class_texts, expect_texts, wording
from kshot.fewshot.together import (
    dealt_batches,
    expect_same_clips,
    expect_same_settings,
    expect_same_work,
    only_stored,
    refuse_drifting,
)
from kshot.fewshot.validation import VAL_SEED, remarks, splits, val_sampler
from kshot.files import alone, disk, write_atomic
from kshot.progress import Progress, quiet
from kshot.settings import (
    DTYPES,
    EpisodeShape,
    Evaluating,
    Evaluation,
    Method,
    Schedule,
    Scoring,
    Training,
    penalty_of,
)
from kshot.settings.fields import Settings
from kshot.settings.types import TrainingKeywords
from kshot.tuning import named
from kshot.tuning import options as options_of
from kshot.video.views import framing, never_flipped, parse

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone


@processes.joined
@processes.by_first(alone("out"))
def train(
    data: str | Path | Dataset | None,
    out: str | Path,
    *given: Settings,
    backbone: str | Path | Backbone | None = None,
    features: str | Path | None = None,
    resume: bool = False,
    protocol: str | None = None,
    progress: Progress = quiet,
    **settings: Unpack[TrainingKeywords],
) -> Trained:
    """Adapts a backbone to a data set's base classes and writes a run folder.

    In N processes that were started together (see `kshot.processes`), a step takes N times `accumulate` batches.

    Args:
        data: whatever `kshot.datasets.load` takes, with base classes in split "train" and, for the choice of the
            best weights, val classes in split "val"; None with `features`.
        out: the run folder to write.
        given: settings as objects, such as `Schedule(steps=100)`; all of an object's values count as given.
        backbone: name, folder or loaded Backbone; by the data where it is left out, see `default_backbone` in
            `kshot.activations.default`, or with `resume` the run's own.
        features: ready-made features (.npz) instead of data and backbone: a linear layer on them learns, which begins
            as the identity, or with tuning "clip-adapter" a residual adapter.
        resume: go on with the run in `out`, whose settings must be the same; a finished one is left as it is.
        protocol: name of a protocol (see `kshot.fewshot.protocols`) for every setting that is not given here.
        progress: how to show progress.
        settings: the fields of `kshot.settings.Training`, as `strategy="meta"` or `lr=1e-3`; what is None has its
            default.

    Raises:
        KshotError: whatever cannot be done as asked.
    """
    started, peak = time.monotonic(), cost.Peak()
    data = datasets.either(data, features)
    chosen, preset = Training.chosen(given, settings), {}
    if protocol is not None:
        preset = protocols.preset(protocol, "training")  # refuses an unknown one before anything is read
        data = datasets.load(data)
        preset = protocols.preset(protocol, "training", data.name)
    plan = dealt_batches(Training.of(preset | chosen))
    progress = progress if processes.first() else quiet
    expect_same_settings(plan, backbone=backbone, resume=resume)
    followed = protocols.followed(protocol, preset, plan.values()) if protocol is not None else None
    setup = _prepare(plan, chosen, data, Path(out), backbone, resume)
    plan = replace(plan, view=replace(plan.view, frames=setup.frames))
    config = _config(plan, setup, followed)
    expect_same_work(setup.data, **config)
    if resume and (done := processes.from_first(lambda: finished(setup.folder, config))):
        return replace(done, seconds=time.monotonic() - started)
    config["computed"], changed = processes.from_first(lambda: computed(setup.folder, setup.backbone))
    notes = [*setup.notes, *changed, *setup.data.notes]
    with turn(plan.compute.store) as extracting:
        clips = _extracted(only_stored(plan, extracting), setup, progress)
    expect_same_clips(*clips.parts)
    notes += clips.notes

    def write() -> None:
        if processes.first():
            runs.write_config(setup.folder, config)

    with disk(setup.folder):
        write()
        learned = _learn(plan, setup, clips, resume, progress)
        notes += learned.objective.notes if learned.objective else ()
        config["result"] = processes.from_first(lambda: _result(plan, setup, clips, learned, peak) | {"notes": notes})
        write()
        if processes.first():
            (setup.folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return replace(trained_of(setup.folder, config), seconds=time.monotonic() - started)


@dataclass(frozen=True)
class _Setup:
    """A training that can begin: everything is loaded and nothing is decoded yet.

    frames: of a clip. val_shape: of the val episodes, narrower than asked for where there are few val classes.
    draws: what views of base clips change. still: classes that are never mirrored. reads_text: whether the loss needs
    class texts. described: the texts of a file in place of class names.
    """

    folder: Path
    data: Dataset
    base: Dataset | None
    val: Dataset | None
    strategy: Strategy
    tuning_options: dict[str, Any]
    learner: Learner
    backbone: Backbone
    frames: int
    val_shape: EpisodeShape
    draws: tuple[str, ...]
    still: tuple[str, ...]
    reads_text: bool
    described: Descriptions | None
    notes: tuple[str, ...]


def _prepare(
    plan: Training, chosen: Mapping[str, Any], data: str | Path | Dataset, folder: Path, source: Any, resume: bool
) -> _Setup:
    """Loads what a training needs and refuses what cannot be done, before anything is decoded or written."""
    from kshot.backbones import backbone as backbones

    method, shape, view, schedule = plan.method, plan.shape, plan.view, plan.schedule
    strategy = strategy_of(method, shape, schedule)
    if strategy.learns_from == "nothing":
        raise OptionError(f"strategy '{method.strategy}' trains nothing: run `kshot evaluate` without --adapted")
    expect_prompts(view.prompts)
    described = read_texts(view.texts) if view.texts is not None else None
    draws = parse(plan.augmentation.augment) if plan.augmentation.views > 1 else ()
    framing(view.resize)  # refuses an unknown one before anything is loaded
    if not resume:
        expect_outside(data, folder)
    loaded = datasets.load(data)
    if loaded.features is not None:
        source = _on_features(loaded, source, plan)
        expect_no_sight(loaded, chosen)
    else:
        if source is None and resume:
            source = processes.from_first(lambda: recorded_backbone(folder))
        loaded, source = settled(loaded, source)
    base, val = splits(loaded, strategy, plan.selection.select)
    processes.from_first(lambda: refuse_occupied(folder, resume))

    backbone = backbones.loaded(source, plan.compute)
    frames = backbone.frames_of(view.frames) if loaded.features is None else loaded.features.shape[1]
    tuning_options = tuning_options_of(method, frames)
    with seeded(schedule.seed, backbone.device):  # new weights of heads and adapters
        head = method.head or strategy.default_head
        learner = Learner.build(backbone, method.tuning, tuning_options, head, method.head_options, schedule.exact)
    learner.head.expect_frames(frames, backbone.unit)
    refuse_drifting(learner)
    val_shape = replace(shape, way=min(shape.way, len(val.classes))) if val is not None else shape
    if base is not None:
        strategy.expect(base)
    if val is not None:
        val_sampler(val, val_shape)
    reads_text = strategy.learns_from == "base" and strategy.needs_text(learner)
    of_val = strategy.learns_from == "base" and learner.head.needs_text
    reading = [part.classes for part, needed in ((base, reads_text), (val, of_val)) if part is not None and needed]
    notes = [
        *backbone.notes,
        *remarks(val, val_shape.way, strategy, plan.selection.select),
        *expect_texts(learner, view.prompts, described, reading, loaded.classes),
    ]
    still = never_flipped(base.classes, plan.augmentation.no_flip) if base is not None and "flip" in draws else ()
    return _Setup(
        folder, loaded, base, val, strategy, tuning_options, learner, backbone, frames, val_shape, draws, tuple(still),
        reads_text, described, tuple(notes),
    )  # fmt: skip


def _on_features(loaded: Dataset, source: Any, plan: Training) -> str:
    """The name of the backbone that ready-made features are; refuses what cannot be done with them."""
    assert loaded.features is not None
    own = f"features:{loaded.channels}"
    if source is not None and getattr(source, "name", source) != own:
        raise OptionError(f"{loaded.name} holds ready-made features, which need no backbone: leave it out")
    if plan.augmentation.views > 1:
        raise OptionError(f"{loaded.name} holds ready-made features, which have one view of a clip: leave views out")
    return own


def _config(plan: Training, setup: _Setup, followed: Followed | None) -> dict[str, Any]:
    """What the run folder says of how it is made. Resuming compares it, so it holds what the weights depend on."""
    shape, selection = setup.val_shape, plan.selection.record()
    return {
        "format": runs.FORMAT,
        "version": kshot.__version__,
        "backbone": {
            "name": setup.backbone.name,
            "fingerprint": setup.backbone.fingerprint,
            "precision": setup.backbone.precision,
            **runs.by_encoder(setup.backbone),
        },
        "strategy": {"name": plan.method.strategy, "options": asdict(setup.strategy)},
        "tuning": {"name": plan.method.tuning, "options": setup.tuning_options},
        "head": {"name": setup.learner.head.name, "options": setup.learner.head_options},
        "schedule": plan.schedule.record() | {k: v for k, v in selection.items() if k not in KEPT_ELSEWHERE},
        **{k: v for k, v in shape.record().items() if k not in KEPT_ELSEWHERE},
        **plan.view.record(),
        **({} if plan.compute.dtype == DTYPES[0] else {"dtype": plan.compute.dtype}),
        "prompts": Wording(plan.view.prompts, None if setup.described is None else setup.described.of).templates(),
        "texts": None if setup.described is None else setup.described.record(),
        **plan.augmentation.record(),
        "augment": list(setup.draws),
        "no_flip": list(setup.still),
        "val_episodes": {
            "way": shape.way,
            "shot": shape.shot,
            "query": shape.query,
            "episodes": plan.selection.val_episodes,
            "seed": VAL_SEED,
            **({} if shape.shared_group else {"shared_group": False}),
        },
        "select": plan.selection.select if setup.val is not None else "none",
        "protocol": followed.model_dump() if followed is not None else None,
        "data": setup.data.name,
        "base_classes": list(setup.base.classes) if setup.base is not None else [],
        "val_classes": list(setup.val.classes) if setup.val is not None else [],
    }


@dataclass(frozen=True)
class _Clips:
    """Activations of base and val clips. seconds: that storing them took. notes: what was left out of them."""

    base: Activations | None
    val: Activations | None
    seconds: float
    notes: tuple[str, ...]

    @property
    def parts(self) -> list[Activations]:
        return [part for part in (self.base, self.val) if part is not None]


def _extracted(plan: Training, setup: _Setup, progress: Progress) -> _Clips:
    """The activations that the training reads, stored by the way; refuses copies and what they make impossible."""
    learner, keep = setup.learner, plan.shape.keep_copies
    assert learner.cut is not None and learner.backbone is not None
    how: dict[str, Any] = {
        "store": plan.compute.store, "frames": plan.view.frames, "stored_only": plan.compute.stored_only,
        "condense": learner.backbone.image.exact, "resize": plan.view.resize,
        "deinterlace": plan.view.deinterlace, "dtype": plan.compute.dtype, "progress": progress,
    }  # fmt: skip
    begin, notes = time.monotonic(), []
    base = _stored(setup.base, learner, how)
    if base is not None:
        if not keep:
            names = [base.data.classes[label] for label in base.data.labels]
            expect_one_label(content(base), names, base.data.clips)
        base, doubled = kept_apart(replace(base, keep_copies=keep), setup.data, "train")
        notes += doubled
        setup.strategy.expect(base.data, base.copies)
        if plan.augmentation.views > 1:
            base = extract_views(base, setup.backbone, plan.augmentation.views, setup.draws, setup.still, **how)
    val = _stored(setup.val, learner, how)
    if val is not None:
        val, left_out = kept_apart(replace(val, keep_copies=keep), setup.data, "val")
        notes += left_out
        with naming_left_out(left_out):
            val_sampler(val.data, setup.val_shape, val)
    return _Clips(base, val, time.monotonic() - begin, tuple(notes))


def _stored(part: Dataset | None, learner: Learner, how: Mapping[str, Any]) -> Activations | None:
    """The activations of a part of the clips, or the features that stand for them."""
    if part is None or part.features is not None:
        return from_features(part, learner.cut) if part is not None else None
    assert learner.cut is not None and learner.backbone is not None
    return extract(part, learner.backbone, learner.cut, **how)


@dataclass(frozen=True)
class _Learned:
    """What a training came to. options: of the strategy, chosen on val. work: multiply-adds a step, None if unknown."""

    fitted: Fitted
    options: Mapping[str, int]
    objective: Objective | None


def _learn(plan: Training, setup: _Setup, clips: _Clips, resume: bool, progress: Progress) -> _Learned:
    """Trains on the base clips, or chooses what a strategy that learns inside episodes leaves open."""
    learner, strategy, episodes = setup.learner, setup.strategy, plan.selection.val_episodes
    if strategy.learns_from == "support":
        begin = time.monotonic()
        sampler = val_sampler(clips.val.data, setup.val_shape, clips.val) if clips.val is not None else None
        choice = strategy.choose(learner, clips.val, sampler, episodes, progress)
        if choice.accuracy:
            lines = [json.dumps({"step": s, "val_accuracy": a}) + "\n" for s, a in choice.accuracy.items()]
            if processes.first():
                write_atomic(setup.folder / "metrics.jsonl", "".join(lines).encode())
        seconds = time.monotonic() - begin if choice.accuracy else 0.0
        fitted = Fitted(choice.steps, choice.accuracy.get(choice.steps), 0, seconds)
        return _Learned(fitted, choice.options, None)
    assert clips.base is not None
    text = _no_text
    if setup.reads_text:
        words = wording(plan.view.prompts, setup.described, learner.head)
        text = class_texts(learner, clips.base.data.classes, words)
    objective = strategy.objective(learner, clips.base, text, plan.schedule.seed)
    objective = pulled(objective, learner.weights(), penalty_of(plan.schedule.penalty, plan.shape.shot))

    evaluation = Evaluation(episodes=episodes, seed=VAL_SEED)
    validation = Evaluating(Scoring(), setup.val_shape, evaluation, plan.view, plan.compute)

    def validate() -> float:
        assert clips.val is not None
        learner.train(False)
        result = score(learner, clips.val, plan=validation, described=setup.described)
        learner.train()
        return result.accuracy

    learner.train()
    learner.head.trained = True
    fitted = fit(
        learner.weights(),
        objective.loss,
        plan.schedule,
        validate if clips.val is not None else None,
        setup.folder,
        resume,
        objective.rates,
        progress,
        objective.extra,
        plan.selection,
    )
    learner.train(False)
    return _Learned(fitted, {}, objective)


def _result(plan: Training, setup: _Setup, clips: _Clips, learned: _Learned, peak: cost.Peak) -> dict[str, Any]:
    """What the config of a finished run says of its training and costs."""
    fitted, memory, work = learned.fitted, peak.read(setup.backbone.device), None
    if learned.objective is not None:
        learning, each = {**setup.learner.weights(), **learned.objective.extra}, plan.schedule.accumulate
        work = cost.of_step(learned.objective, learning, fitted.steps * each, each)
    trained = sum(w.numel() for w in setup.learner.weights().values() if w.requires_grad)
    digest = runs.weights_digest(setup.folder)
    return {
        "trained_parameters": trained,
        "stored_parameters": trained if (setup.folder / "weights.safetensors").exists() else 0,
        "multiply_adds_per_step": work,
        "stored_bytes": sum(map(cost.stored_bytes, clips.parts)),
        "peak_memory": memory,
        "best_step": fitted.best_step,
        "steps": fitted.steps,
        "val_accuracy": fitted.best_val,
        "training_seconds": round(fitted.seconds, 3),
        "seconds_per_step": fitted.step_seconds,
        "extraction_seconds": round(clips.seconds, 3),
        "device": str(setup.backbone.device),
        "weights_sha256": digest,
        "chosen": dict(learned.options),
        "unreadable": {name: why for part in clips.parts for name, why in part.unreadable.items()},
        "damaged": [one for part in clips.parts for one in part.losses()],
        "missing": setup.data.missing_from("train") + setup.data.missing_from("val"),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def _no_text() -> Tensor:
    raise AssertionError("a strategy that says it needs no class texts has asked for them")


def strategy_of(method: Method, shape: EpisodeShape, schedule: Schedule) -> Strategy:
    """The strategy as `train` uses it: what its options leave open follows from the run's.

    Args:
        method: names it, with its options.
        shape: of training episodes.
        schedule: of the run, all stages together.
    """
    implied = get_strategy(method.strategy).implied(shape, schedule)
    return get_strategy(method.strategy, **{**implied, **(method.strategy_options or {})})


def tuning_options_of(method: Method, frames: int) -> dict[str, Any]:
    """The tuning method's options as `train` uses them."""
    chosen = named(method.tuning) | dict(method.tuning_options or {})
    chosen |= {} if method.layers is None else {"layers": method.layers}
    if "frames" in options_of(method.tuning):  # a method that numbers the frames of a clip
        chosen = {"frames": frames} | chosen
    return chosen
