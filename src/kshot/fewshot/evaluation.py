"""The one episode loop, and the result it writes down."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import kshot
from kshot import datasets, limits, system
from kshot.activations.activations import Activations, from_features
from kshot.activations.copies import kept_apart, naming_left_out
from kshot.activations.extraction import extract
from kshot.backbones.backbone import PROMPTS
from kshot.backbones.texts import expect_prompts
from kshot.datasets import SPLITS, Dataset
from kshot.errors import DataError, OptionError
from kshot.fewshot import cost, runs
from kshot.fewshot.episodes import Episodes, Sampler
from kshot.fewshot.learner import Learner
from kshot.fewshot.protocols import Followed, follows
from kshot.files import disk, plain, write_atomic
from kshot.progress import Progress, quiet

if TYPE_CHECKING:
    from torch import Tensor

    from kshot.backbones.backbone import Backbone
    from kshot.fewshot.strategies.base import Strategy
    from kshot.heads.base import Head

CHUNK_BYTES = 32 << 20  # embeddings gathered at a time: what stays in the cache is quicker

LONG = ("cost", "per_clip", "episode_accuracy")  # of a result: for its file only

Scorer = Callable[[Episodes], "Tensor"]
"""Scores (E, Q, way) of the queries of a batch of episodes."""


@dataclass
class Result:
    """Accuracy over episodes and how it was made.

    accuracy: mean over episodes, percent. ci95: half-width of its 95 % interval, 1.96 * std / sqrt(episodes);
    it covers the draw of episodes only, and is NaN for a single one. per_class: class -> percent of its queries that
    were right, for the classes that were drawn. confusion: class -> class answered -> percent.
    seconds: in all. cost: what it took (see `kshot.fewshot.cost`): multiply_adds_per_clip, stored_bytes, peak_memory,
    extraction_seconds, evaluation_seconds, device, precision, and for a strategy that learns inside episodes
    multiply_adds_per_step and seconds_per_step.
    unreadable: clip -> why it was left out. damaged: clip, kept (share) and reason of each that counts all the same.
    missing: clips of a benchmark's split that this copy of it lacks, and those that the run was trained without.
    notes: sentences on what was passed over, left out or kept apart, with counts.
    per_clip: of each clip that was a query: clip (its path), label, asked and right (how often), taken_for (other class
    -> how often, the most frequent first). episode_accuracy: (episodes,) percent of each, for comparisons in pairs.
    cost, per_clip and episode_accuracy are written to files, not to stdout.
    """

    accuracy: float
    ci95: float
    episodes: int
    way: int
    shot: int
    query: int
    seed: int
    split: str
    head: str
    strategy: str
    backbone: str
    data: str
    clips: int
    per_class: dict[str, float]
    confusion: dict[str, dict[str, float]]
    fingerprint: str
    seconds: float
    version: str
    options: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    damaged: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    per_clip: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    episode_accuracy: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def summary(self) -> dict[str, Any]:
        """All but costs, clips and episodes, ready for JSON: the same seed gives the same, but for seconds."""
        values = {name: value for name, value in vars(self).items() if name not in LONG}
        return values | {"ci95": None if math.isnan(self.ci95) else self.ci95}

    def save(self, path: str | Path) -> None:
        """Writes the whole result as JSON, episodes included."""
        values = self.summary() | {
            "cost": self.cost,
            "per_clip": self.per_clip,
            "episode_accuracy": np.round(self.episode_accuracy, 4).tolist(),
            "machine": machine(),
        }
        with disk(Path(path)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(path), json.dumps(values, indent=1).encode())

    def minus(self, other: Result) -> tuple[float, float]:
        """Difference of two results on the same episodes and the half-width of its paired 95 % interval, percent.

        Where one took fewer episodes, the first of the other are compared.

        Raises:
            OptionError: the two did not draw the same episodes.
        """
        mine, others = vars(self) | self.options, vars(other) | other.options
        for name in ("data", "split", "way", "shot", "query", "seed", "clips", "shared_group"):
            if mine.get(name) != others.get(name):
                raise OptionError(
                    f"results can be compared in pairs on the same episodes only; their {name} differs: "
                    f"{mine.get(name)} and {others.get(name)}"
                )
        count = min(self.episodes, other.episodes)
        difference = self.episode_accuracy[:count] - other.episode_accuracy[:count]
        return float(difference.mean()), interval(difference)


def interval(values: NDArray[np.float64]) -> float:
    """Half-width of the 95 % interval of a mean: 1.96 * std / sqrt(n)."""
    return float(1.96 * values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def machine() -> dict[str, str]:
    """What a number may depend on beside the code."""
    import torch

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),  # importing it would take seconds
        "system": f"{platform.system()} {platform.machine()}",
        "processor": system.processor(),
        "cores": str(os.cpu_count() or 1),
        "threads": str(torch.get_num_threads()),
    }
    if (memory := system.memory()) is not None:
        found["memory"] = f"{memory / 1e9:.1f} GB"
    if torch.cuda.is_available():
        found["gpu"] = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return found


@follows("testing")
def evaluate(
    data: str | Path | Dataset | None = None,
    backbone: str | Path | Backbone | None = None,
    adapted: str | Path | None = None,
    features: str | Path | None = None,
    head: str | None = None,
    head_options: Mapping[str, Any] | None = None,
    way: int = 5,
    shot: int = 1,
    query: int = 5,
    episodes: int = 10_000,
    seed: int = 0,
    split: str = "test",
    shared_group: bool = True,
    center: bool = False,
    prompts: Sequence[str] = PROMPTS,
    frames: int | None = None,
    resize: str | None = None,
    store: str | Path | None = None,
    stored_only: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    out: str | Path | None = None,
    protocol: str | Followed | None = None,
    keep_copies: bool = False,
    progress: Progress = quiet,
) -> Result:
    """Few-shot accuracy over random episodes.

    Args:
        data: whatever `kshot.datasets.load` takes; leave out with `features`.
        backbone: name, folder or loaded Backbone; the adapted run's own by default, else "kshot-tiny".
        adapted: folder written by `kshot train`.
        features: ready-made features (.npz) instead of data and backbone.
        head: name of a head; the adapted run's own by default, else "prototype".
        head_options: options of the head.
        way, shot, query: classes an episode, support and query clips a class.
        episodes: number of episodes. seed: names their sequence.
        split: "test" (novel classes), "val", "train" (base) or "all".
        shared_group: whether a query may share its source with a support clip.
        center: subtract the mean embedding of the clips that are evaluated, as the field's reference does.
        prompts: templates of class texts with one {} each.
        frames, resize: frames a clip and what is done to them before the crop, as in `extract`; what the adapted run
            was trained with by default, else 8 and "short".
        store, stored_only, device, precision: as in `extract`.
        out: also write the whole result, episodes included, to this file.
        protocol: name of a protocol (see `protocols`) that gives every argument which is not given here; an adapted
            run sees clips as it was trained, all the same.
        keep_copies: whether clips stay that hold the bytes of a clip that is learned from, of one under another label
            or of the support; by default they are left out or kept apart, see `kshot.activations.copies`.
        progress: how to show progress.

    Raises:
        KshotError: whatever cannot be done as asked; nothing is written then.
    """
    started, peak = time.monotonic(), cost.Peak()
    if (data is None) == (features is None):
        raise OptionError("expected either data or features, found " + ("neither" if data is None else "both"))
    limits.expect(episodes=episodes, seed=seed)
    expect_prompts(prompts)
    run = runs.read(adapted) if adapted is not None else None
    loaded = datasets.load(data if data is not None else features)  # type: ignore[arg-type]
    ready = loaded.features is not None
    if ready and (run or backbone is not None):
        raise OptionError("ready-made features need no backbone and no adapted run: leave both out")
    if features is not None and not ready:
        raise DataError(f"{features} holds no features; pass it as data, with a backbone")
    chosen = loaded.select(split)
    split = SPLITS.get(split, split)
    if run is not None and split == "test" and (seen := run.seen & set(chosen.classes)):
        raise DataError(
            f"run {run.folder} was trained or selected on class '{min(seen)}' of split test: its test figure would be "
            f"worthless; use the data set it was trained on, or --split all if you know why"
        )
    if out is not None:
        plain(out)
    # Impossible episodes are refused here, before anything is decoded.
    Sampler(chosen.labels, chosen.classes, way, shot, query, seed, None if shared_group else chosen.groups)
    if out is not None:
        with disk(Path(out)):
            Path(out).parent.mkdir(parents=True, exist_ok=True)
    strategy: Strategy | None = None
    sight: dict[str, Any] = {}
    if ready:
        name, mark = "features", runs.features_fingerprint(loaded)
        learner = Learner.frozen(None, head or "prototype", head_options)
        learner.head.eval().expect_trained()
        activations = from_features(chosen)
    else:
        learner, strategy = runs.learner(run, backbone, head, head_options, device, precision)
        assert learner.backbone is not None and learner.cut is not None
        if strategy is None or strategy.learns_from != "support":
            learner.head.eval().expect_trained()  # before anything is decoded
            text_notes(learner, chosen.classes, prompts)
        name, mark = learner.backbone.name, learner.backbone.fingerprint
        sight = {
            "frames": frames if frames is not None else run.frames if run else 8,
            "resize": resize if resize is not None else run.resize if run else "short",
        }
        activations = extract(
            chosen,
            learner.backbone,
            learner.cut,
            store=store,
            **sight,
            stored_only=stored_only,
            condense=learner.backbone.image.exact,
            progress=progress,
        )
    activations, left_out = kept_apart(replace(activations, keep_copies=keep_copies), loaded, split)
    with naming_left_out(left_out):
        result = score(
            learner,
            activations,
            strategy,
            way=way,
            shot=shot,
            query=query,
            episodes=episodes,
            seed=seed,
            shared_group=shared_group,
            center=center,
            prompts=prompts,
            progress=progress,
        )
    result.split, result.backbone, result.fingerprint, result.data = split, name, mark, loaded.name
    lacking = loaded.missing_from(split) + (run.config["result"].get("missing", []) if run is not None else [])
    result.missing = list(dict.fromkeys(lacking))
    result.notes = [*loaded.notes, *left_out, *result.notes]
    result.options |= {"keep_copies": True} if keep_copies else {}
    result.options |= sight
    if isinstance(protocol, Followed):
        result.options["protocol"] = protocol.record(**sight)
    if run is not None:
        result.options |= {"adapted": str(adapted), "tuning": run.config["tuning"], "weights": run.digest}
    result.cost = _cost(learner, activations, strategy, result, peak)
    result.seconds = round(time.monotonic() - started, 3)
    if out is not None:
        result.save(out)
    return result


def _cost(
    learner: Learner, activations: Activations, strategy: Strategy | None, result: Result, peak: cost.Peak
) -> dict[str, Any]:
    """What `Result.cost` holds; to be asked for at the end, since counting takes memory and time too."""
    backbone = learner.backbone
    found: dict[str, Any] = {
        "stored_bytes": cost.stored_bytes(activations),
        "peak_memory": peak.read(backbone.device if backbone is not None else "cpu"),
        "extraction_seconds": round(activations.seconds, 3),
        "evaluation_seconds": result.seconds,
        "device": str(backbone.device) if backbone is not None else "cpu",
        "precision": backbone.precision if backbone is not None else "float32",
    }
    if backbone is not None:
        found["multiply_adds_per_clip"] = cost.of_clip(backbone, activations.gather([0]).shape[1])
    if strategy is not None and strategy.learns_from == "support":
        data, shape = activations.data, (result.way, result.shot, result.query, result.seed)
        episode = Sampler(data.labels, data.classes, *shape).draw([0])
        support, query = activations.gather(episode.support[0]), activations.gather(episode.query[0])
        found |= cost.of_episode(strategy, learner, support, episode.support_labels[0], query, result.way)
    return found


def score(
    learner: Learner,
    activations: Activations,
    strategy: Strategy | None = None,
    *,
    way: int = 5,
    shot: int = 1,
    query: int = 5,
    episodes: int = 10_000,
    seed: int = 0,
    shared_group: bool = True,
    center: bool = False,
    prompts: Sequence[str] = PROMPTS,
    progress: Progress = quiet,
) -> Result:
    """Accuracy of a learner on episodes of clips whose activations are stored at its cut; see `evaluate`."""
    import torch

    started = time.monotonic()
    data = activations.data
    groups = None if shared_group else data.groups
    sampler = Sampler(data.labels, data.classes, way, shot, query, seed, groups, activations.copies)
    learner.head.eval()
    notes: list[str] = []
    if strategy is not None and strategy.learns_from == "support":
        if center:
            raise OptionError("center has no meaning for a strategy that learns inside every episode")
        scorer, chunk = _trained_scorer(strategy, learner, activations, way), 1
    else:
        notes = text_notes(learner, data.classes, prompts)
        with torch.no_grad():
            text = class_texts(learner, data.classes, prompts)() if learner.head.needs_text else None
        if learner.backbone is not None and learner.backbone.episodic:
            if center:
                raise OptionError("center has no meaning for a tuning that embeds every episode by itself")
            scorer, chunk = _episodic_scorer(learner, activations, text), 1
        else:
            embeddings = learner.embed_all(activations)
            if center:
                embeddings = embeddings - embeddings.mean(dim=(0, 1))
            scorer, chunk = head_scorer(learner.head, embeddings, data.labels, text, (way * shot, way * query))
    right, answers = run_episodes(scorer, sampler, episodes, chunk, progress)
    accuracy = right.mean(1) * 100
    confusion = np.stack([answers[data.labels == c].sum(0) for c in range(len(data.classes))])
    drawn = [c for c in range(len(data.classes)) if confusion[c].any()]
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1) * 100
    return Result(
        accuracy=float(accuracy.mean()),
        ci95=interval(accuracy),
        episodes=episodes,
        way=way,
        shot=shot,
        query=query,
        seed=seed,
        split="all",
        head=learner.head.name,
        strategy=strategy.name if strategy is not None else "frozen",
        backbone=learner.backbone.name if learner.backbone is not None else "features",
        data=data.name,
        clips=len(data),
        per_class={data.classes[c]: float(shares[c, c]) for c in drawn},
        confusion={
            data.classes[c]: {other: float(shares[c, d]) for d, other in enumerate(data.classes) if shares[c, d] > 0}
            for c in drawn
        },
        fingerprint=learner.backbone.fingerprint if learner.backbone is not None else "",
        seconds=round(time.monotonic() - started, 3),
        version=kshot.__version__,
        options={
            "shared_group": shared_group,
            "center": f"mean of the {len(data)} clips evaluated" if center else None,
            "head_options": learner.head_options,
            "prompts": list(prompts) if learner.head.needs_text else None,
        },
        unreadable=activations.unreadable,
        notes=notes,
        damaged=activations.losses(),
        per_clip=_per_clip(data, answers),
        episode_accuracy=accuracy,
    )


def _per_clip(data: Dataset, answers: NDArray[np.int64]) -> list[dict[str, Any]]:
    """What `Result.per_clip` holds, from how often each clip was given each class."""
    found = []
    for clip in np.flatnonzero(answers.any(1)).tolist():
        counts, own = answers[clip], int(data.labels[clip])
        wrong = [c for c in np.argsort(-counts, kind="stable").tolist() if counts[c] and c != own]
        found.append({
            "clip": str(data.paths[clip]),
            "label": data.classes[own],
            "asked": int(counts.sum()),
            "right": int(counts[own]),
            "taken_for": {data.classes[c]: int(counts[c]) for c in wrong},
        })  # fmt: skip
    return found


def run_episodes(
    scorer: Scorer, sampler: Sampler, episodes: int, chunk: int, progress: Progress = quiet
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The episode loop: draws `episodes` episodes, scores `chunk` of them at a time.

    Returns:
        right: (episodes, way * query) whether each query was given its own class; ties go to the lower way.
        answers: (clips, classes) how often each clip was given each class as a query.
    """
    right, answers = [], np.zeros((sampler.clip_count, sampler.class_count), np.int64)
    with progress("episodes", episodes, "episodes") as step:
        for start in range(0, episodes, chunk):
            batch = sampler.draw(range(start, min(start + chunk, episodes)))
            answer = scorer(batch).argmax(-1).cpu().numpy()
            truth = batch.query_labels
            right.append(answer == truth)
            np.add.at(answers, (batch.query, np.take_along_axis(batch.classes, answer, 1)), 1)
            step(len(answer))
    return np.concatenate(right), answers


