"""Work on a Ray cluster: actors that get numbers of shards and paths of clips, and write shards where these lie.

Plain actors, not Ray Data: no frame, no activation and no row is ever handed to Ray, so there is nothing that it could
spill, lose or double. Whether a shard is done says the store alone. An actor that dies is replaced, and what it had in
hand is dealt out again; what it had completed of that is found done.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot import __version__, addresses
from kshot.activations.planned import Shard
from kshot.errors import EngineError, KshotError, OptionError
from kshot.paths import home
from kshot.progress import Progress, Step

if TYPE_CHECKING:
    from kshot.activations.activations import Activations
    from kshot.datasets import Dataset
    from kshot.settings import Arithmetic

MOST_SHARDS = 16  # that an actor is given at a time
TRIES = 3  # actors that one shard may cost
ANSWER = 10.0  # seconds for an address to answer
OBJECTS = 80 << 20  # bytes of Ray's object store on this machine, the least there is: nothing comes into it
READY = 300.0  # seconds for the first actor: it imports PyTorch and reads the backbone, maybe from a slow disk

Work = Callable[["Dataset", Sequence[Shard]], "Activations"]
Made = Callable[[Any, "Arithmetic", Mapping[str, Any]], Work]


@dataclass
class Crew:
    """Actors that extract planned shards.

    Attributes:
        make: called in each actor with the backbone, the arithmetic and the options; gives what it does.
        loading: the backbone, by name or folder, and the arithmetic.
        address: of the cluster; None for a Ray of this machine's own.
        actors: how many; None for one a core, or one a GPU.
        stored: clips that they have stored.
        ready: seconds until the first `actors` of them were ready, Ray's own start included; None before.
        worked: seconds from then on.
        unreadable: path -> why they could not read a clip.
    """

    make: Made
    loading: tuple[Any, Arithmetic]
    address: str | None = None
    actors: int | None = None
    stored: int = 0
    ready: float | None = None
    worked: float = 0.0
    unreadable: dict[str, str] = field(default_factory=dict)

    def run(
        self, data: Dataset, shards: Sequence[Shard], backbone: str, options: Mapping[str, Any], progress: Progress
    ) -> None:
        """Extracts shards.

        Args:
            data: the clips.
            shards: all that are to be there in the end.
            backbone: name of the backbone where none was named.
            options: of the extraction.
            progress: how to show progress.

        Raises:
            EngineError: Ray is not installed, does not answer, has no kshot of this version, or a shard cost one actor
                after the other.
            OptionError: a backbone that was loaded here.
            KshotError: as an actor met it, such as a full disk.
        """
        began = time.monotonic()
        expect_ray(self.address)
        named, how = self.loading
        if named is not None and not isinstance(named, str | Path):
            raise OptionError("engine ray loads the backbone in each actor: name it, or give its folder")
        named = backbone if named is None else os.path.abspath(named) if Path(named).exists() else str(named)
        with _connected(self.address, self.actors) as ray:
            _expect_kshot(ray)
            gpus = how.device != "cpu"
            found = ray.cluster_resources()
            count = self.actors or int(found.get("GPU" if gpus else "CPU", 0))
            if not count:
                raise EngineError(f"the Ray cluster has no {'GPU' if gpus else 'CPU'}: expected one for each actor")
            cores = max(1, int(found.get("CPU", 1)) // count) if gpus else 1
            workers = options["workers"] if options["workers"] is not None else cores
            given = {**options, "workers": workers, "store": _absolute(options["store"])}
            kind = ray.remote(num_cpus=cores, num_gpus=int(gpus), max_restarts=0)(_Actor)
            count = min(count, len(shards))
            with progress(f"extracting {data.name} on {count} actors", len(data), "clips") as step:
                self._deal(ray, lambda: kind.remote(self.make, named, how, given), count, data, shards, step, began)
                self.actors = count
            self.worked = time.monotonic() - began - (self.ready or 0.0)

    def said(self) -> list[str]:
        """A sentence on how long it took; none where there was nothing to do."""
        if self.ready is None:
            return []
        which = f"{self.actors} actors of Ray were" if self.actors != 1 else "1 actor of Ray was"
        return [f"{which} ready after {self.ready:.1f} s and worked for {self.worked:.1f} s"]

    def _deal(
        self,
        ray: Any,
        start: Callable[[], Any],
        count: int,
        data: Dataset,
        shards: Sequence[Shard],
        step: Step,
        began: float,
    ) -> None:
        """Deals shards out until each is done; the actor that is free first gets the next ones."""
        came = 0
        left = deque(shards)
        alone: list[Shard] = []  # what actors had in hand that died: one at a time, to see which of them it was
        cost: Counter[str] = Counter()
        busy: dict[Any, tuple[Any, list[Shard]]] = {}

        def begin() -> None:
            actor = start()
            busy[actor.ready.remote()] = (actor, [])

        for _ in range(count):
            begin()
        while busy:
            found, _ = ray.wait(list(busy), timeout=None if came else READY)
            if not found:
                raise EngineError(f"no actor came up within {READY:.0f} s: the Ray cluster has nothing free")
            actor, hand = busy.pop(found[0])
            try:
                done = ray.get(found[0])
            except ray.exceptions.RayActorError as error:
                for shard in hand:
                    cost[shard.name] += len(hand) == 1
                    if cost[shard.name] == TRIES:
                        raise _hopeless(data.paths[shard.clips[0]]) from None
                if not hand:  # it died before it had anything to do
                    cost[""] += 1
                    if cost[""] == TRIES:
                        raise EngineError(f"actors die while they start: {_last_line(error)}") from None
                alone += hand
                begin()
                continue
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, KshotError) else EngineError(_last_line(error)) from None
            if hand:
                self._count(data, hand, done)
                step(sum(len(shard.clips) for shard in hand))
            else:
                came += 1
                self.ready = time.monotonic() - began if came <= count else self.ready
            if alone:
                hand = [alone.pop()]
            else:
                hand = [left.popleft() for _ in range(min(len(left), MOST_SHARDS, max(1, len(left) // (2 * count))))]
            if hand:
                busy[actor.work.remote(*_given(data, hand))] = (actor, hand)

    def _count(self, data: Dataset, hand: Sequence[Shard], done: tuple[int, list[tuple[int, str]]]) -> None:
        """Adds what an actor says of the shards that it had in hand."""
        clips = [clip for shard in hand for clip in shard.clips]
        self.stored += done[0]
        self.unreadable |= {str(data.clips[clips[number]]): reason for number, reason in done[1]}


class _Actor:
    """One actor: a process that has loaded the backbone and extracts what it is given."""

    def __init__(self, make: Made, backbone: str, how: Arithmetic, options: Mapping[str, Any]) -> None:
        self._making = (backbone, how, options)
        self._make = make
        self._work: Work | None = None

    def ready(self) -> None:
        """Loads the backbone.

        Raises:
            EngineError: this kshot is of another version than the one that asks.
            KshotError: the backbone cannot be loaded.
        """
        self._work = self._make(*self._making)

    def work(self, data: Dataset, shards: Sequence[Shard]) -> tuple[int, list[tuple[int, str]]]:
        """How many clips it has stored, and number and reason of those that cannot be read."""
        assert self._work is not None
        done = self._work(data, shards)
        lost = [(i, done.unreadable[str(clip)]) for i, clip in enumerate(data.clips) if str(clip) in done.unreadable]
        return done.stored_now, lost


def _given(data: Dataset, hand: Sequence[Shard]) -> tuple[Dataset, list[Shard]]:
    """The clips of some shards, wherever the actor's own folder is, and the shards among them."""
    clips = [clip for shard in hand for clip in shard.clips]
    part = data.subset(clips)
    paths = tuple(Path(addresses.name(path)) for path in part.paths)
    part = part.changed(paths=paths, groups=np.broadcast_to("", len(paths)), notes=())  # groups are for episodes
    starts = accumulate((len(shard.clips) for shard in hand), initial=0)
    return part, [
        replace(shard, clips=range(start, start + len(shard.clips))) for start, shard in zip(starts, hand, strict=False)
    ]


