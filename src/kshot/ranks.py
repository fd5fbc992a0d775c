"""What processes that work together say to each other: by torch.distributed, gloo on the CPU and NCCL on GPUs.

A process that is gone must end all others soon, whatever they wait for. Where they wait for its numbers, the closed
connection tells them. A thread of each tells the store every second that it is alive, watches the next one's
sign of life, and reads there whether one has failed, and why.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

import kshot
from kshot.errors import KshotError, OptionError, RankLost
from kshot.system import WINDOWS

R = TypeVar("R")

JOINING = 300.0  # seconds in which all processes must have come
BEAT = 1.0  # seconds between two signs of life
PATIENCE = 60.0  # seconds without one, after which a process counts as gone
GRACE = 20.0  # seconds for ending in order after another one failed
HEARING = 5.0  # seconds that who keeps the store waits until all others have read why it ends
LASTING = timedelta(days=7)  # of a wait for numbers: the watch ends it sooner where somebody is gone
AGAIN = "what was done is kept; start all of them again (train: with --resume)"


class Group:
    """The processes that work together, met and compared.

    Args:
        rank: the number of this one.
        world: how many there are.
        local: the number of this one among those of its machine, which says what GPU it takes.

    Attributes:
        rank: as given.
        world: as given.

    Raises:
        KshotError: they did not meet.
        OptionError: they are of different versions.
    """

    def __init__(self, rank: int, world: int, local: int) -> None:
        self.rank, self.world = rank, world
        self._turns = 0
        self._own_gpu = torch.cuda.is_available() and local < torch.cuda.device_count()
        self._store = _connected(rank, world, host=rank == 0 and not _agent() and not dist.is_initialized())
        facts = {"kshot": kshot.__version__, "torch": torch.__version__}
        every = self._met({"facts": facts, "gpu": self._own_gpu})
        _compare([one["facts"] for one in every])
        self._watch = _Watch(rank, world)
        if all(one["gpu"] for one in every):
            torch.cuda.set_device(local)
        else:
            self._own_gpu = False
        if not dist.is_initialized():
            with self._watch.at_work(), self._connection():
                dist.init_process_group(
                    "cpu:gloo,cuda:nccl" if self._own_gpu else "gloo",
                    store=dist.PrefixStore("torch", self._store),  # type: ignore[attr-defined]
                    rank=rank, world_size=world, timeout=LASTING,
                )  # fmt: skip
            atexit.register(_leave)

    def _met(self, about: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each rank says of itself, once all are there."""
        self._store.set(f"here/{self.rank}", json.dumps(about))
        keys = [f"here/{rank}" for rank in range(self.world)]
        try:
            self._store.wait(keys, timedelta(seconds=JOINING))
            every = [json.loads(self._store.get(key)) for key in keys]
            self._store.set(f"read/{self.rank}", "")
            if self.rank == 0:  # what all say may end it, and the store with it
                self._store.wait([f"read/{rank}" for rank in range(self.world)], timedelta(seconds=JOINING))
            return every
        except RuntimeError:
            if not _there(self._store, keys[self.rank]):
                raise RankLost("rank 0 ended while the processes met: see what it said, and start all again") from None
            lacking = [str(rank) for rank, key in enumerate(keys) if not _there(self._store, key)] or ["of another"]
            raise KshotError(
                f"of {self.world} processes, rank {' and '.join(lacking)} did not come within "
                f"{JOINING:.0f} s: start all of them, with one MASTER_ADDR and MASTER_PORT"
            ) from None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A work that all processes begin and end together; where one fails, the others end, too."""
        with self._watch.at_work():
            try:
                yield
                self.meet()
            except BaseException as error:
                self._watch.tell(_reason(self.rank, error))
                raise

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Says in words that a connection broke."""
        try:
            yield
        except RuntimeError as error:
            raise RankLost(self._watch.reason() or f"the connection broke ({_short(error)}); {AGAIN}") from None

    def meet(self) -> None:
        """See `kshot.processes.meet`."""
        with self._connection():
            dist.barrier()

    def expect_same(self, facts: Mapping[str, Any]) -> None:
        """See `kshot.processes.expect_same`."""
        every: list[Any] = [None] * self.world
        with self._connection():
            dist.all_gather_object(every, {name: _told(value) for name, value in facts.items()})
        _compare(every)

    def from_first(self, make: Callable[[], R]) -> R:
        """See `kshot.processes.from_first`."""
        sent: list[Any] = [None, None]
        if self.rank == 0:
            try:
                sent[0] = make()
            except KshotError as error:
                sent[1] = error
        with self._connection():
            dist.broadcast_object_list(sent, 0)
        if sent[1] is not None:
            raise sent[1]
        value: R = sent[0]
        return value

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """See `kshot.processes.first_before_others`. It may take hours, so that nobody waits in a collective call."""
        self._turns += 1
        key = f"turn/{self._turns}"
        if self.rank == 0:
            yield
            with self._connection():
                self._store.set(key, "over")
            return
        with self._connection():
            while not self._store.check([key]):
                if self._watch.found:
                    raise RankLost(self._watch.found)
                time.sleep(BEAT / 5)
        yield

    def summed(self, values: NDArray[Any]) -> NDArray[Any]:
        """See `kshot.processes.summed`."""
        total = torch.from_numpy(values.astype(np.uint8 if values.dtype == bool else values.dtype))
        with self._connection():
            dist.all_reduce(total)
        result: NDArray[Any] = total.numpy().astype(values.dtype)
        return result

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """See `kshot.processes.add_gradients`. One message: the gradients, then whether there was one of each."""
        have = torch.tensor([float(one.grad is not None) for one in weights], device=weights[0].device)
        parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
        flat = torch.cat([*(part.flatten().float() for part in parts), have])
        flat = flat if flat.is_cuda == self._own_gpu else flat.cpu()
        with self._connection():
            dist.all_reduce(flat)
        sizes = [*(one.numel() for one in weights), len(weights)]
        *sums, had = torch.split(flat.to(weights[0].device), sizes)
        for weight, total, any_had in zip(weights, sums, had.tolist(), strict=True):
            weight.grad = total.view_as(weight).to(weight.dtype) if any_had else None

    def share(self, values: Tensor, source: int) -> None:
        """See `kshot.processes.share`."""
        with self._connection():
            if values.is_cuda and not self._own_gpu:
                on_cpu = values.cpu()
                dist.broadcast(on_cpu, source)
                values.copy_(on_cpu)
            else:
                dist.broadcast(values, source)


