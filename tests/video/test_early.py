"""A decoding process that is started before there is anything to decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import write_video
from kshot.video import Taken, workers
from kshot.video.children import Child
from kshot.video.workers import Job, decode, start_early


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", np.zeros((9, 64, 64, 3), np.uint8))


def test_the_next_decoding_takes_it_and_starts_no_other(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_early()
    ((child, thread),) = workers._early
    thread.join()
    process = child.process
    assert process is not None and process.poll() is None
    monkeypatch.setattr(Child, "_start", lambda self: pytest.fail("another process was started"))
    ((_, found),) = decode([Job(clip, 4, size=32)], 1)
    assert isinstance(found, Taken) and found.frames.shape == (4, 32, 32, 3)
    assert not workers._early and process.wait(60) is not None, "it ends with the decoding"


def test_one_that_does_not_come_up_is_told_of_by_what_needs_it(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_CHILD", "kshot.no_such_module")
    start_early()
    with pytest.raises(Exception, match="decoding workers cannot start"):
        list(decode([Job(clip, 4, size=32)], 1))
    assert not workers._early


def test_with_another_patience_it_waits_for_its_own(clip: Path) -> None:
    start_early(61.0)
    assert [type(found) for _, found in decode([Job(clip, 4, size=32)], 1, timeout=60.0)] == [Taken]
    assert len(workers._early) == 1
    assert [type(found) for _, found in decode([Job(clip, 4, size=32)], 1, timeout=61.0)] == [Taken]
    assert not workers._early
