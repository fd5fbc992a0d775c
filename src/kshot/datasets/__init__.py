"""What clips there are: from a folder, a table, ready-made features, or a data set known by name."""

# No `from __future__ import annotations` here: it would take the name of the package `annotations` in this folder.

import difflib
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qsl

from kshot import addresses
from kshot.datasets.dataset import SPLITS, Dataset, build
from kshot.datasets.registry import BENCHMARKS, DATASETS, OPTIONS
from kshot.errors import DataError, OptionError

__all__ = ["BENCHMARKS", "DATASETS", "SPLITS", "Dataset", "build", "load"]


def load(data: str | Path | Dataset, where: Mapping[str, str] | None = None, check_files: bool = True) -> Dataset:
    """The clips of a data set.

    Args:
        data: a name ("motion", or "motion:16" for 16 clips a class; a prepared benchmark, "hmdb51", or
            "hmdb51:published" for the class texts of published code), a folder of class folders (or of train, val and
            test folders of them; "clips?inner=group" or "clips?inner=label" says what folders within them are, see
            `kshot.datasets.folder`), a CSV (`path,label[,start,end,split,group]`), annotations of videos in a format of
            `kshot.datasets.annotations` ("day.boris?videos=footage&fps=25" says where the videos are, and their rate
            for formats that count frames), an .npz of ready-made features, or a Dataset, which is returned as it is.
            "clips.csv?dataset=jhmdb" and "motion?split=test" are short for `where`; "motion?camera=fixed" is another
            drawing, see `kshot.datasets.filming.CAMERAS`.
        where: column -> value: only those rows of a CSV or of a named data set, or clips of an .npz.
        check_files: whether a clip whose file is missing is an error.

    Raises:
        DataError: the source cannot be used, with the place and the reason.
        OptionError: unknown name, column or camera.
    """
    if isinstance(data, Dataset):
        return data
    text, where = str(data), dict(where or {})
    text = os.path.expanduser(text) if text.startswith("~") and not Path(text).exists() else text
    text, mark, query = (text, "", "") if Path(text).exists() else text.partition("?")
    where |= _filter(query, text) if mark else {}
    name, _, number = text.partition(":")
    if name in DATASETS:
        options = {key: where.pop(key) for key in OPTIONS.get(name, ()) if key in where}
        drawn = "&".join(f"{key}={value}" for key, value in options.items())
        return _table(_make(name, number, options), where, check_files, f"{name}?{drawn}" if drawn else name)
    if name in BENCHMARKS:
        from kshot.datasets import prepare

        found = prepare.find(name, number)
        try:
            return _table(found, where, check_files, text.removesuffix(":readable"))
        except DataError as error:
            raise DataError(
                f"{error}; `kshot data verify {name}` lists what was lost since it was prepared; to mend it, remove "
                f"{found.parent} and prepare {name} again"
            ) from None
    path = Path(text)
    if place := addresses.of(text):
        if path.suffix.lower() != ".csv":
            raise DataError(f"{place}: of an object store a .csv is read, and the clips that it lists")
        return _table(path, where, check_files, path.stem)
    if path.is_dir():
        inner = where.pop("inner", "")
        if where:
            raise OptionError(f"a folder takes no row filter, found {where}: make a CSV with these columns")
        from kshot.datasets import folder

        return folder.load_folder(path, inner)
    if not path.exists():
        known = [*DATASETS, *BENCHMARKS]
        hint = f"or one of {', '.join(known)}"
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else hint
        raise DataError(f"no data at '{text}': expected a folder of class folders, a .csv, an .npz, {hint}")
    if path.suffix.lower() == ".npz":
        from kshot.datasets import features

        return features.load_features(path, where)
    from kshot.datasets.annotations import find, foreign
    from kshot.datasets.sheet import lists_clips

    if lists_clips(path) or (path.suffix.lower() == ".csv" and not foreign(path)):
        return _table(path, where, check_files, path.stem)
    if path.is_file() and find(path):
        from kshot.datasets.annotations import loading

        return loading.load(path, where, check_files, path.stem)
    raise DataError(
        f"{path}: expected a folder of class folders, a .csv, annotations of videos or an .npz, found a {_kind(path)} "
        f"file"
    )


def either(data: str | Path | Dataset | None, features: str | Path | None) -> str | Path | Dataset:
    """The clips, or the ready-made features in their place.

    Raises:
        OptionError: neither is given, or both.
    """
    given = data if features is None else features
    if given is None or (data is not None and features is not None):
        raise OptionError("expected either data or features, found " + ("neither" if given is None else "both"))
    return given


def _table(path: Path, where: Mapping[str, str], check_files: bool, name: str) -> Dataset:
    from kshot.datasets import table

    missing: Mapping[str, tuple[str, ...]] = {}
    if (path.parent / "prepared.json").exists():
        from kshot.datasets import prepare

        missing = prepare.missing_beside(path)
    return table.load_table(path, where, check_files, name).changed(missing=missing)


def _make(name: str, number: str, options: Mapping[str, str]) -> Path:
    """Call the function of a named data set; returns its CSV."""
    if number and not (number.isdecimal() and int(number)):
        raise OptionError(f"expected '{name}:' and a number of clips a class, like '{name}:16', found '{number}'")
    module, _, function = DATASETS[name].partition(":")
    make = getattr(import_module(module), function)
    return Path(make(int(number), **options) if number else make(**options))


def _filter(query: str, path: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True))
    except ValueError:
        raise OptionError(f"expected a filter like '{path}?column=value', found '?{query}'") from None


def _kind(path: Path) -> str:
    return path.suffix or "nameless"
