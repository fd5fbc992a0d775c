"""Kills extractions at random moments, and compares what is stored in the end with an undisturbed store, byte by byte.

    python scripts/kill_extract.py [DATA] [--engine shards|ray] [--kills 20] [--address s3://bucket/folder]
                                   [--backbone kshot-tiny] [--seed 0] [--json]

Engine "shards" is two processes, `kshot extract --shard 0/2` and `1/2`, one of which is killed at a time; engine "ray"
is `kshot extract --engine ray --actors 2`, of which an actor or the driver is killed. Each kill is followed by the same
commands again. When a store is complete before there were enough kills, it is compared and the next one is begun. The
undisturbed store is written by `--engine local`, into a folder.

With --address the disturbed stores lie there, and the two processes have homes of their own, as on two machines.

It ends with an error unless every store has the same files with the same bytes, every clip has its digest, and no shard
that was complete before a kill was written again. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

PATIENCE = 600.0  # seconds without anything new after which something hangs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="motion:10")
    parser.add_argument("--engine", choices=["shards", "ray"], default="shards")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--address", default="", help="where the disturbed stores lie; new ones are begun there")
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
        undisturbed = str(self.folder / "undisturbed")
        [process] = [self.start(undisturbed, "--engine", "local")]
        self.expect_end(process)
        expected = content(undisturbed)
        stores, different = 0, []
        while sum(self.killed.values()) < self.options.kills:
            stores += 1
            store = f"{self.options.address or self.folder}/store-{stores}"
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

    def disturb(self, store: str) -> None:
        """Writes a store with kills, and in the end without."""
        seen: dict[str, str] = {}
        while sum(self.killed.values()) < self.options.kills:
            processes = self.begin(store)
            if not self.wait_for_something(store, processes):
                break
            while True:
                time.sleep(self.random.uniform(0, 1.5))
                seen |= complete(store)
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
        now = complete(store)
        self.again += sum(now.get(name) != stamp for name, stamp in seen.items())

    def begin(self, store: str) -> list[subprocess.Popen[str]]:
        if self.options.engine == "ray":
            return [self.start(store, "--engine", "ray", "--actors", "2")]
        return [self.start(store, "--shard", f"{share}/2") for share in range(2)]

    def start(self, store: str, *spread: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kshot.cli", "extract", self.options.data, "--backbone", self.options.backbone]
        command += ["--store", store, "--workers", "1", *spread]
        own = {"KSHOT_HOME": str(self.folder / f"home-{spread[1][0]}")} if self.options.address else {}
        return subprocess.Popen(
            command, env=self.environment | own, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_for_something(self, store: str, processes: list[subprocess.Popen[str]]) -> bool:
        """Waits until a shard is begun or completed; False where a process has ended before."""
        before, since = self.count(store), time.monotonic()
        while all(process.poll() is None for process in processes):
            if self.count(store) != before:
                return True
            if time.monotonic() - since > PATIENCE:
                raise SystemExit(f"nothing happened in {PATIENCE:.0f} s")
            time.sleep(0.05)
        return False

    def count(self, store: str) -> tuple[int, frozenset[str]]:
        return len(complete(store)), frozenset(path.name for path in self.folder.rglob("plan-*.part"))

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


def below(store: str) -> dict[str, Any]:
    """Name below a store -> what its file system says of each file; of a folder or an address."""
    system, root = url_to_fs(store)
    system.invalidate_cache()
    found = system.find(root, detail=True)
    return {name.removeprefix(root).lstrip("/"): about for name, about in found.items()}


def complete(store: str) -> dict[str, str]:
    """Name -> when it was written, of every manifest."""
    found = below(store)
    return {n: str(about.get("LastModified") or about["mtime"]) for n, about in found.items() if is_manifest(n)}


def is_manifest(name: str) -> bool:
    return "/shard-" in name and name.endswith(".json")


def content(store: str) -> dict[str, str]:
    """Name -> sha256 of every file of the key; path -> sha256 of every clip of the digests."""
    system, root = url_to_fs(store)
    data = {name: system.cat_file(f"{root}/{name}") for name in below(store)}
    found = {name: hashlib.sha256(text).hexdigest() for name, text in data.items() if "/" in name}
    lines = [text.decode().splitlines() for name, text in data.items() if re.fullmatch(r"digests.*\.jsonl", name)]
    for line in filter(None, itertools.chain(*lines)):
        row = json.loads(line)
        found[row["path"]] = row["sha256"]
    return found


if __name__ == "__main__":
    main()
