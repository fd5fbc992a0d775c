"""Commands about data sets: `kshot data list` and its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import (
    DATA,
    DEVICE,
    JSON,
    PRECISION,
    STORE,
    STORED_ONLY,
    chosen_progress,
    show,
    tell_unreadable,
)

data = typer.Typer(rich_markup_mode=None)
app.add_typer(data, name="data")
features = typer.Typer(rich_markup_mode=None)
data.add_typer(features, name="features")


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


@features.callback(invoke_without_command=True)
def _features(context: typer.Context) -> None:
    """Ready-made features: those of other networks in, embeddings out."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@features.command("import")
def import_(
    features: Annotated[Path, typer.Argument(help=".npy or .npz: (clips, frames, channels) or (clips, channels)")],
    out: Annotated[Path, typer.Option(help="the .npz to write, for kshot evaluate --features")],
    clips: Annotated[Path | None, typer.Option(help="CSV path,label[,split,group], a row a clip, same order")] = None,
    array: Annotated[str | None, typer.Option(help="name of the array in an .npz; features by default")] = None,
    as_json: JSON = False,
) -> None:
    """Join features of any network with labels, checked row by row.

    Example: kshot data features import videomae.npy --clips clips.csv --out videomae.npz
    """
    from kshot.features import import_features

    show(import_features(features, out, clips, array), as_json, _tell_features)


@features.command()
def export(
    data: DATA,
    out: Annotated[Path, typer.Option(help="the .npz to write")],
    backbone: Annotated[str | None, typer.Option(help="as in kshot extract; the adapted run's by default")] = None,
    adapted: Annotated[Path | None, typer.Option(help="a run folder of kshot train")] = None,
    split: Annotated[str, typer.Option(help="all, train (base), val or test (novel)")] = "all",
    frames: Annotated[int | None, typer.Option(help="frames a clip; 8, or as the run was trained")] = None,
    resize: Annotated[str | None, typer.Option(help="as in kshot extract; as the run was trained by default")] = None,
    table: Annotated[Path | None, typer.Option(help="also write path,label,split,group as a CSV")] = None,
    store: STORE = None,
    stored_only: STORED_ONLY = False,
    device: DEVICE = "cpu",
    precision: PRECISION = "float32",
    as_json: JSON = False,
) -> None:
    """Write the embeddings of a data set, of a backbone or an adapted run.

    Example: kshot data features export motion --out motion.npz
    """
    from kshot.features import export_features

    report = export_features(
        data, out, backbone, adapted, split, frames, resize, table, store, stored_only, device, precision,
        progress=chosen_progress(as_json),
    )  # fmt: skip
    show(report, as_json, _tell_features)


def _tell_features(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['features']}: {values['clips']} clips of {values['classes']} classes, {values['frames']} frames of "
        f"{values['channels']} channels\nnext: kshot evaluate --features {values['features']}"
        + ("" if "test" in values["splits"] else " --split all")
    )
    tell_unreadable(values.get("unreadable", {}))
