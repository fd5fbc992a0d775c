"""`train`: one strategy, one tuning method, one run folder."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kshot
from kshot import datasets, limits
from kshot.activations.activations import Activations
from kshot.activations.copies import expect_one_label, kept_apart, naming_left_out
from kshot.activations.extraction import extract, extract_views
from kshot.backbones.backbone import PROMPTS
from kshot.backbones.texts import expect_prompts
from kshot.datasets import Dataset
from kshot.errors import DataError, OptionError
from kshot.fewshot import cost, runs
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.evaluation import class_texts, machine, score, text_notes
from kshot.fewshot.fit import Fitted, Schedule, fit, seeded
from kshot.fewshot.learner import Learner
from kshot.fewshot.protocols import Followed, follows
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.strategies.base import Objective, Strategy
from kshot.fewshot.strategies.direct import Direct
from kshot.fewshot.strategies.meta import Meta
from kshot.files import alone, disk, occupied, write_atomic
from kshot.progress import Progress, quiet
from kshot.tuning import options as options_of
from kshot.video.views import framing, never_flipped, parse

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone

DIRECT_STEPS = (5, 10, 20, 40)
FORMERLY = {"resize": "short", "augment": [], "no_flip": [], "keep_copies": False}
"""What runs had before their configs said so."""
VAL_SEED = 1_000_003  # the val episodes are the same in every run, whatever its seed


@dataclass(frozen=True)
class Trained:
    """What `train` answers.

    weights: number of trained parameters. val_accuracy: percent, None without val classes. missing: clips of a
    benchmark's base and val classes that this copy of it lacks. unreadable: clip -> why it was left out. damaged: clip,
    kept (share) and reason of each that counts all the same. notes: what was passed over or left out.
    """

    run: Path
    weights: int
    best_step: int
    steps: int
    val_accuracy: float | None
    seconds: float
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: tuple[dict[str, Any], ...] = ()

    def report(self) -> dict[str, Any]:
        """What `kshot train --json` prints."""
        return asdict(self) | {"run": str(self.run), "seconds": round(self.seconds, 3)}


@follows("training")
@alone("out")
def train(
    data: str | Path | Dataset,
    out: str | Path,
    strategy: str = "meta",
    tuning: str = "partial",
    layers: str | int | None = None,
    backbone: str | Path | Backbone = "kshot-tiny",
    head: str | None = None,
    way: int = 5,
    shot: int = 1,
    query: int = 5,
    strategy_options: Mapping[str, Any] | None = None,
    tuning_options: Mapping[str, Any] | None = None,
    head_options: Mapping[str, Any] | None = None,
    steps: int = 400,
    lr: float = 1e-4,
    optimizer: str = "adam",
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    warmup: int = 0,
    accumulate: int = 1,
    clip: float = 0.0,
    val_every: int = 50,
    val_episodes: int = 500,
    patience: int = 0,
    select: str = "val",
    shared_group: bool = True,
    seed: int = 0,
    frames: int = 8,
    resize: str = "short",
    views: int = 1,
    augment: str | Sequence[str] = "time",
    no_flip: Sequence[str] | None = None,
    prompts: Sequence[str] = PROMPTS,
    store: str | Path | None = None,
    stored_only: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    resume: bool = False,
    protocol: str | Followed | None = None,
    keep_copies: bool = False,
    progress: Progress = quiet,
) -> Trained:
    """Adapts a backbone to a data set's base classes and writes a run folder.

    Args:
        data: whatever `kshot.datasets.load` takes, with base classes in split "train" and, for the choice of the
            best weights, val classes in split "val".
        out: the run folder to write.
        strategy: "meta" (episodes), "finetune" (supervised), "finetune-meta" (the one, then the other) or "direct"
            (learns inside each episode; this only chooses its number of steps on the val classes).
        tuning: a method of `kshot.tuning.TUNING`. layers: what partial tunes; see `kshot.tuning.partial`.
        backbone: name, folder or loaded Backbone.
        head: the head that scores episodes, "prototype" by default.
        way, shot, query: shape of the training episodes of "meta", and of the val episodes of every strategy.
        strategy_options, tuning_options, head_options: options of each by name.
        steps, lr, optimizer, schedule, weight_decay, warmup, accumulate, clip, val_every, patience: see
            `kshot.fewshot.fit.Schedule`.
        val_episodes: episodes of a look at the val classes.
        select: which classes choose the best weights: "val", or "none" for the last ones. Never "test".
        shared_group: whether a val query may share its source with a support clip of its class.
        seed: of batches and new weights.
        views: of each base clip that are stored, one drawn at each visit: the one that tests see and views - 1 draws
            of what `augment` names. Val and test always see the first.
        augment: some of "time" (random frames within the segments), "crop" and "flip".
        no_flip: classes whose clips are never mirrored; by default those with left, right or clockwise in their name.
        frames, resize, prompts, store, stored_only, device, precision: as in `extract` and `evaluate`.
        resume: go on with the run in `out`, whose settings must be the same; a finished one is left as it is.
        protocol: name of a protocol (see `protocols`) that gives every argument which is not given here.
        keep_copies: whether to learn from the same bytes under two labels, and let copies stand among val clips or on
            both sides of an episode; see `kshot.activations.copies`.
        progress: how to show progress.

    Raises:
        KshotError: whatever cannot be done as asked.
    """
    from kshot.backbones import backbone as backbones

    started, peak = time.monotonic(), cost.Peak()
    if select not in ("val", "none"):
        raise OptionError(
            f"the best weights are chosen on val classes only, found select='{select}': "
            f"choosing on test or base classes would make every figure worthless; use val or none"
        )
    shape: dict[str, Any] = {"way": way, "shot": shot, "query": query}
    method = method_of(strategy, strategy_options, shape, steps * accumulate, lr)
    if method.learns_from == "nothing":
        raise OptionError(f"strategy '{strategy}' trains nothing: run `kshot evaluate` without --adapted")
    if val_episodes == 0:
        raise OptionError("val_episodes must be at least 1, found 0: to do without val, use select none")
    limits.expect(val_episodes=val_episodes, seed=seed, frames=frames, views=views)
    plan = Schedule(
        steps=steps, lr=lr, optimizer=optimizer, weight_decay=weight_decay, schedule=schedule, warmup=warmup,
        accumulate=accumulate, clip=clip, val_every=val_every, patience=patience, seed=seed,
    )  # fmt: skip
    expect_prompts(prompts)
    drawn = parse(augment) if views > 1 else ()
    framing(resize)  # refuses an unknown one before anything is loaded
    options = options_for(tuning, layers, tuning_options, frames)
    loaded = datasets.load(data)
    if loaded.features is not None:
        raise DataError(f"{loaded.name} holds ready-made features: there is no backbone to train; give videos")
    base, val = _splits(loaded, method, select)
    folder = Path(out)
    _refuse_occupied(folder, resume)

    spine = backbone if isinstance(backbone, backbones.Backbone) else backbones.load(backbone, device, precision)
    with seeded(seed, spine.device):  # new weights of heads and adapters
        learner = Learner.build(spine, tuning, options, head or method.default_head, head_options)
    # Impossible episodes are refused here, before anything is decoded. Few val classes make val episodes narrower.
    val_shape = shape | ({"way": min(way, len(val.classes))} if val is not None else {})
    if base is not None and isinstance(method, Meta):
        Sampler(base.labels, base.classes, method.way, method.shot, method.query)
    if val is not None:
        Sampler(val.labels, val.classes, **val_shape, groups=None if shared_group else val.groups)

    notes: list[str] = []
    reads_text = method.learns_from == "base" and method.needs_text(learner)
    for part, needed in ((base, reads_text), (val, learner.head.needs_text and method.learns_from == "base")):
        if part is not None:
            notes += text_notes(learner, part.classes, prompts, needed)

    still = never_flipped(base.classes, no_flip) if base is not None and "flip" in drawn else ()
    assert learner.cut is not None and learner.backbone is not None
    how: dict[str, Any] = {
        "store": store, "frames": frames, "stored_only": stored_only, "condense": learner.backbone.image.exact,
        "resize": resize, "progress": progress,
    }  # fmt: skip
    config: dict[str, Any] = {
        "format": runs.FORMAT,
        "version": kshot.__version__,
        "backbone": {"name": spine.name, "fingerprint": spine.fingerprint, "precision": spine.precision},
        "strategy": {"name": strategy, "options": asdict(method)},
        "tuning": {"name": tuning, "options": options},
        "head": {"name": learner.head.name, "options": learner.head_options},
        "schedule": asdict(plan),
        "frames": frames,
        "resize": resize,
        "views": views,
        "augment": list(drawn),
        "no_flip": list(still),
        "prompts": list(prompts),
        "val_episodes": {
            **val_shape,
            "episodes": val_episodes,
            "seed": VAL_SEED,
            **({} if shared_group else {"shared_group": False}),
        },
        "select": select if val is not None else "none",
        "protocol": protocol.record() if isinstance(protocol, Followed) else None,
        "data": loaded.name,
        "keep_copies": keep_copies,
        "base_classes": list(base.classes) if base is not None else [],
        "val_classes": list(val.classes) if val is not None else [],
    }
    if resume and (done := _finished(folder, config)):
        return replace(done, seconds=time.monotonic() - started)
    config["computed"], changed = _computed(folder, _computing(spine))
    notes += [*changed, *loaded.notes]
    begin = time.monotonic()
    base_part = extract(base, spine, learner.cut, **how) if base is not None else None
    if base_part is not None:
        own = base_part.data
        if not keep_copies:
            expect_one_label(base_part.digests, [own.classes[label] for label in own.labels], own.paths)
        base_part = replace(base_part, keep_copies=keep_copies)
        if isinstance(method, Meta):
            Sampler(own.labels, own.classes, method.way, method.shot, method.query, copies=base_part.copies)
    if base_part is not None and views > 1:
        base_part = extract_views(base_part, spine, views, drawn, still, **how)
    val_part = extract(val, spine, learner.cut, **how) if val is not None else None
    if val_part is not None:
        val_part, left_out = kept_apart(replace(val_part, keep_copies=keep_copies), loaded, "val")
        notes += left_out
        with naming_left_out(left_out):
            _val_sampler(val_part, val_shape, shared_group)
    extracting = time.monotonic() - begin

    with disk(folder):
        runs.write_config(folder, config)
        chosen: dict[str, Any] = {}
        objective: Objective | None = None
        if isinstance(method, Direct):
            fitted = _choose_steps(learner, method, val_part, val_shape, val_episodes, shared_group, folder, progress)
            chosen = {"steps": fitted.best_step}
        elif method.learns_from == "support":  # all of it happens inside the episodes of an evaluation
            fitted = Fitted()
        else:
            assert base_part is not None
            text = class_texts(learner, base_part.data.classes, prompts) if reads_text else None
            objective = method.objective(learner, base_part, text or _none, seed)

            def validate() -> float:
                assert val_part is not None
                learner.head.eval()
                result = score(
                    learner, val_part, episodes=val_episodes, seed=VAL_SEED, shared_group=shared_group, prompts=prompts,
                    **val_shape,
                )  # fmt: skip
                learner.head.train()
                return result.accuracy

            learner.head.train()
            learner.head.trained = True
            fitted = fit(
                learner.weights(),
                objective.loss,
                plan,
                validate if val_part is not None else None,
                folder,
                resume,
                objective.rates,
                progress,
                objective.extra,
            )
        memory = peak.read(spine.device)
        work = None
        if objective is not None:
            learning = {**learner.weights(), **objective.extra}
            work = cost.of_step(objective, learning, fitted.steps * accumulate, accumulate)
        weights = folder / "weights.safetensors"
        trained = sum(w.numel() for w in learner.weights().values())
        digest = runs.weights_digest(folder)
        unreadable = {**(base_part.unreadable if base_part else {}), **(val_part.unreadable if val_part else {})}
        config["result"] = {
            "trained_parameters": trained,
            "stored_parameters": trained if weights.exists() else 0,
            "multiply_adds_per_step": work,
            "stored_bytes": sum(cost.stored_bytes(part) for part in (base_part, val_part) if part is not None),
            "peak_memory": memory,
            "best_step": fitted.best_step,
            "steps": fitted.steps,
            "val_accuracy": fitted.best_val,
            "training_seconds": round(fitted.seconds, 3),
            "seconds_per_step": fitted.step_seconds,
            "extraction_seconds": round(extracting, 3),
            "device": str(spine.device),
            "weights_sha256": digest,
            "chosen": chosen,
            "unreadable": unreadable,
            "damaged": [one for part in (base_part, val_part) if part is not None for one in part.losses()],
            "missing": loaded.missing_from("train") + loaded.missing_from("val"),
            "notes": notes,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
        }
        runs.write_config(folder, config)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return replace(_trained(folder, config), seconds=time.monotonic() - started)


def _none() -> Tensor:
    raise AssertionError("asked for class texts by a strategy that says it looks at none")


def _computing(spine: Backbone) -> dict[str, str]:
    """What the last bits of trained weights depend on beside the settings."""
    return {"device": str(spine.device)} | {name: machine()[name] for name in ("threads", "torch", "processor")}


def _computed(folder: Path, now: dict[str, str]) -> tuple[list[dict[str, str]], list[str]]:
    """How the steps of the run in `folder` were computed and are from here on, each way once; and what to say of it."""
    before: list[dict[str, str]] = []
    if (folder / "checkpoint.safetensors").exists():
        before = runs.read_config(folder).get("computed", [])
    if not before or before[-1] == now:
        return before or [now], []
    changed = [f"{name} {was} and now {now.get(name)}" for name, was in before[-1].items() if was != now.get(name)]
    told = f"this run was begun with {', '.join(changed)}: its weights differ in their last bits from an unbroken run's"
    return [*before, now], [told]


def method_of(
    strategy: str, options: Mapping[str, Any] | None, shape: Mapping[str, int], batches: int, lr: float
) -> Strategy:
    """The strategy as `train` uses it: what its options leave open follows from the run's.

    shape: way, shot and query of training episodes. batches: of the run, all stages together.
    """
    two_stages = {**shape, "first": max(1, batches // 2)}
    implied: dict[str, Mapping[str, Any]] = {"meta": shape, "finetune-meta": two_stages, "direct": {"lr": lr}}
    return get_strategy(strategy, **{**implied.get(strategy, {}), **(options or {})})


def options_for(
    tuning: str, layers: str | int | None, options: Mapping[str, Any] | None, frames: int
) -> dict[str, Any]:
    """The tuning method's options as `train` uses them."""
    chosen = dict(options or {}) | ({} if layers is None else {"layers": layers})
    if "frames" in options_of(tuning):  # a method that numbers the frames of a clip
        chosen = {"frames": frames} | chosen
    return chosen


