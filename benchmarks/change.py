"""What reading change is worth, and whether `auto` takes the reading that is best in hindsight.

    python benchmarks/change.py auto DATA [--backbone kshot-tiny] [--split test] [--shot 5] [--without partial]
    python benchmarks/change.py figures DATA [--backbone lite] [--split all] [--episodes 2000]

Readings are the methods prototype (the mean over frames), change, both and where; see docs/heads.md.

auto: random lessons of `way` classes and `shot` clips of each, as `benchmarks/recognizer.py promise` draws them. Each
is fitted by `kshot.recognizer.fitting.fit` with method "auto", with all of its methods and with the readings alone, and
every reading is learned by itself; all are scored, none refused, on all other clips of the lesson's classes that are in
no training clip's group. "gain" is over the mean, "best" the best reading in hindsight: one for all
lessons.

figures: few-shot accuracy of each reading as `kshot evaluate DATA --no-shared-group --head NAME` prints it.

Everything is extracted once, into --store. Lesson number i is a function of --seed and i alone. Means are of lessons,
with a 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import numpy as np
import torch

from kshot import evaluate
from kshot.recognizer import choose
from kshot.recognizer.fitting import fit
from kshot.recognizer.methods import METHODS, READINGS, learn
from recognizer import Draw, Source, draws, mean, queries, support  # benchmarks/recognizer.py


def taken(source: Source, draw: Draw) -> tuple[str, float]:
    """What "auto" takes, and its share of right answers."""
    lesson = fit(support(source, draw, draw.shown))
    labels = np.searchsorted(draw.classes, source.labels[draw.own])
    with torch.no_grad():
        answers = lesson.classifier.scorer(queries(source, lesson, draw.own)).argmax(1).numpy()
    return lesson.method, float((answers == labels).mean())


def shares(source: Source, draw: Draw) -> list[float]:
    """What each reading alone gets right."""
    everything = support(source, draw, np.concatenate([draw.shown, draw.own]))
    shown, rest = np.split(np.arange(len(everything)), [len(draw.shown)])
    found = [learn(name, everything, shown, rest) for name in READINGS]
    with torch.no_grad():
        answers = [one.scorer(one.queries).argmax(1).numpy() for one in found]
    return [float((answer == everything.labels[rest]).mean()) for answer in answers]


def auto(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    source = Source.of(options.data, options.split, None, options.backbone, options.store)
    lessons = list(draws(source, options.way, options.shot, options.draws, False, options.seed))
    table = np.array([shares(source, draw) for draw in lessons])
    only = {name: METHODS[name] for name in READINGS}
    best = table[:, table.mean(0).argmax()]
    yield from ((name, mean(column)) for name, column in zip(READINGS, table.T, strict=True))
    rest = {name: kind for name, kind in METHODS.items() if name not in options.without}
    less = f" but {', '.join(options.without)}" if options.without else ""
    for what, methods in (("of the readings", only), (f"of all methods{less}", rest)):
        with mock.patch.object(choose, "METHODS", methods):
            chosen = [taken(source, draw) for draw in lessons]
        right = np.array([share for _, share in chosen])
        yield (
            f"auto, {what}",
            f"{mean(right)}; less the best: {mean(right - best)}; less each lesson's best: "
            f"{mean(right - table.max(1))}; gain: {mean(right - table[:, 0])}; took "
            f"{dict(Counter(name for name, _ in chosen).most_common())}",
        )


def figures(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    def accuracy(head: str, shot: int) -> str:
        found = evaluate(
            options.data, options.backbone, head=head, shot=shot, split=options.split, shared_group=False,
            episodes=options.episodes, seed=options.seed, store=options.store, scale=options.scale,
        )  # fmt: skip
        return f"{found.accuracy:.1f} ± {found.ci95:.1f}"

    yield from ((head, " / ".join(accuracy(head, shot) for shot in (1, 5))) for head in READINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for function in (auto, figures):
        command = commands.add_parser(function.__name__)
        command.set_defaults(run_it=function)
        command.add_argument("data")
        command.add_argument("--backbone", default="kshot-tiny" if function is auto else "lite")
        command.add_argument("--split", default="test" if function is auto else "all")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--store")
        if function is auto:
            command.add_argument("--way", type=int, default=5)
            command.add_argument("--shot", type=int, default=5)
            command.add_argument("--draws", type=int, default=50)
            command.add_argument("--without", nargs="+", default=[], choices=METHODS)
        else:
            command.add_argument("--episodes", type=int, default=2000)
            command.add_argument("--scale", action="store_true")
    options = parser.parse_args()
    for name, value in options.run_it(options):
        print(f"{name}: {value}", flush=True)


if __name__ == "__main__":
    main()