def _absolute(store: str | Path | None) -> str:
    """A store as actors find it, which may have a home of their own."""
    return addresses.name(store if store is not None else home() / "store")


def _hopeless(path: Path) -> EngineError:
    return EngineError(
        f"{TRIES} actors died, one after the other, over the shard that begins with {path}: look at Ray's logs, for "
        f"example for want of memory; what was stored is kept, and the same command goes on"
    )


def _last_line(error: BaseException) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__).strip()


# Ray


@contextmanager
def _connected(address: str | None, actors: int | None) -> Iterator[Any]:
    """Ray, connected to a cluster, or with one of this machine's own that ends with the block.

    Raises:
        EngineError: it is not installed, or does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    import ray

    if ray.is_initialized():  # of whoever calls: it stays
        yield ray
        return
    where: dict[str, Any] = {"address": address}
    if address is None:
        where = {"num_cpus": actors or os.cpu_count(), "include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (Exception, SystemExit) as error:
        what = f"no Ray cluster answers at {address}" if address else "Ray does not start on this machine"
        raise EngineError(f"{what}: {_last_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def expect_ray(address: str | None) -> None:
    """Refuses to go on without Ray, or with an address where nobody listens.

    Args:
        address: host and port of a cluster, or "auto"; None for a Ray of this machine's own.

    Raises:
        EngineError: Ray is not installed, or nobody answers.
        OptionError: that is no address.
    """
    found = find_spec("ray")
    if found is None or found.origin is None:  # without one it is a folder of that name, such as Ray's own in /tmp
        raise EngineError("engine ray needs Ray: pip install 'kshot[ray]', or run `kshot extract --shard i/n` n times")
    if address in (None, "auto"):
        return
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise OptionError(f"address '{address}' is not of the form host:port, such as head:6379, or auto")
    try:  # Ray itself would ask for two minutes, and then end the process
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except OSError as error:
        raise EngineError(
            f"no Ray cluster answers at {address} ({error.strerror or error}): start one with `ray start --head`, or "
            f"leave --address out for one on this machine"
        ) from None


def _version() -> str | None:
    """The version of kshot that a machine of the cluster has; None for none. Sent whole, as it may have none."""
    try:
        from kshot import __version__ as there
    except ImportError:
        return None
    return there


def _expect_kshot(ray: Any) -> None:
    """Refuses a cluster of which a machine has no kshot, or one of another version.

    Raises:
        EngineError: it does.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    _version.__module__ = "__main__"  # so that Ray sends its code rather than where to import it from
    ask = ray.remote(num_cpus=0)(_version)
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    asked = {ask.options(scheduling_strategy=On(node, soft=False)).remote(): host for node, host in nodes.items()}
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=READY)
    for answer in ready:
        try:
            there = ray.get(answer)
        except ray.exceptions.RayError as error:
            raise EngineError(f"{asked[answer]} of the Ray cluster does not do: {_last_line(error)}") from None
        if there != __version__:
            found = f"kshot {there}" if there else "no kshot"
            raise EngineError(
                f"{asked[answer]} of the Ray cluster has {found}, this is kshot {__version__}: install the same there"
            )
    if not ready:
        raise EngineError(f"no machine of the Ray cluster answered within {READY:.0f} s")
