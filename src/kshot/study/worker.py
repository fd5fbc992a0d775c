"""A process that runs rows of a study for another one; see `kshot.study.jobs`."""

from __future__ import annotations

import _thread
import json
import os
import pickle
import queue
import signal
import sys
import threading
from typing import IO, Any

from kshot import processes
from kshot.errors import KshotError
from kshot.settings import Arithmetic
from kshot.study.jobs import GRACE, Setup
from kshot.study.runner import Running


class Orders:
    """What the parent asks for, and its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._asked = stream, queue.SimpleQueue[list[int] | None]()
        self._idle = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            self._asked.put(json.loads(line))
        self._asked.put(None)
        if not self._idle.is_set():
            threading.Timer(GRACE, os._exit, (130,)).start()
            _thread.interrupt_main()

    def next(self) -> list[int] | None:
        """The next part, by numbers of cells; None at the end."""
        self._idle.set()
        part = self._asked.get()
        self._idle.clear()
        return part


def main() -> None:
    """A child: runs what it is asked for, and says a line for each cell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    setup: Setup = pickle.load(sys.stdin.buffer)
    orders = Orders(sys.stdin.buffer)
    running = Running(setup.grid, setup.store, Arithmetic(**setup.computing))
    with processes.apart():
        while (part := orders.next()) is not None:
            for number in part:
                try:
                    running.row(setup.grid.cells[number])
                    answer: dict[str, Any] = {"done": number}
                except KshotError as error:
                    answer = {"error": str(error)}
                print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
