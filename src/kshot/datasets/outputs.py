"""Folders that kshot wrote, which may lie among the clips that it reads: they are no action and no clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kshot import gate
from kshot.errors import OptionError


def written(folder: Path) -> str:
    """What of kshot's a folder is, in words; "" for none that can be told by its own marks.

    Prepared benchmarks and folders of cut videos are none here, as they hold clips.
    """
    inside = frozenset(os.listdir(folder))
    if "study.json" in inside or {"settings.json", "rows"} <= inside:
        return "study"
    if "digests.jsonl" in inside:
        return "store"
    if {"project.json", "videos"} <= inside:
        return "studio project"
    if {"report.html", "plots"} <= inside:
        return "report"
    if "config.json" in inside:
        about = gate.glimpse(folder / "config.json")
        if about.get("kind") == "kshot recognizer":
            return "model"
        return "run" if "strategy" in about and "tuning" in about else ""
    return "exported model" if gate.glimpse(folder / "model.json").get("kind") == "kshot export" else ""


def expect_outside(data: Any, out: str | Path) -> None:
    """Refuses a folder to write that lies among the clips to read, where people and programs may take it for an action.

    Args:
        data: as `kshot.datasets.load` takes it.
        out: the folder to write.

    Raises:
        OptionError: it is the folder of the clips, or lies in it.
    """
    if not isinstance(data, str | os.PathLike):
        return
    whole, bare = Path(data), Path(os.fspath(data).partition("?")[0])
    folder = whole if whole.exists() else bare
    place = Path(out).resolve()
    if folder.is_dir() and folder.resolve() in (place, *place.parents):
        raise OptionError(f"--out {out} lies in {folder}, the folder of the clips: name a folder outside of it")
