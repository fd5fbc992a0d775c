"""Extraction on several machines: simulated, and the simulation held against what this machine measures.

    python benchmarks/cluster.py simulate [--clips 240000] [--workers 64] [--seconds 2.0] [--deaths 0.02] ...
    python benchmarks/cluster.py measure [DATA] [--backbone lite] [--clips 240] [--rounds 2] [--json]
    python benchmarks/cluster.py sizes [--json]

simulate: a discrete-event simulation of `kshot extract --engine ray`, or with --shares of one `--shard i/n` a worker:
clips go into shards as `kshot.activations.plan` cuts them, actors are dealt shards as `kshot.activations.actors` deals
them, some are slow, some die and are replaced, and what they had not completed is done again. It says how long it
takes, how many machine hours, and what is lost to slow and dead workers.

measure: on two idle cores, in under five minutes, side by side: one process with two threads, two processes with a
share each, and two actors of Ray; the start told apart. Goals: two processes >= 0.95 of one process, Ray's own cost
<= 10 %, its start <= 15 s, and the simulation within 15 % of the two processes and of Ray, from short runs of workers
side by side: what a clip takes a worker while the other core works as well (cores share memory, so it is more than on
an idle machine), what its first call costs, and each further one.

sizes: what a clip takes: bytes at each cut by the formula of docs/scaling.md and as stored, and milliseconds of
processor time on one thread beside the multiply-adds. Of backbones that are installed, and of a ViT-B/32 with random
weights.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from kshot.activations.actors import MOST_SHARDS
from kshot.activations.plan import clips_a_shard


@dataclass(frozen=True)
class Cluster:
    """Workers that extract clips.

    Attributes:
        clips: to extract.
        workers: side by side.
        seconds: that a clip takes one worker.
        size: bytes of a clip in the store.
        start: seconds until a worker can begin, also one that replaces another.
        hand: seconds that each dealing of shards costs a worker.
        shares: whether each worker has a share of its own, rather than being dealt shards.
        deaths: of a worker, in an hour.
        slow: share of the workers that are slow.
        factor: how many times longer these take.
        seed: of deaths and slow workers.
    """

    clips: int
    workers: int
    seconds: float
    size: int = 100_000
    start: float = 10.0
    hand: float = 0.5
    shares: bool = False
    deaths: float = 0.0
    slow: float = 0.0
    factor: float = 3.0
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        shards: files.
        seconds: until the last shard was complete.
        machine_hours: of all workers until then.
        ideal: seconds, if nobody were slow, died or had to start.
        done: clips that were completed.
        repeated: clips that were worked on and lost with a worker.
        deaths: of workers.
    """

    shards: int
    seconds: float
    machine_hours: float
    ideal: float
    done: int
    repeated: float
    deaths: int


