"""Several processes that do one work together, as torchrun and `accelerate launch` start them.

RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in the environment decide, LOCAL_RANK says which GPU of its machine a
process takes. Without them there is one process: then nothing here imports PyTorch, and each function does what one
process needs. Numbered work is dealt out: of `world` processes, rank r takes numbers r, r + world, r + 2 world and so
on. Rank 0 alone writes files and shows progress.

What the processes say to each other is in `kshot.ranks`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from kshot.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from kshot.ranks import Group

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that work together.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        local: its number among those of its machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0


@dataclass(frozen=True)
class Share:
    """One of n parts of a numbered work, for processes that know nothing of each other: i, i + n, i + 2n and so on.

    Attributes:
        number: which one, from 0.
        of: how many there are.

    Raises:
        OptionError: it is out of range.
    """

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            last = max(self.of - 1, 0)
            raise OptionError(
                f"shard {self} is out of range: "
                + (f"they are numbered 0/{self.of} to {last}/{self.of}" if self.of > 0 else "expected at least 1")
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "3/64".

        Raises:
            OptionError: it is not of that form, or out of range.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if not found:
            raise OptionError(f"shard '{text}' is not of the form i/n, such as 0/4 to 3/4 for four processes")
        return cls(int(found[1]), int(found[2]))

    def part(self, items: Sequence[R]) -> Sequence[R]:
        """Those of all items that are this share's."""
        return items[self.number :: self.of]


@dataclass
class _Work:
    """group: once this process has joined one. inside: a joined function is at work; it works `apart` where asked."""

    group: Group | None = None
    inside: bool = False
    apart: bool = False


_work = _Work()


def asked() -> Ranks:
    """The place that the environment gives this process.

    Raises:
        OptionError: the environment says it in part, or what cannot be.
    """
    world = _number("WORLD_SIZE", 1)
    if world == 1:
        return Ranks()
    if lacking := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise OptionError(
            f"WORLD_SIZE is {world}, but {' and '.join(lacking)} are not set: start all processes with torchrun or "
            f"accelerate launch, or unset WORLD_SIZE"
        )
    rank = _number("RANK", 0)
    if not 0 <= rank < world:
        raise OptionError(f"RANK must be 0 to {world - 1} where WORLD_SIZE is {world}, found {rank}")
    return Ranks(rank, world, _number("LOCAL_RANK", _number("SLURM_LOCALID", rank)))


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text and not text.isdecimal():
        raise OptionError(f"{name} must be a whole number from 0, found '{text}'")
    return int(text or default) or (1 if name == "WORLD_SIZE" else 0)


def joined(function: Callable[P, R]) -> Callable[P, R]:
    """Lets a function run in all processes that were started together, which begin and end it together.

    An error or the loss of one of them ends it in all.

    Args:
        function: of the public interface; those that it calls belong to it.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _work.inside or (ranks := asked()).world == 1:
            return function(*args, **kwargs)
        from kshot.ranks import Group

        _work.group = _work.group or Group(ranks.rank, ranks.world, ranks.local)
        with _work.group.at_work():
            _work.inside = True
            try:
                return function(*args, **kwargs)
            finally:
                _work.inside = False

    return call


def by_first(wrap: Callable[[Callable[P, R]], Callable[P, R]]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that holds for the first process alone: it holds a folder for all of them, say.

    Args:
        wrap: the decorator.
    """

    def choose(function: Callable[P, R]) -> Callable[P, R]:
        wrapped = wrap(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return (wrapped if first() else function)(*args, **kwargs)

        return call

    return choose


@contextmanager
def apart() -> Iterator[None]:
    """Inside, this process works alone, on its own part of what was dealt out."""
    before, _work.apart = _work.apart, True
    try:
        yield
    finally:
        _work.apart = before


def working_apart() -> bool:
    """Whether others work beside this process, each on its own part."""
    return _work.apart


def _group() -> Group | None:
    return _work.group if _work.inside and not _work.apart else None


def rank() -> int:
    """The number of this process among those at work together; 0 where it works alone."""
    group = _group()
    return 0 if group is None else group.rank


def world() -> int:
    """How many processes are at work together; 1 where this one works alone."""
    group = _group()
    return 1 if group is None else group.world


def first() -> bool:
    """Whether this process is the one that writes and shows progress."""
    return rank() == 0


def dealt(items: Sequence[R]) -> Sequence[R]:
    """What this process does of numbered work: those items whose place is its rank, its rank + world, and so on."""
    return items[rank() :: world()]


def told() -> bool:
    """Whether this process tells the user what came of a work that has ended: the first does."""
    return _work.group is None or _work.group.rank == 0


def expect_same(**facts: Any) -> None:
    """Refuses processes that differ.

    Args:
        facts: name -> what must be the same in all of them, as JSON would write it.

    Raises:
        OptionError: in all of them; names the ranks and what they differ in.
    """
    if (group := _group()) is not None:
        group.expect_same(facts)


def expect_device(name: str) -> None:
    """Refuses a GPU by number where several processes would share it.

    Raises:
        OptionError: says what to ask for.
    """
    if world() > 1 and ":" in name:
        raise OptionError(
            f"--device {name} would give every process the same GPU: use --device cuda, and each takes that of its "
            f"LOCAL_RANK"
        )


def from_first(make: Callable[[], R]) -> R:
    """What the first process makes, in all of them; also what it raises, if that is a KshotError.

    Args:
        make: called in the first process alone; its value must be one that can be pickled.
    """
    group = _group()
    return make() if group is None else group.from_first(make)


def meet() -> None:
    """Waits until all processes are here."""
    if (group := _group()) is not None:
        group.meet()


@contextmanager
def first_before_others() -> Iterator[bool]:
    """A block that the first process leaves before the others enter it; gives whether this is the first."""
    if (group := _group()) is None:
        yield True
        return
    with group.first_before_others():
        yield first()


def summed(values: NDArray[Any]) -> NDArray[Any]:
    """The sum of an array over all processes.

    Args:
        values: of the same shape and type in all.
    """
    group = _group()
    return values if group is None else group.summed(values)


def add_gradients(weights: Mapping[str, Tensor]) -> None:
    """Gives all processes the sums of their gradients.

    Args:
        weights: name -> what learns; the same names in all. One that has a gradient nowhere gets none.
    """
    if (group := _group()) is not None:
        group.add_gradients(list(weights.values()))


def share(values: Tensor, source: int) -> None:
    """Gives all processes what one of them has.

    Args:
        values: of the same shape and type in all; filled in place where this process is not the source.
        source: rank of the one that has them.
    """
    if (group := _group()) is not None:
        group.share(values, source)