def _trained(folder: Path, config: dict[str, Any]) -> Trained:
    """What the config of a finished run says."""
    result = config["result"]
    return Trained(
        folder,
        result["trained_parameters"],
        result["best_step"],
        result["steps"],
        result["val_accuracy"],
        result["training_seconds"],
        tuple(result.get("missing", ())),
        tuple(result.get("notes", ())),
        result["unreadable"],
        tuple(result.get("damaged", ())),
    )


def _splits(data: Dataset, method: Strategy, select: str) -> tuple[Dataset | None, Dataset | None]:
    """Base and val clips that the strategy needs; a data set without val classes trains without selection."""
    base = data.select("train") if method.learns_from == "base" else None
    val = data.select("val") if select == "val" and "val" in data.splits else None
    return base, val


def _refuse_occupied(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    if occupied(folder):
        if not (folder / "config.json").exists():
            raise OptionError(f"--out {folder} is not empty and holds no run; name another folder")
        if not resume:
            raise OptionError(f"--out {folder} holds a run already; add --resume to go on with it, or name another")


def _finished(folder: Path, config: dict[str, Any]) -> Trained | None:
    """The finished run in `folder`; None where there is none, or one to go on with.

    Raises:
        OptionError: it was started with other settings.
        CheckpointError: its config cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        return None
    before: dict[str, Any] = {**FORMERLY, **runs.read_config(folder)}
    asked: dict[str, Any] = json.loads(json.dumps(config))
    asked["backbone"]["name"] = before["backbone"]["name"]  # another path to the same weights will do
    for name, value in asked.items():
        if name != "version" and before.get(name) != value:
            raise OptionError(
                f"run {folder} was started with other settings: {name} was {before.get(name)}, now {value}; "
                f"repeat the first command with --resume, or name another --out"
            )
    return _trained(folder, before) if "result" in before else None


def _val_sampler(val: Activations, shape: Mapping[str, int], shared_group: bool) -> Sampler:
    groups = None if shared_group else val.data.groups
    return Sampler(val.data.labels, val.data.classes, seed=VAL_SEED, groups=groups, copies=val.copies, **shape)


def _choose_steps(
    learner: Learner,
    method: Direct,
    val: Activations | None,
    shape: dict[str, Any],
    episodes: int,
    shared_group: bool,
    folder: Path,
    progress: Progress,
) -> Fitted:
    """Direct's number of steps (as `best_step`), by accuracy on val episodes; its own default without val classes."""
    begin = time.monotonic()
    if val is None:
        return Fitted(best_step=method.steps)
    sampler = _val_sampler(val, shape, shared_group)
    way, queries = shape["way"], shape["way"] * shape["query"]
    right = dict.fromkeys(DIRECT_STEPS, 0)
    with progress("choosing steps on val", episodes, "episodes") as step:
        for index in range(episodes):
            episode = sampler.draw([index])
            support, query = val.gather(episode.support[0]), val.gather(episode.query[0])
            course = method.course(learner, support, episode.support_labels[0], query, way, list(DIRECT_STEPS))
            truth = episode.query_labels[0]
            for steps, scores in course.items():
                right[steps] += int((scores.argmax(-1).cpu().numpy() == truth).sum())
            step()
    accuracy = {steps: 100 * hits / (episodes * queries) for steps, hits in right.items()}
    best = max(DIRECT_STEPS, key=lambda steps: accuracy[steps])
    lines = [json.dumps({"step": s, "val_accuracy": a}) + "\n" for s, a in accuracy.items()]
    write_atomic(folder / "metrics.jsonl", "".join(lines).encode())
    return Fitted(best, accuracy[best], 0, time.monotonic() - begin)