def simulate(cluster: Cluster) -> Outcome:
    """Runs workers until every shard is complete."""
    draw = random.Random(cluster.seed)
    each = clips_a_shard(cluster.clips, cluster.size)
    shards = deque(min(each, cluster.clips - first) for first in range(0, cluster.clips, each))
    count, workers = len(shards), min(cluster.workers, len(shards))
    own = [deque(list(shards)[worker::workers]) for worker in range(workers)] if cluster.shares else []
    speeds = [cluster.factor if draw.random() < cluster.slow else 1.0 for _ in range(workers)]
    alone: deque[int] = deque()  # of workers that died: one at a time
    free = [(cluster.start, worker) for worker in range(workers)]
    heapq.heapify(free)
    end, done, repeated, died = 0.0, 0, 0.0, 0
    while free:
        now, worker = heapq.heappop(free)
        left = own[worker] if own else shards
        if alone and not own:
            hand = [alone.popleft()]
        else:
            most = len(left) if own else min(MOST_SHARDS, max(1, len(left) // (2 * workers)))
            hand = [left.popleft() for _ in range(min(most, len(left)))]
        if not hand:
            continue
        rate = cluster.deaths / 3600
        dies = now + draw.expovariate(rate) if rate else float("inf")
        now += cluster.hand
        for number, clips in enumerate(hand):
            takes = clips * cluster.seconds * speeds[worker]
            if now + takes > dies:
                repeated += max(0.0, dies - now) / (cluster.seconds * speeds[worker])
                died += 1
                (left if own else alone).extend(hand[number:])
                now = max(now, dies) + cluster.start
                break
            now += takes
            done += clips
            end = max(end, now)
        heapq.heappush(free, (now, worker))
        if not own:  # who found nothing comes back for what a dead one leaves
            idle = workers - len(free)
            if alone and idle:
                waiting = {other for _, other in free}
                back = next(other for other in range(workers) if other not in waiting)
                heapq.heappush(free, (now, back))
    ideal = cluster.clips * cluster.seconds / workers
    return Outcome(count, end, end * workers / 3600, ideal, done, repeated, died)


# Measured


WORK = """
import json, os, sys, time
from pathlib import Path
data, backbone, store, kind, folder, clips, calls = sys.argv[1:]
import numpy as np, torch
import kshot
from kshot.backbones.backbone import load
torch.set_num_threads(2 if kind == "plain" else 1)
part = kshot.load_data(data)
part = part.subset(np.linspace(0, len(part) - 1, min(int(clips), len(part)), dtype=np.int64))
made = load(backbone)
with torch.inference_mode():
    made.encode_to(made.pixels(torch.zeros(8, made.size, made.size, 3, dtype=torch.uint8)), made.depth)
ready = Path(folder) / f"ready-{os.getpid()}"
ready.touch()
while not (Path(folder) / "go").exists():
    time.sleep(0.01)
begin = time.perf_counter()
options = {"workers": 2} if kind == "plain" else {"workers": 1, "shard": kind}
pieces = np.array_split(np.arange(len(part)), int(calls))
stored = [kshot.extract(part.subset(piece), made, "last", store, **options).stored_now for piece in pieces]
print(json.dumps({"seconds": time.perf_counter() - begin, "clips": sum(stored)}))
"""


def together(options: argparse.Namespace, kinds: list[str], clips: int, calls: int = 1) -> dict[str, Any]:
    """Processes that begin at once, each with so many calls; seconds until the last has ended, and clips."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [options.data, options.backbone, f"{folder}/store"]
        running = [
            subprocess.Popen(
                [sys.executable, "-c", WORK, *arguments, kind, folder, str(clips), str(calls)],
                stdout=subprocess.PIPE, text=True,
            )
            for kind in kinds
        ]  # fmt: skip
        while len(list(Path(folder).glob("ready-*"))) < len(kinds):
            if any(process.poll() for process in running):
                raise SystemExit("a process ended before it began")
            time.sleep(0.05)
        Path(folder, "go").touch()
        told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    return {"seconds": max(one["seconds"] for one in told), "clips": sum(one["clips"] for one in told)}


RAY = """
import json, sys, time
import numpy as np
import kshot
data, backbone, store, clips = sys.argv[1:]
part = kshot.load_data(data)
part = part.subset(np.linspace(0, len(part) - 1, min(int(clips), len(part)), dtype=np.int64))
begin = time.perf_counter()
done = kshot.extract(part, backbone, "last", store, engine="ray", actors=2, workers=1)
print(json.dumps({"seconds": time.perf_counter() - begin, "clips": done.stored_now, "notes": list(done.notes)}))
"""


def on_ray(options: argparse.Namespace, clips: int) -> dict[str, Any] | None:
    """Two actors; None where Ray is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", RAY, options.data, options.backbone, f"{folder}/store", str(clips)]
        made = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if made.returncode:
        print(made.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    told = json.loads(made.stdout.splitlines()[-1])
    found = re.search(r"ready after ([\d.]+) s and worked for ([\d.]+) s", " ".join(told["notes"]))
    assert found, told["notes"]
    return {"start": float(found[1]), "seconds": float(found[2]), "clips": told["clips"], "whole": told["seconds"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures; the rounds are interleaved, and the median counts."""
    few, calls, clips, both = 48, 3, options.clips, ["0/2", "1/2"]
    small, often = together(options, both, few), together(options, both, few, calls)
    longer = together(options, both, max(3 * few, 2 * clips // 3))
    seconds = 2 * (longer["seconds"] - small["seconds"]) / (longer["clips"] - small["clips"])
    begins = max(0.0, small["seconds"] - small["clips"] / 2 * seconds)
    hand = max(0.0, (often["seconds"] - small["seconds"]) / (calls - 1))
    rounds: dict[str, list[dict[str, Any]]] = {"plain": [], "two": [], "ray": []}
    for _ in range(options.rounds):
        rounds["plain"].append(together(options, ["plain"], clips))
        rounds["two"].append(together(options, ["0/2", "1/2"], clips))
        if (found := on_ray(options, clips)) is not None:
            rounds["ray"].append(found)
    rate = {name: _median([one["clips"] / one["seconds"] for one in each]) for name, each in rounds.items() if each}
    took = {name: _median([one["seconds"] for one in each]) for name, each in rounds.items() if each}
    about = {"clips": clips, "workers": 2, "seconds": seconds, "size": options.size}
    about |= {"hand": hand, "start": max(0.0, begins - hand)}
    two, dealt = simulate(Cluster(**about, shares=True)), simulate(Cluster(**about))
    result: dict[str, Any] = {
        "data": options.data,
        "backbone": options.backbone,
        "clips": clips,
        "rounds": rounds,
        "seconds of a clip, one of two workers on two cores": round(seconds, 4),
        "seconds that a worker's first call takes to begin": round(begins, 2),
        "seconds that each further call takes to begin": round(hand, 2),
        "clips a second, one process with two threads": round(rate["plain"], 2),
        "clips a second, two processes with a share each": round(rate["two"], 2),
        "two processes / one, goal 0.95": round(rate["two"] / rate["plain"], 3),
        "two processes, measured / simulated seconds, goal 0.85 to 1.15": round(took["two"] / two.seconds, 3),
    }
    if "ray" in rate:
        result |= {
            "clips a second, two actors of Ray, once ready": round(rate["ray"], 2),
            "Ray's own cost against two processes, goal 0.10": round(rate["two"] / rate["ray"] - 1, 3),
            "Ray's start until its actors are ready, seconds, goal 15": _median(
                [one["start"] for one in rounds["ray"]]
            ),
            "Ray, measured / simulated seconds, goal 0.85 to 1.15": round(took["ray"] / dealt.seconds, 3),
        }
    return result


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


# Sizes


def sizes() -> list[dict[str, Any]]:
    """Bytes of a clip by the formula and as it is stored, and what its encoding takes."""
    import torch
    from extraction import random_b32

    from kshot.activations.encoding import encode, one_thread
    from kshot.backbones.backbone import load
    from kshot.catalogue import sizes_of

    found = []
    for made in (load("kshot-tiny"), load("lite"), random_b32()):
        frames = made.frames_of(None)
        clip = torch.zeros(1, frames, made.size, made.size, 3, dtype=torch.uint8).numpy()
        with torch.inference_mode():
            entering = made.encode_to(
                made.pixels(torch.zeros(1, made.size, made.size, 3, dtype=torch.uint8)), made.depth
            )
        more = 1 if made.image.exact and entering.ndim == 3 else 0  # the raw class token beside the normalised ones
        row = {"backbone": made.name, "frames": frames}
        for cut, number, each in (
            ("frames", 0, frames * made.size**2 * 3),
            ("last", made.depth, 2 * frames * (entering[0].numel() + more * entering.shape[-1])),
            ("embedding", made.depth + 1, 2 * frames * made.embed_dim),
        ):
            stored = encode(made, number, clip, "float16", made.image.exact).nbytes
            row |= {f"{cut}: bytes by formula": each, f"{cut}: bytes stored": stored}
        work = sizes_of(made).multiply_adds
        with one_thread():
            times = []
            for _ in range(3):
                begin = time.process_time()
                encode(made, made.depth, clip, "float16", made.image.exact)
                times.append(time.process_time() - begin)
        row |= {"million multiply-adds": round(work / 1e6), "processor ms": round(1000 * min(times), 1)}
        found.append(row | {"G multiply-adds a second": round(work / min(times) / 1e9, 1)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("simulate")
    one.add_argument("--clips", type=int, default=240_000)
    one.add_argument("--workers", type=int, default=64)
    one.add_argument("--seconds", type=float, default=2.0)
    one.add_argument("--size", type=int, default=2_420_000)
    one.add_argument("--start", type=float, default=15.0)
    one.add_argument("--hand", type=float, default=0.5)
    one.add_argument("--shares", action="store_true")
    one.add_argument("--deaths", type=float, default=0.0)
    one.add_argument("--slow", type=float, default=0.0)
    one.add_argument("--factor", type=float, default=3.0)
    one.add_argument("--seed", type=int, default=0)
    two = commands.add_parser("measure")
    two.add_argument("data", nargs="?", default="motion:10")
    two.add_argument("--backbone", default="lite")
    two.add_argument("--clips", type=int, default=240)
    two.add_argument("--rounds", type=int, default=2)
    two.add_argument("--size", type=int, default=250_880)
    commands.add_parser("sizes")
    for each in commands.choices.values():
        each.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.command == "simulate":
        names = Cluster.__dataclass_fields__
        result: Any = asdict(simulate(Cluster(**{k: v for k, v in vars(options).items() if k in names})))
    else:
        result = measure(options) if options.command == "measure" else sizes()
    if options.json:
        print(json.dumps(result))
        return
    for table in result if isinstance(result, list) else [result]:
        print("\n".join(f"{name}: {value}" for name, value in table.items()), end="\n\n")


if __name__ == "__main__":
    main()
