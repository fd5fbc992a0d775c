"""`import kshot`: quick, silent, and without anything heavy or any socket."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

import pytest

import kshot


def test_import_takes_less_than_a_third_of_a_second() -> None:
    """Processor time of whole processes, median of five: a busy machine does not count."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", "import kshot"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(times) < 0.3


def test_import_is_silent_light_and_offline() -> None:
    script = """
import os, sys
events = []
before = dict(os.environ)
sys.addaudithook(lambda event, arguments: events.append(event) if event.startswith("socket.") else None)
import kshot, kshot.cli, kshot.errors, kshot.progress, kshot.paths
heavy = {"torch", "transformers", "numpy", "av", "PIL", "huggingface_hub", "matplotlib", "jinja2"} & set(sys.modules)
assert not heavy, heavy
assert not events, events
assert dict(os.environ) == before
import warnings
assert not any("kshot" in str(f) for f in warnings.filters)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_video_and_workers_need_no_torch() -> None:
    """Decoding processes start quickly because of it."""
    script = "import sys, kshot.video.workers, kshot.activations.store; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_studios_server_starts_without_torch() -> None:
    """Its page is there before the model is, and on Pythons where PyTorch is not installed."""
    script = "import sys, kshot.studio.serve; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_public_names_are_few_and_all_there() -> None:
    assert 5 <= len(kshot.__all__) <= 12
    assert set(kshot.__all__) <= set(dir(kshot))
    for name in kshot.__all__:
        assert getattr(kshot, name) is not None
    assert kshot.evaluate.__module__ == "kshot.fewshot.evaluation"
    with pytest.raises(AttributeError, match="module 'kshot' has no attribute 'evalute'"):
        kshot.evalute  # noqa: B018
