"""Commands about data sets: `kshot data list` and its neighbours."""

from __future__ import annotations

from typing import Any

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
