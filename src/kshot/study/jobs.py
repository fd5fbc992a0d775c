"""Rows of a study side by side: plain child interpreters, each with its part of the cores, that ask for row after row.

A child that reads the end of its input stops at the next step and keeps what it has, as by Ctrl-C; so it ends with its
parent, however that ended. Ctrl-C itself reaches the parent alone.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from kshot import system
from kshot.errors import KshotError
from kshot.progress import Step
from kshot.study.grid import Cell, Grid

GRACE = 20.0  # seconds for a child to end in order


@dataclass(frozen=True)
class Setup:
    """What a child needs to run rows.

    Attributes:
        grid: of the study.
        store: as in `kshot.extract`.
        computing: device, precision and encoder.
        threads: that it computes with.
    """

    grid: Grid
    store: str | None
    computing: dict[str, Any]
    threads: int = 1


def side_by_side(setup: Setup, parts: Sequence[Sequence[Cell]], jobs: int, step: Step) -> None:
    """Runs parts of a grid in several processes.

    Args:
        setup: what they need; their threads are set here.
        parts: each is run by one process, in its order.
        jobs: how many processes.
        step: moves a bar on, by cells.

    Raises:
        KshotError: a process ended, or a row is another's to write; what was done is kept.
    """
    numbers = {cell.where: number for number, cell in enumerate(setup.grid.cells)}
    todo: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for part in parts:
        todo.put([numbers[cell.where] for cell in part])
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    setup = replace(setup, threads=max(1, system.cores() // jobs))
    children = [_Child(setup, todo, events) for _ in range(min(jobs, len(parts)))]
    working, at_work = len(children), dict[int, str]()
    try:
        while working:
            try:
                event = events.get(timeout=1.0)  # so that Ctrl-C is seen on every system
            except queue.Empty:
                continue
            if "error" in event:
                raise KshotError(event["error"])
            if "begun" in event:
                at_work[event["begun"]] = setup.grid.cells[event["begun"]].row.name
            elif "done" in event:
                del at_work[event["done"]]
            working -= "over" in event
            step(int("done" in event), ", ".join(at_work.values()))
    finally:
        for child in children:
            child.release()
        for child in children:
            child.end()


class _Child:
    """A process that runs rows, and the thread that talks to it."""

    def __init__(
        self, setup: Setup, todo: queue.SimpleQueue[list[int]], events: queue.SimpleQueue[dict[str, Any]]
    ) -> None:
        self._todo, self._events, self._cells = todo, events, setup.grid.cells
        threads = {"OMP_NUM_THREADS": str(setup.threads)}  # read when PyTorch is imported
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kshot.study.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | threads, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._thread = threading.Thread(target=self._talk, args=(pickle.dumps(setup),), daemon=True)
        self._thread.start()

    def _talk(self, setup: bytes) -> None:
        number = -1
        try:
            self._in.write(setup)
            while True:
                try:
                    part = self._todo.get_nowait()
                except queue.Empty:
                    self._events.put({"over": True})
                    return
                self._in.write(json.dumps(part).encode() + b"\n")
                self._in.flush()
                for number in part:
                    self._events.put({"begun": number})
                    self._events.put(json.loads(self._out.readline()))
        except (OSError, ValueError):  # the pipe is closed, or no line came
            row = f" in row '{self._cells[number].row.name}'" if number >= 0 else ""
            code = self._process.wait()
            why = f"a process of the study ended{row} (exit code {code}; killed for want of memory?)"
            again = "finished rows are kept, run the same command again, with fewer --jobs where memory is short"
            self._events.put({"error": f"{why}: {again}"})

    def release(self) -> None:
        """Lets it end in order."""
        with suppress(OSError):
            self._in.close()

    def end(self) -> None:
        """Waits until it has ended."""
        try:
            self._process.wait(GRACE + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(GRACE)
        self._out.close()
