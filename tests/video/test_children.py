"""One protocol between a process and its children: whatever a child says or does costs one task."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot.errors import ClipLost, KshotError, VideoError
from kshot.video.children import CannotStart, Child

MODULE = """
import os, signal, sys, time
import numpy as np
from kshot.errors import ClipLost, VideoError
from kshot.video.children import serve
def work(task):
    do = task["do"]
    print("noise on standard output", flush=True)
    os.write(2, b"noise on standard error")
    if do == "echo": yield task, None
    if do == "where": yield {"folder": os.getcwd(), "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}, None
    if do == "pixels": yield {"sum": 3}, np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2]
    if do == "many":
        for number in range(task["count"]): yield {"at": number}, np.full((2, 2), number, np.uint8)
        yield {"at": None}, None
    if do == "refuse": raise VideoError("a: no video")
    if do == "lost": raise ClipLost("a: too large")
    if do == "memory": raise MemoryError
    if do == "bug": raise ZeroDivisionError("a fault of ours")
    if do == "late":
        yield {"at": 0}, np.zeros(1, np.uint8)
        raise VideoError("a: broken further on")
    if do == "abort": os.abort()
    if do == "leave": os._exit(3)
    if do == "killed": os.kill(os.getpid(), signal.SIGKILL)
    if do == "hang": time.sleep(60)
if __name__ == "__main__":
    serve(work)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "worker_of_a_test.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    made = Child("worker_of_a_test", 30)
    yield made
    made.stop()
    made.end()


def task(do: str, **more: Any) -> dict[str, Any]:
    return {"do": do, "path": "a.mp4", **more}


def test_values_come_back_as_they_went(child: Child) -> None:
    sent = task("echo", name="l\udce9on\n“ü”", number=10**30, exact=0.1 + 0.2, none=None, list=[1, [True]])
    message, pixels = child.request(sent)
    assert (message, pixels) == (sent, None)
    message, _ = child.request(task("echo", frames=np.int64(8), share=np.float32(0.5), nan=math.nan))
    assert (message["frames"], message["share"]) == (8, 0.5) and math.isnan(message["nan"])


def test_pixels_come_back_in_memory_of_our_own(child: Child) -> None:
    message, pixels = child.request(task("pixels"))
    assert message == {"sum": 3} and pixels is not None
    np.testing.assert_array_equal(pixels, np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2])
    assert pixels.flags.writeable and pixels.flags.c_contiguous


def test_answers_come_one_by_one_and_the_child_stays(child: Child) -> None:
    found = [(message["at"], None if pixels is None else int(pixels[0, 0])) for message, pixels in
             child.replies(task("many", count=3))]  # fmt: skip
    assert found == [(0, 0), (1, 1), (2, 2), (None, None)]
    before = child.request(task("where"))[0]["pid"]
    for do, kind, text in (
        ("refuse", VideoError, "a: no video"),
        ("lost", ClipLost, "a: too large"),
        ("memory", ClipLost, "a.mp4: MemoryError: "),
        ("bug", VideoError, "a.mp4: ZeroDivisionError: a fault of ours"),
    ):
        with pytest.raises(VideoError) as raised:
            child.request(task(do))
        assert (type(raised.value), str(raised.value)) == (kind, text)
    late = child.replies(task("late"))
    assert next(late)[0] == {"at": 0}
    with pytest.raises(VideoError, match="broken further on"):
        next(late)
    where = child.request(task("where"))[0]
    assert where == {"folder": os.getcwd(), "pid": before, "threads": "1"}


@pytest.mark.parametrize(
    ("do", "kind", "text"),
    [
        ("abort", VideoError, "a.mp4: the decoder crashed (SIGABRT)"),
        ("leave", VideoError, "a.mp4: the decoder crashed (exit code 3)"),
        ("killed", ClipLost, "a.mp4: the decoder was killed (SIGKILL), perhaps for want of memory"),
        ("hang", VideoError, "a.mp4: not decoded within 0.5 seconds, given up"),
    ],
)
def test_a_child_that_crashes_or_hangs_is_replaced(child: Child, do: str, kind: type, text: str) -> None:
    first = child.request(task("where"))[0]["pid"]
    child.timeout = 0.5 if do == "hang" else 30
    with pytest.raises(VideoError) as raised:
        child.request(task(do))
    assert (type(raised.value), str(raised.value)) == (kind, text) and child.process is None
    child.timeout = 30
    assert child.request(task("where"))[0]["pid"] != first


def test_a_child_that_ended_between_two_tasks_is_replaced(child: Child) -> None:
    first = child.request(task("where"))[0]["pid"]
    os.kill(first, signal.SIGINT)
    assert child.request(task("where"))[0]["pid"] == first, "Ctrl-C is its parent's business"
    os.kill(first, signal.SIGTERM)
    assert child.process is not None
    child.process.wait(60)
    assert child.request(task("where"))[0]["pid"] != first


def test_stopped_is_for_good(child: Child) -> None:
    child.request(task("where"))
    process = child.process
    assert process is not None
    child.stop()
    assert child.end(5) == -signal.SIGKILL and child.end() == 0
    with pytest.raises(KshotError, match=r"^decoding was stopped$"):
        child.request(task("where"))


def test_a_child_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "count"
    (tmp_path / "broken.py").write_text(f"open({str(count)!r}, 'a').write('x'); raise SystemExit('no such luck')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CannotStart, match=r"^decoding workers cannot start: no such luck$"):
        Child("broken", 5, starts=2).request(task("where"))
    assert count.read_text() == "xx"
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(CannotStart, match=r"cannot start: .*No such file or directory: '/nowhere/python'$"):
        Child("broken", 5).request(task("where"))


@pytest.mark.slow
def test_the_clock_runs_for_each_answer_alone(child: Child) -> None:
    """Whoever takes the answers may take his time."""
    child.request(task("where"))
    child.timeout = 2.0
    taken = []
    for message, _ in child.replies(task("many", count=4)):
        taken.append(message["at"])
        time.sleep(0.7)
    assert taken == [0, 1, 2, 3, None]
