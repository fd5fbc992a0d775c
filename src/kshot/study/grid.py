"""The grid of a study, data x backbone x seed x row: where each cell lies on disk, and which are finished."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from kshot import datasets, seals
from kshot.activations.default import default_backbone, noted
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.datasets.outputs import expect_outside
from kshot.datasets.texts import read_texts
from kshot.errors import DataError, OptionError
from kshot.files import disk, locked, occupied, write_atomic
from kshot.names import folder_names
from kshot.settings import DTYPES, FRAMES
from kshot.study.file import Row, Study
from kshot.study.results import RowResult

Named = TypeVar("Named", Dataset, Backbone)

SETTINGS_LOCK = ".kshot-lock-settings"


@dataclass(frozen=True)
class Cell:
    """A row of a study with one data set, backbone and seed, and the folder that it writes.

    Attributes:
        data: the data set, as the study names it.
        backbone: its name.
        seed: of its training and its episodes.
        row: the method.
        where: the folder.
    """

    data: str
    backbone: str
    seed: int
    row: Row
    where: Path

    @property
    def own(self) -> dict[str, Any]:
        """What its record must say of itself."""
        return {"data": self.data, "backbone": self.backbone, "seed": self.seed, "name": self.row.name}

    def finished(self) -> RowResult | None:
        """Its record, unless that is missing, torn, altered, of another row, or of a failure: then it is run again."""
        record = self.recorded()
        return None if record is None or record.error else record

    def recorded(self) -> RowResult | None:
        """Its record, be it of a failure; None where there is none that is whole."""
        return _recorded(self.where / "row.json", self.own)


@dataclass(frozen=True)
class Grid:
    """All cells of a study, in the order in which one process runs them.

    Attributes:
        folder: the study's.
        plan: the study as it is asked for.
        settings: the same with the names of its data sets and backbones, as the folder records it.
        sets: data set by name.
        backbones: backbone by name.
        cells: each data set, backbone, seed and row.
        dtype: how activations are stored.
    """

    folder: Path
    plan: Study
    settings: Study
    sets: Mapping[str, str | Dataset]
    backbones: Mapping[str, str | Backbone]
    cells: tuple[Cell, ...]
    dtype: str = DTYPES[0]

    @classmethod
    def of(
        cls,
        plan: Study,
        folder: Path,
        data: Sequence[str | Dataset],
        backbone: Sequence[str | Backbone],
        dtype: str = DTYPES[0],
    ) -> Grid:
        """The grid of a study.

        Args:
            plan: the study.
            folder: the study's.
            data: data sets in place of the study's own, if any.
            backbone: backbones in place of the study's own, if any; see `kshot.study.runner.run`.
            dtype: how activations are stored.

        Raises:
            KshotError: data that is needed to choose a backbone cannot be loaded, or two have one name.
        """
        sets = by_name(data or plan.data, "data set")
        backbones = by_name(backbone or plan.backbone or _begun_with(folder), "backbone")
        if not backbones:
            sets, backbones = _by_data(sets)
        settings = replace(plan, data=tuple(sets), backbone=tuple(backbones), frames=plan.frames or FRAMES)
        every = itertools.product(sets, backbones, plan.every_seed, plan.rows)
        places = [Cell(*one, folder) for one in every if one[2] in plan.seeds_of(one[3].name)]
        cells = tuple(replace(c, where=at) for c, at in zip(places, _places(folder, places), strict=True))
        return cls(folder, plan, settings, sets, backbones, cells, dtype)

    @cached_property
    def said(self) -> dict[str, Any]:
        """What the folder's settings.json says of it."""
        found: dict[str, Any] = json.loads(
            json.dumps(asdict(self.settings) | _texts(self.settings) | {"dtype": self.dtype})
        )
        return found

    def expect_folder(self) -> None:
        """Refuses a folder that holds something else.

        Raises:
            OptionError: it does, or a study with other settings, or lies in a folder of clips.
        """
        _refuse_other(self.folder, self.said)
        for data in () if (self.folder / "settings.json").exists() else self.sets.values():
            expect_outside(data, self.folder)

    def begin(self) -> None:
        """Writes the folder's settings, or sees that they are the same; side by side with others who begin, too.

        Raises:
            OptionError: as `expect_folder`.
        """
        with locked(self.folder, SETTINGS_LOCK, wait=True), disk(self.folder):
            self.expect_folder()
            path, text = self.folder / "settings.json", json.dumps(seals.sealed(self.said), indent=1).encode()
            if not path.exists() or path.read_bytes() != text:
                write_atomic(path, text)


