"""`verify`: is what kshot once wrote still what it wrote? One question for every kind of folder, told by what is in it.

Nothing is changed, but for a store with `heal`. What older versions wrote has fewer seals: that is said, not hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kshot import addresses, gate, seals
from kshot.errors import DataError, KshotError, OptionError

OLD = "written by an older version, which sealed nothing: read without a seal, and no change can be seen"


def verify(path: str | Path, heal: bool = False) -> dict[str, Any]:
    """Checks a store, run, model, study, exported model, backbone, prepared benchmark, studio project or features file.

    Args:
        path: the folder, the .npz, or the address of a store.
        heal: of a store, also remove what is damaged, so that the next `kshot extract` writes it again.

    Returns:
        A dictionary with `kind` (in words), `path`, `checked` (files that were hashed or read whole), `damaged` (path
        -> what is wrong), `unsealed` (path -> why no change can be seen) and `healed`. Of a store also what
        `kshot.activations.check.verify` gives.

    Raises:
        DataError: there is nothing that kshot knows.
        OptionError: `heal` for anything but a store.
        StoreError: what is damaged cannot be removed.
    """
    place = Path(path)
    kind = recognise(place)
    if kind == "store":
        from kshot.activations import check

        report = check.verify(place, heal)
        return {"kind": kind, "path": report.store, "checked": report.shards + report.digests, **report.plain()}
    if heal:
        raise OptionError(f"--heal is for stores, whose activations can be made again; {place} is a {kind}")
    found = Found()
    KINDS[kind](place, found)
    return {
        "kind": kind,
        "path": str(place),
        "checked": found.checked,
        "damaged": found.damaged,
        "unsealed": found.unsealed,
        "healed": False,
    }


def recognise(place: Path) -> str:
    """What a path is: one of `KINDS`, or "store".

    Raises:
        DataError: nothing of the kind.
    """
    if place.is_file() and place.suffix.lower() == ".npz":
        return "features file"
    if addresses.of(place) or any(place.glob("*/key.json")):
        return "store"
    if (place / "study.json").exists() or ((place / "settings.json").exists() and (place / "rows").is_dir()):
        return "study"
    for name, kind in (("project.json", "studio project"), ("prepared.json", "prepared benchmark")):
        if (place / name).exists():
            return kind
    about = gate.glimpse(place / "model.json")
    if about.get("kind") == "kshot export":
        return "exported model"
    if (place / "config.json").exists():
        about = gate.glimpse(place / "config.json")
        if about.get("kind") == "kshot recognizer":
            return "model"
        if "strategy" in about and "tuning" in about:
            return "run"
        if "model_type" in about or any(place.glob("*.safetensors.index.json")) or (place / "tokenizer.json").exists():
            return "backbone"
        if any(place.glob("adapted-*")) or any(place.glob("weights-*.safetensors")):
            return "model"
        return "run"
    known = ", ".join(["store", *KINDS])
    raise DataError(
        f"{place} is not a kshot store (expected <key>/key.json in it; pass the --store of extract), nor any other of: "
        f"{known}"
    )


@dataclass
class Found:
    """What was looked at so far.

    Attributes:
        checked: files that were hashed or read whole.
        damaged: path -> what is wrong with it.
        unsealed: path -> why no change can be seen in it.
    """

    checked: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    unsealed: dict[str, str] = field(default_factory=dict)

    def sealed(self, path: Path, without: str = OLD) -> dict[str, Any]:
        """Checks a sealed file and those that it names; what it says, empty where it is damaged."""
        self.checked += 1
        try:
            about = seals.read_sealed(path)
        except KshotError as error:
            self.damaged[str(path)] = _bare(error, path)
            return {}
        if "seal" not in about:
            self.unsealed[str(path)] = without
        named = about.get("files", {})
        self.checked += len(named) if isinstance(named, dict) else 0
        self.damaged |= seals.faults(path.parent, named)
        return about

    def reads(self, path: Path, read: Callable[[], object]) -> bool:
        """Whether something can be read, which looks at more than the seal."""
        if any(name.startswith(str(path)) for name in self.damaged):
            return False
        try:
            read()
        except KshotError as error:
            self.damaged[str(path)] = _bare(error, path)
            return False
        return True


def _bare(error: KshotError, path: Path) -> str:
    """An error without the path that it is listed under."""
    return re.sub(rf"^{re.escape(str(path))}:? ", "", str(error))


def _run(folder: Path, found: Found) -> None:
    from kshot.fewshot import runs

    config = found.sealed(folder / "config.json")
    if not config:
        return
    if "result" not in config:
        found.unsealed[str(folder)] = "the run is not finished: only its config.json has a seal"
        found.reads(folder, lambda: runs.read_config(folder))
        return
    if "files" not in config:
        found.checked += 1  # its weights, which the config names all the same
    found.reads(folder, lambda: runs.read_run(folder))


def _model(folder: Path, found: Found) -> None:
    from kshot.recognizer import artefact

    found.checked += 1
    if found.reads(folder, lambda: artefact.read_config(folder)):
        config = artefact.read_config(folder)
        found.checked += len(config["files"])
        found.damaged |= seals.faults(folder, config["files"])
        found.reads(folder, lambda: artefact.explain(folder, config))
    for name in ("README.md", "thumbnails"):
        if (folder / name).exists():
            found.unsealed[str(folder / name)] = "for people only: it is never read"
    for inner in sorted(folder.glob("*/model.json")):
        _export(inner.parent, found)


def _export(folder: Path, found: Found) -> None:
    about = found.sealed(folder / "model.json", "written by an older version: only the sha256 of its graph was noted")
    if about and "files" not in about:
        found.checked += 1
        found.damaged |= seals.faults(folder, {str(about.get("model")): about.get("sha256")})


def _study(folder: Path, found: Found) -> None:
    from kshot.study.results import StudyResult
    from kshot.study.summary import load_study

    for name in ("settings.json", "study.json"):
        if (folder / name).exists():
            found.sealed(folder / name)
    studies: list[StudyResult] = []
    if (folder / "study.json").exists():
        found.reads(folder / "study.json", lambda: studies.append(load_study(folder)))
    for result in studies[0].rows if studies else ():
        place = folder / result.folder
        names = ("row.json", *(f"{shot}-shot.json" for shot in result.results))
        for path in [place / name for name in names] if place.is_dir() else [place]:
            if not path.exists():
                found.damaged[str(path)] = "is gone, though study.json names its row: run the study again"
    for row in sorted(folder.glob("rows/*")):
        if (row / "row.json").exists():
            found.sealed(row / "row.json")
        for config in sorted(row.glob("run*/config.json")):
            _run(config.parent, found)


def _backbone(folder: Path, found: Found) -> None:
    from kshot.backbones import backbone, hub

    files = hub.weight_files(folder) if found.reads(folder, lambda: hub.weight_files(folder)) else []
    for path in [*files, *(folder / name for name in hub.SMALL if (folder / name).exists())]:
        found.checked += 1
        blob = path.resolve()
        if blob.parent.name == "blobs" and len(blob.name) == seals.HEX:  # the hub's cache names large files so
            if seals.sha256(path) != blob.name:
                found.damaged[str(path)] = "its sha256 is not the one that the hub gave: fetch it again"
        else:
            found.unsealed[str(path)] = "a backbone's files have no seals"
    loaded: list[backbone.Backbone] = []
    if found.reads(folder, lambda: loaded.append(backbone.load(folder))):
        told = f"whole and readable; compare its fingerprint with its maker's: {loaded[0].fingerprint}"
        found.unsealed = {str(folder): told} if found.unsealed else {}


def _benchmark(folder: Path, found: Found) -> None:
    from kshot.datasets import prepare

    found.sealed(folder / "prepared.json")
    if found.damaged:
        return
    reports: list[prepare.BenchmarkCheck] = []
    if found.reads(folder, lambda: reports.append(prepare.verify(str(folder)))):
        found.checked += sum(row.clips_found for row in reports[0].splits.values()) + len(reports[0].lost)
        found.damaged |= {str(folder / clip): fault for clip, fault in reports[0].lost.items()}
        found.unsealed[str(folder / "clips")] = "videos are counted and measured, not hashed"


def _project(folder: Path, found: Found) -> None:
    found.checked += 1
    state = gate.glimpse(folder / "project.json").get("state")
    videos = state.get("videos") if isinstance(state, dict) else None
    if not isinstance(videos, list):
        found.damaged[str(folder / "project.json")] = "does not list its videos"
        videos = []
    for video in videos:
        name = video.get("file") if isinstance(video, dict) else None
        found.checked += 1
        found.reads(folder / "videos" / str(name), lambda name=name: gate.regular(  # type: ignore[misc]
            gate.inside(folder / "videos", name)))  # fmt: skip
    found.unsealed[str(folder / "project.json")] = "a project changes all the time: it has no seal"
    for config in sorted(folder.glob("models/*/config.json")):
        _model(config.parent, found)


def _features(path: Path, found: Found) -> None:
    from kshot.datasets import features

    found.checked += 1
    if found.reads(path, lambda: features.load_features(path)):
        found.unsealed[str(path)] = "no seal: the CRC-32 of each of its arrays was checked"


KINDS: dict[str, Callable[[Path, Found], None]] = {
    "run": _run,
    "model": _model,
    "study": _study,
    "exported model": _export,
    "backbone": _backbone,
    "prepared benchmark": _benchmark,
    "studio project": _project,
    "features file": _features,
}
"""What `verify` knows beside stores: its name in words -> how it is looked at."""
