"""The command of the web page: serve."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import BY_DATA, DEVICE, JSON, show


@app.command()
def serve(
    model: Annotated[
        str | None, typer.Argument(help="a model folder to begin with, as `kshot fit` writes, or hf://owner/name")
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="the project's folder, made if missing; kshot-studio by default")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on; this machine alone by default")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="where to listen; 0 for any free port", min=0, max=65535)] = 8470,
    backbone: Annotated[
        str | None,
        typer.Option(help=f"kshot-tiny, lite, ViT-B/16, a folder or a hub id, kept by the project; {BY_DATA}"),
    ] = None,
    adapted: Annotated[Path | None, typer.Option(help="a run folder of kshot train to start from")] = None,
    device: DEVICE = "cpu",
    limit: Annotated[int, typer.Option(help="megabytes of one video, at most", min=1)] = 4000,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="do not open the page")] = False,
    as_json: JSON = False,
) -> None:
    """The studio: teach actions on a web page of this computer. Ctrl-C closes it; everything is kept.

    Example: kshot serve --backbone openai/clip-vit-base-patch16
    """
    from kshot.studio.serve import serve as run

    def announce(where: dict[str, str]) -> None:
        show(where, as_json, _show_address)
        sys.stdout.flush()

    try:
        ended = run(
            model, project, host, port, backbone, adapted, device, limit * 1_000_000,
            browser=not no_browser, announce=announce,
        )  # fmt: skip
    except KeyboardInterrupt:  # once more, while it was closing
        ended = False
    print("kshot: the studio is closed; the same command opens it again", file=sys.stderr)
    if not ended:  # a thread computes that cannot be stopped: the lock on the project ends with it, and all at once
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _show_address(where: dict[str, Any]) -> None:
    typer.echo(f"kshot studio: {where['address']}")
    if "project" in where:
        another = "; Enter prints another" if sys.stdin and sys.stdin.isatty() else ""
        typer.echo(f"The link opens the page once, the browser stays in{another}.")
        typer.echo(f"project: {where['project']} (Ctrl-C closes the studio; everything is kept)")
