"""A folder of class folders: the folder's name is the label, its videos and frame folders are the clips."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kshot.datasets.dataset import SPLITS, Dataset, build
from kshot.errors import DataError
from kshot.video.container import SUFFIXES
from kshot.video.frame_folder import is_image, natural

SYSTEM = frozenset({"thumbs.db", "desktop.ini", "icon\r", "ehthumbs.db", "$recycle.bin", "system volume information"})
SHOWN = 4  # kinds of files that are passed over and named


def load_folder(root: Path) -> Dataset:
    """The clips below a folder: class/clip, or split/class/clip where all top folders bear names of splits.

    Raises:
        DataError: no class folders, a class folder without clips, or a class in two splits.
    """
    try:
        return _load(root)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _load(root: Path) -> Dataset:
    passed = Passed(root)
    folders, files = passed.children(root)
    if not folders:
        found = f"{len(files)} files" if files else "nothing"
        raise DataError(f"{root}: expected one folder for each class with its clips inside, found {found}")
    passed.files(files, "beside the class folders")
    split_of = {folder: folder.name.lower() for folder in folders}
    by_split = all(name in SPLITS for name in split_of.values())
    classes = [
        (label, split if by_split else "")
        for folder, split in split_of.items()
        for label in (_labels(folder, passed) if by_split else [folder])
    ]
    if not classes:
        raise DataError(f"{root}: expected class folders in {', '.join(f.name for f in folders)}, found none")
    rows = [(clip, label.name, split) for label, split in classes for clip in _clips(label, passed)]
    paths, labels, splits = zip(*rows, strict=True)
    return build(
        name=root.resolve().name,
        paths=paths,
        labels=labels,
        splits=splits,
        groups=[""] * len(rows),
        place=lambda index: str(paths[index].relative_to(root).parent),
        notes=passed.sentences(),
    )


def _labels(split: Path, passed: Passed) -> list[Path]:
    folders, files = passed.children(split)
    passed.files(files, "beside the class folders")
    return folders


def _clips(label: Path, passed: Passed) -> Iterator[Path]:
    """Videos and frame folders of a class, in natural order."""
    folders, files = passed.children(label)
    clips = [file for file in files if file.suffix.lower() in SUFFIXES]
    others = [file for file in files if file.suffix.lower() not in SUFFIXES]
    for folder in folders:
        inside = os.listdir(folder)
        if not any(map(is_image, inside)):
            raise DataError(
                f"{folder}: expected a folder of JPEG or PNG frames in class '{label.name}', found no such frame"
            )
        passed.files(passed.shown(folder / name for name in inside if not is_image(name)), "in frame folders")
        clips.append(folder)
    if not clips:
        found = f"{_counted(others, label)}, which kshot does not read" if others else "nothing"
        raise DataError(
            f"{label}: class folder '{label.name}' holds no clips: expected videos or frame folders, found {found}"
        )
    passed.files(others, "in class folders")
    yield from sorted(clips, key=lambda clip: natural(clip.name))


class Passed:
    """What is below a folder and no clip, so that results can name it.

    Args:
        root: the folder; examples are named as seen from it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hidden = 0
        self._files: dict[str, list[Path]] = {}

    def children(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Folders and files inside, by name; hidden ones and what systems and archivers leave behind are counted."""
        shown = self.shown(folder.iterdir())
        folders = [child for child in shown if child.is_dir()]
        return folders, [child for child in shown if not child.is_dir()]

    def shown(self, paths: Iterable[Path]) -> list[Path]:
        """The paths that are not hidden, by name."""
        every = list(paths)
        shown = sorted((path for path in every if not _hidden(path.name)), key=lambda path: natural(path.name))
        self.hidden += len(every) - len(shown)
        return shown

    def files(self, files: Iterable[Path], where: str) -> None:
        """Takes note of files that were passed over."""
        self._files.setdefault(where, []).extend(files)

    def sentences(self) -> list[str]:
        """A sentence for each kind of place where files were passed over."""
        said = [f"{_counted(files, self.root)} {where} passed over" for where, files in self._files.items() if files]
        if said and self.hidden:
            said[-1] += f", not counting {self.hidden} hidden or system files"
        return said


def _counted(files: Sequence[Path], root: Path) -> str:
    """ "3 files (.txt 2: wave/a.txt, ...; .zip 1: b.zip)"."""
    kinds: dict[str, list[str]] = {}
    for file in files:
        kind = "folders" if file.is_dir() else file.suffix.lower() or "without suffix"
        kinds.setdefault(kind, []).append(file.relative_to(root).as_posix())
    most = sorted(kinds.items(), key=lambda item: -len(item[1]))
    parts = [f"{kind} {len(found)}: {found[0]}{', ...' * (len(found) > 1)}" for kind, found in most[:SHOWN]]
    more = f"; {len(most) - SHOWN} more kinds" if len(most) > SHOWN else ""
    return f"{len(files)} {'file' if len(files) == 1 else 'files'} ({'; '.join(parts)}{more})"


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX", "@eaDir")) or name.lower() in SYSTEM
