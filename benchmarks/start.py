"""What a short command costs: seconds of whole processes, from start to end.

    python benchmarks/start.py [--rounds 5] [--json]

Trains models of two drawn actions first: by kshot-tiny, and by lite with PyTorch and with ONNX Runtime. The median
counts; run it twice, so that the files are in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREDICT = "from kshot.cli import main; main(['predict', {model!r}, {clip!r}])"
SCRIPTS = {
    "python": "pass",
    "import torch": "import torch",
    "load kshot-tiny": "from kshot.backbones import backbone; backbone.load('kshot-tiny')",
    "kshot predict MODEL CLIP": PREDICT,
    "the same, a model of lite": PREDICT.replace("{model", "{lite"),
    "the same, --encoder onnx": PREDICT.replace("{model", "{onnx"),
    "import transformers' CLIPModel": "from transformers.models.clip.modeling_clip import CLIPModel",
}


def teach(folder: Path) -> dict[str, str]:
    """Folders of models, and a clip to name."""
    from kshot import Recognizer, load_data

    data = load_data("motion:2").select("test")
    few = data.only(data.classes[:2])
    made = {"clip": str(few.paths[0])}
    for name, model in {
        "model": Recognizer(), "lite": Recognizer("lite"), "onnx": Recognizer("lite", encoder="onnx"),
    }.items():  # fmt: skip
        model.fit(few.paths, [few.classes[label] for label in few.labels])
        made[name] = str(model.save(folder / name))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = teach(Path(folder))
        medians = {}
        for name, script in SCRIPTS.items():
            command, seconds = [sys.executable, "-c", script.format(**made)], []
            for _ in range(chosen.rounds):
                start = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - start)
            medians[name] = round(statistics.median(seconds), 2)
    print(
        json.dumps(medians) if chosen.json else "\n".join(f"{value:6.2f} s  {name}" for name, value in medians.items())
    )


if __name__ == "__main__":
    main()
