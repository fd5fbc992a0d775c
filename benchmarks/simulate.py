"""What the constants behind a recognizer's report rest on: simulations whose truth is known.

    python benchmarks/simulate.py unknown [--clips 25] [--lessons 400]
    python benchmarks/simulate.py copies [--data motion:80] [--split train] [--clips 60]
    python benchmarks/simulate.py groups [--lessons 100] [--method prototype]

unknown: scores of clips of trained actions and of others, normal and so far apart as an AUROC says; four of five of the
former would get their label. Three ways to set a threshold on them, measured on new scores: the best balance with at
most a tenth refused (the rule before there were costs), the cheapest place, and `calibrate.threshold`.

copies: clips of a data set copied as people copy videos (compressed again, made smaller, trimmed, begun later,
cropped), embedded by `kshot-tiny`: how far copies lie from their originals, and different clips from one another, in
units of what a clip differs from itself one chosen frame later. Ready-made features (.npz) have no copies.

groups: five classes whose clips differ between groups and within them, `kshot.recognizer.fitting.fit` on 2, 3 or 5
groups a class of two clips each, and queries of new groups: what was promised without and with `calibrate.grown`.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import av
import numpy as np
import torch
from numpy.typing import NDArray

from kshot import load_data, video
from kshot.backbones.backbone import Backbone, load
from kshot.fewshot.intervals import interval
from kshot.recognizer import calibrate, suspects
from kshot.recognizer.classifier import decide
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.fitting import fit
from kshot.recognizer.methods import Support

Array = NDArray[Any]

RIGHT = 0.8  # of clips of trained actions, if none are refused
NEW = 20_000  # scores that a threshold is measured on
WAY = 5


def balance(known: Array, right: Array, other: Array, costs: ErrorCosts) -> float:
    """Where the share of trained actions' clips named rightly and of others refused add up to most: the old rule."""
    return _cheapest(known, right, other, 1.0, costs.most)


def cheapest(known: Array, right: Array, other: Array, costs: ErrorCosts) -> float:
    """The place that would have been the cheapest for these very clips."""
    return _cheapest(known, right, other, costs.stake, costs.most)


def robust(known: Array, right: Array, other: Array, costs: ErrorCosts) -> float:
    return calibrate.threshold(known, right, other, costs=costs)


def _cheapest(known: Array, right: Array, other: Array, stake: float, most: float) -> float:
    values = np.unique(np.concatenate([known, other]))
    places = np.concatenate([values[:1] - 1e-3, (values[1:] + values[:-1]) / 2])
    below = known[None] < places[:, None]
    gain = stake * (other[None] < places[:, None]).mean(1) - (below & right).mean(1)
    return float(places[np.where(below.mean(1) <= most, gain, -np.inf).argmax()])


def unknown(options: argparse.Namespace) -> Iterator[str]:
    costs = ErrorCosts()
    yield f"stake {costs.stake:g}; refused of trained, caught of others, %; saved per 100 trained clips"
    for auroc in (0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 0.95):
        apart = math.sqrt(2) * NormalDist().inv_cdf(auroc)
        parts = [f"AUROC {100 * auroc:.0f}"]
        for way in (balance, cheapest, robust):
            rng, rows = np.random.default_rng(options.seed), []
            for _ in range(options.lessons):
                known, other = rng.normal(size=options.clips), rng.normal(size=options.clips) - apart
                place = way(known, rng.random(options.clips) < RIGHT, other, costs)
                refused, caught = NormalDist().cdf(max(place, -9)), NormalDist().cdf(max(place, -9) + apart)
                rows.append((refused, caught, costs.stake * caught - RIGHT * refused))
            refused, caught, saved = 100 * np.mean(rows, 0)
            parts.append(f"{way.__name__} {refused:.1f} {caught:.1f} {saved:+.1f}")
        yield " | ".join(parts)


