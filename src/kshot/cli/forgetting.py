"""The command that removes a person's or a video's clips: forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import JSON, MOVED, STORE, chosen_progress, importing, show
from kshot.errors import OptionError

SHORT = {"queries": "videos put in to be recognised", "kept_to_undo": "videos kept for undo"}


@app.command()
def forget(
    places: Annotated[
        list[Path] | None,
        typer.Argument(help="models, studio projects and stores to clean; tables or folders that say whose clips"),
    ] = None,
    subject: Annotated[str, typer.Option("--subject", "--group", help="the person, or what was filmed together")] = "",
    video: Annotated[list[Path] | None, typer.Option(help="a video whose clips are to go; several times")] = None,
    store: STORE = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing, say what would be done")] = False,
    backbone: MOVED = None,
    as_json: JSON = False,
) -> None:
    """Remove one person's or one video's clips from stores, models and projects; what must be taught again is said.

    Example: kshot forget models/gym kshot-studio clips.csv --subject anna --dry-run
    """
    if bool(subject.strip()) == bool(video):
        raise OptionError("expected one person (--subject NAME) or videos (--video PATH): name one of the two")
    with importing():
        from kshot.forget import forget as run

    done = run(places or [], subject.strip(), video or [], store, dry_run, backbone, progress=chosen_progress(as_json))
    show(done.plain(), as_json, _tell)


def _tell(values: dict[str, Any]) -> None:
    of = values["group"] or ", ".join(values["videos"])
    clips = "1 clip" if values["clips"] == 1 else f"{values['clips']} clips"
    typer.echo(f"{clips} of {of}{', nothing is changed (--dry-run)' if values['dry_run'] else ''}")
    for place in values["places"]:
        said = ", ".join(f"{SHORT.get(name, name)} {count}" for name, count in place["removed"].items() if count)
        if said:
            typer.echo(f"{place['kind']} {place['path']}: {'would remove' if values['dry_run'] else 'removed'} {said}")
        for one in place["again"]:
            typer.echo(f"{place['kind']} {place['path']}: {one}")
    for one in values["left"]:
        typer.echo(f"not reached: {one}")
