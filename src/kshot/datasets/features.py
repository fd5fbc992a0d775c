"""Ready-made features of clips: an .npz with `features` (clips, frames, channels) and one label a clip.

Heads and protocols can be measured on any network's features, without videos and without CLIP.
"""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kshot import gate, settings
from kshot.datasets.dataset import Dataset, build
from kshot.datasets.spans import Columns
from kshot.datasets.table import unused_columns
from kshot.errors import DataError, OptionError

ARRAY_BYTES = 64 << 30
"""Bytes that an array may have: ten million clips of eight frames of 200 float32 channels."""
ROOM, PACKED = 64 << 20, 100  # above so many bytes, no more than so many out of one
CHUNK = 1024  # clips checked at a time
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, OverflowError, RuntimeError, struct.error,
)  # fmt: skip
"""What reading a damaged archive can come to; RuntimeError: encrypted, of an unknown method, nested too deeply."""

TEXTS = ("label", "split", "group", "path", "start", "end")


def load_features(path: Path, where: Mapping[str, str] | None = None) -> Dataset:
    """The clips of an .npz: `features`, `label` and, where there are, `split`, `group`, `path`, `missing`.

    Where `start` and `end` stand beside `path`, clips are parts of these videos.

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
        spans=_spans(path, texts),
    )
    data = replace(data, missing={split: tuple(c for s, _, c in pairs if s == split) for split, _, _ in pairs})
    if not where:
        return data
    kept = [index for index in range(len(data)) if all(texts[name][index] == value for name, value in where.items())]
    if not kept:
        wanted = " and ".join(f"{name} = '{value}'" for name, value in where.items())
        raise DataError(f"{path.name}: no clip has {wanted}")
    return data.subset(kept)


def _spans(path: Path, texts: Mapping[str, list[str]]) -> np.ndarray | None:
    """Start and end of each clip in seconds; None where there are none."""
    if "start" not in texts or "end" not in texts or "path" not in texts:
        return None
    moments = Columns("start", "end")
    rows = zip(texts["start"], texts["end"], strict=True)
    read = [moments.read({"start": s, "end": e}, f"{path.name}: clip {i}") for i, (s, e) in enumerate(rows)]
    spans = np.array(read)
    return None if np.isnan(spans).all() else spans


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
    gate.regular(path)
    try:
        try:
            file = np.load(path, allow_pickle=False, mmap_mode="r")  # of a single array; its length is checked
        except ValueError as error:
            raise ValueError("it holds pickles" if "Python objects" in str(error) else str(error)) from None
        try:
            if isinstance(file, np.lib.npyio.NpzFile) and file.zip is not None:
                _weigh(path, file.zip)
            yield file
        finally:
            if isinstance(file, np.lib.npyio.NpzFile):
                file.close()
    except MemoryError:
        raise DataError(f"{path.name}: its arrays do not fit into the memory of this machine") from None
    except UNREADABLE as error:
        raise DataError(f"{path.name}: not a readable {path.suffix or 'NumPy'} file ({error})") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise DataError(
                f"{path.name}: holds pickled objects, which could run code: save plain arrays (text as str, not object)"
            ) from None
        raise DataError(f"{path.name}: not a readable {path.suffix or 'NumPy'} file ({error})") from None


def _weigh(path: Path, archive: zipfile.ZipFile) -> None:
    """Looks at the headers of an .npz before any of its arrays takes memory.

    Raises:
        DataError: an array is larger than ARRAY_BYTES, promises more than there is, or is packed like a bomb.
    """
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        name = info.filename.removesuffix(".npy")
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            size, there = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if size > ARRAY_BYTES:
            raise DataError(f"{path.name}: array '{name}' has {size:,} bytes: expected at most {ARRAY_BYTES:,}")
        if size > there and not dtype.hasobject:
            raise DataError(f"{path.name}: array '{name}' is cut off: {there:,} of {size:,} bytes are there")
        if size > ROOM and size > PACKED * info.compress_size:
            raise DataError(
                f"{path.name}: array '{name}' would unpack {info.compress_size:,} bytes to {size:,}: no real features "
                f"are that much alike; save them with numpy.savez"
            )


def checked(path: Path, features: np.ndarray, clip: Callable[[int], str] = lambda index: f"clip {index}") -> np.ndarray:
    """Features (clips, frames, channels) in this machine's byte order, if they can be used.

    Args:
        path: of their file, for messages.
        features: as they were read.
        clip: how a message calls clip i.

    Raises:
        DataError: of another shape or kind, or not finite.
    """
    if features.ndim != 3 or 0 in features.shape[1:]:
        raise DataError(f"{path.name}: expected features of shape (clips, frames, channels), found {features.shape}")
    if features.dtype.kind != "f":
        raise DataError(f"{path.name}: expected floating point features, found {features.dtype}")
    if features.dtype.itemsize > 8:
        raise DataError(f"{path.name}: expected features of 16, 32 or 64 bits, found {features.dtype}: convert them")
    if features.shape[1] > (most := settings.bounds("frames")[1]):
        raise DataError(f"{path.name}: expected at most {most:,} frames a clip, found {features.shape[1]:,}")
    parts = [features[start : start + CHUNK] for start in range(0, len(features), CHUNK)]  # no copy of all of them
    bad = np.flatnonzero(np.concatenate([~np.isfinite(part).all(axis=(1, 2)) for part in parts] or [np.zeros(0)]))
    if len(bad):
        raise DataError(f"{path.name}: features of {len(bad)} clips are not finite, the first is {clip(bad[0])}")
    return np.ascontiguousarray(features, features.dtype.newbyteorder("="))


def _texts(path: Path, name: str, array: np.ndarray, clips: int) -> list[str]:
    """One text a clip; numbers are written out, bytes are read as UTF-8."""
    if array.nbytes > gate.TEXT_BYTES:
        raise DataError(f"{path.name}: '{name}' has {array.nbytes:,} bytes: expected at most {gate.TEXT_BYTES:,}")
    if array.shape != (clips,):
        raise DataError(f"{path.name}: expected one {name} a clip, shape ({clips},), found {array.shape}")
    if array.dtype.kind == "S":
        try:
            return [value.decode() for value in array.tolist()]
        except UnicodeDecodeError:
            raise DataError(f"{path.name}: '{name}' is not UTF-8 text: save it as str") from None
    if array.dtype.kind not in "Uiub":
        raise DataError(f"{path.name}: expected '{name}' as text or whole numbers, found {array.dtype}")
    try:
        return [str(value).strip() for value in array.tolist()]
    except (ValueError, SystemError):  # numbers that are no characters
        raise DataError(f"{path.name}: '{name}' is no text: save it as str") from None
