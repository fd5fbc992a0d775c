"""Commands about data sets: `kshot data list` and its neighbours."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import JSON, show

data = typer.Typer(rich_markup_mode=None)
app.add_typer(data, name="data")


@data.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    """Data sets: what there is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@data.command("list")
def list_(as_json: JSON = False) -> None:
    """The data sets that have a name."""
    from kshot.datasets import DATASETS

    show({"sets": list(DATASETS)}, as_json, _tell_sets)


def _tell_sets(values: dict[str, Any]) -> None:
    for name in values["sets"]:
        typer.echo(name)


@data.command()
def protocols(
    name: Annotated[str | None, typer.Argument(help="kshot, paper, clip-fsar or trx; all of them by default")] = None,
    as_json: JSON = False,
) -> None:
    """Named settings for --protocol, each value with the place it was read in.

    Example: kshot data protocols clip-fsar
    """
    from kshot.protocols import listing

    show(listing(name), as_json, _tell_protocols)


def _tell_protocols(values: dict[str, Any]) -> None:
    from kshot.protocols import as_text

    typer.echo("\n\n".join(map(as_text, values["protocols"])))
