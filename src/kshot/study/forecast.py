"""What a study will take: disk, hours and memory of every row, before anything is stored or trained.

Work is counted, not guessed: clips by running each strategy's own batches on stand-ins for embeddings, multiply-adds by
tracing each row's tail without computing it. Time is that work at the rate of this machine, measured on a few decoded
clips and on a few clips' worth of random activations, or at a rate that is given. It is counted from nothing and to the
end: what is stored already, and a row that stops early, take less.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kshot import datasets
from kshot.activations.decoding import decoders, spread, timed_decoding
from kshot.activations.default import default_backbone
from kshot.activations.packing import stored_bytes
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.backbones.devices import wait
from kshot.datasets import BENCHMARKS, SPLITS, Dataset
from kshot.errors import DataError, KshotError, OptionError, VideoError
from kshot.fewshot import cost, protocols, runs
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.learner import Learner
from kshot.fewshot.result import machine
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.fewshot.strategies import get_strategy
from kshot.fewshot.strategies.base import Strategy
from kshot.fewshot.training import strategy_of, tuning_options_of
from kshot.progress import Progress, quiet
from kshot.settings import DTYPES, Arithmetic, EpisodeShape, Training
from kshot.study.counting import Tail, Work, anew, batch_clips, held_bytes, passing
from kshot.study.file import Row, Study, planned
from kshot.study.grid import by_name
from kshot.study.runner import training_settings

if TYPE_CHECKING:
    pass

SLOW = 1.0  # seconds for a clip above which timing one has to do
MOST = 64  # clips that are timed at once where they are quick, as many as are embedded at a time
ROOM = 1 << 30  # bytes that a timed batch may hold
EPISODES = 50  # that are scored to time a head
STATES = 4  # float32 numbers for each weight that learns: itself, its gradient, Adam's two moments


@dataclass
class Stored:
    """Activations that rows share.

    Attributes:
        cut: where they stand.
        condensed: whether the last block's tokens are condensed.
        each: bytes a clip.
        before: multiply-adds a clip up to the cut.
        splits: whose clips are stored.
        views: of a base clip.
    """

    cut: int
    condensed: bool
    each: int
    before: int
    splits: set[str] = field(default_factory=set)
    views: int = 1


def forecast(
    study: str | Path | Study,
    data: Sequence[str | Dataset] = (),
    backbone: Sequence[str | Backbone] = (),
    seeds: Sequence[int] = (),
    episodes: int | None = None,
    protocol: str | None = None,
    speed: float | None = None,
    progress: Progress = quiet,
    **computing: str,
) -> dict[str, Any]:
    """Disk, time and memory of a study, whose arguments are those of `kshot.study.runner.run`. Nothing is written.

    Args:
        study: as in `kshot.study.runner.run`.
        data: as there. A benchmark that was not prepared is taken as published, and its decoding is not timed.
        backbone: as there.
        seeds: as there.
        episodes: as there.
        protocol: as there.
        speed: reckon with a device of so many million million (1e12) multiply-adds a second in place of this one.
            Decoding and the scoring of episodes are timed here all the same.
        progress: how to show progress.
        computing: as there.

    Returns:
        title, settings (seeds, shots, episodes), machine, speed, bytes, seconds, and `parts`, one for each data set and
        backbone: data, backbone, clips (split -> number), device, precision, encoder (where it is not PyTorch),
        decoding (seconds a clip, in one process; None if not timed), bytes, seconds, stores (cut, condensed, clips,
        bytes, seconds) and rows: name, trainings, training, validation and testing (seconds), seconds (their sum),
        multiply_adds, memory (bytes that a training step holds at a time beside the backbone); or name and error.

    Raises:
        KshotError: the study cannot be run as asked.
    """
    if speed is not None and not 0 < speed < math.inf:
        raise OptionError(f"speed must be above 0, found {speed:g}")
    plan, dtype = planned(study, protocol, seeds, episodes), computing.pop("dtype", DTYPES[0])
    sets, given = by_name(data or plan.data, "data set"), backbone or plan.backbone
    if not given:
        given = [default_backbone(*(clips_of(source)[0] for source in sets.values())).name]
    networks = by_name(given, "backbone")
    parts = []
    with progress(f"reckoning {plan.title}", len(sets) * len(networks) * len(plan.rows), "rows") as step:
        for (name, where), network in itertools.product(sets.items(), networks.values()):
            made = backbones.loaded(network, Arithmetic(**computing))
            parts.append(_Part(plan, name, where, made, speed, dtype).tell(step))
    return {
        "title": plan.title,
        "settings": {"seeds": list(plan.seeds), "shots": list(plan.shots), "episodes": plan.episodes},
        "machine": machine(),
        "speed": speed,
        "parts": parts,
        "bytes": sum(part["bytes"] for part in parts),
        "seconds": round(sum(part["seconds"] for part in parts), 1),
    }


def clips_of(source: str | Dataset) -> tuple[Dataset, bool]:
    """The clips of a data set, and whether they are on this machine: a benchmark need not be."""
    from kshot.datasets import prepare
    from kshot.datasets.benchmark import benchmark

    name = re.split("[:?]", source)[0] if isinstance(source, str) else ""
    if name not in BENCHMARKS or (prepare.place(name) / "prepared.json").exists():
        return datasets.load(source), True
    sizes = benchmark(name).sizes()
    rows = [(label, split) for split, labels in sizes.items() for label, count in labels.items() for _ in range(count)]
    labels, splits = zip(*rows, strict=True)
    return datasets.build(name, [Path(str(i)) for i in range(len(rows))], labels, splits, [""] * len(rows)), False


class _Part:
    """A study's rows on one data set and backbone."""

    def __init__(
        self, plan: Study, name: str, source: str | Dataset, backbone: Backbone, speed: float | None, dtype: str
    ) -> None:
        self.plan, self.name, self.backbone, self.speed, self.dtype = plan, name, backbone, speed, dtype
        self.frames = backbone.frames_of(plan.frames)
        self.rows = backbone.rows_of(self.frames)
        self.data, self.there = clips_of(source)
        self.split = SPLITS.get(plan.split, plan.split)
        self.test = self.data.select(self.split)
        self.clips = {part: int((self.data.splits == part).sum()) for part in ("train", "val", "test")}
        self.stores: dict[tuple[int, bool], Stored] = {}
        self.tails: dict[str, Tail] = {}
        self.scored: dict[tuple[Any, ...], float] = {}

    def tell(self, step: Callable[[], None]) -> dict[str, Any]:
        given = self.data.features is not None  # nothing is decoded or stored then
        decoding, encoding = self._decoding() if self.there and not given else None, self._encoding()
        rows, stores = [], []
        for row in self.plan.rows:
            try:
                rows.append({"name": row.name, **self._row(row)})
            except KshotError as error:
                rows.append({"name": row.name, "error": str(error)})
            step()
        for store in () if given else self.stores.values():
            clips = len(self.data) if "all" in store.splits else sum(self.clips[part] for part in store.splits)
            clips += (store.views - 1) * self.clips["train"]
            seconds = clips * (store.before * encoding + (decoding or 0.0) / decoders())
            about = {"cut": store.cut, "condensed": store.condensed, "clips": clips, "bytes": clips * store.each}
            stores.append(about | {"seconds": round(seconds, 1)})
        return {
            "data": self.name,
            "backbone": self.backbone.name,
            "clips": {part: count for part, count in self.clips.items() if count} or {"all": len(self.data)},
            "device": str(self.backbone.device),
            "precision": self.backbone.precision,
            **runs.by_encoder(self.backbone),
            "decoding": decoding,
            "stores": sorted(stores, key=lambda one: -one["cut"]),
            "rows": rows,
            "bytes": sum(store["bytes"] for store in stores),
            "seconds": round(sum(one.get("seconds", 0.0) for one in (*stores, *rows)), 1),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        plan, seeds = self.plan, len(self.plan.seeds_of(row.name))
        tested = min(plan.episodes, row.episodes or plan.episodes)
        method = get_strategy(row.strategy, **row.strategy_options)
        training, validations, most, times = Work(), Work(), 0, [0]
        if method.learns_from == "nothing":
            learner = Learner.frozen(self.backbone, row.head or method.default_head, row.head_options)
            tail = self._tail("frozen", learner, {self.split})
        else:
            preset = protocols.preset(plan.protocol, "training", self.name) if plan.protocol else {}
            training_of = Training.of(preset | training_settings(plan, row, plan.shots[0]))
            schedule, shape = training_of.schedule, training_of.shape
            tuned = tuning_options_of(training_of.method, self.frames)
            head = row.head or method.default_head
            learner = Learner.build(self.backbone, row.tuning, tuned, head, row.head_options, schedule.exact)
            learnt = [part for part in ("train", "val") if self.clips[part]][method.learns_from == "support" :]
            tail = self._tail(f"{row.tuning} {tuned}", learner, {*learnt, self.split}, training_of.augmentation.views)
            # With the first seed each combination is trained once, and with the others the one that was chosen; so
            # at every shot for a row that trains for each.
            search = plan.search if row.search is None else row.search
            times = [math.prod(map(len, search.values())) + seeds - 1] * (1 if row.train_shot else len(plan.shots))
            for shot, count in zip(plan.shots, times, strict=False):
                shape = replace(shape, shot=row.train_shot or shot)
                own = strategy_of(training_of.method, shape, schedule)
                one, validation, clips = self._training(own, learner, replace(training_of, shape=shape))
                training, validations = training + one * count, validations + validation * count
                most = max(most, clips)
        testing = Work()
        for shot in plan.shots:
            testing += self._testing(method, learner, shot, tested) * seeds
        parts = [tail.seconds(work) for work in (training, validations, testing)]
        return {
            "trainings": sum(times),
            **{key: round(value, 1) for key, value in zip(("training", "validation", "testing"), parts, strict=True)},
            "seconds": round(sum(parts), 1),
            "multiply_adds": round(tail.multiply_adds(training + validations + testing)),
            "memory": most * tail.held + tail.weights if most else 0,
        }

    def _training(self, method: Strategy, learner: Learner, plan: Training) -> tuple[Work, Work, int]:
        """One training: its steps, its validations, and the most clips in a batch."""
        shape, episodes = plan.shape, plan.selection.val_episodes
        val = self.data.select("val") if self.clips["val"] and plan.selection.select == "val" else None
        support, queries = shape.way * shape.shot, shape.way * shape.query
        if method.learns_from == "support":  # it only chooses its number of steps
            count = episodes if val is not None else 0
            course = Work(support, max(method.tried) * support)
            return course * count, Work(len(method.tried) * queries) * count, support
        batches = plan.schedule.steps * plan.schedule.accumulate
        first, learning, most = batch_clips(method, learner, self.data.select("train"), batches, self.rows)
        validations = Work()
        if val is not None:
            way = min(shape.way, len(val.classes))
            scoring = self._scoring(learner, val, way, shape.shot, shape.query, True) * episodes
            times = 1 + math.ceil(plan.schedule.steps / plan.selection.val_every)
            validations = Work(len(val), 0, scoring) * times
        return Work(first, learning), validations, most

    def _testing(self, method: Strategy, learner: Learner, shot: int, episodes: int) -> Work:
        """One evaluation."""
        plan = self.plan
        support, queries = plan.way * shot, plan.way * plan.query
        if method.learns_from == "support":  # as many steps as it may have chosen
            return Work(support + queries, max(method.tried) * support) * episodes
        if learner.backbone is not None and learner.backbone.episodic:
            return Work(2 * support + queries) * episodes
        trained = method.learns_from != "nothing"
        scoring = self._scoring(learner, self.test, plan.way, shot, plan.query, trained)
        return Work(len(self.test), 0, scoring * episodes)

    def _tail(self, key: str, learner: Learner, splits: set[str], views: int = 1) -> Tail:
        """What a clip costs a learner from its cut on; takes down what has to be stored for it."""
        if key not in self.tails:
            self.tails[key], made = self._traced(learner)
            self.stores.setdefault((made.cut, made.condensed), made)
        assert learner.backbone is not None and learner.cut is not None
        exact = learner.cut == learner.backbone.depth and learner.backbone.image.exact
        store = self.stores[learner.cut, exact]
        store.splits |= splits
        store.views = max(store.views, views)
        return self.tails[key]

    def _traced(self, learner: Learner) -> tuple[Tail, Stored]:
        """The tail of a learner, traced and timed, and what is stored before it."""
        import torch

        backbone, cut = learner.backbone, learner.cut
        assert backbone is not None and cut is not None
        rows, condensed = self.rows, cut == backbone.depth and backbone.image.exact
        twin = backbone.copy().to("meta")  # traced there, not computed
        with torch.no_grad():
            pixels, found = torch.empty(rows, *backbone.input_shape, device="meta"), []
            before = cost.multiply_adds(lambda: found.append(twin.encode_to(pixels, cut)))
            x = twin.condense(found[0]) if condensed else found[0]
        weights = sum(weight.numel() for weight in learner.weights().values())
        work = [cost.multiply_adds(passing(twin, x, cut, rows, back)) for back in (False, True)[: 1 + bool(weights)]]
        draw, many = torch.Generator().manual_seed(0), max(1, MOST // backbone.unit)
        real = torch.rand(many * rows, *x.shape[1:], generator=draw).to(x.dtype if cut == 0 else torch.float16)
        real = real.to(backbone.device)
        held = held_bytes(backbone, real[:rows].clone(), cut, rows) if weights else 0
        most = (many, max(1, min(many, ROOM // max(held, 1))))

        def timed(back: bool) -> float:
            return self._timed(lambda n: passing(backbone, real[: n * rows], cut, rows, back)(), work[back], most[back])

        forward = timed(False)
        learning = timed(True) if weights else 0.0
        shape = (1, rows, *x.shape[1:])
        each = self.frames * backbone.size**2 * 3 if cut == 0 else stored_bytes(shape, self.dtype)
        tail = Tail(forward, learning, work[0], work[-1] if weights else 0, held, STATES * 4 * weights)
        return tail, Stored(cut, condensed, each, before)

    def _timed(self, run: Callable[[int], None], multiply_adds: int, most: int) -> float:
        """Seconds a clip of `run`, which takes a number of clips."""
        if self.speed is not None:
            return multiply_adds / (self.speed * 1e12)

        def seconds(clips: int) -> float:
            self._wait()
            begin = time.perf_counter()
            run(clips)
            self._wait()
            return (time.perf_counter() - begin) / clips

        first = seconds(1)
        many = max(1, min(most, int(SLOW / max(first, 1e-6))))
        return first if first > SLOW else min(seconds(many) for _ in range(3))

    def _wait(self) -> None:
        wait(self.backbone.device)

    def _encoding(self) -> float:
        """Seconds a multiply-add of the image tower."""
        import torch

        rows, whole = self.rows, cost.of_clip(self.backbone, self.frames)
        pixels = torch.rand(4 * rows, *self.backbone.input_shape).to(self.backbone.device)
        cut = 0 if self.backbone.runtime is None else self.backbone.depth  # nearly all of the tower by its encoder

        def work(clips: int) -> None:
            with torch.inference_mode():
                self.backbone(pixels[: clips * rows], cut)

        if self.speed is None:
            work(1)  # warms the device up
        return self._timed(work, whole, 4) / whole

    def _decoding(self) -> float:
        """Seconds a clip, in one process."""
        clips = [self.data.clips[i] for i in spread(range(len(self.data)))]
        resize = self.backbone.resized(self.plan.resize)
        seconds, results = timed_decoding(
            clips, self.frames, self.backbone.size, resize, deinterlace=self.plan.deinterlace
        )
        faults = [str(result) for result in results if isinstance(result, VideoError)]
        if len(faults) == len(results):
            raise DataError(f"no clip of {self.name} could be read; the first reason: {faults[0]}")
        return seconds

    def _scoring(self, learner: Learner, data: Dataset, way: int, shot: int, query: int, trained: bool) -> float:
        """Seconds that scoring an episode takes the head, a new one in place of what training will make of it."""
        import torch

        dim = self.backbone.embed_dim
        key = (learner.head.name, str(learner.head_options), len(data), way, shot, query, trained)
        if key not in self.scored:
            groups = None if self.plan.shared_group else data.groups
            sampler = Sampler(data.labels, data.classes, way, shot, query, 0, groups)
            head = anew(learner, trained).to(self.backbone.device).eval()
            draw = torch.Generator().manual_seed(0)
            clips = torch.randn(len(data), self.rows, dim, generator=draw).to(self.backbone.device)
            phases = (3,) if head.phases else ()
            text = torch.randn(len(data.classes), *phases, dim, generator=draw).to(self.backbone.device)
            shape = EpisodeShape(way=way, shot=shot, query=query)
            begin = time.perf_counter()
            scorer, chunk = head_scorer(
                head, clips, data.labels, text if head.needs_text else None, shape, self.plan.episodes
            )
            once = (time.perf_counter() - begin) / self.plan.episodes
            seconds = []
            for _ in range(2):
                begin = time.perf_counter()
                run_episodes(scorer, sampler, EPISODES, min(chunk, EPISODES))
                seconds.append(time.perf_counter() - begin)
            self.scored[key] = once + min(seconds) / EPISODES
        return self.scored[key]
