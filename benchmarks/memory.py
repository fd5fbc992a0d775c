"""Peak memory of extraction and training with 1,000 and with 20,000 clips: the second should be no more than 1.1x.

    python benchmarks/memory.py [--few 1000] [--many 20000] [--keep FOLDER] [--json]
    python benchmarks/memory.py --many 200000 --undecoded        # extraction alone, of a cheap decoder

The clips are one small H.264 file under as many contents as there are clips (a box of its own at the end of each), the
backbone a small CLIP with random weights (32 pixels, 16 patches, width 64), so that a clip's 18 kB of tokens are many
times what its path, label and digest take. Every measurement is a process of its own; its peak is the largest resident
set that the kernel saw, pages of memory-mapped files included. Classes are split 64/12/24 as in the field.

With `--undecoded` a clip is a file of 12 bytes and its frames come from those, so that 200,000 of them take minutes:
everything else, from the table to the shards, is that of any extraction.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np

LIMIT = 1.10
CLASSES = {"train": 64, "val": 12, "test": 24}
STEPS = 1000  # 30 clips each: most of the base clips are visited
WORK = ("extract", "meta", "finetune")


def make(root: Path, clips: int, undecoded: bool = False) -> None:
    """`clips.csv` of that many clips, and the clips."""
    root.mkdir(parents=True)
    rng, picture = np.random.default_rng(0), root / "clip.mp4"
    with av.open(str(picture), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(stream.encode())
    content = picture.read_bytes()
    picture.unlink()
    labels = [(f"{split} {number}", split) for split, count in CLASSES.items() for number in range(count)]
    rows = ["path,label,split,group"]
    for number in range(clips):
        label, split = labels[number % len(labels)]
        own = (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
        (root / f"{number:06d}.mp4").write_bytes(own if undecoded else content + own)
        rows.append(f"{number:06d}.mp4,{label},{split},source {number // 3}")
    (root / "clips.csv").write_text("\n".join(rows) + "\n")


def backbone(folder: Path) -> None:
    """A small CLIP with random weights and the words of kshot-tiny."""
    import torch
    from transformers import CLIPConfig, CLIPModel
    from transformers.utils.logging import disable_progress_bar

    import kshot

    disable_progress_bar()
    tiny = Path(kshot.__file__).parent / "weights" / "kshot-tiny"
    own = json.loads((tiny / "config.json").read_text())
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=own["text_config"] | sizes,
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=64,
    )
    CLIPModel(config).save_pretrained(folder)
    for file in tiny.glob("*"):
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, folder)
    about = json.loads((folder / "preprocessor_config.json").read_text())
    about |= {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))


def work(kind: str, root: Path, backbone: Path) -> dict[str, Any]:
    """One measurement, in the process that is measured."""
    begin = time.monotonic()
    if kind in ("extract", "undecoded"):
        from kshot.activations.extraction import extract

        decoding = mock.patch("kshot.activations.extraction.decode", drawn) if kind == "undecoded" else nullcontext()
        with largest_child() as child, decoding:
            clips = extract(root / "clips.csv", backbone, "last", root / "store").stored_now
    else:
        from kshot.fewshot.training import train

        arguments: dict[str, Any] = {"steps": STEPS, "val_every": STEPS // 2, "val_episodes": 100}
        with largest_child() as child:
            train(root / "clips.csv", root / kind, strategy=kind, backbone=backbone, store=root / "store", **arguments)
        clips = sum(1 for _ in (root / "clips.csv").open()) - 1
    # Not getrusage: its peak outlives exec, so that a small process would tell the size of the one that started it.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    megabytes = {"megabytes": round(peak), "worker_megabytes": round(max(child))}
    return {"clips": clips, "seconds": round(time.monotonic() - begin, 1), **megabytes}


def drawn(jobs: Iterable[Any], workers: int, timeout: float) -> Iterator[tuple[int, Any]]:
    """In place of decoding: frames of noise from the last bytes of each file."""
    from kshot.video import Taken

    for position, job in enumerate(jobs):
        rng = np.random.default_rng(list(job.path.read_bytes()[-4:]))
        yield position, Taken(rng.integers(0, 256, (job.frames, job.size, job.size, 3), np.uint8))


@contextmanager
def largest_child() -> Iterator[list[float]]:
    """Inside, watches the child processes; the list's largest is their peak in MB."""
    peaks, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    with suppress(OSError):  # it may have ended
                        lines = Path(f"/proc/{child}/status").read_text().splitlines()
                        peaks.extend(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def measure(kind: str, root: Path, backbone: Path) -> dict[str, Any]:
    """`work` in a process of its own."""
    command = [sys.executable, __file__, "--work", kind, str(root), str(backbone)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="an empty folder for clips and stores, which then stay")
    parser.add_argument("--undecoded", action="store_true", help="extraction alone, of a cheap decoder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, root, network = options.work
        print(json.dumps(work(kind, Path(root), Path(network))))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = options.keep or Path(folder)
        backbone(place / "clip")
        works = ("undecoded",) if options.undecoded else WORK
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in works}
        for clips in (options.few, options.many):
            make(place / str(clips), clips, options.undecoded)
            for kind in works:
                found[kind].append(measure(kind, place / str(clips), place / "clip"))
                print(f"{kind}, {clips:,} clips: {found[kind][-1]}", file=sys.stderr)
    rows = []
    for kind, (few, many) in found.items():
        rows.append({"work": kind, "few": few, "many": many, "ratio": round(many["megabytes"] / few["megabytes"], 3)})
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        few, many = row["few"], row["many"]
        print(
            f"{row['work']:>8}: {few['megabytes']:.0f} MB with {few['clips']:,} clips, {many['megabytes']:.0f} MB with "
            f"{many['clips']:,} ({many['seconds']:.0f} s): {row['ratio']:.3f} (<= {LIMIT})"
        )


if __name__ == "__main__":
    main()
