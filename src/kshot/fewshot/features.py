"""Features of other networks into the form that kshot evaluates, and embeddings of kshot's own out of it.

The form is one .npz: `features` (clips, frames, channels) and a text a clip in each of `label`, `split`, `group` and
`path`, and in `start` and `end` where clips are parts of videos; for a benchmark that lacks clips, `missing` names
them. A CSV with these columns can go beside it, in the form that every other command reads.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from kshot import datasets
from kshot.activations.default import settled
from kshot.activations.extraction import extract
from kshot.datasets import Dataset
from kshot.datasets.features import checked, opened
from kshot.errors import DataError, OptionError
from kshot.excerpts import seconds
from kshot.files import disk, plain, whole, write_atomic
from kshot.progress import Progress, quiet
from kshot.settings import Exporting
from kshot.settings.fields import Settings
from kshot.settings.types import ExportingKeywords

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone

COLUMNS = ("path", "label", "split", "group")


def import_features(
    features: str | Path, out: str | Path, clips: str | Path | None = None, array: str | None = None
) -> dict[str, Any]:
    """Joins an array of features with a table of clips as an .npz, which `kshot evaluate --features` reads.

    Args:
        features: .npy or .npz with a floating array (clips, frames, channels), or (clips, channels), one frame a clip.
        out: the .npz to write.
        clips: CSV with the columns path, label and, if there are any, split and group: a row for each clip, in the same
            order. The files need not exist. Without it the .npz must hold these as arrays, and is checked and copied.
        array: name of the array; "features", or the only one, by default.

    Returns:
        features (the file written), clips, frames, channels, classes, splits (name -> clips), missing (names of clips
        that a benchmark has and these features have not).

    Raises:
        DataError: what is read cannot be used, with the file and the row.
        OptionError: `out` is no .npz or the file that is read, or there is no such array.
    """
    source, target = Path(features), _target(out)
    if source.exists() and target.exists() and target.samefile(source):
        raise OptionError(f"--out {out} is the file to read: name another")
    if clips is None:
        if array is not None:
            raise OptionError("an array by another name comes without labels: add the CSV that has them (--clips)")
        if source.suffix.lower() != ".npz":
            raise OptionError(f"{source.name} holds no labels: add the CSV that has them (--clips)")
        return _write(target, datasets.load(source))
    from kshot.datasets import prepare, table

    listed = table.load_table(Path(clips), check_files=False)
    values, paths = _values(source, array)
    checked(source, values, lambda row: f"clip {row}" + (f", '{listed.paths[row]}'" if row < len(listed) else ""))
    if len(values) != len(listed):
        raise DataError(
            f"{source.name} holds {len(values)} clips, {Path(clips).name} lists {len(listed)}: expected a row for each "
            f"clip, in the same order"
        )
    for row, (own, path) in enumerate(zip(paths, listed.paths, strict=True)) if paths else ():
        if Path(own).name != path.name:
            raise DataError(
                f"{source.name}: clip {row} is '{own}', but clip {row} of {Path(clips).name} is '{path}': bring both "
                f"into the same order"
            )
    return _write(target, replace(listed, features=values, missing=prepare.missing_beside(Path(clips))))


def export_features(
    data: str | Path | Dataset,
    out: str | Path,
    backbone: str | Path | Backbone | None = None,
    adapted: str | Path | None = None,
    *given: Settings,
    split: str = "all",
    table: str | Path | None = None,
    progress: Progress = quiet,
    **settings: Unpack[ExportingKeywords],
) -> dict[str, Any]:
    """Writes the embeddings of every readable clip as an .npz, with their labels, splits, groups and paths.

    Heads that learn nothing score these as they score the clips themselves; a trained head is no part of them.

    Args:
        data: as in `kshot.evaluate`.
        out: the .npz to write.
        backbone: as in `kshot.evaluate`.
        adapted: as in `kshot.evaluate`.
        given: settings as objects, such as `View(frames=16)`.
        split: "all", "train" (base), "val" or "test" (novel).
        table: also write path, label, split and group as a CSV.
        progress: how to show progress.
        settings: the fields of `kshot.settings.Exporting`; what is left out has its default, or the adapted run's.

    Returns:
        as `import_features`, and unreadable: path -> reason.

    Raises:
        KshotError: whatever cannot be done as asked.
    """
    from kshot.fewshot import runs  # late: features are joined with labels without PyTorch

    target = _target(out)
    loaded = datasets.load(data)
    if loaded.features is not None:
        raise DataError(f"{loaded.name} holds ready-made features already: use them as they are")
    if table is not None and not isinstance(data, Dataset) and os.path.abspath(table) == os.path.abspath(data):
        raise OptionError(f"--table {table} is the data set itself: name another file")
    if table is not None:
        plain(table)
    run = runs.read_run(adapted) if adapted is not None else None
    if run is None:
        loaded, backbone = settled(loaded, backbone)
    chosen = loaded.select(split)
    plan = Exporting.of((run.sight if run is not None else {}) | Exporting.chosen(given, settings))
    learner, strategy = runs.learner(run, backbone, None, None, plan.compute)
    assert learner.backbone is not None and learner.cut is not None
    if learner.backbone.episodic or (strategy is not None and strategy.learns_from == "support"):
        raise OptionError(
            f"run {adapted} embeds a clip anew in every episode, so a clip has no features of its own: export the "
            f"backbone as it came, or another run"
        )
    activations = extract(
        chosen,
        learner.backbone,
        learner.cut,
        store=plan.compute.store,
        frames=plan.view.frames,
        resize=plan.view.resize,
        deinterlace=plan.view.deinterlace,
        stored_only=plan.compute.stored_only,
        dtype=plan.compute.dtype,
        condense=learner.backbone.image.exact,
        progress=progress,
    )
    embedded = replace(activations.data, features=learner.embed_all(activations).cpu().numpy())
    report = _write(target, embedded)
    if table is not None:
        report["table"] = str(table)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_columns(embedded), *_rows(Path(table), embedded)])
        with disk(Path(table)):
            Path(table).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(table), text.getvalue().encode())
    return report | {"unreadable": activations.unreadable, "damaged": activations.losses()}


def _target(out: str | Path) -> Path:
    path = Path(out)
    if path.suffix.lower() != ".npz":
        raise OptionError(f"--out names an .npz file, found '{out}'")
    plain(path)
    return path


def _values(source: Path, array: str | None) -> tuple[NDArray[Any], list[str]]:
    """The array of features, one frame a clip where it has none, and the paths beside it, if there are any."""
    with opened(source) as file:
        if isinstance(file, np.ndarray):
            if array is not None:
                raise OptionError(f"{source.name} holds a single array without a name: leave out '{array}'")
            values, paths = file, []
        else:
            names = list(file.files)
            chosen = array or ("features" if len(names) != 1 else names[0])
            if chosen not in names:
                raise OptionError(
                    f"{source.name}: no array '{chosen}', found {', '.join(names) or 'none'}: name that of the features"
                )
            values = file[chosen]
            paths = [str(path) for path in file["path"].tolist()] if "path" in names and file["path"].ndim == 1 else []
    if len(paths) != (len(values) if values.ndim else 0):
        paths = []
    if values.ndim == 2:
        values = values[:, None]
    return (values.astype(np.float32) if values.dtype == np.float64 else values), paths


def _write(target: Path, data: Dataset) -> dict[str, Any]:
    assert data.features is not None
    rows = _rows(target, data)
    named = enumerate(_columns(data))
    columns: dict[str, Any] = {name: np.array([row[i] for row in rows], np.str_) for i, name in named}
    lacking = [f"{split}\t{clip}" for split, clips in data.missing.items() for clip in clips]
    if lacking:
        columns["missing"] = np.array(lacking, np.str_)
    with disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as part, part.open("wb") as file:
            np.savez(file, features=data.features, **columns)
    return {
        "features": str(target),
        "clips": len(data),
        "frames": data.features.shape[1],
        "channels": data.features.shape[2],
        "classes": len(data.classes),
        "missing": data.missing_from("all"),
        "notes": list(data.notes),
        "splits": {name: int((data.splits == name).sum()) for name in dict.fromkeys(data.splits.tolist()) if name},
    }


def _columns(data: Dataset) -> tuple[str, ...]:
    """Names of what `_rows` says."""
    return COLUMNS if data.spans is None else (*COLUMNS, "start", "end")


def _rows(file: Path, data: Dataset) -> list[tuple[str, ...]]:
    """Path as seen from the file, label, split and group of each clip; no group where a clip is one by itself.

    Where clips are parts of videos, start and end in seconds, too, "" for a video's own.
    """
    home = os.path.abspath(file.parent)
    rows: list[tuple[str, ...]] = []
    for path, label, split, group in zip(data.paths, data.labels, data.splits, data.groups, strict=True):
        alone = re.fullmatch(r"\d+:" + re.escape(str(path)), group)
        place = os.path.relpath(os.path.abspath(path), home)
        rows.append((place, data.classes[label], str(split), "" if alone else str(group)))
    if data.spans is not None:
        moments = [tuple("" if math.isnan(value) else seconds(value) for value in span) for span in data.spans.tolist()]
        rows = [row + span for row, span in zip(rows, moments, strict=True)]
    return rows
