"""Seals of folders: one JSON file names the files beside it by their sha256, and itself by one over the rest of it.

    {..., "files": {"weights.safetensors": "3f..."}, "seal": "a9..."}

It is `config.json` of a run or a model, `study.json` and each `row.json` of a study, `model.json` of an export and
`prepared.json` of a benchmark. It is written last and whole, so that there is no moment at which a seal is wrong.
Folders of older versions have none and are read as before; `kshot verify` names them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kshot import gate
from kshot.errors import DataError, KshotError

HEX = 64  # digits of a sha256


def mark(about: Mapping[str, Any]) -> str:
    """sha256 of what a file says beside its own seal, whatever its layout and the order of its keys."""
    rest = {key: value for key, value in about.items() if key != "seal"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def whole(about: Mapping[str, Any]) -> bool:
    """Whether a file says what was sealed; without a seal it does not."""
    try:
        return about.get("seal") == mark(about)
    except (RecursionError, ValueError):  # ValueError: a whole number of too many digits
        return False


def sealed(about: Mapping[str, Any], folder: Path | None = None, files: Iterable[str] = ()) -> dict[str, Any]:
    """What a file is to say, with its seal.

    Args:
        about: what it says without one.
        folder: that it will lie in; None where it names no files.
        files: names in that folder to seal, too; those that do not exist are left out.
    """
    said = dict(about)
    if folder is not None:
        said["files"] = {name: sha256(folder / name) for name in files if (folder / name).exists()}
    return said | {"seal": mark(said)}


def sha256(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sealed(path: Path, error: type[KshotError] = DataError, again: str = "copy it again") -> dict[str, Any]:
    """What a sealed file says; one of an older version has no seal.

    Args:
        path: the file.
        error: which error to raise.
        again: what the user can do about a damaged one.

    Raises:
        KshotError: (as `error`) it is missing, no JSON object, or not what was sealed.
    """
    about = gate.read_json(path, error=error)
    if not isinstance(about, dict):
        raise error(f"{path} is damaged: expected a JSON object, found {gate.shortened(about)}; {again}")
    if "seal" in about and not whole(about):
        raise error(f"{path} is damaged: its checksum is wrong; {again}")
    return about


def faults(folder: Path, files: object) -> dict[str, str]:
    """Path -> what is wrong, of the files that a sealed file of `folder` names."""
    if not isinstance(files, dict):
        return {str(folder): f"expected a table of files, found {gate.shortened(files)}"}
    found: dict[str, str] = {}
    for name, expected in files.items():
        try:
            path = gate.inside(folder, name)
            gate.regular(path)
            if sha256(path) != expected:
                found[str(path)] = "its sha256 is not the one that was sealed"
        except (KshotError, OSError) as error:
            found[str(folder / str(name))] = str(error)
    return found
