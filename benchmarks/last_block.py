"""One meta-learning step, five ways: how much work the store and the exact last block take away.

The step: 5-way 1-shot, 5 queries a class, 8 frames a clip = 240 frames, ViT-B/16 with random weights, the tail (last
block, final norm, projection) or everything learns; forward, prototype cross-entropy, backward.

    python benchmarks/last_block.py [--repeats 5] [--busy] [--json]
    python benchmarks/last_block.py --families [--repeats 5] [--busy] [--json]

The slow ways run on fewer frames and are scaled linearly to 240; the table says on how many. All take turns within
a round; ratios are taken within a round, and their median is shown. On a machine that others use too, waiting for the
other thread swamps the quick way: `--busy` counts processor time on one thread instead. With `--families` the last
layer of each family, see `last_layers`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import last_layers
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel

from kshot import tuning
from kshot.backbones.backbone import Backbone

WAY, SHOT, QUERY, FRAMES = 5, 1, 5, 8
TOTAL = WAY * (SHOT + QUERY) * FRAMES
WAYS = {  # name -> frames timed, ratio asked for
    "exact last block on stored float16 tokens": (TOTAL, None),
    "one query, plain keys and values, on stored float16 tokens (the fair rival)": (40, 10),
    "whole last block on stored float16 tokens": (40, 60),
    "partial tuning without a store (trunk forward, whole last block)": (16, 300),
    "full fine-tuning from frames": (8, 1000),
}
"""The fair rival asks with the class token alone, with the keys and values of all tokens as they are, and runs the MLP
for it alone: what a careful engineer would write."""


def loss(embeddings: Tensor) -> Tensor:
    """Cross-entropy of an episode (240, P), support first; on fewer frames something as cheap."""
    if len(embeddings) < TOTAL:
        return embeddings.square().mean()
    clips = F.normalize(embeddings.view(-1, FRAMES, embeddings.shape[-1]).mean(1), dim=-1)
    support, query = clips[: WAY * SHOT], clips[WAY * SHOT :]
    prototypes = F.normalize(support.view(WAY, SHOT, -1).mean(1), dim=-1)
    return F.cross_entropy(100 * query @ prototypes.T, torch.arange(WAY).repeat_interleave(QUERY))


def build() -> dict[str, Callable[[], None]]:
    """The ways, each a call that does one forward and backward pass over its frames."""
    torch.manual_seed(0)
    frozen = Backbone(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))
    partial, full = frozen.copy(), frozen.copy()
    last = tuning.apply("partial", partial)
    tuning.apply("full", full)
    frames = torch.randn(16, 3, 224, 224)
    tokens = torch.randn(TOTAL, 197, 768).half()
    condensed = partial.condense(tokens).half()
    image = partial.image

    def whole_tail(x: Tensor) -> Tensor:
        return image.projection(image.norm(image.blocks[-1](x.float(), None)[:, 0]))

    def exact() -> Tensor:
        return partial.encode_from(condensed, last)

    def rival() -> Tensor:
        few = tokens[: counts[1]].float()
        return image.projection(image.norm(last_layers.one_query(image.blocks[-1], few)))

    def whole() -> Tensor:
        return whole_tail(tokens[: counts[2]])

    def storeless() -> Tensor:
        with torch.no_grad():
            x = partial.encode_to(frames[: counts[3]], last)
        return whole_tail(x)

    def from_frames() -> Tensor:
        x = full.image.pre(full.image.embeddings(frames[: counts[4]]))
        for block in full.image.blocks:
            x = block(x, None)
        return full.image.projection(full.image.norm(x[:, 0]))

    counts = [count for count, _ in WAYS.values()]

    def step(way: Callable[[], Tensor], model: Backbone) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad()
            loss(way()).backward()

        return run

    steps = [step(way, partial) for way in (exact, rival, whole, storeless)] + [step(from_frames, full)]
    return dict(zip(WAYS, steps, strict=True))


def measure(repeats: int, clock: Callable[[], float]) -> list[dict[str, float | int | str | None]]:
    """Seconds a step, scaled to 240 frames, and the ratio to the first way: medians over the rounds."""
    steps = build()
    rounds: list[list[float]] = []
    for number in range(repeats + 1):
        seconds = []
        for name, (count, _) in WAYS.items():
            tries = 5 if count == TOTAL else 1  # the quick way is over before a busy machine evens out
            start = clock()
            for _ in range(tries):
                steps[name]()
            seconds.append((clock() - start) / tries * TOTAL / count)
        if number:  # the first round warms up
            rounds.append(seconds)
    return [
        {
            "way": name,
            "frames_timed": count,
            "seconds": statistics.median(times[i] for times in rounds),
            "ratio": statistics.median(times[i] / times[0] for times in rounds),
            "asked": asked,
        }
        for i, (name, (count, asked)) in enumerate(WAYS.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds, after one to warm up")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--busy", action="store_true", help="one thread, processor time instead of time on the clock")
    parser.add_argument("--families", action="store_true", help="the last layer of each family instead")
    options = parser.parse_args()
    if options.busy:
        torch.set_num_threads(1)
    clock = time.process_time if options.busy else time.perf_counter
    machine = {"threads": torch.get_num_threads(), "busy": options.busy, "torch": torch.__version__}
    if options.families:
        found = last_layers.measure(options.repeats, clock)
        if options.json:
            print(json.dumps({"frames": last_layers.FRAMES, "repeats": options.repeats, **machine, "families": found}))
        else:
            last_layers.show(found)
        return
    rows = measure(options.repeats, clock)
    if options.json:
        print(json.dumps({"frames": TOTAL, "repeats": options.repeats, **machine, "ways": rows}))
        return
    print(f"{'one step of ' + str(TOTAL) + ' frames':78}{'timed on':>10}{'seconds':>10}{'ratio':>9}{'asked':>9}")
    for row in rows:
        asked = f">= {row['asked']}" if row["asked"] else ""
        print(f"{row['way']:78}{row['frames_timed']:>10}{row['seconds']:>10.3f}{row['ratio']:>9.0f}{asked:>9}")


if __name__ == "__main__":
    main()
