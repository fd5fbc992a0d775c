"""Timelines of drawn films against what the same scores reach with the true cuts: F1 of segments, both columns.

    python benchmarks/segments.py [--data motion:12] [--split test] [--seeds 20] [--first 200] [--json]
    python benchmarks/segments.py --data 'clips.csv?dataset=jhmdb' --split all --seeds 5 [--store FOLDER]

The films are those of scripts/long_video.py: stretches of one to three clips of one action, hard cuts between them,
every fourth stretch an action that was not taught. "true cuts": each true stretch gets the label that is likeliest by
the mean of the timeline's own scores over the windows whose middle lies in it, "unknown" where their mean `known` is
below the threshold. "joined": the same, with neighbours of one label made one, as every timeline has them. A segment
counts where it has the right label and covers more than half of what it and the true one cover together.
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
from kshot.recognizer import UNKNOWN
from kshot.recognizer.stream.timeline import Timeline
from kshot.recognizer.stream.windows import Segment

COLUMNS = ("f1", "true cuts", "joined", "time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="motion:12")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=200, help="the first seed")
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
        recognizer = Recognizer(store=options.store).fit(
            [data.paths[i] for i in shown], [data.classes[data.labels[i]] for i in shown], data.groups[shown]
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "film.mp4"
            truth = join(file, draw(rng, clips, taught))
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
