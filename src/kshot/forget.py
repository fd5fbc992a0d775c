"""`forget`: one person's or one video's clips leave stores, models and projects; what cannot be reached is said.

The order is stores, models, projects. What is looked for is written down first, in kshot's own folder, since a place
that was cleaned no longer tells which clips they were: a call that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kshot import datasets, gate
from kshot.activations.digests import digest
from kshot.activations.mirror import expect_folder
from kshot.activations.removal import held_digests, known_digests, remove_from_store
from kshot.datasets.annotations import FORMATS, find, foreign
from kshot.datasets.annotations.loading import gather
from kshot.datasets.listing import clips_of
from kshot.datasets.sheet import column, read_sheet
from kshot.errors import DataError, KshotError, OptionError
from kshot.excerpts import Clip, ClipName, Excerpt, clip_of, file_of
from kshot.files import disk, write_atomic
from kshot.paths import home
from kshot.progress import Progress, quiet
from kshot.recognizer import artefact
from kshot.recognizer.removal import clips_of_model, remove_from_model
from kshot.studio.removal import remove_from_project, videos_of

KINDS = ("store", "model", "studio project", "data", "other")
TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".md", ".html", ".txt", ".toml")
TEXT_BYTES = 64 << 20  # of a file in which names are looked for
UNREACHED = (
    "the videos themselves, tables that name them, and backups: remove them yourself",
    "models that were copied, pushed to a hub or exported elsewhere, runs of `kshot train` on these clips, and "
    "studies and reports: make them again",
    "parts of videos in stores, where no model or table that is named knows them: name the table that they came from",
)


@dataclass
class Wanted:
    """The clips to forget.

    Attributes:
        group: name of the person, or of whatever was filmed together; "" for none.
        paths: real paths of videos of which every clip goes, and of single parts of others, with their times. A film of
            several people is none of a person.
        digests: of clips.
    """

    group: str = ""
    paths: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    def clip(self, clip: dict[str, Any]) -> bool:
        """Whether a clip of a model (name, group, digest) is one of them; a model for others has the group's hash."""
        group = clip["group"]
        mine = bool(self.group) and group in (self.group, hashlib.sha256(self.group.encode()).hexdigest()[:12])
        named = {_real(clip["name"]), _real(file_of(clip["name"]))}
        part = clip_of(clip["name"])
        if not self.group and isinstance(part, Excerpt):  # of a film that lies elsewhere by now
            mine = any(part.digest(whole) == clip["digest"] for whole in self.digests)
        return mine or clip["digest"] in self.digests or not named.isdisjoint(self.paths)

    def videos(self) -> list[str]:
        """The paths of whole videos."""
        return [path for path in self.paths if not isinstance(clip_of(path), Excerpt)]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"group": self.group, "paths": sorted(self.paths), "digests": sorted(self.digests)}


@dataclass
class Place:
    """What was done in one place.

    Attributes:
        path: of the store, model, project, table or other folder.
        kind: one of `KINDS`.
        removed: what -> how many.
        again: what has to be taught, fitted or made again.
    """

    path: str
    kind: str
    removed: dict[str, int]
    again: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"path": self.path, "kind": self.kind, "removed": self.removed, "again": self.again}


@dataclass
class Forgotten:
    """What was removed.

    Attributes:
        group: as asked for.
        videos: as asked for.
        clips: how many different clips were found.
        dry_run: whether nothing was changed.
        places: what was done, or would be, in each.
        left: what cannot be reached.
    """

    group: str
    videos: list[str]
    clips: int
    dry_run: bool
    places: list[Place]
    left: list[str]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return self.__dict__ | {"places": [place.plain() for place in self.places]}


