"""One GPU at its limit: encoding, the last-block step, 10,000 episodes and memory. Under five minutes.

    python benchmarks/gpu.py [--device auto] [--precision bfloat16] [--small] [--json]

- encoding: frames a second of `kshot extract` (ViT-B/16 with random weights, clips whose frames come from memory in
  place of a decoder) and of the bare forward on batches that lie on the device already; goal 0.9.
- last block: steps a second of Meta-learning with partial tuning, 5-way 1-shot with 5 queries, from tokens that lie on
  the device, and the share of the measured bandwidth that reading them twice forward and twice back takes; goal 0.5.
- OTAM: seconds of 10,000 episodes on embeddings of 2,400 clips, drawing included; goal 0.5.

`--small` is for a try on a CPU: small networks, few clips and episodes; its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel

from kshot import datasets, tuning
from kshot.activations import extraction
from kshot.backbones.backbone import Backbone
from kshot.backbones.devices import pick_device, pick_precision, wait
from kshot.fewshot.cost import Peak
from kshot.fewshot.episodes import Sampler
from kshot.fewshot.scoring import head_scorer, run_episodes
from kshot.heads import get_head
from kshot.heads.prototype import Prototype
from kshot.progress import quiet
from kshot.settings import EpisodeShape
from kshot.video import Taken

FRAMES = 8
LEAST = [1.0]  # seconds that a figure is measured for
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
}


def network(small: bool, device: torch.device, precision: str) -> Backbone:
    """ViT-B/16 with random weights, or a small one."""
    torch.manual_seed(0)
    config = CLIPConfig(vision_config=SMALL | {"patch_size": 8} if small else {"patch_size": 16})
    backbone = Backbone(CLIPModel(config).eval(), name="random ViT")
    backbone.fingerprint = "random"
    backbone.set_precision(pick_precision(precision))
    return backbone.to(device)


def seconds(work: Callable[[], object], device: torch.device, most: int = 200) -> float:
    """Median seconds of a call, after one to warm up."""
    work()
    found: list[float] = []
    while len(found) < 3 or (sum(found) < LEAST[0] and len(found) < most):
        wait(device)
        begin = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def encoding(backbone: Backbone, clips: int) -> dict[str, float]:
    """Frames a second of extraction, without decoding, and of the bare forward."""
    per_batch = extraction.FRAMES_PER_BATCH // FRAMES
    pictures = np.random.default_rng(0).integers(0, 256, (FRAMES, backbone.size, backbone.size, 3), np.uint8)

    def drawn(jobs: Iterable[Any], workers: int, timeout: float) -> Iterator[tuple[int, Taken]]:
        for position, _ in enumerate(jobs):
            yield position, Taken(pictures)

    batch = backbone.pixels(np.tile(pictures, (per_batch, 1, 1, 1)))
    with torch.inference_mode():
        bare = seconds(lambda: backbone.encode_to(batch, backbone.depth), backbone.device)
    with mock.patch("kshot.activations.extraction.decode", drawn), tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{clip}.mp4" for clip in range(clips)]
        for clip, path in enumerate(paths):
            path.write_bytes(clip.to_bytes(4, "big"))
        data = datasets.build("made", paths, ["a", "b"] * (clips // 2), [""] * clips, [""] * clips)
        extraction.extract(data.subset(range(per_batch)), backbone, store=Path(folder) / "warm")
        begin = time.perf_counter()
        done = extraction.extract(data, backbone, store=Path(folder) / "store")
        took = time.perf_counter() - begin
    found = {"frames_a_second": clips * FRAMES / took, "bare_frames_a_second": per_batch * FRAMES / bare}
    found |= {f"waited_for_{name}": waited / took for name, waited in done.waits.items()}
    return found | {"share_of_bare": found["frames_a_second"] / found["bare_frames_a_second"]}


def last_block(backbone: Backbone, small: bool) -> dict[str, float]:
    """Steps a second of partial tuning from tokens on the device, and the share of the bandwidth that they take."""
    device, clips = backbone.device, 120 if small else 600
    learner = backbone.copy()
    cut = tuning.apply("partial", learner)
    shape = (clips, FRAMES, backbone.image.tokens + 1, backbone.image.width)
    tokens = torch.randn(shape, dtype=torch.float16, device=device)
    sampler = Sampler(np.arange(clips) % 20, tuple(map(str, range(20))), 5, 1, 5)
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    optimizer, head, number = torch.optim.AdamW(weights, lr=1e-5, foreach=True), Prototype(), 0
    labels, target = torch.arange(5, device=device)[None], torch.arange(5, device=device).repeat_interleave(5)

    def step() -> None:
        nonlocal number
        episode, number = sampler.draw([number]), number + 1
        chosen = torch.from_numpy(np.concatenate([episode.support[0], episode.query[0]]))
        rows = chosen.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else chosen.to(device)
        embedded = learner.encode_from(tokens.index_select(0, rows).flatten(0, 1), cut, FRAMES).view(30, FRAMES, -1)
        scores = head(embedded[None, 5:], embedded[None, :5], labels, way=5)
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(scores[0], target).backward()
        optimizer.step()

    took = seconds(step, device)
    block = torch.empty((64 if small else 2048) << 20, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    bandwidth = 2 * block.numel() / seconds(lambda: other.copy_(block), device)
    read = 4 * 30 * tokens[0].numel() * tokens.element_size()
    return {
        "steps_a_second": 1 / took,
        "bandwidth_gigabytes_a_second": bandwidth / 1e9,
        "share_of_bandwidth": read / took / bandwidth,
    }


def otam(device: torch.device, small: bool) -> dict[str, float]:
    """Seconds of many OTAM episodes."""
    clips, episodes = (240, 200) if small else (2400, 10_000)
    labels, names = np.arange(clips) % 24, tuple(map(str, range(24)))
    embeddings = torch.randn(clips, FRAMES, 64 if small else 512, device=device)
    head = get_head("otam").to(device).eval()

    def run() -> None:
        scorer, chunk = head_scorer(head, embeddings, labels, None, EpisodeShape(), episodes)
        run_episodes(scorer, Sampler(labels, names, 5, 1, 5), episodes, chunk, quiet)

    return {"episodes": episodes, "seconds": seconds(run, device, most=5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", help="of the blocks; bfloat16 on a GPU and float32 on a CPU by default")
    parser.add_argument("--small", action="store_true", help="small sizes, for a try on a CPU")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    LEAST[0] = 0.05 if options.small else 1.0
    begin, device, peak = time.monotonic(), pick_device(options.device), Peak()
    precision = options.precision or ("float32" if device.type == "cpu" else "bfloat16")
    backbone = network(options.small, device, precision)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type,
        "torch": torch.__version__,
        "precision": precision,
        "small": options.small,
        "encoding": encoding(backbone, 32 if options.small else 1024),
        "last_block": last_block(backbone, options.small),
        "otam": otam(device, options.small),
    }
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated(device)
    else:
        found["peak_bytes"] = peak.read(device)
    found["seconds"] = round(time.monotonic() - begin, 1)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        plain = value if not isinstance(value, dict) else ", ".join(f"{key} {one:,.3g}" for key, one in value.items())
        print(f"{name}: {plain}")


if __name__ == "__main__":
    main()