def head_scorer(
    head: Head, embeddings: Tensor, labels: NDArray[np.int64], text: Tensor | None, clips: tuple[int, int]
) -> tuple[Scorer, int]:
    """A scorer that gathers embeddings (n, T, P) and calls the head, and how many episodes of `clips`, of support
    and query, it takes at a time."""
    import torch

    own_text = text[torch.from_numpy(labels).to(text.device)] if text is not None else None
    with torch.no_grad():
        far = head.prepare(embeddings)
        near = head.prepare_support(embeddings, own_text, far)

    @torch.no_grad()
    def scorer(batch: Episodes) -> Tensor:
        support, query = torch.from_numpy(batch.support), torch.from_numpy(batch.query)
        way_labels = torch.from_numpy(batch.support_labels.copy()).to(far.device)
        way_text = text[torch.from_numpy(batch.classes).to(text.device)] if text is not None else None
        scores: Tensor = head(_rows(far, query), _rows(near, support), way_labels, way_text, prepared=True)
        return scores

    each = sum(count * x[0].numel() * x.element_size() for count, x in zip(clips, (near, far), strict=True))
    return scorer, max(1, min(2000, CHUNK_BYTES // each))


def _rows(values: Tensor, indices: Tensor) -> Tensor:
    """values (n, ...) at indices (E, K) -> (E, K, ...)."""
    picked = values.index_select(0, indices.flatten().to(values.device))
    return picked.view(*indices.shape, *values.shape[1:])


def _trained_scorer(strategy: Strategy, learner: Learner, activations: Activations, way: int) -> Scorer:
    def scorer(batch: Episodes) -> Tensor:
        support, query = activations.gather(batch.support[0]), activations.gather(batch.query[0])
        return strategy.scores(learner, support, batch.support_labels[0], query, way)[None]

    return scorer


def _episodic_scorer(learner: Learner, activations: Activations, text: Tensor | None) -> Scorer:
    """A scorer that embeds the clips of each episode together."""
    import torch

    def scorer(batch: Episodes) -> Tensor:
        support, query = activations.gather(batch.support[0]), activations.gather(batch.query[0])
        with torch.no_grad():
            near, far = learner.embed(support, len(support)), learner.embed_query(query, support)
            labels = torch.from_numpy(batch.support_labels.copy()).to(near.device)
            way_text = text[torch.from_numpy(batch.classes).to(text.device)] if text is not None else None
            scores: Tensor = learner.head(far[None], near[None], labels, way_text)
        return scores

    return scorer


def text_notes(
    learner: Learner, classes: Sequence[str], prompts: Sequence[str], needed: bool | None = None
) -> list[str]:
    """What the text tower does not see of the class texts, in words, if they are needed: by the head, unless said.

    Raises:
        KshotError: class texts that do not tell the classes apart.
    """
    needed = learner.head.needs_text if needed is None else needed
    return learner.backbone.text_notes(classes, prompts) if needed and learner.backbone is not None else []


def class_texts(learner: Learner, classes: Sequence[str], prompts: Sequence[str]) -> Callable[[], Tensor]:
    """A function that gives the (C, P) embeddings of class names: computed once unless the text tower learns.

    Raises:
        OptionError: ready-made features have no text tower.
    """
    backbone = learner.backbone
    if backbone is None:
        raise OptionError(
            f"head '{learner.head.name}' needs class texts, but ready-made features come without a text tower: "
            f"use a head that needs none, as prototype, or data with a backbone"
        )
    if any(weight.requires_grad for weight in backbone.text.parameters()):
        return lambda: backbone.embed_text(classes, prompts)
    fixed = backbone.embed_text(classes, prompts)
    return lambda: fixed
