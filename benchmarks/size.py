"""What ten million clips cost to list, to plan an extraction of, to open and look up in a store, and to draw from.

    python benchmarks/size.py [--clips 10000000] [--classes 1000] [--folder FOLDER] [--json]

Made for it and removed again: the manifests, lines of digests.jsonl and a CSV of so many clips, with paths, labels,
splits and groups, and sparse shards that take no room. Every measurement is a process of its own: processor seconds,
the largest resident set that the kernel saw, and how much of it is above that of a process that imports as much and
does nothing. Goals for ten million: the store opens in 5 processor seconds and 500 MB; at most 40 bytes a clip, also
while a table is read, its digests are found and an extraction is planned; episodes of ten million clips are drawn as
quickly as of ten thousand. `first` makes the indices, which happens once, within 500 MB. `planning` plans twice: for
the store that holds every clip, and for one that holds none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KEY = {"cut": 13, "frames": 8, "backbone": "synthetic", "dtype": "float16"}
TIME = 1_700_000_000_000_000_000
ROWS = 8192  # clips of a shard: 64 MB of embeddings of 8 frames of 512 channels


def name(clip: int) -> str:
    """The digest of a clip."""
    return hashlib.sha256(clip.to_bytes(8, "big")).hexdigest()


def path(clip: int, classes: int) -> str:
    return f"/videos/class {clip % classes:04d}/{clip:09d}.mp4"


def split(where: str) -> str:
    """That of a clip, by its class."""
    return ("train", "train", "val", "test")[int(where[14:18]) % 4]


def line(where: str, size: int, digest: str) -> str:
    """A line of digests.jsonl, several times as quickly as kshot writes it."""
    seal = hashlib.sha256(f'["{where}", {size}, {TIME}, "{digest}"]'.encode()).hexdigest()[:16]
    return f'{{"path": "{where}", "bytes": {size}, "mtime_ns": {TIME}, "sha256": "{digest}", "seal": "{seal}"}}\n'


def make(root: Path, clips: int, classes: int) -> None:
    """The store, the digests and `clips.csv`."""
    from kshot.activations.digests import Hashed
    from kshot.activations.shards import Manifest, name_of
    from kshot.activations.store import Store

    folder = Store(root / "store", KEY).folder
    folder.mkdir(parents=True)
    (folder / "key.json").write_text(json.dumps({"key": KEY, "made_with": "synthetic"}))
    with (root / "store" / "digests.jsonl").open("w") as lines, (root / "clips.csv").open("w") as table:
        table.write("path,label,split,group\n")
        for start in range(0, clips, ROWS):
            own = range(start, min(start + ROWS, clips))
            digests = [name(clip) for clip in own]
            header = {"descr": "<f2", "fortran_order": False, "shape": (len(own), 8, 512)}
            with (folder / "part").open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + len(own) * 8 * 512 * 2)
                size = os.fstat(file.fileno()).st_size
            text = Manifest("0" * 64, size, tuple(digests)).text()
            (folder / "part").rename(folder / f"{name_of(text)}.npy")
            (folder / f"{name_of(text)}.json").write_bytes(text)
            rows = [(path(clip, classes), 1_000_000 + clip, digest) for clip, digest in zip(own, digests, strict=True)]
            made = [line(*row) for row in rows]
            assert made[0] == Hashed(*rows[0][:2], TIME, rows[0][2]).line()
            lines.writelines(made)
            table.writelines(f"{where},{where[8:18]},{split(where)},source {where[19:28]}\n" for where, _, _ in rows)


def nothing(root: Path, clips: int, classes: int) -> dict[str, Any]:
    """Imports what the others import."""
    import kshot.activations.planned
    import kshot.activations.task
    import kshot.datasets.table
    import kshot.fewshot.episodes  # noqa: F401

    return {}


def opening(root: Path, clips: int, classes: int) -> dict[str, Any]:
    """Opens the store and the digests, and looks some things up."""
    from kshot.activations.digests import Digests
    from kshot.activations.store import Store

    begin = time.process_time()
    store, digests = Store(root / "store", KEY), Digests(root / "store" / "digests.jsonl")
    seconds, megabytes = time.process_time() - begin, resident()
    some = np.random.default_rng(0).integers(0, clips, 2000).tolist()
    begin = time.process_time()
    assert store.holds([name(clip) for clip in some]).all() and not store.holds([name(clips)]).any()
    found = digests.of([Path(path(clip, classes)) for clip in some], remembered=True)
    assert list(found) == [name(clip) for clip in some]
    looked_up = time.process_time() - begin
    begin = time.process_time()
    assert store.gather([name(clip) for clip in some[:200]]).shape == (200, 8, 512)
    return {
        "processor_seconds": round(seconds, 2),
        "megabytes": megabytes,
        "microseconds_a_lookup": round(looked_up / len(some) / 2 * 1e6, 1),
        "milliseconds_a_clip_read": round((time.process_time() - begin) / 200 * 1e3, 2),
    }


def planning(root: Path, clips: int, classes: int) -> dict[str, Any]:
    """Reads the table, finds every digest and what is stored, and plans an extraction, whole and in shares."""
    from kshot.activations.digests import Digests
    from kshot.activations.plan import Plan
    from kshot.activations.store import Store
    from kshot.activations.task import Task
    from kshot.datasets import load

    found: dict[str, Any] = {}
    begin = time.process_time()

    def done(step: str) -> None:
        nonlocal begin
        found[f"{step}_processor_seconds"] = round(time.process_time() - begin, 2)
        found[f"{step}_megabytes"] = resident()
        begin = time.process_time()

    data = load(root / "clips.csv", check_files=False)
    done("table")
    digests = Digests(root / "store" / "digests.jsonl").of(data.clips, remembered=True)
    done("digests")
    some: Any = None  # no backbone and no recipe are asked for what is to do
    assert len(Task(data, some, some, Store(root / "store", KEY), digests).todo()) == 0
    done("all_stored")
    assert len(Task(data, some, some, Store(root / "store", KEY | {"cut": 1}), digests).todo()) == clips
    done("none_stored")
    plan = Plan.of(data.clips, 8 * 512 * 2)
    half = data.subset(np.concatenate([np.array(plan.clips_of(number)) for number in range(0, len(plan), 2)]))
    assert half.paths[-1] in (data.paths[-1], data.paths[plan.clips_of(len(plan) - 2)[-1]])
    done("shares")
    return found


def drawing(root: Path, clips: int, classes: int) -> dict[str, Any]:
    """Draws episodes, 5-way 1-shot with 5 queries, from few and from all clips."""
    from kshot.fewshot.episodes import Sampler

    found: dict[str, Any] = {}
    names = tuple(f"class {number:04d}" for number in range(classes))
    for kind, count in (("few", 10 * classes), ("all", clips)):
        begin = time.process_time()
        sampler = Sampler(np.arange(count) % classes, names, 5, 1, 5)
        found[f"{kind}_preparing_seconds"] = round(time.process_time() - begin, 2)
        sampler.draw(range(100))
        begin = time.process_time()
        sampler.draw(range(10_000))
        found[f"{kind}_microseconds_an_episode"] = round((time.process_time() - begin) / 10_000 * 1e6, 1)
    return found | {"megabytes": resident()}


def resident() -> int:
    """The largest resident set of this process so far, in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))


WORK: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    "nothing": nothing, "first": opening, "opening": opening, "drawing": drawing, "planning": planning,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to make it; a temporary one by default")
    parser.add_argument("--only", action="append", choices=[*WORK])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", choices=[*WORK], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        found = WORK[options.work](options.folder, options.clips, options.classes)
        print(json.dumps({"megabytes": resident()} | found))
        return
    root = Path(tempfile.mkdtemp(prefix="kshot-size-", dir=options.folder))
    result: dict[str, Any] = {"clips": options.clips, "classes": options.classes}
    try:
        make(root, options.clips, options.classes)
        for kind in options.only or WORK:
            command = [sys.executable, __file__, "--work", kind, "--folder", str(root), "--clips", str(options.clips)]
            done = subprocess.run([*command, "--classes", str(options.classes)], check=True, capture_output=True)
            result[kind] = json.loads(done.stdout)
            base = result.get("nothing", {}).get("megabytes", 0)
            result[kind]["bytes_a_clip"] = round((result[kind]["megabytes"] - base) * 2**20 / options.clips, 1)
            if not options.json:
                print(f"{kind}: " + ", ".join(f"{key} {value:,}" for key, value in result[kind].items()), flush=True)
    finally:
        shutil.rmtree(root)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
