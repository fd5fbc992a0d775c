"""Commands about data sets: `kshot data list`, `prepare`, `verify`, `import`, `cut`, `protocols` and `features`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import (
    DATA,
    DEINTERLACE,
    JSON,
    chosen_progress,
    show,
    tell_damaged,
    tell_missing,
    tell_notes,
    tell_unreadable,
)
from kshot.cli.settings import takes
from kshot.settings import Exporting

data = app.group("data", "Data sets: what there is, and the field's benchmarks made ready.")
features = data.group("features", "Ready-made features: those of other networks in, embeddings out.")

SHOWN = 20  # names of missing clips that are printed


@data.command("list")
def list_(as_json: JSON = False) -> None:
    """The data sets that have a name, and whether they are ready on this machine."""
    from kshot.datasets import DATASETS
    from kshot.datasets.prepare import known

    show({"bundled": list(DATASETS), "benchmarks": known()}, as_json, _tell_sets)


@data.command()
def prepare(
    name: Annotated[str, typer.Argument(help="a benchmark, see kshot data list")],
    source: Annotated[list[Path], typer.Option("--from", help="an archive, or a folder of archives or clips; repeat")],
    out: Annotated[Path | None, typer.Option(help="folder to make; $KSHOT_HOME/data/NAME by default")] = None,
    clip_list: Annotated[list[Path] | None, typer.Option("--list", help="a file of the published list; repeat")] = None,
    download: Annotated[bool, typer.Option("--download", help="fetch the list from its public place")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="go on without clips that are not there; every result says so")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Make a benchmark from what its owners hand out. A stopped command goes on; a failed one leaves nothing.

    Example: kshot data prepare hmdb51 --from hmdb51_org.rar
    """
    from kshot.datasets.prepare import prepare as run

    report = run(name, source, out, clip_list or (), download, allow_missing, progress=chosen_progress(as_json))
    show(report.report(), as_json, _tell_prepared)


@data.command()
def verify(
    name: Annotated[str, typer.Argument(help="a benchmark, or the folder of a prepared one")],
    as_json: JSON = False,
) -> None:
    """Count a prepared benchmark's clips against what was published. Exits with 2 if files were lost since.

    Example: kshot data verify hmdb51
    """
    from kshot.datasets.prepare import verify as run

    report = run(name)
    show(report.report(), as_json, _tell_verified)
    if report.lost:
        raise typer.Exit(2)


