"""What `lite` costs: a frame beside ViT-B/16's, and a meta-learning step on stored maps beside one from frames.

    python benchmarks/lite.py [--threads 1] [--repeats 5] [--backbone lite] [--json]

Encoding: decoded frames to what enters the last block, by PyTorch; ViT-B/16 has random weights, which cost as much as
learned ones. The step: 5-way 1-shot, 1 query a class, 8 frames a clip = 80 frames, the last block learns; on stored
float32 maps against the same step by the same network from frames, that is with the trunk's forward in it. All ways
take turns within a round; ratios are taken within a round and their median is shown. Processor time, so that a machine
that others use too gives nearly the same figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel

from kshot import tuning
from kshot.backbones.backbone import Backbone, load

WAY, FRAMES = 5, 8
CLIPS = 2 * WAY  # a support clip and a query a class


def step(backbone: Backbone, x: torch.Tensor, cut: int) -> list[torch.Tensor]:
    """Forward, prototype cross-entropy, backward; the gradients."""
    backbone.zero_grad()
    maps = x
    if cut == 0:
        with torch.no_grad():
            maps = backbone.encode_to(x, backbone.depth)
    clips = backbone.encode_from(maps, backbone.depth, FRAMES).view(CLIPS, FRAMES, -1).mean(1)
    support, query = F.normalize(clips[:WAY], dim=-1), F.normalize(clips[WAY:], dim=-1)
    F.cross_entropy(10 * query @ support.T, torch.arange(WAY)).backward()
    return [value.grad.clone() for value in backbone.parameters() if value.grad is not None]


def taken(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backbone", default="lite")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    lite = load(asked.backbone)
    vit = Backbone(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))
    tuned = lite.copy()
    tuning.apply("partial", tuned)
    frames = lite.pixels(torch.randint(0, 256, (CLIPS * FRAMES, lite.size, lite.size, 3), dtype=torch.uint8))
    pictures = torch.randn(4, 3, vit.size, vit.size)
    with torch.inference_mode():
        stored = lite.encode_to(frames, lite.depth)
    stored = stored.clone()

    def encoded(backbone: Backbone, x: torch.Tensor) -> Callable[[], object]:
        def work() -> object:
            with torch.inference_mode():
                return backbone.encode_to(x, backbone.depth)

        return work

    ways: dict[str, tuple[Callable[[], object], int]] = {
        asked.backbone: (encoded(lite, frames[:16]), 16),
        "ViT-B/16": (encoded(vit, pictures), 4),
        "step on stored maps": (lambda: step(tuned, stored, tuned.depth), 1),
        "step from frames": (lambda: step(tuned, frames, 0), 1),
    }
    for work, _ in ways.values():
        work()
    rounds = [{name: taken(work) / count for name, (work, count) in ways.items()} for _ in range(asked.repeats)]
    quick, slow = step(tuned, stored, tuned.depth), step(tuned, frames, 0)
    difference = max(float((a - b).norm() / b.norm()) for a, b in zip(quick, slow, strict=True))

    def median(name: str) -> float:
        return statistics.median(one[name] for one in rounds)

    def ratio(more: str, less: str) -> float:
        return statistics.median(one[more] / one[less] for one in rounds)

    found = {
        "threads": asked.threads,
        "seconds": {name: median(name) for name in ways},
        "ViT-B/16 / " + asked.backbone: ratio("ViT-B/16", asked.backbone),
        "step from frames / on stored maps": ratio("step from frames", "step on stored maps"),
        "relative difference of gradients": difference,
        "bytes a clip of 8 frames, float16": 2 * FRAMES * stored[0].numel(),
    }
    if asked.json:
        print(json.dumps(found))
        return
    print(
        f"a frame to the last block, {asked.threads} thread(s): {asked.backbone} "
        f"{median(asked.backbone) * 1e3:.1f} ms, ViT-B/16 {median('ViT-B/16') * 1e3:.0f} ms: "
        f"{ratio('ViT-B/16', asked.backbone):.1f}x"
    )
    print(
        f"a step of {CLIPS * FRAMES} frames: on stored maps {median('step on stored maps') * 1e3:.0f} ms, from frames "
        f"{median('step from frames') * 1e3:.0f} ms: {ratio('step from frames', 'step on stored maps'):.1f}x, "
        f"gradients differ by {difference:.1e}"
    )
    print(f"stored for a clip of {FRAMES} frames: {2 * FRAMES * stored[0].numel():,} bytes as float16")


if __name__ == "__main__":
    main()