class _Watch:
    """Tells that this process is alive, and notices where another one is not.

    found: why the work cannot go on, "" while it can.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world, self.found = rank, world, ""
        self._store = _connected(rank, world, host=False)  # of its own: a wait in one holds up all who use it
        self._works = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.found, self._works, over = "", self._works + 1, threading.Event()
        threading.Thread(target=self._look, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _look(self, over: threading.Event) -> None:
        """The thread: watches the next rank, and what any of them says."""
        next_one = (self.rank + 1) % self.world
        beats, since = -1, time.monotonic()
        while not over.wait(BEAT):
            try:
                self._store.add(f"beat/{self.rank}", 1)
                now = self._store.add(f"beat/{next_one}", 0)
                if self._store.check([failed := f"failed/{self._works}"]):
                    self.found = self._store.get(failed).decode()
                    self._store.set(self._heard(self.rank), "")
            except RuntimeError:  # who keeps the store is gone
                self.found = self.found or self._gone([0])
            if now != beats:
                beats, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE and not self.found:
                self.tell(self._gone([next_one]))
            if self.found:
                break
        if not over.wait(GRACE if self.found else 0):
            os.write(2, f"kshot: {' '.join(self.found.split())}\n".encode())
            os._exit(2)  # the main thread may wait for ever; what is on disk was written whole or not at all

    def tell(self, reason: str) -> None:
        """Tells all others why the work cannot go on, unless that is known already."""
        with suppress(RuntimeError):
            self.found = self._store.compare_set(f"failed/{self._works}", "", reason).decode()
            self._store.set(self._heard(self.rank), "")
            if self.rank == 0 and not _agent():
                every, until = [self._heard(rank) for rank in range(self.world)], time.monotonic() + HEARING
                while time.monotonic() < until and not self._store.check(every):
                    time.sleep(BEAT / 5)
        self.found = self.found or reason

    def _heard(self, rank: int) -> str:
        """The key that says that a rank knows why the work ended."""
        return f"heard/{self._works}/{rank}"

    def reason(self) -> str:
        """Why a connection broke: what the others said, or who shows no sign of life; "" where that is not known."""
        for _ in range(3):
            time.sleep(BEAT)
            if self.found:
                return self.found
        try:
            before = self._beats()
            time.sleep(3 * BEAT)
            after = self._beats()
        except RuntimeError:
            return self._gone([0])
        gone = [rank for rank, beat in enumerate(before) if after[rank] == beat and rank != self.rank]
        return self.found or (self._gone(gone) if gone else "")

    def _beats(self) -> list[int]:
        return [int(self._store.add(f"beat/{rank}", 0)) for rank in range(self.world)]

    def _gone(self, ranks: Sequence[int]) -> str:
        names = " and ".join(map(str, ranks))
        return f"rank {names} of {self.world} is gone (killed, or its machine is lost): {AGAIN}"


def _agent() -> bool:
    """Whether torchrun keeps the store, so that it outlives every rank."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _connected(rank: int, world: int, host: bool) -> Any:
    """The store through which processes meet, kept by rank 0 or by torchrun.

    Raises:
        KshotError: nobody answers there.
    """
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, int(port), world, host, timedelta(seconds=JOINING),
            wait_for_workers=False, multi_tenant=True, use_libuv=not WINDOWS,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise KshotError(
            f"rank {rank} on {socket.gethostname()} cannot {'serve' if host else 'reach'} {address}:{port} "
            f"within {JOINING:.0f} s ({_short(error)}): check MASTER_ADDR and MASTER_PORT, and that rank 0 runs there"
        ) from None
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"kshot/{attempt}", store)  # type: ignore[attr-defined]


def _there(store: Any, key: str) -> bool:
    with suppress(RuntimeError):
        return bool(store.check([key]))
    return False


def _leave() -> None:
    with suppress(Exception):
        dist.destroy_process_group()


def _reason(rank: int, error: BaseException) -> str:
    """What the others are told of what ended a rank."""
    if isinstance(error, KeyboardInterrupt):
        return f"rank {rank} was stopped: {AGAIN}"
    said = _short(error) if isinstance(error, KshotError) else f"{type(error).__name__}: {_short(error)}"
    return said if said.startswith("rank ") else f"rank {rank} failed: {said}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _told(value: Any) -> str:
    """A fact as text, as its digest where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 60 else f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _compare(every: Sequence[Mapping[str, str]]) -> None:
    """Refuses ranks that say something else than rank 0.

    Raises:
        OptionError: names them.
    """
    found = []
    for rank, facts in enumerate(every):
        other = [name for name in {**every[0], **facts} if facts.get(name) != every[0].get(name)]
        if other:
            parts = ", ".join(f"{name} ({facts.get(name)}, rank 0: {every[0].get(name)})" for name in other)
            found.append(f"rank {rank} differs from rank 0 in {parts}")
    if found:
        raise OptionError(f"{'; '.join(found[:3])}: start all processes with the same versions, settings and data")
