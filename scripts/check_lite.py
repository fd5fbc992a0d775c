"""Whether `lite` names what pictures show: its weights were converted by a third party, who did not test them much.

    python -m venv pics && pics/bin/pip install --no-deps scikit-image matplotlib gradio ultralytics
    python scripts/check_lite.py pics/lib/python3.11/site-packages [--backbone lite1] [--json]

The pictures come with those packages. The classes of each were written down here before the network was asked: numbers
of ImageNet's 1,000, several where any of them would be right. A picture goes the way of a video of one frame;
behind the embedding stands the classifier of the same file of weights. Exits with 1 if fewer than `EXPECTED` are right.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kshot.backbones import lite
from kshot.backbones.backbone import load
from kshot.recognizer import videos

CAT, CUP, BUS, CHEETAH = (281, 282, 285), (504, 967, 968), (654, 779, 874), (293,)
PICTURES: dict[str, tuple[str, tuple[int, ...]]] = {
    "skimage/data/chelsea.png": ("a cat", CAT),
    "skimage/data/coffee.png": ("a cup of coffee", CUP),
    "skimage/data/motorcycle_left.png": ("a motorcycle", (665, 670)),
    "skimage/data/rocket.jpg": ("a rocket at its start", (657, 744, 812)),
    "skimage/data/clock_motion.png": ("a clock, blurred out", (409, 892)),
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": ("an officer", (652,)),
    "gradio/media_assets/images/cheetah.jpg": ("a cheetah", CHEETAH),
    "gradio/media_assets/images/cheetah1.jpg": ("a cheetah", CHEETAH),
    "gradio/test_data/cheetah2.jpg": ("a cheetah", CHEETAH),
    "gradio/media_assets/images/lion.jpg": ("a lion", (291,)),
    "gradio/media_assets/images/bus.png": ("a bus, drawn, 61 x 68", BUS),
    "ultralytics/assets/bus.jpg": ("a bus", BUS),
}
"""Picture -> what it shows, and the numbers of the classes that say so."""
EXPECTED = 0.5  # share; published top-1 accuracies are 74.4 to 77.5 %, and a wrong conversion is right in one of 1,000


def first(backbone: str, folder: Path) -> dict[str, tuple[int, float]]:
    """Picture -> number of the likeliest of ImageNet's classes, and its probability; pictures that are there."""
    network = load(backbone)
    weights = torch.load(lite.weights_of(backbone), map_location="cpu", weights_only=True)
    found = {}
    for name in PICTURES:
        if (folder / name).exists():
            pixels = np.asarray(Image.open(folder / name).convert("RGB"))
            with torch.inference_mode():
                embedding = network(network.pixels(videos.prepare(pixels[None], 1, network.size)))
                proba = torch.nn.functional.linear(embedding, weights["_fc.weight"], weights["_fc.bias"]).softmax(1)[0]
            found[name] = (int(proba.argmax()), round(float(proba.max()), 3))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="site-packages with the packages that bring the pictures")
    parser.add_argument("--backbone", default="lite", choices=list(lite.SIZES))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = first(chosen.backbone, chosen.folder)
    if not found:
        print(f"no pictures in {chosen.folder}: install the packages named above there", file=sys.stderr)
        return 2
    right = {name: number in PICTURES[name][1] for name, (number, _) in found.items()}
    if chosen.json:
        print(json.dumps({"backbone": chosen.backbone, "right": right, "first": found}))
    else:
        for name, (number, proba) in found.items():
            shows, wanted = PICTURES[name]
            print(f"{'right' if right[name] else 'WRONG'}  {shows:<22}  class {number}, {proba:.2f}; {wanted}  {name}")
        print(f"{chosen.backbone}: {sum(right.values())} of {len(right)} pictures right")
    return int(sum(right.values()) < EXPECTED * len(right))


if __name__ == "__main__":
    sys.exit(main())
