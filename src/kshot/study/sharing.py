"""How the rows of a study are shared out: among processes of one machine, or jobs that know nothing of each other.

Everything here is a pure function of the study, so that jobs need no more than their number to share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from kshot.errors import OptionError
from kshot.processes import Share
from kshot.settings.fields import Settings, setting

if TYPE_CHECKING:
    from kshot.study.file import Row, Study


@dataclass(frozen=True, kw_only=True)
class Sharing(Settings):
    """Who runs the rows of a study.

    Attributes:
        jobs: processes of this machine that run rows side by side.
        shard: "i/n", one of n shares of the rows, from 0/n to n-1/n; None for all rows.
        merge: whether to run nothing, check that every row is there, and write the tables.
    """

    jobs: int = setting(1, "processes that run rows side by side; each has its part of the cores", low=1, high=1_024)
    shard: str | None = setting(None, "i/n: one of n shares of the rows, 0/n to n-1/n, for array jobs; see --merge")
    merge: bool = setting(
        False, "run nothing: check that the rows of all shards are there, write the tables", flag=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.merge and (self.shard is not None or self.jobs > 1):
            raise OptionError("--merge runs nothing, it joins what was run: leave --shard and --jobs out")
        self.share()

    def share(self) -> Share:
        """The share; 0/1 for all rows.

        Raises:
            OptionError: it is no such text, or out of range.
        """
        return Share() if self.shard is None else Share.parse(self.shard)


class Placed(Protocol):
    """What stands at a place of a study's grid: data set, backbone, seed and row."""

    @property
    def data(self) -> str: ...
    @property
    def backbone(self) -> str: ...
    @property
    def row(self) -> Row: ...


Cell = TypeVar("Cell", bound=Placed)


def parts(plan: Study, cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of a grid in parts that can be run apart, in the order of the grid.

    A cell is a part of its own, but for rows with a search: what the first seed's search chose, the other seeds take.

    Args:
        plan: the study.
        cells: of its grid.
    """
    made: dict[object, list[Cell]] = {}
    for number, cell in enumerate(cells):
        searches = plan.search if cell.row.search is None else cell.row.search
        together = (cell.data, cell.backbone, cell.row.name)
        made.setdefault(together if searches else number, []).append(cell)
    return list(made.values())
