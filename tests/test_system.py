"""What a system may lack is done in another way, with the same outcome: each is tried as if it were not there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from clips import write_video
from kshot import system
from kshot.activations.store import Store
from kshot.fewshot import cost, evaluation
from kshot.studio.reader import Reader
from kshot.video.workers import Job, decode

SOURCE = Path(system.__file__).parent
LACKING = """
import os, selectors, signal
for module, names in ((os, ("preadv", "pwrite", "sysconf", "sched_getaffinity")), (signal, ("alarm", "SIGALRM"))):
    for name in names:
        delattr(module, name)
selectors.DefaultSelector = None
from kshot import system
system.WINDOWS = True
"""
"""Begins a script on a system that has nothing of all that."""


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("preadv", "pwrite", "sysconf", "sched_getaffinity"):
        monkeypatch.delattr(os, name)
    for name in ("alarm", "SIGALRM"):
        monkeypatch.delattr(signal, name)
    monkeypatch.setattr(system, "WINDOWS", True)
    monkeypatch.setattr(system.selectors, "DefaultSelector", None)
    monkeypatch.setattr(system, "PROC", Path("/nowhere"))


def test_only_one_module_asks_for_what_a_system_may_lack() -> None:
    wanted = r"\bfcntl\b|preadv|pwrite|SIGALRM|signal\.alarm|/proc\b|sysconf|sched_getaffinity|os\.fork\b|selectors"
    for path in SOURCE.rglob("*.py"):
        if path.name != "system.py":
            assert not re.search(wanted, path.read_text("utf-8")), path


def test_a_store_is_written_and_read_without_places(lacking: None, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3, 5)).astype(np.float32)
    store = Store(tmp_path, {"cut": 3})
    with store.writing() as writer:
        for number, row in enumerate(rows):
            writer.add(str(number), row)
    wanted = np.random.default_rng(1).permutation(40).repeat(3)
    found: dict[int, np.ndarray] = {}

    def gather(thread: int) -> None:
        found[thread] = Store(tmp_path, {"cut": 3}).gather([str(number) for number in wanted])

    threads = [threading.Thread(target=gather, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in range(4):
        np.testing.assert_array_equal(found[thread], rows[wanted])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = np.random.default_rng(2).integers(0, 256, (12, 48, 64, 3)).astype(np.uint8)
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures)


def test_clips_are_decoded_where_a_pipe_cannot_be_waited_for(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job(clip, 4, size=32), Job(tmp_path / "none.mp4", 4, size=32), Job(clip, 2, size=16)]
    wanted = [result for _, result in decode(jobs, workers=1)]
    monkeypatch.setattr(system, "WINDOWS", True)
    monkeypatch.setattr(system.selectors, "DefaultSelector", None)
    found = [result for _, result in decode(jobs, workers=1)]
    assert found[0].frames.shape == (4, 32, 32, 3) and found[2].frames.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(found[0].frames, wanted[0].frames)
    np.testing.assert_array_equal(found[2].frames, wanted[2].frames)
    assert str(found[1]) == str(wanted[1])
    reader = Reader()
    assert reader.strip(clip, tmp_path / "strip.jpg", 4).frames == 12
    reader.close()


def test_a_pipe_without_news_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for windows in (False, True):
        before = set(threading.enumerate())
        monkeypatch.setattr(system, "WINDOWS", windows)
        out, into = os.pipe()
        with open(out, "rb", buffering=0) as pipe, open(into, "wb", buffering=0) as feed:
            buffer = memoryview(bytearray(8))
            start = time.monotonic()
            with pytest.raises(TimeoutError):
                system.read_some(pipe, buffer, start + 0.2)
            assert 0.15 < time.monotonic() - start < 60
            feed.write(b"late")
            if windows:  # the thread that was given up takes it; were it left waiting, it might take the end too
                for thread in set(threading.enumerate()) - before:
                    thread.join(60)
            else:
                assert system.read_some(pipe, buffer, time.monotonic() + 60) == 4 and bytes(buffer[:4]) == b"late"
            feed.close()
            assert system.read_some(pipe, buffer, time.monotonic() + 60) == 0


@pytest.mark.parametrize("script", ["", LACKING], ids=["alarm", "watch"])
def test_a_process_that_hangs_is_ended(script: str) -> None:
    script += """
import sys, time
from kshot.system import end_after, leave_ctrl_c_to_the_parent
leave_ctrl_c_to_the_parent()
end_after(1)
end_after(0)
time.sleep(1.3)
print("lives", flush=True)
end_after(1)
time.sleep(60)
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and done.stdout == "lives\n" and time.monotonic() - start < 60


def test_what_the_system_does_not_tell_is_left_out(lacking: None) -> None:
    assert not system.forget_peak_memory() and system.peak_memory() is None and system.memory() is None
    assert system.processor() and system.cores() >= 1
    assert cost.Peak().read() is None
    found = evaluation.machine()
    assert "memory" not in found and found["processor"]


def test_linux_tells(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    assert system.forget_peak_memory() and (system.peak_memory() or 0) > 10 << 20
    assert (system.memory() or 0) > 1 << 28


def test_an_open_file_that_cannot_be_moved_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(os, "replace", refuse)
    (tmp_path / "part").write_bytes(b"data")
    with pytest.raises(PermissionError):
        system.move_open(tmp_path / "part", tmp_path / "whole")
    monkeypatch.setattr(system, "WINDOWS", True)
    system.move_open(tmp_path / "part", tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"data"
