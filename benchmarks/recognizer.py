"""Whether a recognizer keeps its promise: what `fit` says to expect, against what then comes true.

    python benchmarks/recognizer.py speed
    python benchmarks/recognizer.py promise [--data DATA] [--split test] [--shot 5] [--way 5] [--draws 50] [--plot P]
    python benchmarks/recognizer.py adapted --run RUN [--shot 1 3 5] [--draws 50]
    python benchmarks/recognizer.py unequal [--data DATA] [--split test] [--shot 1 3 10] [--draws 50]

speed: `fit` on 5 clips each of 5 novel classes of `motion`, and 25 predictions, from files, nothing stored before.

promise: random draws of `way` classes of the split and `shot` clips of each, with their groups. Each draw is fitted by
`kshot.recognizer.fitting.fit`, as `Recognizer.fit` does, and then scored on *all* other clips of its classes, and of
other classes, that are in no training clip's group. "unknown" counts as wrong for trained classes.
  --sessions  not any clips, but one of every class from each of `shot` groups: as many people, each filmed doing all
  --no-groups  every clip counts as filmed apart: as for a user who gives no groups; all others are queries
  --of N      lessons are drawn from the first N clips of each class only, those after them are queries:
              `--data motion:160 --of 40` draws the lessons of `--data motion`, 60 people more are queries. The default
  --data F.npz  ready-made features: no class texts, nothing to fine-tune
All clips are extracted once. The first draw of `motion` is made by `Recognizer` from files, too; both must agree.

adapted: the same draws, fitted from the backbone as it came and from a run of `kshot train`.

unequal: lessons whose classes have unlike numbers of clips, those of --shot, in a drawn order. Each method alone, none
refused: right answers among the queries of the class with so many clips, and their mean over the classes.

Draw number i is a function of --seed and i alone. Means are of draws, with a 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kshot import Recognizer, load_data, settings
from kshot.activations.default import default_backbone
from kshot.activations.encoding import embed
from kshot.activations.extraction import extract
from kshot.backbones.backbone import load
from kshot.fewshot import runs
from kshot.fewshot.intervals import interval
from kshot.fewshot.learner import Learner
from kshot.recognizer import calibrate
from kshot.recognizer.choose import candidates
from kshot.recognizer.classifier import decide
from kshot.recognizer.clips import weighs_places
from kshot.recognizer.fitting import FittedMethod, fit
from kshot.recognizer.methods import Support, learn
from kshot.recognizer.preparing import tuned

Array = NDArray[Any]
Indices = NDArray[np.int64]

DATA, OF = "motion:160", 40  # lessons from the clips of `motion`; 60 people more as queries
FRAMES = 8
BINS = 15  # of probabilities, for the expected calibration error


@dataclass(frozen=True)
class Source:
    """All N clips of a split.

    Attributes:
        name: of the data.
        classes: (C,) label texts.
        labels: (N,) indices into them.
        groups: (N,) what was filmed together.
        order: (N,) what `Recognizer` sorts the clips of a class by.
        paths: of the videos; none for ready-made features.
        embeddings: (N, T, P) by the learner that fitting starts from.
        text: (C, P) of the class names.
        text_scale: factor on the cosine with them.
        learner: what fine-tuning changes.
        gather: gives activations of clips.
        changing: (N, T, P) pooled by how much each place changes.
    """

    name: str
    classes: Array
    labels: Indices
    groups: Array
    order: Array
    paths: list[Path]
    embeddings: Tensor
    text: Tensor | None = None
    text_scale: float = 100.0
    learner: Learner | None = None
    gather: Any = None
    changing: Tensor | None = None

    @classmethod
    def of(
        cls, data: str, split: str, run: str | None = None, backbone: str | None = None, store: str | None = None
    ) -> Source:
        read = load_data(data).select(split)
        about = (Path(data).stem, np.array(read.classes), read.labels, read.groups)
        if read.features is not None:
            order = np.array([f"{number:06d}" for number in range(len(read))])
            return cls(*about, order, [], torch.from_numpy(np.asarray(read.features, np.float32)))
        loaded = load(backbone or default_backbone(read).name)
        if run is None:
            learner = Learner.build(loaded, "partial")
        else:
            learner, _ = runs.learner(runs.read_run(run), None, "prototype", None, settings.Arithmetic())
        assert learner.cut is not None
        stored = extract(read, loaded, learner.cut, store=store, condense=loaded.image.exact)
        assert learner.backbone is not None
        with torch.no_grad():
            text = learner.backbone.embed_text(read.classes) if loaded.has_text else None
        seen = embed(learner.backbone, stored, changing=True) if weighs_places(learner, FRAMES) else None
        return cls(
            *about, np.array(stored.digests), [Path(path) for path in read.paths], learner.embed_all(stored), text,
            learner.backbone.logit_scale or 100.0, learner, stored.gather, seen,
        )  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """Indices of clips.

    Attributes:
        classes: of the lesson.
        shown: its clips, in a recognizer's order.
        own: queries of its classes.
        other: queries of other classes.
        first: (own,) whether a query is one of the clips that lessons are drawn from.
    """

    classes: Indices
    shown: Indices
    own: Indices
    other: Indices
    first: NDArray[np.bool_]


def draws(
    source: Source, way: int, shot: int | list[int], count: int, sessions: bool, seed: int, of: int | None = None
) -> Iterator[Draw]:
    """Random lessons; those that leave no group for queries are drawn again.

    shot: clips of a class, or of each of the `way` classes, in a drawn order.
    of: how many clips of each class, the first ones, they are drawn from; all by default.
    """
    first = np.zeros(len(source.labels), bool)
    for label in range(len(source.classes)):
        first[np.flatnonzero(source.labels == label)[:of]] = True
    number = made = 0
    while made < count:
        rng = np.random.default_rng((seed, number))
        number += 1
        classes = np.sort(rng.choice(len(source.classes), way, replace=False))
        picked = []
        groups: Any = rng.permutation(np.unique(source.groups[first]))[:shot] if isinstance(shot, int) else []
        sizes = [shot] * way if isinstance(shot, int) else rng.permutation(shot).tolist()
        for label, size in zip(classes, sizes, strict=True):
            clips = np.flatnonzero((source.labels == label) & first)
            if sessions:
                some = [clips[source.groups[clips] == group][0] for group in groups]
            else:
                some = rng.permutation(clips)[:size].tolist()
            picked += sorted(some, key=lambda clip: source.order[clip])
        free = ~np.isin(source.groups, source.groups[picked])
        inside = np.isin(source.labels, classes)
        own, other = np.flatnonzero(inside & free), np.flatnonzero(~inside & free)
        if first[own].any():
            made += 1
            yield Draw(classes, np.array(picked), own, other, first[own])


def support(source: Source, draw: Draw, clips: Indices) -> Support:
    """These clips as what `fit` takes; clips of other classes get the label 0."""
    labels = np.searchsorted(draw.classes, source.labels[clips])
    return Support(
        classes=tuple(source.classes[draw.classes]),
        labels=np.where(np.isin(source.labels[clips], draw.classes), labels, 0),
        groups=source.groups[clips],
        names=tuple(map(str, clips)),
        embeddings=source.embeddings[torch.from_numpy(clips)],
        text=None if source.text is None else source.text[torch.from_numpy(draw.classes)],
        text_scale=source.text_scale,
        learner=source.learner,
        tokens=None if source.gather is None else lambda some: source.gather(clips[some]),
        changing=None if source.changing is None else source.changing[torch.from_numpy(clips)],
    )


def queries(source: Source, lesson: FittedMethod, clips: Indices) -> Tensor:
    """(n, T, P) what the classifier is given of these clips."""
    if lesson.classifier.scorer.head.by_change:
        assert source.changing is not None
        return source.changing[torch.from_numpy(clips)]
    if not lesson.weights:
        return source.embeddings[torch.from_numpy(clips)]
    assert source.learner is not None
    with torch.no_grad():
        return tuned(source.learner, lesson.weights).embed(source.gather(clips))


def alone(source: Source, draw: Draw) -> tuple[dict[str, NDArray[np.bool_]], Indices]:
    """Which queries each method alone would get right, none refused, and their labels."""
    everything = support(source, draw, np.concatenate([draw.shown, draw.own]))
    shown, rest = np.split(np.arange(len(everything)), [len(draw.shown)])
    result = {}
    for name in candidates(everything):
        found = learn(name, everything, shown, rest)
        with torch.no_grad():
            answers = found.scorer(found.queries).argmax(1).numpy()
        result[name] = answers == everything.labels[rest]
    return result, everything.labels[rest]


def shares(source: Source, draw: Draw) -> dict[str, float]:
    """What each method alone would get right, none refused."""
    return {name: float(right.mean()) for name, right in alone(source, draw)[0].items()}


def kept(source: Source, draw: Draw, each: bool = True) -> dict[str, Any]:
    """What was promised for a draw, and what came true. each: score every method alone, too."""
    lesson = fit(support(source, draw, draw.shown))
    embeddings, classes = queries(source, lesson, draw.own), np.arange(len(draw.classes)).astype(str)
    labels = np.searchsorted(draw.classes, source.labels[draw.own])
    answer = decide(lesson.classifier, embeddings, classes, lesson.threshold)
    with torch.no_grad():
        logits = lesson.classifier.scorer(embeddings).double().numpy()
    temperature = float(lesson.classifier.temperature)
    row: dict[str, Any] = {
        "said": lesson.report.accuracy,
        "true": float((answer.labels == classes[labels]).mean()),
        "even": float(np.average(answer.labels == classes[labels], weights=calibrate.balanced(labels))),
        "queries": len(labels),
        "groups": len(np.unique(source.groups[draw.own])),
        "blur": _blur(answer.labels == classes[labels], source.groups[draw.own]),
        "method": lesson.method,
        "first": float((answer.labels == classes[labels])[draw.first].mean()),
        "plain": float((logits.argmax(1) == labels).mean()),
        "loss": [float(calibrate.losses(logits, labels, t).mean()) for t in (1.0, temperature)],
        "sure": [calibrate.softmax(logits, t).max(1) for t in (1.0, temperature)],
        "right": logits.argmax(1) == labels,
        "methods": shares(source, draw) if each else {},
        "unknown": None,
    }
    if len(draw.other) and lesson.report["unknown"]["auroc"] is not None:
        odd = decide(lesson.classifier, queries(source, lesson, draw.other), classes, lesson.threshold).known
        row["unknown"] = {
            "promised": [lesson.report["unknown"][key] for key in ("auroc", "fpr95", "refused", "caught")],
            "true": [calibrate.auroc(answer.known, odd), calibrate.fpr95(answer.known, odd)],
            "refused": float((answer.known < lesson.threshold).mean()),
            "caught": float((odd < lesson.threshold).mean()),
            "never": lesson.report["unknown"]["threshold"] is None,
        }
    return row


def _blur(right: Array, groups: Array) -> float:
    """Standard error of a share of right answers, groups as units."""
    _, which = np.unique(groups, return_inverse=True)
    sums, parts = np.bincount(which, right - right.mean()), int(which.max()) + 1
    return math.sqrt(float((sums**2).sum()) * parts / max(parts - 1, 1)) / len(right)


def mean(values: Any) -> str:
    """Mean over draws with its 95 % interval, times 100."""
    found = 100 * np.asarray(values, float)
    return f"{found.mean():.1f} ± {interval(found):.1f}"


def calibration_error(sure: Array, right: Array) -> float:
    """Expected calibration error (Guo et al., 2017) over equally wide bins."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(sum(abs((right - sure)[bins == b].sum()) for b in range(BINS)) / len(sure))


