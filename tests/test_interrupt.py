"""Ctrl-C more than once: work is cleared up in order, whatever the impatience, and a process that hangs still ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

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
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, told, said)
