"""Kills extractions at random moments, and compares what is stored in the end with an undisturbed store, byte by byte.

    python scripts/kill_extract.py [DATA] [--engine shards|ray] [--kills 20] [--backbone kshot-tiny] [--seed 0] [--json]

Engine "shards" is two processes, `kshot extract --shard 0/2` and `1/2`, one of which is killed at a time; engine "ray"
is `kshot extract --engine ray --actors 2`, of which an actor or the driver is killed. Each kill is followed by the same
commands again. When a store is complete before there were enough kills, it is compared and the next one is begun. The
undisturbed store is written by `--engine local`.

It ends with an error unless every store has the same files with the same bytes, every clip has its digest, and no shard
that was complete before a kill was written again. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

PATIENCE = 600.0  # seconds without anything new after which something hangs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="motion:10")
    parser.add_argument("--engine", choices=["shards", "ray"], default="shards")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backbone", default="kshot-tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = Killing(options, Path(folder)).run()
    print(json.dumps(result) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))
    if result["different"] or result["written_again"]:
        sys.exit("the stores differ")


class Killing:
    """Stores that are written, disturbed and compared."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.random = random.Random(options.seed)
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, "KSHOT_KILL": self.mark}
        self.killed: dict[str, int] = {}
        self.again = 0

    def run(self) -> dict[str, Any]:
        begin = time.monotonic()
        undisturbed = self.folder / "undisturbed"
        [process] = [self.start(undisturbed, "--engine", "local")]
        self.expect_end(process)
        expected = content(undisturbed)
        stores, different = 0, []
        while sum(self.killed.values()) < self.options.kills:
            stores += 1
            store = self.folder / f"store-{stores}"
            self.disturb(store)
            found = content(store)
            if found != expected:
                different.append(sorted(found.items() ^ expected.items())[:6])
        return {
            "engine": self.options.engine,
            "shards": sum(name.endswith(".npy") for name in expected),
            "kills": self.killed,
            "stores": stores,
            "different": different,
            "written_again": self.again,
            "seconds": round(time.monotonic() - begin),
        }

    def disturb(self, store: Path) -> None:
        """Writes a store with kills, and in the end without."""
        seen: dict[str, int] = {}
        while sum(self.killed.values()) < self.options.kills:
            processes = self.begin(store)
            if not self.wait_for_something(store, processes):
                break
            while True:
                time.sleep(self.random.uniform(0, 1.5))
                seen |= {path.name: path.stat().st_mtime_ns for path in store.glob("*/shard-*.json")}
                name = self.kill(processes)
                if name:
                    self.killed[name] = self.killed.get(name, 0) + 1
                if name != "actor" or sum(self.killed.values()) >= self.options.kills:
                    break  # an actor is replaced, and the run goes on
                if not self.wait_for_something(store, processes):
                    break
            self.end(processes)
        self.end([])
        for process in self.begin(store):
            self.expect_end(process)
        now = {path.name: path.stat().st_mtime_ns for path in store.glob("*/shard-*.json")}
        self.again += sum(now.get(name) != stamp for name, stamp in seen.items())

    def begin(self, store: Path) -> list[subprocess.Popen[str]]:
        if self.options.engine == "ray":
            return [self.start(store, "--engine", "ray", "--actors", "2")]
        return [self.start(store, "--shard", f"{share}/2") for share in range(2)]

    def start(self, store: Path, *spread: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kshot.cli", "extract", self.options.data, "--backbone", self.options.backbone]
        command += ["--store", str(store), "--workers", "1", *spread]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_for_something(self, store: Path, processes: list[subprocess.Popen[str]]) -> bool:
        """Waits until a shard is begun or completed; False where a process has ended before."""
        before, since = self.count(store), time.monotonic()
        while all(process.poll() is None for process in processes):
            if self.count(store) != before:
                return True
            if time.monotonic() - since > PATIENCE:
                raise SystemExit(f"nothing happened in {PATIENCE:.0f} s")
            time.sleep(0.05)
        return False

    def count(self, store: Path) -> tuple[int, frozenset[str]]:
        names = frozenset(path.name for path in store.glob("*/plan-*.part"))
        return len(list(store.glob("*/shard-*.json"))), names

    def kill(self, processes: list[subprocess.Popen[str]]) -> str:
        """Kills one of ours; what it was, "" where it had ended."""
        if self.options.engine == "ray" and self.random.random() < 0.6:
            actors = [number for number, name in self.ours() if name.startswith("ray::_Actor")]
            if not actors:
                return ""
            os.kill(self.random.choice(actors), signal.SIGKILL)
            return "actor"
        process = self.random.choice(processes)
        if process.poll() is not None:
            return ""
        process.kill()
        return "driver" if self.options.engine == "ray" else "process"

    def end(self, processes: list[subprocess.Popen[str]]) -> None:
        """Kills what is left of ours."""
        for process in processes:
            process.kill()
            process.communicate()
        while left := self.ours():
            for number, _ in left:
                try:
                    os.kill(number, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.2)

    def ours(self) -> list[tuple[int, str]]:
        """Number and name of the processes that were started by this script, or by these."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"KSHOT_KILL={self.mark}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                name = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            except OSError:
                continue
            if int(folder.name) != os.getpid():
                found.append((int(folder.name), name))
        return found

    def expect_end(self, process: subprocess.Popen[str]) -> None:
        _, told = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise SystemExit(f"kshot extract ended with {process.returncode}: {told[-2000:]}")


def content(store: Path) -> dict[str, str]:
    """Name -> sha256 of every file of the key; path -> sha256 of every clip of digests.jsonl."""
    files = [path for path in store.glob("*/*") if path.is_file()]
    found = {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    for line in (store / "digests.jsonl").read_text("utf-8").splitlines():
        if line:
            row = json.loads(line)
            found[row["path"]] = row["sha256"]
    return found


if __name__ == "__main__":
    main()
