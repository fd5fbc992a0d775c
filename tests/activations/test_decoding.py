"""Decoding for extraction: how many processes, and which clips are timed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from kshot.activations import decoding
from kshot.activations.decoding import SAMPLE, decoders, processes, spread
from kshot.errors import OptionError, VideoError


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (4, 4), (64, 8), (None, 1)])
def test_one_process_a_core_and_at_most_eight(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, expected: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert processes(None) == expected
    assert [processes(workers) for workers in (0, 1, 100)] == [0, 1, 100], "as many as are wanted"
    assert decoders(None) == expected and decoders(0) == 1 and decoders(100) == (cores or 1)


@pytest.mark.parametrize(("workers", "timeout"), [(-1, 60.0), (1, 0.0), (None, -1.0)])
def test_what_cannot_be(workers: int | None, timeout: float) -> None:
    with pytest.raises(OptionError, match="expected 0 workers or more and a timeout above 0"):
        processes(workers, timeout)


def test_few_clips_from_all_over() -> None:
    for count in range(60):
        found = spread(range(100, 100 + count))
        assert len(found) == min(count, SAMPLE) and len(set(found)) == len(found)
        assert found == sorted(found) and (not found or found[0] == 100)
        assert count < 12 or found[-1] >= 100 + count * 0.5, "not the first ones alone"


def test_the_first_clip_is_decoded_twice_and_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the process is no part of a clip's time."""
    now, jobs = [0.0], []

    def decoded(given: Any, workers: int) -> Any:
        for job in given:
            jobs.append(job)
            now[0] += 10.0 if len(jobs) == 1 else 0.5
            yield len(jobs), VideoError(f"{job.path}: bad")

    monkeypatch.setattr(decoding, "decode", decoded)
    monkeypatch.setattr(decoding.time, "monotonic", lambda: now[0])
    seconds, results = decoding.timed_decoding(["a", "b", "c"], 4, 32, "short", True)  # type: ignore[list-item]
    assert seconds == 0.5 and len(results) == 3
    assert [job.path for job in jobs] == ["a", "a", "b", "c"]
    assert all((job.frames, job.size, job.allow_damaged, job.mode) == (4, 32, True, "middle") for job in jobs)
