"""Rows in parts on a CPU: the same answer as at once, on threads that compute with one core each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kshot.backbones.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class Seen:
    """Work that notes who does it, on how many rows, with how many threads of PyTorch's."""

    def __init__(self) -> None:
        self.parts: list[tuple[bool, int, int, bool]] = []

    def __call__(self, rows: Tensor) -> Tensor:
        here = threading.current_thread().name.startswith("kshot-encoder")
        self.parts.append((here, len(rows), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return rows * 2


def test_parts_have_a_core_each_and_come_back_in_order() -> None:
    seen, rows = Seen(), torch.arange(20.0).view(10, 2)
    with torch.inference_mode():
        assert torch.equal(side_by_side(seen, rows, 3), rows * 2)
    assert sorted(seen.parts) == [(True, 1, 1, True)] + [(True, 3, 1, True)] * 3
    assert torch.get_num_threads() == 3, "the caller computes with as many as before"


def test_parts_are_as_many_as_threads_where_rows_are_few() -> None:
    seen, rows = Seen(), torch.arange(5.0)
    with torch.inference_mode():
        assert torch.equal(side_by_side(seen, rows, 8), rows * 2)
    assert sorted(part[1] for part in seen.parts) == [1, 2, 2]


@pytest.mark.parametrize(("inference", "rows", "threads"), [(False, 9, 3), (True, 2, 3), (True, 9, 1)])
def test_all_threads_share_each_part_elsewhere(inference: bool, rows: int, threads: int) -> None:
    """Where a gradient may be wanted, rows are fewer than threads, or there is one thread."""
    torch.set_num_threads(threads)
    seen, given = Seen(), torch.arange(float(rows))
    with torch.inference_mode(inference):
        assert torch.equal(side_by_side(seen, given, 4), given * 2)
    sizes = [4, 4, 1] if rows == 9 else [2]
    assert seen.parts == [(False, size, threads, inference) for size in sizes]


def test_what_fails_in_a_part_fails_for_the_caller() -> None:
    def work(rows: Tensor) -> Tensor:
        raise ValueError(f"{len(rows)} rows")

    with torch.inference_mode(), pytest.raises(ValueError, match="2 rows"):
        side_by_side(work, torch.zeros(6), 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    """It has none of its parent's, and waited for them without end."""
    code = """
import os, signal, torch
from kshot.backbones.side_by_side import side_by_side
torch.set_num_threads(2)
rows = torch.arange(6.0)
with torch.inference_mode():
    side_by_side(lambda part: part + 1, rows, 8)
    child = os.fork()
    if not child:
        signal.alarm(20)  # ends it
        os._exit(not torch.equal(side_by_side(lambda part: part + 1, rows, 8), rows + 1))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert told.stdout.strip() == "0"