def frames_of(path: Path) -> Array:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def encoded(frames: Array, folder: Path, crf: int, shrink: int = 1) -> Array:
    """Frames after H.264, in a picture so many times smaller."""
    path = folder / "copy.mp4"
    height, width = (side // shrink // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            file.mux(stream.encode(frame.reformat(width, height, "yuv420p")))
        file.mux(stream.encode())
    return frames_of(path)


def _inner(frames: Array, share: float) -> Array:
    top, left = (round(share * side) for side in frames.shape[1:3])
    return frames[:, top : frames.shape[1] - top, left : frames.shape[2] - left]


COPIES: dict[str, Callable[[Array, Path], Array]] = {
    "compressed again, crf 28": lambda frames, place: encoded(frames, place, 28),
    "compressed again, crf 38": lambda frames, place: encoded(frames, place, 38),
    "half the size, crf 28": lambda frames, place: encoded(frames, place, 28, 2),
    "3 % trimmed at either end": lambda frames, _: frames[round(0.03 * len(frames)) : round(0.97 * len(frames))],
    "10 % trimmed at either end": lambda frames, _: frames[round(0.1 * len(frames)) : round(0.9 * len(frames))],
    "begun a frame later": lambda frames, _: frames[1:],
    "begun three frames later": lambda frames, _: frames[3:],
    "2 % cropped at every side": lambda frames, _: _inner(frames, 0.02),
    "5 % cropped at every side": lambda frames, _: _inner(frames, 0.05),
}


def copies(options: argparse.Namespace) -> Iterator[str]:
    data = load_data(options.data).select(options.split)
    picked = np.sort(np.random.default_rng(options.seed).permutation(len(data))[: options.clips])
    embedded: dict[str, Any] = {}
    if data.features is not None:
        picked = np.arange(len(data))
        embeddings = torch.from_numpy(np.asarray(data.features, np.float32))
    else:
        with tempfile.TemporaryDirectory() as place:
            rows: dict[str, list[Array]] = {name: [] for name in ("", *COPIES)}
            for clip in picked:
                frames = frames_of(Path(data.paths[clip]))
                for name in rows:
                    made = COPIES[name](frames, Path(place)) if name else frames
                    rows[name].append(_embedded(made))
            embedded = {name: torch.from_numpy(np.stack(found)) for name, found in rows.items()}
        embeddings = embedded.pop("")
    labels, groups = data.labels[picked], data.groups[picked].astype(str)
    far, steps = suspects.distances(embeddings)
    upper = np.triu_indices(len(far), 1)
    one, other = upper
    usual = float(np.median(far[upper]))
    yield f"{len(picked)} clips; to oneself a frame later: {np.median(steps) / usual:.3f} of the usual distance of two"
    yield f"distance / that of the clips' own successive frames; {suspects.NEAR} at most for near-duplicates"

    def line(name: str, ratio: Array, plain: Array, called: Array) -> str:
        low, middle, high = np.quantile(ratio, [0.01, 0.5, 0.95])
        old = (plain < 0.1 * usual).sum()
        return (
            f"{name}: 1 % {low:.3f}, median {middle:.3f}, 95 % {high:.3f}; called a copy "
            f"{called.sum()} of {len(ratio)}, by a tenth of the usual distance {old}"
        )

    for name, found in embedded.items():
        both, moves = suspects.distances(torch.cat([embeddings, found]))
        plain = np.diagonal(both[: len(picked), len(picked) :])
        near = np.diagonal(suspects.alike(both, moves, usual)[: len(picked), len(picked) :])
        yield line(name, plain / moves.reshape(2, -1).mean(0), plain, near)
    ratio = far[upper] / ((steps[one] + steps[other]) / 2)
    near = suspects.alike(far, steps)[upper]
    same, together = labels[one] == labels[other], groups[one] == groups[other]
    for name, pairs in (
        ("same action, same group", same & together),
        ("same action, other group", same & ~together),
        ("other action, same group", ~same & together),
        ("other action, other group", ~same & ~together),
    ):
        if pairs.any():
            yield line(name, ratio[pairs], far[upper][pairs], near[pairs])


@functools.cache
def _backbone() -> Backbone:
    return load()


def _embedded(frames: Array) -> Array:
    """(8, P) of a clip (T, H, W, 3) by the bundled backbone."""
    backbone = _backbone()
    chosen = video.preprocess(frames[video.choose(len(frames), 8)], backbone.size)
    with torch.inference_mode():
        found: Array = backbone(backbone.pixels(np.ascontiguousarray(chosen))).float().cpu().numpy()
    return found


def drawn(rng: np.random.Generator, centres: Array, groups: int, each: int, spread: float, together: float) -> Array:
    """Clips (C, groups, each, 4 frames, P); together: share of the variance that clips of one group have in common."""
    ways, size = centres.shape
    common = rng.normal(size=(ways, groups, 1, 1, size)) * math.sqrt(together)
    alone = rng.normal(size=(ways, groups, each, 1, size)) * math.sqrt(1 - together)
    frames = rng.normal(size=(ways, groups, each, 4, size))
    result: Array = (centres[:, None, None, None] + spread * (common + alone + 0.5 * frames)).astype(np.float32)
    return result


def groups(options: argparse.Namespace) -> Iterator[str]:
    yield "reported - true, points, and intervals that contain the truth: without, with what lacking groups cost"
    for size, spread in ((8, 0.9), (32, 1.6), (128, 2.8)):
        for count in (2, 3, 5):
            for together in (0.3, 0.7):
                rows = [_lesson(options, number, size, spread, count, together) for number in range(options.lessons)]
                true, *said = np.array(rows).T
                parts = [f"{size} dimensions, {count} groups a class, {100 * together:.0f} % of the variance in common"]
                parts.append(f"true {100 * true.mean():.1f}")
                for value, low, high in (said[:3], said[3:]):
                    off = 100 * (value - true)
                    error = interval(off)
                    parts.append(
                        f"{off.mean():+.1f} ± {error:.1f}, {100 * ((low <= true) & (true <= high)).mean():.0f} %"
                    )
                yield " | ".join(parts)


def _lesson(options: argparse.Namespace, number: int, size: int, spread: float, count: int, together: float) -> Array:
    """What is true, then value, low and high of a report without and with `calibrate.grown`."""
    rng = np.random.default_rng((options.seed, number))
    centres = rng.normal(size=(WAY, size))
    clips = drawn(rng, centres, count, 2, spread, together).reshape(-1, 4, size)
    fresh = torch.from_numpy(drawn(rng, centres, 40, 2, spread, together).reshape(-1, 4, size))
    labels = np.repeat(np.arange(WAY), count * 2)
    names = np.arange(len(clips)).astype(str)
    support = Support(tuple("abcde"), labels, np.repeat(names[::2], 2), tuple(names), torch.from_numpy(clips))
    found, growth = [], calibrate.GROWTH
    for power in (0.0, growth):
        calibrate.GROWTH = power
        fitted = fit(support, options.method, reject=False)
        found += [fitted.report["accuracy"][key] for key in ("value", "low", "high")]
    answers = decide(fitted.classifier, fresh, np.array(list("abcde")), -math.inf).labels
    return np.array([(answers == np.repeat(list("abcde"), 80)).mean(), *found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for function in (unknown, copies, groups):
        command = commands.add_parser(function.__name__)
        command.set_defaults(run_it=function)
        command.add_argument("--seed", type=int, default=0)
        if function is copies:
            command.add_argument("--data", default="motion:80")
            command.add_argument("--split", default="train")
            command.add_argument("--clips", type=int, default=60)
        else:
            command.add_argument("--lessons", type=int, default=400 if function is unknown else 100)
        if function is unknown:
            command.add_argument("--clips", type=int, default=25)
        if function is groups:
            command.add_argument("--method", default="prototype")
    options = parser.parse_args()
    for line in options.run_it(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
