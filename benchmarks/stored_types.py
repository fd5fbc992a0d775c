"""What storing activations in 8 bits costs: accuracy and bytes for each type, on ready-made features.

    python benchmarks/stored_types.py FEATURES.npz [--episodes 10000] [--head prototype --head otam ...] [--json]

The features of every frame are stored as `--dtype` of `kshot extract` would store them and read back; the episodes are
the same for every type. Differences are in points of accuracy to float32.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import torch

import kshot
from kshot import datasets
from kshot.activations.packing import PACKED, packed, stored_bytes, unpacked
from kshot.settings import DTYPES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features")
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--head", action="append")
    parser.add_argument("--shot", type=int, action="append")
    parser.add_argument("--split", default="all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = datasets.load(options.features)
    assert data.features is not None
    rows = []
    for head in options.head or ["prototype", "otam"]:
        for shot in options.shot or [1, 5]:
            exact = 0.0
            for dtype in ("float32", *(name for name in DTYPES if name != "float32")):
                if dtype in PACKED:
                    stored = unpacked(packed(torch.from_numpy(data.features), dtype))
                else:
                    stored = data.features.astype(dtype).astype(np.float32)
                result = kshot.evaluate(
                    replace(data, features=stored), head=head, shot=shot, split=options.split,
                    episodes=options.episodes, shared_group=False,
                )  # fmt: skip
                exact = exact or result.accuracy
                rows.append(
                    {
                        "head": head,
                        "shot": shot,
                        "dtype": dtype,
                        "accuracy": round(result.accuracy, 3),
                        "difference": round(result.accuracy - exact, 3),
                        "bytes": stored_bytes(data.features.shape, dtype),
                    }
                )
    if options.json:
        print(json.dumps({"data": data.name, "episodes": options.episodes, "rows": rows}))
        return
    half = stored_bytes(data.features.shape, "float16")
    print(f"{'head':12}{'shot':>5}  {'dtype':9}{'accuracy':>9}{'difference':>12}{'bytes':>12}{'of float16':>12}")
    for row in rows:
        print(
            f"{row['head']:12}{row['shot']:>5}  {row['dtype']:9}{row['accuracy']:>9.2f}{row['difference']:>+12.3f}"
            f"{row['bytes']:>12,}{row['bytes'] / half:>12.3f}"
        )


if __name__ == "__main__":
    main()
