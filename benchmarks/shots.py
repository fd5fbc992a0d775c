"""Hard cuts that `kshot.video.shots` finds in films cut from clips: how many are missed, and how many are none.

    python benchmarks/shots.py [--data motion:12] [--split train] [--films 10] [--clips 40] [--json]
    python benchmarks/shots.py --data 'clips.csv?dataset=jhmdb' --split all --films 5

A film is so many clips of the data, drawn at random, one after the other. A cut counts as found within a frame of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
from long_video import join

from kshot import datasets
from kshot.video import Samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="motion:12")
    parser.add_argument("--split", default="train")
    parser.add_argument("--films", type=int, default=10)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = datasets.load(options.data)
    data = data if options.split == "all" else data.select(options.split)
    cuts = missed = wrong = 0
    for seed in range(options.films):
        chosen = np.random.default_rng(seed).choice(len(data), options.clips, replace=False)
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder) / "film.mp4"
            truth = np.array([one.start for one in join(film, [("", [Path(data.paths[i])]) for i in chosen])][1:])
            samples = Samples(film, 1.0)
            for _ in samples:
                pass
        apart = np.abs(truth[:, None] - np.array(samples.shots.begins)[None]) > 1 / samples.fps
        cuts, missed, wrong = cuts + len(truth), missed + apart.all(1).sum(), wrong + apart.all(0).sum()
    result = {"data": options.data, "cuts": cuts, "missed": int(missed), "wrong": int(wrong)}
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