def promise(options: argparse.Namespace) -> dict[str, Any]:
    if options.data is None:
        options.data, options.of = DATA, options.of or OF
    source = Source.of(options.data, options.split)
    if options.no_groups:
        source = replace(source, groups=np.arange(len(source.labels)).astype(str))
    lessons = list(draws(source, options.way, options.shot, options.draws, options.sessions, options.seed, options.of))
    if source.paths:
        _same(source, lessons[0])
    start = time.perf_counter()
    rows = [kept(source, draw) for draw in lessons]
    seconds = time.perf_counter() - start
    said = np.array([[row["said"][key] for key in ("value", "low", "high")] for row in rows])
    true = np.array([row["true"] for row in rows])
    covers = (said[:, 1] <= true) & (true <= said[:, 2])
    few = np.array([row["first"] for row in rows])
    right = np.concatenate([row["right"] for row in rows])
    errors = [calibration_error(np.concatenate([row["sure"][at] for row in rows]), right) for at in (0, 1)]
    names = list(rows[0]["methods"])
    table = np.array([[row["methods"][name] for name in names] for row in rows])
    plain = np.array([row["plain"] for row in rows])
    result: dict[str, Any] = {
        "data": f"{source.name} {options.split}, {options.way} classes, {options.shot} clips each"
        + (", filmed in as many sessions" if options.sessions else ""),
        "draws": len(rows),
        "queries": f"{min(r['queries'] for r in rows)} to {max(r['queries'] for r in rows)}, of "
        f"{min(r['groups'] for r in rows)} to {max(r['groups'] for r in rows)} groups",
        "true accuracy in the interval": f"{int(covers.sum())} of {len(rows)} ({100 * covers.mean():.0f} %); "
        f"{int((true < said[:, 1]).sum())} below, {int((true > said[:, 2]).sum())} above",
        **(
            {
                f"only those of the first {options.of} a class": f"{min(int(d.first.sum()) for d in lessons)} to "
                f"{max(int(d.first.sum()) for d in lessons)} clips, true: {mean(few)}, in the interval: "
                f"{int(((said[:, 1] <= few) & (few <= said[:, 2])).sum())} of {len(rows)}"
            }
            if options.of
            else {}
        ),
        "true": mean(true),
        "standard error of a true one": f"{100 * np.sqrt(np.mean([row['blur'] ** 2 for row in rows])):.1f}",
        "reported": mean(said[:, 0]),
        "reported - true": mean(said[:, 0] - true),
        **_balanced(rows),
        "width of the interval": mean(said[:, 2] - said[:, 1]),
        "log loss before and after temperature": " ".join(
            f"{np.mean([row['loss'][at] for row in rows]):.3f}" for at in (0, 1)
        ),
        "ECE before and after temperature": " ".join(f"{100 * error:.1f}" for error in errors),
        "methods taken": dict(Counter(row["method"] for row in rows).most_common()),
        "the chosen, none refused": mean(plain),
        "the best in hindsight": mean(table.max(1)),
        **{
            f"always {name}": f"{mean(column)}; chosen - it {mean(plain - column)}"
            for name, column in zip(names, table.T, strict=True)
        },
    }
    if any(row["unknown"] for row in rows):
        result |= _doubts(rows)
    result["seconds"] = round(seconds, 1)
    if options.plot:
        picture(said, true, options.plot)
    return result


