"""The application that the commands register with."""

from __future__ import annotations

from typing import Annotated

import typer

import kshot

app = typer.Typer(
    name="kshot",
    help="Teach a video model new actions from a handful of clips. Start with: kshot demo",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    if version:
        typer.echo(f"kshot {kshot.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
