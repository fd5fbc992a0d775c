"""Ctrl-C more than once: work is cleared up in order, whatever the impatience, and a process that hangs still ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from kshot import interrupt

SLOW = """
import kshot.cli as cli, time
from kshot import interrupt
interrupt.GRACE = {grace}
def work(*_, **__):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep({clearing})
        print("cleared", flush=True)
cli.app = work
cli.main()
"""


@pytest.mark.parametrize(
    ("clearing", "grace", "told", "said"),
    [
        (
            0.5,
            30,
            "cleared\n",
            "kshot: stopped; what was done is kept, the same command goes on (train: with --resume)\n",
        ),
        (60, 0.1, "", "\nkshot: ended at once; what was written is kept\n"),
    ],
)
def test_three_quick_ctrl_cs_are_one_and_a_late_one_ends_what_hangs(
    clearing: float, grace: float, told: str, said: str
) -> None:
    script = SLOW.format(clearing=clearing, grace=grace)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.12)
        while clearing > grace and process.poll() is None:  # a busy machine may have taken the three for one
            process.send_signal(signal.SIGINT)
            time.sleep(0.12)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, told, said)


# ---- in this process -----------------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The clock that Ctrl-C is timed by, at a list's only place; handlers are put back at the end."""
    now, before = [100.0], signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: now[0])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield now
    interrupt._since.clear()
    signal.signal(signal.SIGINT, before)


class Ended(BaseException):
    """Stands for the end of the process."""


def test_the_first_interrupts_those_after_are_passed_over_and_a_late_one_ends(
    ctrl_c: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, bytes]] = []

    def end(code: int) -> None:
        assert code == 130
        raise Ended

    monkeypatch.setattr(interrupt.os, "write", lambda *what: said.append(what))
    monkeypatch.setattr(interrupt.os, "_exit", end)
    with pytest.raises(KeyboardInterrupt):
        interrupt.once(2, None)
    for moment in (100.0, 101.0, 102.0):
        ctrl_c[0] = moment
        interrupt.once(2, None)
    assert said == []
    ctrl_c[0] = 102.001
    with pytest.raises(Ended):
        interrupt.once(2, None)
    assert said == [(2, b"\nkshot: ended at once; what was written is kept\n")]


def test_handlers_are_those_of_before_unless_the_process_is_to_end(ctrl_c: list[float]) -> None:
    usual = signal.getsignal(signal.SIGINT)
    for last in (False, True):
        with interrupt.only_once(last):
            assert signal.getsignal(signal.SIGINT) is interrupt.once
        assert signal.getsignal(signal.SIGINT) is usual, "nothing was pressed"
    for last, after in ((False, usual), (True, interrupt.once)):
        with pytest.raises(KeyboardInterrupt), interrupt.only_once(last):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is after
    with pytest.raises(KeyboardInterrupt), interrupt.only_once(last=False):
        assert interrupt._since == [], "what was pressed before counts no more"
        signal.raise_signal(signal.SIGINT)


def test_a_handler_of_somebody_else_is_left_alone(ctrl_c: list[float]) -> None:
    heard: list[int] = []

    def own(number: int, frame: object) -> None:
        heard.append(number)

    for handler in (own, signal.SIG_IGN):
        signal.signal(signal.SIGINT, handler)
        assert not interrupt.usual()
        with interrupt.only_once(last=True):
            assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, interrupt.once)
    assert interrupt.usual(), "one of these within another"


def test_only_the_main_thread_sees_ctrl_c(ctrl_c: list[float]) -> None:
    found: list[object] = []

    def elsewhere() -> None:
        found.append(interrupt.usual())
        with interrupt.only_once(last=True):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert interrupt.usual() and found == [False, signal.default_int_handler]


def test_before_all_that_it_is_said_once_and_further_ones_are_not_heard(
    ctrl_c: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert interrupt.stopped() == 130
    signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    thread = threading.Thread(target=interrupt.stopped)
    thread.start()
    thread.join()
    line = "kshot: stopped; what was done is kept, the same command goes on (train: with --resume)\n"
    assert capsys.readouterr() == ("", 2 * line)


def test_one_that_comes_while_ctrl_c_is_made_deaf_is_taken(
    ctrl_c: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_handler, calls = signal.signal, []

    def quicker(number: int, handler: object) -> object:
        calls.append(handler)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return set_handler(number, handler)  # type: ignore[arg-type]

    monkeypatch.setattr(interrupt.signal, "signal", quicker)
    assert interrupt.stopped() == 130 and len(calls) == 3 and calls[-1] is signal.SIG_IGN


PASSED_OVER = """
import contextlib, os, signal, time
import kshot.cli as cli
from kshot.progress import bars, lines
def work(*_, **__):
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    with {progress}("work", 1, "parts"):
        print("went on", flush=True)
cli.app = work
cli.main()
"""


@pytest.mark.parametrize("progress", ["lines", "bars"])
def test_work_does_not_begin_after_a_ctrl_c_that_a_library_has_passed_over(progress: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PASSED_OVER.format(progress=progress)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "kshot: stopped; what was done is kept, the same command goes on (train: with --resume)\n"
