"""What `kshot predict` prints: for people, or one record for each clip and segment, for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from kshot.cli.common import chosen_progress, tell_damaged, tell_notes
from kshot.errors import KshotError, OptionError, VideoError
from kshot.excerpts import file_of
from kshot.terminal import beneath, percent

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer
    from kshot.recognizer.answers import ClipAnswer

KINDS = ("json", "jsonl", "csv")
SHOWN = 20  # clips that cannot be read, a line each


def chosen_kind(
    flags: dict[str, bool], format: str, timeline: bool, out: Path | None, given: Iterable[str], picture: Path | None
) -> str:
    """How answers are written: one of `KINDS`, or "" for people or a format of timelines.

    Args:
        flags: whether each of `KINDS` is asked for.
        format: of a timeline, "table" where none is named.
        timeline: whether this is one.
        out: the file to write to; None for the terminal.
        given: arguments that the clips come from.
        picture: to draw the timeline into.

    Raises:
        OptionError: two that contradict each other, or a file that says no kind or is one that is read.
    """
    asked = [kind for kind, wanted in flags.items() if wanted]
    if format != "table":
        asked = [*asked, format] if [format] != asked else asked
    if len(asked) > 1:
        named = " and ".join(f"--{kind}" if flags.get(kind) else f"--format {kind}" for kind in asked)
        raise OptionError(f"{named} each say how answers are written: give one of them")
    if not timeline and (picture or format != "table"):
        raise OptionError("--format and --picture are of a timeline: add --timeline")
    if out is not None and any(out.exists() and file.exists() and out.samefile(file) for file in map(file_of, given)):
        raise OptionError(f"--out {out} is one of the files to read: name another")
    if not asked and not timeline and out is not None:
        if (kind := out.suffix.lower().removeprefix(".")) not in KINDS:
            raise OptionError(f"--out {out} says no kind of file: add --json, --jsonl or --csv")
        return kind
    return asked[0] if asked and flags.get(asked[0]) else ""


class Writer:
    """Lines for a program: printed as they come, or all at once into a file, which is written whole or not at all.

    Args:
        out: the file; None for the terminal.
    """

    def __init__(self, out: Path | None) -> None:
        self.out = out
        self._kept: list[str] = []

    def write(self, text: str) -> None:
        """Takes further text."""
        if self.out is not None:
            self._kept.append(text)
            return
        stream = sys.stdout if sys.stdout.isatty() else beneath(sys.stdout)  # for a program, as it is
        stream.write(text)
        stream.flush()

    def json(self, values: dict[str, Any]) -> None:
        """Takes an object, a line by itself."""
        self.write(json.dumps(values, default=str) + "\n")

    def end(self) -> None:
        """Writes the file, if there is one to write.

        Raises:
            StoreError: the disk refuses.
        """
        from kshot.files import disk, write_atomic

        if self.out is not None:
            with disk(self.out):
                write_atomic(self.out, "".join(self._kept).encode(errors="backslashreplace"))


def tell_bad(bad: Sequence[KshotError], count: int, what: str = "clips") -> None:
    """Names those that cannot be read, and says how many they are where it is not one."""
    for error in bad[:SHOWN]:
        print(f"kshot: {error}", file=sys.stderr)
    if len(bad) > 1:
        print(f"kshot: {len(bad)} of {count} {what} cannot be read", file=sys.stderr)


class Shown(NamedTuple):
    """How answers are shown.

    Attributes:
        model: what the model is called.
        kind: "json", "jsonl" or "csv"; "" for people, or a format of timelines.
        format: of timelines.
        out: the file to write to; None for the terminal.
        picture: to draw a timeline into.
    """

    model: str
    kind: str
    format: str
    out: Path | None
    picture: Path | None


def write_answers(
    recognizer: Recognizer, videos: list[str], limits: dict[str, float], allow_damaged: bool, how: Shown,
    notes: list[str],
) -> None:  # fmt: skip
    """Names the action in each video."""
    from kshot.recognizer.answers import header_line, line
    from kshot.recognizer.thresholds import ALL, finite
    from kshot.video.looks import noted

    classes, writer = [str(name) for name in recognizer.classes_], Writer(how.out)
    kept: list[ClipAnswer] = []
    if how.kind == "csv":
        writer.write(header_line(classes))
    with chosen_progress(True)("recognising", len(videos), "videos") as step:
        for answer in recognizer.clip_answers(videos, allow_damaged, limits, how.model):
            step()
            kept.append(answer)
            if how.kind == "jsonl":
                writer.json(answer.plain())
            elif how.kind == "csv":
                writer.write(line(answer, classes))
    bad = [VideoError(answer.error) for answer in kept if answer.error]
    notes = [*notes, *noted([answer.looks for answer in kept if not answer.error])]
    if len(bad) == len(videos) and how.kind in ("", "json"):
        raise bad[0]
    if how.kind == "json":
        several = dict(zip(classes, map(finite, recognizer.thresholds(limits).tolist()), strict=True))
        about = {"model": how.model, "backbone": kept[0].backbone, "method": recognizer.method_, "thresholds": several}
        one = finite(limits.get(ALL, recognizer.threshold_))
        writer.json({"answers": [answer.plain() for answer in kept], "threshold": one, **about, "notes": notes})
    elif not how.kind:
        _tell(kept)
    writer.end()
    tell_notes(notes)
    tell_damaged([{"clip": one.name, **one.damaged.plain()} for one in kept if one.damaged])
    tell_bad(bad, len(videos))
    if bad:
        raise typer.Exit(2)


def write_timelines(
    recognizer: Recognizer, videos: list[str], limits: dict[str, float], how: Shown, notes: list[str]
) -> None:
    """Says what happens when in long videos, one after the other."""
    from kshot.recognizer.answers import ClipAnswer, header_line, line, of_timeline
    from kshot.recognizer.preparing import backbone_of

    classes, writer, bad = [str(name) for name in recognizer.classes_], Writer(how.out), list[KshotError]()
    about = ClipAnswer("", model=how.model, backbone=backbone_of(recognizer.learner_).name)
    if how.kind == "csv":
        writer.write(header_line(classes))
    for video in videos:
        try:
            course = recognizer.timeline(video, progress=chosen_progress(True), threshold=limits)
        except VideoError as error:
            if len(videos) == 1:
                raise
            bad.append(error)
            answers = [replace(about, path=video, error=str(error))]
        else:
            answers = of_timeline(course, about)
            if how.picture is not None:
                course.picture(how.picture)
            tell_notes(course.notes)
        for answer in answers if how.kind in ("jsonl", "csv") else []:
            writer.write(line(answer, classes)) if how.kind == "csv" else writer.json(answer.plain())
        if how.kind == "json":
            said = {"model": how.model, "backbone": about.backbone, "answers": [one.plain() for one in answers]}
            said["notes"] = [*notes, *course.notes]
            writer.write(json.dumps(course.plain() | said, ensure_ascii=False) + "\n")
        elif not how.kind:
            writer.write(course.written(how.format, None if how.out is None else how.out.parent))
    writer.end()
    tell_notes(notes)
    tell_bad(bad, len(videos), "videos")
    if bad:
        raise typer.Exit(2)


def _tell(answers: list[ClipAnswer]) -> None:
    """A line for people of each clip that could be read."""
    for one in answers:
        if not one.error:
            scores = sorted((one.proba or {}).items(), key=lambda item: -item[1])[:3]
            likeliest = ", ".join(f"{name} {percent(value)}" for name, value in scores)
            name = one.name.replace("\n", r"\x0a")  # a line each
            typer.echo(f"{name}: {one.label}  ({likeliest})")