@data.command("import")
def import_annotations(
    files: Annotated[
        list[Path], typer.Argument(help="annotations of BORIS, ELAN, CVAT, VIA, ... (docs/annotations.md)")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="the file to write, a CSV path,label,start,end or as --format says; a folder: a file for each video"
        ),
    ],
    videos: Annotated[Path | None, typer.Option(help="a folder to look for videos in by name, or one video")] = None,
    fps: Annotated[float | None, typer.Option(help="frames a second, for formats that count frames")] = None,
    format: Annotated[str, typer.Option(help="csv, or another format to turn annotations into")] = "csv",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="leave segments of videos that are not there out; it is said")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Turn annotations of other programs into a table of clips, and say what of them it does not keep.

    Example: kshot data import day.boris --videos footage --out clips.csv
    """
    from kshot.datasets.annotations.importing import import_files

    report = import_files(files, out, videos, fps, format, allow_missing)
    show(report, as_json, _tell_imported)


@data.command()
def cut(
    data: DATA,
    out: Annotated[Path, typer.Option(help="the folder to make: LABEL/VIDEO-START-END.mp4, and clips.csv")],
    before: Annotated[float, typer.Option(help="seconds of pre-roll: how much earlier each file begins")] = 0.0,
    after: Annotated[float, typer.Option(help="seconds of post-roll: how much later each file ends")] = 0.0,
    deinterlace: DEINTERLACE = False,
    as_json: JSON = False,
) -> None:
    """Write the segments of long videos as files of their own, exact to the frame and without sound.

    Example: kshot data cut day.boris --out events --before 1 --after 2
    """
    from kshot.datasets.cutting import cut as run

    try:
        report = run(data, out, before, after, deinterlace, progress=chosen_progress(as_json))
    except KeyboardInterrupt:
        print("kshot: stopped; nothing was written", file=sys.stderr)
        sys.exit(130)
    show(report, as_json, _tell_cut)


def _tell_cut(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['out']}: {_number(values['clips'], 'clip')} of {_number(values['labels'], 'action')}, listed in "
        f"{values['table']}"
    )
    tell_notes(values["notes"])
    tell_unreadable(values["unreadable"])
    typer.echo(f"next: kshot fit {quote(str(values['table']))} --out MODEL")


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _tell_imported(values: dict[str, Any]) -> None:
    into = f", in {values['files']:,} files" if values["files"] > 1 else ""
    typer.echo(f"{values['out']}: {values['counted']}{into}, from {', '.join(values['formats'])}")
    tell_notes(values["notes"])
    if values["format"] == "csv" and not Path(values["out"]).is_dir():
        typer.echo(f"next: kshot fit {quote(str(values['out']))} --out MODEL")


def _tell_sets(values: dict[str, Any]) -> None:
    typer.echo(f"bundled: {', '.join(values['bundled'])}\n")
    for row in values["benchmarks"]:
        sizes = ", ".join(
            f"{split} {row['classes'][split]} classes {row['clips'][split]:,} clips" for split in row["clips"]
        )
        lacking = f", {row['missing']} missing" if row["missing"] else ""
        state = f"ready in {row['prepared']}{lacking}" if row["prepared"] else "not prepared"
        typer.echo(f"{row['name']}: {row['title']}, {state}\n  {sizes}\n  split: {row['split']}")
        if not row["prepared"]:
            typer.echo(f"  list: {row['list']}\n  videos: {row['videos']}")


def _tell_prepared(values: dict[str, Any]) -> None:
    if not values["new"]:
        typer.echo(f"{values['benchmark']} is ready in {values['folder']}; remove that folder to prepare it anew")
        return
    expected = sum(sum(labels.values()) for labels in values["expected"].values())
    typer.echo(
        f"{values['benchmark']}: {values['found']:,} of {expected:,} clips in {values['folder']}\n"
        f"next: kshot data verify {values['benchmark']}"
    )
    tell_notes(values["notes"])


def _tell_verified(values: dict[str, Any]) -> None:
    typer.echo(f"{values['benchmark']} in {values['folder']}")
    for split, row in values["splits"].items():
        typer.echo(
            f"  {split:<5}  {row['classes_found']:,} of {row['classes']:,} classes, "
            f"{row['clips_found']:,} of {row['clips']:,} clips"
        )
    _tell_names("missing", [name for names in values["missing"].values() for name in names])
    _tell_names("lost since", [f"{path} ({fault})" for path, fault in values["lost"].items()])


def _tell_names(what: str, names: list[str]) -> None:
    for name in names[:SHOWN]:
        typer.echo(f"  {what}: {name}")
    if len(names) > SHOWN:
        typer.echo(f"  and {len(names) - SHOWN:,} more {what}; --json lists all")


@data.command()
def protocols(
    name: Annotated[str | None, typer.Argument(help="cao2024, paper, clip-fsar ...; all by default")] = None,
    as_json: JSON = False,
) -> None:
    """Named settings for --protocol, each value with the place it was read in.

    Example: kshot data protocols clip-fsar
    """
    from kshot.fewshot.protocol_tables import listing

    show(listing(name), as_json, _tell_protocols)


def _tell_protocols(values: dict[str, Any]) -> None:
    from kshot.fewshot.protocol_tables import as_text

    typer.echo("\n\n".join(map(as_text, values["protocols"])))


@features.command("import")
def import_features(
    features: Annotated[Path, typer.Argument(help=".npy or .npz: (clips, frames, channels) or (clips, channels)")],
    out: Annotated[Path, typer.Option(help="the .npz to write, for kshot evaluate --features")],
    clips: Annotated[Path | None, typer.Option(help="CSV path,label[,split,group], a row a clip, same order")] = None,
    array: Annotated[str | None, typer.Option(help="name of the array in an .npz; features by default")] = None,
    as_json: JSON = False,
) -> None:
    """Join features of any network with labels, checked row by row.

    Example: kshot data features import videomae.npy --clips clips.csv --out videomae.npz
    """
    from kshot.fewshot.features import import_features as run

    show(run(features, out, clips, array), as_json, _tell_features)


@features.command()
@takes(*Exporting.groups().values(), without=("prompts", "texts"), undecided=Exporting.undecided)
def export(
    context: typer.Context,
    data: DATA,
    out: Annotated[Path, typer.Option(help="the .npz to write")],
    backbone: Annotated[str | None, typer.Option(help="as in kshot extract; with --adapted the run's")] = None,
    adapted: Annotated[Path | None, typer.Option(help="a run folder of kshot train")] = None,
    split: Annotated[str, typer.Option(help="all, train (base), val or test (novel)")] = "all",
    table: Annotated[Path | None, typer.Option(help="also write path,label,split,group as a CSV")] = None,
    as_json: JSON = False,
    **settings: Any,
) -> None:
    """Write the embeddings of a data set, of a backbone or an adapted run.

    Example: kshot data features export motion --out motion.npz
    """
    from kshot.fewshot.features import export_features

    report = export_features(
        data, out, backbone, adapted, split=split, table=table, progress=chosen_progress(as_json), **settings,
    )  # fmt: skip
    show(report, as_json, _tell_features)


def _tell_features(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['features']}: {values['clips']} clips of {values['classes']} classes, {values['frames']} frames of "
        f"{values['channels']} channels\nnext: kshot evaluate --features {quote(str(values['features']))}"
        + ("" if "test" in values["splits"] else " --split all")
    )
    tell_missing("the data set", values["missing"])
    tell_notes(values["notes"])
    tell_unreadable(values.get("unreadable", {}))
    tell_damaged(values.get("damaged", []))