def _balanced(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The same with all classes alike frequent."""
    said = np.array([[row["said"]["balanced"][key] for key in ("value", "low", "high")] for row in rows])
    even = np.array([row["even"] for row in rows])
    covered = f"{int(((said[:, 1] <= even) & (even <= said[:, 2])).sum())} of {len(rows)}"
    found = {"balanced over classes: reported - true": f"{mean(said[:, 0] - even)}, in the interval: {covered}"}
    return found | {"added for groups that were left out": mean([row["said"]["gained"] for row in rows])}


def _doubts(rows: list[dict[str, Any]]) -> dict[str, str]:
    """How well untrained classes are separated: what came true, and what was promised."""
    doubts = [row["unknown"] for row in rows if row["unknown"]]
    true = np.array([[*doubt["true"], doubt["refused"], doubt["caught"]] for doubt in doubts])
    promised = np.array([doubt["promised"] for doubt in doubts])
    names = ("AUROC", "FPR95", "of trained classes", "of other classes")
    never = sum(doubt["never"] for doubt in doubts)
    return {
        f"unknown: {name}, true, promised, promised - true": f"{mean(one)}, {mean(other)}, {mean(other - one)}"
        for name, one, other in zip(names, true.T, promised.T, strict=True)
    } | {"unknown: never an answer": f"{never} of {len(doubts)}"}


def _same(source: Source, draw: Draw) -> None:
    """`Recognizer` itself, from files, promises and answers the same."""
    names, paths = source.classes[source.labels], source.paths
    made = Recognizer().fit([paths[i] for i in draw.shown], names[draw.shown].tolist(), source.groups[draw.shown])
    few = draw.own[:10]
    lesson = fit(support(source, draw, draw.shown))
    answer = decide(lesson.classifier, queries(source, lesson, few), source.classes[draw.classes], lesson.threshold)
    given = made.answer([paths[i] for i in few])
    if made.report_.accuracy != lesson.report.accuracy or np.abs(given.proba - answer.proba).max() > 0.01:
        raise SystemExit(f"Recognizer: {made.report_.accuracy}, fit: {lesson.report.accuracy}")


def speed(options: argparse.Namespace) -> dict[str, Any]:
    data = load_data("motion").select("test")
    rng = np.random.default_rng(options.seed)
    classes = rng.choice(len(data.classes), 5, replace=False)
    picked = np.concatenate([rng.permutation(np.flatnonzero(data.labels == label))[:10] for label in classes])
    shown, rest = picked.reshape(5, 2, 5).transpose(1, 0, 2).reshape(2, -1)
    names = [data.classes[label] for label in data.labels]
    with tempfile.TemporaryDirectory() as store:
        start = time.perf_counter()
        model = Recognizer(store=store)
        model.fit([data.paths[i] for i in shown], [names[i] for i in shown], data.groups[shown])
        fitted = time.perf_counter()
        answers = model.predict([data.paths[i] for i in rest])
        end = time.perf_counter()
    return {
        "fit": round(fitted - start, 2),
        "25 predictions": round(end - fitted, 2),
        "both": round(end - start, 2),
        "method": model.method_,
        "expected": model.report_["accuracy"]["value"],
        "right of 25": int((answers == [names[i] for i in rest]).sum()),
    }


def adapted(options: argparse.Namespace) -> dict[str, Any]:
    plain, other = Source.of(DATA, options.split), Source.of(DATA, options.split, options.run)
    result: dict[str, Any] = {}
    for shot in options.shot:
        lessons = list(draws(plain, options.way, shot, options.draws, options.sessions, options.seed, OF))
        rows = [[kept(source, draw, each=False) for draw in lessons] for source in (plain, other)]
        for name in ("true", "plain"):
            values = np.array([[row[name] for row in side] for side in rows])
            what = "none refused" if name == "plain" else 'as predict answers, "unknown" wrong'
            result[f"{shot} clips a class, {what}"] = (
                f"{mean(values[0])} -> {mean(values[1])}: {mean(values[1] - values[0])}"
            )
        result[f"{shot} clips a class, methods"] = [Counter(row["method"] for row in side) for side in rows]
    return result


def unequal(options: argparse.Namespace) -> dict[str, Any]:
    source = Source.of(options.data, options.split)
    lessons = list(draws(source, len(options.shot), options.shot, options.draws, False, options.seed))
    found: dict[str, list[list[float]]] = {}  # method -> for each lesson, the share of each class, fewest clips first
    for draw in lessons:
        rights, truth = alone(source, draw)
        sizes = np.bincount(np.searchsorted(draw.classes, source.labels[draw.shown]))
        for name, right in rights.items():
            found.setdefault(name, []).append([float(right[truth == c].mean()) for c in np.argsort(sizes)])
    least = [min(int((source.labels[draw.own] == c).sum()) for c in draw.classes) for draw in lessons]
    result: dict[str, Any] = {
        "data": f"{source.name} {options.split}, {len(options.shot)} classes of {options.shot} clips",
        "draws": len(lessons),
        "queries of a class, at least": min(least),
    }
    for name, rows in found.items():
        table = np.array(rows)
        each = ", ".join(f"{mean(one)} of {size}" for size, one in zip(sorted(options.shot), table.T, strict=True))
        result[name] = f"{mean(table.mean(1))}; class with so many clips: {each}"
    return result


def picture(said: Array, true: Array, path: Path) -> None:
    """Each draw's reported value and interval (draws, 3), and what came true (draws,), in the order of the latter."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from kshot.report.labels import INK, SOFT
    from kshot.report.plots import BLUE, VERMILLION, render

    order = np.lexsort((said[:, 0], true))
    (value, low, high), true = 100 * said[order].T, 100 * true[order]
    covers = (low <= true) & (true <= high)

    def draw() -> Figure:
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        places = np.arange(len(true))
        kinds = ((covers, BLUE, "o", "contains"), (~covers, VERMILLION, "s", "misses"))
        for which, colour, marker, verb in kinds:
            if which.any():
                axes.vlines(places[which], low[which], high[which], color=colour, lw=2.2, alpha=0.35, zorder=2)
                label = f"reported; the interval {verb} the truth ({which.sum()})"
                axes.plot(places[which], value[which], marker, color=colour, ms=4, ls="", label=label, zorder=3)
        axes.plot(places, true, "_", color=INK, ms=7, mew=1.8, label="true", zorder=4)
        axes.set_ylim(min(20.0, low.min() - 2), 102)
        axes.set_xlim(-1, len(true))
        axes.set_xticks([])
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel(f"{len(true)} draws, by true accuracy", color=SOFT)
        figure.legend(loc="outside upper left", ncols=3, fontsize=8)
        return figure

    path.write_bytes(render(draw)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for function in (speed, promise, adapted, unequal):
        command = commands.add_parser(function.__name__)
        command.set_defaults(run_it=function)
        command.add_argument("--json", action="store_true")
        command.add_argument("--seed", type=int, default=0)
        if function is speed:
            continue
        command.add_argument("--split", default="test")
        command.add_argument("--draws", type=int, default=50)
        if function is unequal:
            command.add_argument("--data", default="motion")
            command.add_argument("--shot", type=int, nargs="+", default=[1, 3, 10])
            continue
        command.add_argument("--way", type=int, default=5)
        command.add_argument("--sessions", action="store_true")
        if function is promise:
            command.add_argument("--data")
            command.add_argument("--shot", type=int, default=5)
            command.add_argument("--plot", type=Path)
            command.add_argument("--no-groups", action="store_true")
            command.add_argument("--of", type=int)
        else:
            command.add_argument("--run", required=True)
            command.add_argument("--shot", type=int, nargs="+", default=[1, 3, 5])
    options = parser.parse_args()
    result = options.run_it(options)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
