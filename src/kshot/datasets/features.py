"""Ready-made features of clips: an .npz with `features` (clips, frames, channels) and one label a clip.

Heads and protocols can be judged on any network's features, without videos and without CLIP.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kshot.datasets import Dataset, build
from kshot.datasets.table import unused_columns
from kshot.errors import DataError, OptionError

TEXTS = ("label", "split", "group", "path")


def load(path: Path, where: Mapping[str, str] | None = None) -> Dataset:
    """The clips of an .npz: `features`, `label` and, where there are any, `split`, `group`, `path` and `missing`.

    Paths say where features came from; the files need not exist. missing: `split TAB clip` of each that a benchmark
    has and these features have not. Pickled arrays are refused.

    Raises:
        DataError: no .npz, arrays missing, of the wrong shape or kind, or values that are not finite.
        OptionError: `where` names an array that does not exist.
    """
    arrays, unused = _arrays(path, where or {})
    features = checked(path, arrays["features"])
    lacking = arrays.pop("missing", np.array([], np.str_))
    pairs = [text.partition("\t") for text in _texts(path, "missing", lacking, lacking.size)]
    texts = {name: _texts(path, name, arrays[name], len(features)) for name in arrays if name != "features"}
    blank = [""] * len(features)
    clips = texts.get("path") or [f"clip-{index}" for index in range(len(features))]
    data = build(
        name=path.stem,
        paths=[path.parent / clip for clip in clips],
        labels=texts["label"],
        splits=texts.get("split", blank),
        groups=texts.get("group", blank),
        features=features,
        notes=unused_columns(path, unused, "array"),
    )
    data = replace(data, missing={split: tuple(c for s, _, c in pairs if s == split) for split, _, _ in pairs})
    if not where:
        return data
    kept = [index for index in range(len(data)) if all(texts[name][index] == value for name, value in where.items())]
    if not kept:
        wanted = " and ".join(f"{name} = '{value}'" for name, value in where.items())
        raise DataError(f"{path.name}: no clip has {wanted}")
    return data.subset(kept)


def _arrays(path: Path, where: Mapping[str, str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that are used, and the names of the others."""
    with opened(path) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path.name}: expected an .npz of named arrays, found a single array")
        for name in ("features", "label"):
            if name not in file.files:
                hint = "; `kshot data features import` takes labels from a CSV" if name == "label" else ""
                raise DataError(f"{path.name}: no array '{name}', found {', '.join(file.files) or 'none'}{hint}")
        for name in where:
            if name not in file.files or name == "features":
                raise OptionError(f"{path.name}: no array '{name}' to filter by, found {', '.join(file.files)}")
        used = {"features", "missing", *TEXTS, *where}
        return {name: file[name] for name in used & set(file.files)}, [n for n in file.files if n not in used]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """What `numpy.load` makes of a file, an NpzFile or an array; it is read within the block.

    Raises:
        DataError: no file of NumPy's, damaged, or holding pickles, which are not read.
    """
    try:
        file = np.load(path, allow_pickle=False)
        try:
            yield file
        finally:
            if isinstance(file, np.lib.npyio.NpzFile):
                file.close()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise DataError(f"{path.name}: not a readable {path.suffix or 'NumPy'} file ({error})") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise DataError(
                f"{path.name}: holds pickled objects, which could run code: save plain arrays (text as str, not object)"
            ) from None
        raise DataError(f"{path.name}: not a readable {path.suffix or 'NumPy'} file ({error})") from None


def checked(path: Path, features: np.ndarray, clip: Callable[[int], str] = lambda index: f"clip {index}") -> np.ndarray:
    """Features (clips, frames, channels) as they are, if they can be used. clip: what a message calls clip i.

    Raises:
        DataError: of another shape or kind, or not finite.
    """
    if features.ndim != 3 or 0 in features.shape[1:]:
        raise DataError(f"{path.name}: expected features of shape (clips, frames, channels), found {features.shape}")
    if not np.issubdtype(features.dtype, np.floating):
        raise DataError(f"{path.name}: expected floating point features, found {features.dtype}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
    if len(bad):
        raise DataError(f"{path.name}: features of {len(bad)} clips are not finite, the first is {clip(bad[0])}")
    return features


def _texts(path: Path, name: str, array: np.ndarray, clips: int) -> list[str]:
    """One text a clip; numbers are written out, bytes are read as UTF-8."""
    if array.shape != (clips,):
        raise DataError(f"{path.name}: expected one {name} a clip, shape ({clips},), found {array.shape}")
    if array.dtype.kind == "S":
        try:
            return [value.decode() for value in array.tolist()]
        except UnicodeDecodeError:
            raise DataError(f"{path.name}: '{name}' is not UTF-8 text: save it as str") from None
    if array.dtype.kind not in "Uiub":
        raise DataError(f"{path.name}: expected '{name}' as text or whole numbers, found {array.dtype}")
    return [str(value).strip() for value in array.tolist()]