def forget(
    places: Sequence[str | Path],
    group: str = "",
    videos: Sequence[str | Path] = (),
    store: str | Path | None = None,
    dry_run: bool = False,
    backbone: str | None = None,
    progress: Progress = quiet,
) -> Forgotten:
    """Removes one person's, or some videos', clips from stores, models and studio projects.

    Args:
        places: models, studio projects and stores to clean; tables, annotations and folders of clips that say which
            clips are the person's; of others, such as runs, it is said whether they name the clips.
        group: the person, or whatever was filmed together, as tables, annotations, folders and models call it: a
            subject or a group.
        videos: paths of videos, or parts of them such as "film.mp4#t=3,5".
        store: the store to clean beside those of `places`; $KSHOT_HOME/store by default.
        dry_run: change nothing, say what would be done.
        backbone: where a model's backbone lies now, if it was moved.
        progress: how to show progress.

    Returns:
        What was removed where, and what has to be taught again.

    Raises:
        OptionError: neither a person nor a video, or both.
        DataError: nothing of them is there, or a place is not there, open in a server, or damaged.
        StoreError: the disk refuses, or a store lies at an address.
    """
    if bool(group) == bool(videos):
        raise OptionError("expected one person (--subject NAME) or videos (--video PATH): name one of the two")
    expect_folder([*places, store], "forgotten")
    sorted_places = _sorted(places)
    root = home() / "store" if store is None else Path(store)
    own = [place / "store" for place in sorted_places["studio project"]]
    stores = [place for place in dict.fromkeys([*sorted_places["store"], *own, root]) if place.is_dir()]
    journal = (
        home() / f"forget-{hashlib.sha256(json.dumps([group, *map(_real, videos)]).encode()).hexdigest()[:16]}.json"
    )
    goes_on = journal.exists()
    wanted = _again(journal, Wanted(group))
    for video in videos:
        wanted.paths.add(_real(video))
        if file_of(video).exists():
            wanted.digests.add(_digest(clip_of(video), digest(file_of(video))))
    groups, count = _gather(wanted, sorted_places, stores)
    ids = {place: _ids(wanted, place) for place in sorted_places["studio project"]}
    if not dry_run:
        with disk(journal):
            journal.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(journal, json.dumps(wanted.plain()).encode())
    # Where a film was marked before, its own store may hold parts that nothing names any more.
    whole = {place / "store" for place, found in ids.items() if found & {v.id for v in videos_of(place) if v.film}}
    done = [
        *_stores(wanted, stores, whole, dry_run),
        *_models(wanted, sorted_places["model"], dry_run, backbone, progress),
    ]
    done += [_project(wanted, place, ids[place], dry_run) for place in sorted_places["studio project"]]
    done += [_mentions(wanted, place) for place in (*sorted_places["data"], *sorted_places["other"])]
    if not dry_run:
        journal.unlink(missing_ok=True)
    if not goes_on and not any(count for place in done for count in place.removed.values()):
        known = f"; the people and groups there are {', '.join(groups[:12])}" if group and groups else ""
        raise DataError(f"nothing of {group or ', '.join(map(str, videos))} is in any of these places{known}")
    return Forgotten(group, [str(video) for video in videos], count, dry_run, done, list(UNREACHED))


def kind_of(place: Path) -> str:
    """What a place is: one of `KINDS`.

    Raises:
        DataError: it is not there.
    """
    if not place.exists():
        raise DataError(f"there is no {place}: expected a model, studio project, store, table or folder of clips")
    if place.is_file():
        try:
            named = place.suffix.lower() == ".csv" or ((found := find(place)) and FORMATS[found[0]].names_video)
        except KshotError:  # looks like one of a format, and is none
            named = False
        return "data" if named else "other"
    if any(place.glob("*/key.json")):
        return "store"
    if (place / "project.json").exists():
        return "studio project"
    try:
        about = gate.read_json(place / "config.json")
    except KshotError:
        return "data" if not any(place.glob("*.json")) else "other"
    return "model" if isinstance(about, dict) and about.get("kind") == artefact.KIND else "other"


def _sorted(places: Sequence[str | Path]) -> dict[str, list[Path]]:
    result: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for place in dict.fromkeys(map(Path, places)):
        result[kind_of(place)].append(place)
    return result


def _again(journal: Path, wanted: Wanted) -> Wanted:
    """What a call that was killed was looking for, if this is the same call."""
    try:
        known = gate.read_json(journal)
        return Wanted(wanted.group, set(known["paths"]), set(known["digests"]))
    except (KshotError, KeyError, TypeError):
        return wanted


def _gather(wanted: Wanted, places: dict[str, list[Path]], stores: Sequence[Path]) -> tuple[list[str], int]:
    """Finds out the paths and digests of the clips, from all that tells them.

    Returns:
        The groups that there are, and how many different clips there are.
    """
    groups, parts, there = set[str](), list[Excerpt](), set[str]().union(*map(held_digests, stores))
    for place in places["data"]:
        known = _known(place)
        groups |= set[str]().union(*(names for _, names in known))
        wanted.paths |= {_real(clip) for clip, names in known if wanted.group and wanted.group in names}
        parts += [clip for clip, _ in known if isinstance(clip, Excerpt) and _real(clip.path) in wanted.paths]
    for place in places["model"]:
        groups |= {clip["group"] for clip in clips_of_model(place)}
    parts += [part for path in wanted.paths if isinstance(part := clip_of(path), Excerpt)]
    for root in stores:
        wanted.digests |= known_digests(root, wanted.videos())
        for part in parts:
            wanted.digests |= {part.digest(whole) for whole in known_digests(root, [_real(part.path)])}
    mine = [clip for place in places["model"] for clip in clips_of_model(place) if wanted.clip(clip)]
    wanted.digests |= {clip["digest"] for clip in mine}
    wanted.paths |= {_real(clip["name"]) for clip in mine}
    for place in places["studio project"]:
        videos = videos_of(place)
        groups |= {video.group for video in videos}
        for id in _ids(wanted, place):
            path = next(place / "videos" / video.file for video in videos if video.id == id)
            wanted.paths.add(_real(path))
            if path.exists():
                there.add(whole := digest(path))
                wanted.digests.add(whole)
    for root in stores:  # of the paths that models and projects told
        wanted.digests |= known_digests(root, wanted.videos())
    there |= {clip["digest"] for clip in mine}
    return sorted(groups - {""}), len(wanted.digests & there or wanted.paths)


