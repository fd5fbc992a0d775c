"""Where the videos of annotations are, how long they last and how many frames a second they have."""

from __future__ import annotations

import os
import re
from contextlib import closing
from functools import cached_property
from pathlib import Path, PureWindowsPath
from urllib.parse import parse_qs, unquote, urlsplit

from kshot.datasets.annotations.forms import Film
from kshot.errors import DataError, OptionError, VideoError
from kshot.video.container import SUFFIXES

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the names of files that are uploaded to it."""
YOUTUBE = 11  # characters of an id, behind which copies of Kinetics and ActivityNet write the stretch or a resolution


class Places:
    """The videos that a file of annotations names.

    Args:
        source: the file of annotations; paths in it are relative to its folder.
        videos: a folder in which, at any depth, videos are looked for by their names, or one video for a file that
            names none or another; None for neither.
        fps: frames a second of all videos, where the user says so.

    Raises:
        OptionError: no such folder or video, or an impossible rate.
    """

    def __init__(self, source: Path, videos: str | os.PathLike[str] | None = None, fps: float | None = None) -> None:
        if fps is not None and not 0 < fps <= 1000:
            raise OptionError(f"expected more than 0 and at most 1,000 frames a second, found {fps:g}")
        self.source, self.fps = source, fps
        self.videos = None if videos is None else Path(videos).expanduser()
        if self.videos is not None and not self.videos.exists():
            raise OptionError(f"there is no folder or video '{self.videos}' to look for videos in")
        self._found: dict[str, Path | None] = {}
        self._films: dict[Path, Film] = {}

    def find(self, name: str) -> Path | None:
        """The video that a file of annotations calls `name`, or None.

        Args:
            name: a path, as any system writes it, an address, or a name with or without its suffix.
        """
        if name not in self._found:
            try:
                self._found[name] = self._find(name)
            except (OSError, ValueError):  # too long, or no name of a file at all
                self._found[name] = None
        return self._found[name]

    def film(self, name: str) -> Film:
        """What the header of a video says; nothing where there is no such video."""
        path = self.find(name)
        if path is None:
            return Film()
        if path not in self._films:
            self._films[path] = header(path)
        return self._films[path]

    def rate(self, name: str, own: float | None = None) -> float:
        """Frames a second of a video: what the user says, else the file of annotations, else the video itself.

        Args:
            name: as the file of annotations calls it.
            own: what the file of annotations says.

        Raises:
            DataError: nobody says.
        """
        found = self.fps or own or self.film(name).fps
        if not found or not 0 < found < 100_000:
            raise DataError(
                f"{self.source.name} counts in frames, and neither it nor the video '{name}' says how many there are "
                f"a second{'' if self.find(name) else ' (the video is not there)'}: say so with --fps, or where the "
                f"video is with --videos"
            )
        return found

    def only(self) -> str:
        """The path of the video of a file that names none: `videos`, or the one beside it with its name.

        Raises:
            DataError: there is none, or there are several.
        """
        if self.videos is not None and not self.videos.is_dir():
            return str(self.videos)
        beside = [self.source.with_suffix(suffix) for suffix in sorted(SUFFIXES)]
        found = [path for path in beside if path.exists()]
        if not found and self.videos is not None:
            stem = self.source.stem.casefold()
            every = [path for paths in self._by_name.values() for path in paths]
            found = [path for path in every if path.stem.casefold() == stem] or (every if len(every) == 1 else [])
        if len(found) != 1:
            raise DataError(
                f"{self.source.name} names no video, and {'none' if not found else f'{len(found)}'} of its name "
                f"({self.source.stem}.mp4, ...) {'lies beside it' if not found else 'lie beside it'}: name the video "
                f"with --videos FILE"
            )
        return os.path.relpath(found[0], self.source.parent)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """Name in small letters -> videos of that name below the folder `videos`."""
        found: dict[str, list[Path]] = {}
        if self.videos is not None and self.videos.is_dir():
            for folder, folders, files in os.walk(self.videos):
                folders.sort()
                for name in sorted(files):
                    if Path(name).suffix.lower() in SUFFIXES:
                        found.setdefault(name.casefold(), []).append(Path(folder, name))
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """As `_by_name`, without the suffix; also by the id before what copies of web videos have behind it."""
        found: dict[str, list[Path]] = {}
        for paths in self._by_name.values():
            for path in paths:
                found.setdefault(path.stem.casefold(), []).append(path)
        return found

    def _find(self, name: str) -> Path | None:
        if self.videos is not None and not self.videos.is_dir():
            return self.videos
        text = local(name)
        for wanted in dict.fromkeys((name, text, text.replace("\\", "/"), unquote(text))):
            path = self.source.parent / wanted if wanted and "\0" not in wanted else None
            if path is not None and (path.is_file() or (path.is_dir() and wanted.strip("./"))):
                return path
        last = PureWindowsPath(text).name
        for wanted in dict.fromkeys((last, UPLOADED.sub("", last))):
            if path := self._beside(wanted):
                return path
            for table in (self._by_name, self._by_stem):
                for key in (wanted, f"v_{wanted}"):
                    if paths := table.get(key.casefold()):
                        return self._one(name, paths)
        return None

    def _beside(self, name: str) -> Path | None:
        """A video of that name, with or without its suffix, in the folder of the annotations."""
        if not name or "\0" in name:
            return None
        direct = self.source.parent / name
        tries = [direct, *(direct.with_name(name + suffix) for suffix in (".mp4", ".avi", ".mkv", ".mov", ".webm"))]
        return next((path for path in tries if path.is_file() and path != self.source), None)

    def _one(self, name: str, paths: list[Path]) -> Path:
        if len(paths) > 1:
            few = ", ".join(map(str, paths[:3]))
            raise DataError(
                f"{self.source.name}: '{name}' may be any of {len(paths)} videos below {self.videos} ({few}): give a "
                f"folder with one of them only"
            )
        return paths[0]


def local(name: str) -> str:
    """A path or an address as a path of this machine: file:, http: and Label Studio's addresses lose what is before it.

    >>> local("file:///D:/lab/a%20b.mp4"), local("/data/local-files/?d=lab/a.mp4"), local("lab/a.mp4")
    ('D:/lab/a b.mp4', 'lab/a.mp4', 'lab/a.mp4')
    """
    if "local-files/?" in name and (inner := parse_qs(urlsplit(name).query).get("d")):
        return inner[0]
    if re.match(r"(?:file|https?|s3|gs|azure-blob):", name):
        path = unquote(urlsplit(name).path) if "//" in name else unquote(name.partition(":")[2])
        return path[1:] if re.match(r"/[A-Za-z]:", path) else path
    return name


def header(path: Path) -> Film:
    """What a video's header says of it; nothing where it cannot be read. No frame is decoded."""
    from kshot.video.opening import in_one_line, opened

    try:
        with in_one_line(path), closing(opened(path)) as clip:
            length, fps = clip.announced()
            codec = getattr(clip, "codec", None)
            size = (int(codec.width), int(codec.height)) if codec is not None else None
            return Film(fps or None, length or None, size)
    except VideoError:
        return Film()
