"""What the commands share: options that many of them take, and how results are printed."""

from __future__ import annotations

import ast
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot import processes
from kshot.errors import OptionError
from kshot.progress import Progress, bars, lines
from kshot.settings import FRONTS, bounds
from kshot.terminal import percent

SAID = {name: one.metadata["help"] for front in FRONTS for name, one in front.fields().items()}
"""What is said of a setting, also where its option is not made from the field."""

MODEL = Annotated[str, typer.Argument(help="a model folder of kshot fit, or hf://owner/name")]
"""A text, not a path: paths make one slash of two."""
DATA = Annotated[
    str, typer.Argument(help="motion, motion:16, a folder of class folders, a CSV, CSV?column=value, or annotations")
]
BY_DATA = "by default kshot-tiny for drawn clips (motion), lite for all others"
BACKBONE = Annotated[
    str | None,
    typer.Option(help=f"kshot-tiny, lite, ViT-B/16, a folder in transformers format, or a hub id; {BY_DATA}"),
]
MOVED = Annotated[str | None, typer.Option("--backbone", help="where the model's backbone lies now, if it was moved")]
THRESHOLD = Annotated[
    list[str] | None,
    typer.Option(help="likeness below which it is unknown: 0.4 for all, ACTION=0.4 for one; several times"),
]
STORE = Annotated[Path | None, typer.Option(help=SAID["store"])]
ALLOW_DAMAGED = Annotated[bool, typer.Option("--allow-damaged", help="take what is left of damaged clips; it is said")]
DEINTERLACE = Annotated[bool, typer.Option("--deinterlace", help=SAID["deinterlace"])]
FRAMES = Annotated[int | None, typer.Option(help=SAID["frames"])]
DEVICE = Annotated[str, typer.Option(help=SAID["device"])]
PRECISION = Annotated[str, typer.Option(help=SAID["precision"])]
ENCODER = Annotated[str, typer.Option(help=SAID["encoder"])]
SEED = Annotated[int, typer.Option(help=SAID["seed"], min=0, max=bounds("seed")[1])]
SEEDS = Annotated[
    list[int] | None, typer.Option("--seed", help="seeds in place of the study's own", min=0, max=bounds("seed")[1])
]
JSON = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout and nothing else there")]
KEEP_COPIES = Annotated[bool, typer.Option("--keep-copies", help=SAID["keep_copies"])]
PROTOCOL = Annotated[str | None, typer.Option(help="what is not given here; kshot data protocols lists them")]
PROMPT = Annotated[list[str] | None, typer.Option(help=SAID["prompts"])]
TEXTS = Annotated[Path | None, typer.Option(help=SAID["texts"])]
HEAD_OPTION = Annotated[list[str] | None, typer.Option(help=SAID["head_options"])]


@contextmanager
def importing() -> Iterator[None]:
    """Imports PyTorch a fifth faster: the collector of cycles rests, and never looks at what was made.

    Nothing is changed where PyTorch is there already.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def chosen_progress(as_json: bool) -> Progress:
    return bars if sys.stderr.isatty() else lines


def pairs(options: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE texts as a dictionary; values are Python literals where they read as one, else text."""
    named: dict[str, Any] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise OptionError(f"an option reads NAME=VALUE, found '{option}'")
        try:
            named[name.replace("-", "_")] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            named[name.replace("-", "_")] = value
    return named


def show(values: dict[str, Any], as_json: bool, tell: Callable[[dict[str, Any]], None]) -> None:
    """Prints what a command found; of processes that worked together the first one does."""
    if not processes.told():
        return
    if as_json:
        print(json.dumps(values, default=str))
    else:
        tell(values)


def tell_missing(data: str, missing: Sequence[str]) -> None:
    if missing:
        print(f"this copy of {data} lacks clips of the published split, --json names them", file=sys.stderr)


def tell_notes(notes: Sequence[str]) -> None:
    """What was passed over, left out or kept apart, a line each."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def tell_damaged(damaged: Sequence[dict[str, Any]]) -> None:
    """What is lost of clips that count all the same."""
    for one in damaged[:20]:
        print(f"damaged: {one['clip']}: {percent(one['kept'])} of it is there: {one['reason']}", file=sys.stderr)
    if len(damaged) > 20:
        print(f"and {len(damaged) - 20} more; --json lists all", file=sys.stderr)


def tell_passed_over(passed_over: dict[str, list[str]]) -> None:
    """Files in frame folders that are no frames."""
    names = [name for found in passed_over.values() for name in found]
    if names:
        where = next(iter(passed_over))
        print(
            f"passed over: {len(names)} other files in {len(passed_over)} frame folders, such as {names[0]} in {where}",
            file=sys.stderr,
        )


def tell_unreadable(unreadable: dict[str, str]) -> None:
    for reason in list(unreadable.values())[:20]:
        print(f"unreadable: {reason}", file=sys.stderr)
    if len(unreadable) > 20:
        print(f"and {len(unreadable) - 20} more; --json lists all", file=sys.stderr)
