"""What extraction wastes: (decoding alone + bare forward alone) / extract, same clips, same cores, one process.

    python benchmarks/extraction.py [DATA] [--backbone B] [--cut last] [--json]

B may be "random-b32", a ViT-B/32 with random weights, which needs no download. Decoding alone uses as many workers as
extraction does; the forward alone runs on batches that are already in memory. Goal: at least 0.95. `waited` is the
share of the extraction in which the encoder had no frames, or no room before the writer, which hashes and writes behind
it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import numpy as np
import torch

from kshot import datasets, video
from kshot.activations import encoding, extraction
from kshot.backbones.backbone import Backbone, load
from kshot.errors import VideoError
from kshot.video.workers import Job, decode


def random_b32() -> Backbone:
    """ViT-B/32 with random weights, built in memory."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    backbone = Backbone(CLIPModel(CLIPConfig()).eval(), name="random ViT-B/32")
    backbone.fingerprint = "random-b32"
    return backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="motion:20")
    parser.add_argument("--backbone", default="random-b32")
    parser.add_argument("--cut", default="last")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    backbone = random_b32() if options.backbone == "random-b32" else load(options.backbone)
    data = datasets.load(options.data)
    data = data.subset(np.linspace(0, len(data) - 1, min(options.clips, len(data)), dtype=np.int64))
    cut = encoding.cut_number(backbone, options.cut)
    jobs = [Job(path, 8, size=backbone.size) for path in data.paths]
    workers = min(os.cpu_count() or 1, 8)  # as extract chooses
    video.read(data.paths[0], 8)
    rounds = []
    for _ in range(options.repeat):
        begin = time.perf_counter()
        clips = [taken.frames for _, taken in decode(jobs, workers) if not isinstance(taken, VideoError)]
        decoding = time.perf_counter() - begin
        per_batch = extraction.FRAMES_PER_BATCH // 8
        begin = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(clips), per_batch):
                pixels = torch.from_numpy(np.stack(clips[start : start + per_batch])).flatten(0, 1)
                backbone.encode_to(backbone.pixels(pixels), cut)
        forward = time.perf_counter() - begin
        with tempfile.TemporaryDirectory() as store:
            begin = time.perf_counter()
            done = extraction.extract(data, backbone, options.cut, store=store)
            whole = time.perf_counter() - begin
        waited = {f"waited for {name}": seconds / whole for name, seconds in done.waits.items()}
        rounds.append({"decoding": decoding, "forward": forward, "extract": whole, **waited})
    ratios = [(r["decoding"] + r["forward"]) / r["extract"] for r in rounds]
    result = {
        "data": data.name,
        "clips": len(data),
        "backbone": backbone.name,
        "cut": cut,
        "workers": workers,
        "rounds": [{name: round(value, 2) for name, value in r.items()} for r in rounds],
        "ratio": round(float(np.median(ratios)), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
