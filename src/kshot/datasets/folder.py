"""A folder of class folders: the folder's name is the label, its videos and frame folders are the clips."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kshot.container import SUFFIXES, is_image, natural
from kshot.datasets import SPLITS, Dataset, build
from kshot.errors import DataError


def load(root: Path) -> Dataset:
    """The clips below a folder: class/clip, or split/class/clip where all top folders bear names of splits.

    Raises:
        DataError: no class folders, a class folder without clips, or a class in two splits.
    """
    try:
        return _load(root)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _load(root: Path) -> Dataset:
    folders, files = _children(root)
    if not folders:
        found = f"{len(files)} files" if files else "nothing"
        raise DataError(f"{root}: expected one folder for each class with its clips inside, found {found}")
    split_of = {folder: folder.name.lower() for folder in folders}
    by_split = all(name in SPLITS for name in split_of.values())
    classes = [
        (label, split if by_split else "")
        for folder, split in split_of.items()
        for label in (_children(folder)[0] if by_split else [folder])
    ]
    if not classes:
        raise DataError(f"{root}: expected class folders in {', '.join(f.name for f in folders)}, found none")
    rows = [(clip, label.name, split) for label, split in classes for clip in _clips(label)]
    paths, labels, splits = zip(*rows, strict=True)
    return build(
        name=root.resolve().name,
        paths=paths,
        labels=labels,
        splits=splits,
        groups=[""] * len(rows),
        place=lambda index: str(paths[index].relative_to(root).parent),
    )


def _clips(label: Path) -> Iterator[Path]:
    """Videos and frame folders of a class, in natural order."""
    folders, files = _children(label)
    clips = [file for file in files if file.suffix.lower() in SUFFIXES]
    for folder in folders:
        if not any(is_image(name) for name in os.listdir(folder)):
            raise DataError(
                f"{folder}: expected a folder of JPEG or PNG frames in class '{label.name}', found no such frame"
            )
        clips.append(folder)
    if not clips:
        found = f"{len(files)} other files ({files[0].name}, ...)" if files else "nothing"
        raise DataError(
            f"{label}: class folder '{label.name}' holds no clips: expected videos or frame folders, found {found}"
        )
    yield from sorted(clips, key=lambda clip: natural(clip.name))


def _children(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files inside, by name; hidden ones and what archivers leave behind are passed over."""
    children = [child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX"))]
    children.sort(key=lambda child: natural(child.name))
    folders = [child for child in children if child.is_dir()]
    return folders, [child for child in children if not child.is_dir()]
