"""HMDB51 in small and in its real layout: a rar of a rar for each class, with files named as HMDB51 names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rars import write_rar

Files = dict[str, dict[str, bytes]]
"""Class -> file name -> content."""


def name(label: str, number: int) -> str:
    """The name of clip `number` of a class: two clips come from each source video."""
    return f"Holiday_(#{number // 2})_{label}_f_cm_np1_fr_goo_{number % 2}.avi"


def files(classes: Sequence[str], clips: int) -> Files:
    """Files of a few different bytes."""
    return {label: {name(label, i): f"{label} {i}".encode() * 9 for i in range(clips)} for label in classes}


def write_folder(folder: Path, made: Mapping[str, Mapping[str, bytes]]) -> Path:
    """Class folders, as they are when all is unpacked."""
    for label, clips in made.items():
        (folder / label).mkdir(parents=True)
        for clip, data in clips.items():
            (folder / label / clip).write_bytes(data)
    return folder


def write_archive(path: Path, made: Mapping[str, Mapping[str, bytes]]) -> Path:
    """`hmdb51_org.rar`: a rar of rars."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = path.with_name("inner.rar")
    members = []
    for label, clips in made.items():
        write_rar(inner, [(f"{label}/{clip}", data) for clip, data in clips.items()])
        members.append((f"{label}.rar", inner.read_bytes()))
    inner.unlink()
    return write_rar(path, members)
