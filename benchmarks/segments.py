"""Timelines of drawn films against what the same scores reach with the true cuts: F1 of segments, both columns.

    python benchmarks/segments.py [--data motion:12] [--split test] [--seeds 20] [--first 200] [--json]
    python benchmarks/segments.py --data 'clips.csv?dataset=jhmdb' --split all --seeds 5 [--store FOLDER]
    python benchmarks/segments.py --rest 6 [--share 0.75] [--background 20]

The films are those of scripts/long_video.py: stretches of one to three clips of one action, hard cuts between them,
every fourth stretch an action that was not taught. "true cuts": each true stretch gets the label that is likeliest by
the mean of the timeline's own scores over the windows whose middle lies in it, "unknown" where their mean `known` is
below the threshold. "joined": the same, with neighbours of one label made one, as every timeline has them. A segment
counts where it has the right label and covers more than half of what it and the true one cover together.

--rest: films that show mostly none of the actions: every second stretch is of so many clips of actions not taught.
--share: what the recognizer is told of them, see `Recognizer(reject=)`. --background: so many other clips of such
actions are taught as a class of their own, as `kshot fit --exhaustive` does with what lies between marked intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
from long_video import ACTIONS, agreement, draw, f1, join, parts

from kshot import Recognizer, datasets
from kshot.datasets import Dataset
from kshot.recognizer import UNKNOWN
from kshot.recognizer.stream.timeline import Timeline
from kshot.recognizer.stream.windows import Segment

NONE = "none of the actions"
COLUMNS = ("f1", "true cuts", "joined", "time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="motion:12")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=200, help="the first seed")
    parser.add_argument("--rest", type=int, default=0, metavar="CLIPS")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--background", type=int, default=0, metavar="CLIPS")
    parser.add_argument("--store", help="of activations")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = datasets.load(options.data)
    data = data if options.split == "all" else data.select(options.split)
    rows: list[dict[str, Any]] = []
    for seed in range(options.first, options.first + options.seeds):
        rng = np.random.default_rng(seed)
        taught = rng.choice(data.classes, ACTIONS, replace=False).tolist()
        shown, clips = parts(data, taught)
        names = [data.classes[data.labels[i]] for i in shown]
        film = draw(rng, clips, taught, options.rest)
        more = background(data, film, taught, options.background)
        recognizer = Recognizer(
            reject={"share": options.share}, background=NONE if more else None, store=options.store
        ).fit([data.paths[i] for i in shown + more], names + [NONE] * len(more), data.groups[shown + more])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "film.mp4"
            truth = join(file, film)
            timeline = recognizer.timeline(file)
        cut = with_cuts(timeline, truth)
        found = timeline.segments
        values = (f1(truth, found), f1(truth, cut), f1(truth, joined(cut)), agreement(truth, found))
        rows.append({"seed": seed, **dict(zip(COLUMNS, map(float, values), strict=True))})
        print("  ".join(f"{k} {v:.3f}" if k != "seed" else f"seed {v}" for k, v in rows[-1].items()), file=sys.stderr)
    mean = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in COLUMNS}
    result = {"data": options.data, "films": len(rows), **mean, "ratio": round(mean["f1"] / mean["true cuts"], 3),
              "ratio joined": round(mean["f1"] / mean["joined"], 3)}  # fmt: skip
    print(json.dumps(result | {"rows": rows}) if options.json else "\n".join(f"{k}: {v}" for k, v in result.items()))


def background(data: Dataset, film: list[tuple[str, list[Path]]], taught: list[str], count: int) -> list[int]:
    """So many clips of actions that were not taught, none from a source that is in the film."""
    used = {str(path) for _, paths in film for path in paths}
    seen = np.isin(data.groups, [data.groups[i] for i in range(len(data)) if str(data.paths[i]) in used])
    free = np.flatnonzero(~seen & ~np.isin(np.asarray(data.classes)[data.labels], taught))
    if len(free) < count:
        raise SystemExit(f"expected {count} clips of other actions and sources, found {len(free)}")
    return [int(free[i]) for i in np.linspace(0, len(free), count, endpoint=False).astype(int)]


def with_cuts(timeline: Timeline, truth: list[Segment]) -> list[Segment]:
    """The true stretches with the labels that the timeline's scores give them."""
    found = []
    for one in truth:
        inside = (timeline.times >= one.start) & (timeline.times < one.end)
        if not inside.any():
            inside = timeline.times == timeline.times[np.abs(timeline.times - (one.start + one.end) / 2).argmin()]
        known = timeline.known[inside].mean() >= timeline.settings.threshold
        label = str(timeline.classes[timeline.proba[inside].mean(0).argmax()]) if known else UNKNOWN
        found.append(Segment(one.start, one.end, label, None))
    return found


def joined(segments: list[Segment]) -> list[Segment]:
    """Neighbours of one label as one segment."""
    result: list[Segment] = []
    for one in segments:
        if result and result[-1].label == one.label:
            result[-1] = Segment(result[-1].start, one.end, one.label, None)
        else:
            result.append(one)
    return result


if __name__ == "__main__":
    main()
