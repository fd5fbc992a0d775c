"""Rows in parts on a CPU, each part on one core from end to end.

Where all cores share each operation, they wait for one another after each; with decoding beside them, often for long.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch import Tensor


def side_by_side(work: Callable[[Tensor], Tensor], rows: Tensor, most: int) -> Tensor:
    """`work` on all rows, in parts; in inference mode on as many parts at a time as PyTorch has threads.

    Outside of it, and where there are fewer rows than threads, all threads share each part.

    Args:
        work: on (n, ...) rows, none of which needs another. What is set for the caller's thread alone, such as
            autocast, it must set itself.
        rows: (N, ...) on the CPU.
        most: rows of a part.
    """
    threads = torch.get_num_threads()
    if not 1 < threads <= len(rows) or not torch.is_inference_mode_enabled() or torch.compiler.is_compiling():
        parts = [work(part) for part in torch.split(rows, most)]
    else:
        split = torch.split(rows, min(most, -(-len(rows) // threads)))
        parts = list(_pool(threads).map(torch.inference_mode()(work), split))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which PyTorch computes with one."""
    pool = ThreadPoolExecutor(threads, "kshot-encoder", _alone)
    started = Barrier(threads)
    list(pool.map(lambda _: started.wait(), range(threads)))
    torch.set_num_threads(threads)  # theirs was set for the caller's later threads, too
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of these threads, and would wait


def _alone() -> None:
    torch.get_num_threads()  # a thread takes the number of all when it first asks, and keeps another after that only
    torch.set_num_threads(1)
