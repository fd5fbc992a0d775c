"""Commands about machines: whether this one is fit, and a trained model for others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.cli import early
from kshot.cli.app import app
from kshot.cli.common import JSON, MODEL, MOVED, chosen_progress, show
from kshot.terminal import beneath, console

COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


@app.command()
def doctor(
    online: Annotated[bool, typer.Option("--online", help="also ask whether the hub can be reached")] = False,
    as_json: JSON = False,
) -> None:
    """Look at this machine: versions, devices, decoding, weights, disk, camera. Exit code 1 if there is a problem.

    Example: kshot doctor
    """
    from kshot.doctor import doctor as run

    found = run(online, progress=chosen_progress(as_json))
    show(found, as_json, _tell_checks)
    if found["problems"]:
        raise typer.Exit(1)


@app.command()
def backbones(
    names: Annotated[
        list[str] | None, typer.Argument(help="names, folders or hub ids; by default all that kshot knows")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="clips a second of those on this machine")] = False,
    as_json: JSON = False,
) -> None:
    """List backbones: which are on this machine, what they cost and were trained on. Fetches nothing.

    Example: kshot backbones --measure
    """
    from kshot.catalogue import entries

    found = entries(names or (), measure, progress=chosen_progress(as_json))
    show({"backbones": [one.plain() for one in found]}, as_json, _tell_backbones)


@app.command()
def export(
    model: MODEL,
    format: Annotated[str, typer.Option(help="onnx")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="folder to write to; MODEL/onnx by default")] = None,
    backbone: MOVED = None,
    as_json: JSON = False,
) -> None:
    """Write a trained model for programs without kshot and torch, checked to answer as it does here.

    Example: kshot export models/gym --format onnx
    """
    early.expect_model(model)
    from kshot.export import export as run

    show(run(model, out, format, backbone, progress=chosen_progress(as_json)).plain(), as_json, _tell_export)


def _tell_checks(found: dict[str, Any]) -> None:
    wide = max(len(check["name"]) for check in found["checks"])
    for check in found["checks"]:
        state = f"{check['state']:<8}"
        state = typer.style(state, COLOURS[check["state"]]) if sys.stdout.isatty() else state
        typer.echo(state, file=beneath(sys.stdout), nl=False)
        typer.echo(f" {check['name']:<{wide}}  {check['found']}")
        if check["advice"]:
            typer.echo(f"{'':<8} {'':<{wide}}  {check['advice']}")
    counts = {kind: found[f"{kind}s"] for kind in ("problem", "warning")}
    words = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count]
    typer.echo(f"{' and '.join(words)}." if words else "All is well.")


def _tell_backbones(found: dict[str, Any]) -> None:
    """Two tables: what each backbone is, and what it costs."""
    from rich.table import Table

    from kshot.fewshot.cost import as_bytes

    screen = console(width=None if sys.stdout.isatty() else 140)
    about, costs = Table(), Table()
    for table in (about, costs):
        table.add_column("backbone", overflow="fold")  # a name is there to be copied
    for name in ("family", "here", "text", "licence", "trained on"):
        about.add_column(name, overflow="fold")
    columns = ["frames", "side", "weights", "trained by partial", "multiply-adds a clip", "stored a clip"]
    if measured := any(one["clips_a_second"] is not None for one in found["backbones"]):
        columns.append("clips/s")
    for name in columns:
        costs.add_column(name, justify="right")
    for one in found["backbones"]:
        sizes = one["sizes"]
        text = "?" if sizes is None else "yes" if sizes["text"] else "no"
        known = [one[name] or "not known" for name in ("family", "licence", "trained_on")]
        about.add_row(one["name"], known[0], one["here"], text, *known[1:])
        if sizes is None:
            costs.add_row(one["name"], *("?" for _ in columns))
            continue
        frames = f"{sizes['frames']}" if sizes["unit"] == 1 else f"{sizes['frames']} at once"
        speed = "" if one["clips_a_second"] is None else f"{one['clips_a_second']:.2g}"
        costs.add_row(
            one["name"], frames, f"{sizes['side']}", f"{sizes['weights'] / 1e6:,.1f} M", f"{sizes['partial']:,}",
            f"{sizes['multiply_adds'] / 1e9:,.1f} G", as_bytes(sizes["stored"]), *([speed] if measured else []),
        )  # fmt: skip
    screen.print(about)
    screen.print(costs)


def _tell_export(done: dict[str, Any]) -> None:
    typer.echo(
        f"{done['files'][0]}  {done['bytes'] / 1e6:.1f} MB, differs from PyTorch by at most {done['difference']:.0e}"
    )
    typer.echo(f"{done['files'][1]}  labels, threshold, frames and preprocessing")
