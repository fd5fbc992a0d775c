"""A folder of class folders: the folder's name is the label, its videos and frame folders are the clips."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kshot.datasets.dataset import SPLITS, Dataset, build
from kshot.datasets.outputs import written
from kshot.errors import DataError, unknown
from kshot.video.container import SUFFIXES
from kshot.video.frame_folder import is_image, natural

SYSTEM_FOLDERS = frozenset(
    {
        "$recycle.bin", "recycler", "recycled", "system volume information", "found.000", "lost+found", "__macosx",
        "network trash folder", "temporary items", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@eadir",
        "@tmp", "@sharebin", "@syno",
    }
)  # fmt: skip
"""What systems and network drives put beside folders of users, in small letters; names with a dot are hidden anyway."""
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "icon\r", "ehthumbs.db", "ehthumbs_vista.db"})
SHOWN = 4  # kinds of files that are passed over and named
INNER = ("group", "label")


def load_folder(root: Path, inner: str = "") -> Dataset:
    """The clips below a folder: class/clip, or split/class/clip where all top folders bear names of splits.

    Folders within class folders are groups, what was filmed together (class/person/clip), where none of their names
    stands in two classes. Where one does, it may as well be person/class/clip, and the user has to say.

    Args:
        root: the folder.
        inner: what folders within the outer ones are: "group", "label" (the outer ones are the groups then), or "" for
            what is said above.

    Raises:
        DataError: no class folders, a class folder without clips, a class in two splits, or nested folders that can be
            read in two ways.
        OptionError: `inner` is neither.
    """
    if inner and inner not in INNER:
        raise unknown("kind of inner folders", inner, INNER)
    try:
        return _load(root, inner)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _load(root: Path, inner: str) -> Dataset:
    passed = Passed(root)
    folders, files = passed.children(root)
    if not folders:
        found = f"{len(files)} files" if files else "nothing"
        raise DataError(f"{root}: expected one folder for each class with its clips inside, found {found}")
    passed.files(files, "beside the class folders")
    by_split = all(folder.name.lower() in SPLITS for folder in folders)
    outer = [
        (label, folder.name if by_split else "")
        for folder in folders
        for label in (_labels(folder, passed) if by_split else [folder])
    ]
    if not outer:
        raise DataError(f"{root}: expected class folders in {', '.join(f.name for f in folders)}, found none")
    rows = [(*row, split) for label, split in outer for row in _clips(label, passed)]
    nested = _nested(root, [row for row in rows if row[2]], inner)
    paths = [path for path, *_ in rows]
    splits = [split for *_, split in rows]
    labels = [within or name if inner == "label" else name for _, name, within, _ in rows]
    groups = [name * bool(within) if inner == "label" else within for _, name, within, _ in rows]
    return build(
        name=root.resolve().name,
        paths=paths,
        labels=labels,
        splits=[split.lower() for split in splits],
        groups=groups,
        place=lambda index: str(paths[index].relative_to(root).parent),
        notes=[*nested, *passed.sentences()],
        alone=lambda index: f"{root / splits[index]}",
    )


def _nested(root: Path, rows: Sequence[tuple[Path, str, str, str]], inner: str) -> list[str]:
    """A sentence on folders within class folders, of whose clips these are the rows; none without any.

    Raises:
        DataError: they can be read in two ways, and the user has not said which.
    """
    if not rows:
        return []
    outer_of: dict[str, set[str]] = {}
    for _, outer, within, _ in rows:
        outer_of.setdefault(within, set()).add(outer)
    example = rows[0][0].parent.relative_to(root).as_posix()
    count = len({(outer, within) for _, outer, within, _ in rows})
    outer, within = rows[0][1:3]
    if not inner and (len({row[1] for row in rows}) == 1 or max(map(len, outer_of.values())) > 1):
        lie = "1 folder lies" if count == 1 else f"{count} folders lie"
        raise DataError(
            f"{root}: {lie} within the class folders, such as {example}, and either may be the "
            f"actions: write '{root}?inner=group' if '{outer}' is an action and '{within}' what was filmed together, a "
            f"person say, or '{root}?inner=label' if '{within}' is the action"
        )
    if inner == "label":
        return [f"the {count} inner folders ({example}, ...) are the actions, the outer ones what was filmed together"]
    return [f"{count} folders within the class folders ({example}, ...) are taken as groups: what was filmed together"]


def _labels(split: Path, passed: Passed) -> list[Path]:
    folders, files = passed.children(split)
    passed.files(files, "beside the class folders")
    return folders


def _clips(label: Path, passed: Passed) -> Iterator[tuple[Path, str, str]]:
    """Videos and frame folders of a class in natural order, each with the class and the folder within it or ""."""
    clips, others, folders = _inside(label, label, passed)
    found = [(clip, "") for clip in clips]
    for folder in folders:
        within, more, deeper = _inside(folder, label, passed)
        if deeper:
            raise DataError(
                f"{deeper[0]}: class '{label.name}' holds folders in folders in folders: expected class/clip, or "
                f"class/group/clip; list the clips in a CSV with columns path, label and group instead"
            )
        if not within:
            raise DataError(
                f"{folder}: expected JPEG or PNG frames, or videos of one group, in class '{label.name}', found neither"
            )
        others += more
        found += [(clip, folder.name) for clip in within]
    if not found:
        told = f"{_counted(others, label)}, which kshot does not read" if others else "nothing"
        raise DataError(
            f"{label}: class folder '{label.name}' holds no clips: expected videos, or folders of JPEG or PNG frames, "
            f"found {told}"
        )
    passed.files(others, "in class folders")
    for clip, group in sorted(found, key=lambda one: (natural(one[1]), natural(one[0].name))):
        yield clip, label.name, group


def _inside(folder: Path, label: Path, passed: Passed) -> tuple[list[Path], list[Path], list[Path]]:
    """Clips of a folder, its other files, and its folders that are no clips."""
    folders, files = passed.children(folder)
    clips = [file for file in files if is_video(file.name)]
    others = [file for file in files if not is_video(file.name)]
    rest = []
    for child in folders:
        inside = os.listdir(child)
        if is_frames(inside):
            passed.files(passed.shown(child / name for name in inside if not is_image(name)), "in frame folders")
            clips.append(child)
        else:
            rest.append(child)
    return clips, others, rest


class Passed:
    """What is below a folder and no clip, so that results can name it.

    Args:
        root: the folder; examples are named as seen from it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hidden = 0
        self._system: list[Path] = []
        self._written: list[tuple[str, Path]] = []
        self._files: dict[str, list[Path]] = {}

    def children(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Folders and files inside, by name; hidden ones and what systems, archivers and kshot leave are counted."""
        shown = self.shown(folder.iterdir())
        folders = {child: written(child) for child in shown if child.is_dir()}
        self._written += [(kind, child) for child, kind in folders.items() if kind]
        return [child for child, kind in folders.items() if not kind], [file for file in shown if file not in folders]

    def shown(self, paths: Iterable[Path]) -> list[Path]:
        """The paths that are not hidden, by name."""
        every = list(paths)
        shown = sorted((path for path in every if not is_hidden(path.name)), key=lambda path: natural(path.name))
        hidden = [path for path in every if is_hidden(path.name)]
        system = [path for path in hidden if path.is_dir()]
        self._system += system
        self.hidden += len(hidden) - len(system)
        return shown

    def files(self, files: Iterable[Path], where: str) -> None:
        """Takes note of files that were passed over."""
        self._files.setdefault(where, []).extend(files)

    def sentences(self) -> list[str]:
        """A sentence for each kind of place where files were passed over, and on folders of systems and of kshot."""
        said = [f"{_counted(files, self.root)} {where} passed over" for where, files in self._files.items() if files]
        if said and self.hidden:
            said[-1] += f", not counting {self.hidden} hidden or system files"
        if self._system:
            count, first = len(self._system), self._system[0].relative_to(self.root).as_posix()
            said.append(
                f"{count} hidden or system folder{'s' * (count > 1)} ({first}{', ...' * (count > 1)}) passed over"
            )
        if self._written:
            kind, folder = self._written[0]
            count = len(self._written)
            example = f"{kind} {folder.relative_to(self.root).as_posix()}{', ...' * (count > 1)}"
            said.append(f"{count} folder{'s' * (count > 1)} that kshot wrote ({example}) passed over")
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


def is_video(name: str) -> bool:
    """Whether a file name is that of a video."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def is_frames(names: Sequence[str]) -> bool:
    """Whether a folder with these names inside is a clip of frames; pictures beside videos are covers or thumbnails."""
    return any(map(is_image, names)) and not any(map(is_video, names))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system, a network drive or an archiver makes for itself."""
    small = name.lower()
    return name.startswith((".", "~$")) or small in SYSTEM_FILES or small in SYSTEM_FOLDERS