def _known(place: Path) -> list[tuple[Clip, set[str]]]:
    """The clips of a table, annotations or folder, each with the names of its group and of who acts in it."""
    if place.is_file() and (place.suffix.lower() != ".csv" or foreign(place)):
        segments = gather([place], missing="keep").segments
        spans = [tuple(math.nan if time is None else time for time in (one.start, one.end)) for one in segments]
        return [(clip_of(s.path, span), {s.group, s.subject}) for s, span in zip(segments, spans, strict=True)]
    data = datasets.load(place, check_files=False)
    known = [(clip, {str(group)}) for clip, group in zip(data.clips, data.groups, strict=True)]
    if place.is_file() and "subject" in (sheet := read_sheet(place, ("path",))).header:
        for subject in {row["subject"] for _, row in sheet.rows() if row[str(column(sheet.header, "path"))]}:
            where = urlencode({"subject": subject})
            known += [(clip_of(clip), {subject}) for clip in clips_of(f"{place}?{where}")[0]]
    return known


def _ids(wanted: Wanted, project: Path) -> set[str]:
    """Ids of the videos of a project that are to go: by person, path or bytes, and what was cut of them."""
    videos = videos_of(project)
    found = set()
    for video in videos:
        path = project / "videos" / video.file
        mine = bool(wanted.group) and video.group == wanted.group
        if mine or _real(path) in wanted.paths or (path.exists() and digest(path) in wanted.digests):
            found.add(video.id)
    while more := {video.id for video in videos if video.group in found} - found:
        found |= more
    return found


def _stores(wanted: Wanted, stores: Sequence[Path], whole: set[Path], dry: bool) -> Iterator[Place]:
    for root in stores:
        digests = wanted.digests | (held_digests(root) if root in whole else set())
        yield Place(str(root), "store", remove_from_store(root, digests, wanted.paths, dry).plain())


def _models(
    wanted: Wanted, models: Sequence[Path], dry: bool, backbone: str | None, progress: Progress
) -> Iterator[Place]:
    for folder in models:
        found = remove_from_model(folder, wanted.clip, dry, backbone, progress)
        again = []
        if found.clips and found.withdrawn:
            again.append(f"{'would be' if dry else 'was'} withdrawn, {found.withdrawn}: fit it again with other clips")
        elif found.clips:
            again.append(f"{'would be' if dry else 'was'} fitted again on its other {found.left} clips")
        if found.exports:
            again.append("its export is removed with it: kshot export it again")
        yield Place(str(folder), "model", found.plain(), again)


def _project(wanted: Wanted, folder: Path, ids: set[str], dry: bool) -> Place:
    found = remove_from_project(folder, ids, wanted.clip, dry)
    return Place(str(folder), "studio project", found.plain(), list(found.notes))


def _mentions(wanted: Wanted, place: Path) -> Place:
    """How many files of a place that is not changed name the clips."""
    marks = {*wanted.digests, *wanted.paths, *(Path(path).name for path in wanted.paths)}
    marks |= {wanted.group} if wanted.group else set()
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.suffix.lower() in TEXTS]
    found = 0
    for path in files:
        if path.is_file() and path.stat().st_size <= TEXT_BYTES:
            text = path.read_text("utf-8", errors="surrogateescape")
            found += any(mark in text for mark in marks)
    again = [f"{found} files name these clips: not changed, make them again or remove them"] if found else []
    return Place(str(place), "other" if place.is_dir() else "data", {}, again)


def _real(clip: ClipName) -> str:
    """The real path of a video; of a part of one, with its times."""
    found = clip_of(clip)
    path = Path(os.path.realpath(file_of(found)))
    return str(replace(found, path=path) if isinstance(found, Excerpt) else path)


def _digest(clip: Clip, whole: str) -> str:
    """The digest of a clip, from that of its video."""
    return clip.digest(whole) if isinstance(clip, Excerpt) else whole