def by_name(things: Sequence[str | Named], kind: str) -> dict[str, str | Named]:
    """Data sets or backbones (`kind`), each by the name that tables call it.

    Raises:
        OptionError: two have one name, look alike, or are the same folder or file.
    """
    named: dict[str, str | Named] = {}
    real: dict[Path, str] = {}
    for thing in things:
        name = thing if isinstance(thing, str) else thing.name
        path = Path(name).resolve() if isinstance(thing, str) and Path(name).exists() else Path(name)
        if name in named or path in real:
            raise OptionError(
                f"a study has two of the {kind}s '{real.get(path, name)}' and '{name}', which would share one result: "
                f"name each once, and give what is loaded names that differ"
            )
        named[name], real[path] = thing, name
    return named


def _places(folder: Path, cells: Sequence[Cell]) -> list[Path]:
    """The folder of each row: what an older version called it, where that holds this very row, else a name of its own.

    Older versions dropped what is no letter or digit of ASCII: rows whose names differed in nothing else shared one.
    """
    parts = [(cell.data, cell.backbone, cell.row.name, f"seed{cell.seed}") for cell in cells]
    places = []
    for cell, names, name in zip(cells, parts, folder_names(parts), strict=True):
        before = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in names)
        new, old = folder / "rows" / name, folder / "rows" / before
        places.append(old if not new.exists() and replace(cell, where=old).finished() else new)
    return places


def _by_data(sets: Mapping[str, str | Dataset]) -> tuple[dict[str, str | Dataset], dict[str, str | Backbone]]:
    """The data sets, loaded, and the backbone that they get where none is named."""
    loaded = {name: datasets.load(source) for name, source in sets.items()}
    chosen = default_backbone(*loaded.values())
    return {name: noted(one, chosen.notes) for name, one in loaded.items()}, {chosen.name: chosen.name}


def _begun_with(folder: Path) -> list[str]:
    """The backbones of the study that a folder holds; none where it holds none, or one that cannot be read."""
    try:
        recorded = seals.read_sealed(folder / "settings.json").get("backbone", [])
    except DataError:
        return []
    return [str(name) for name in recorded] if isinstance(recorded, list) else []


def _texts(settings: Study) -> dict[str, Any]:
    """Which file of class texts a study reads, with its sha256: another content is another study."""
    return {"texts": None if settings.texts is None else read_texts(settings.texts).record()}


def _refuse_other(folder: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder that holds something else, or a study with other settings."""
    path = folder / "settings.json"
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    if occupied(folder) and not path.exists():
        raise OptionError(f"--out {folder} is not empty and holds no study; name another folder")
    if path.exists():
        again = "remove it and run the same command again, if the study's settings are the same"
        formerly = {
            "resize": "short",
            "deinterlace": False,
            "keep_copies": False,
            "texts": None,
            "dtype": DTYPES[0],
        }  # once there was no other
        before = formerly | seals.read_sealed(path, OptionError, again)
        apart = ("title", "about", "compare", "rows", "seeds")  # words change no number; the others need a closer look
        changed = [name for name in settings if name not in apart and before.get(name) != settings[name]]
        (rows, seeds), (wanted, with_more) = _rows(before), _rows(settings)
        changed += ["rows"] * (rows != wanted)
        changed += ["seeds"] * any(with_more.get(name, [])[: len(some)] != some for name, some in seeds.items())
        if changed:
            raise OptionError(
                f"{folder} holds a study with other settings ({', '.join(changed)} differ); name another --out"
            )


def _rows(settings: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """The rows of a study's settings, with what older versions did not say; and the seeds of each: more may follow."""
    rows = [asdict(Row("")) | row for row in settings.get("rows", [])]
    seeds = {row["name"]: row["seeds"] or settings.get("seeds", []) for row in rows}
    return [row | {"seeds": ()} for row in rows], seeds


def _recorded(path: Path, own: Mapping[str, Any]) -> RowResult | None:
    """A row's record; None where it is missing, torn, altered, or of another row."""
    try:
        record = RowResult.parse(seals.read_sealed(path), path)
    except DataError:
        return None
    mine = all(getattr(record, key) == value for key, value in own.items())
    return record if mine and not seals.faults(path.parent, record.files) else None
