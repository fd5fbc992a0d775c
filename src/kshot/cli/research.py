"""Commands for researchers: extract, train, evaluate, demo, study, report, verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.cli.app import app
from kshot.cli.common import (
    ALLOW_DAMAGED,
    BACKBONE,
    DATA,
    DEVICE,
    FRAMES,
    HEAD_OPTION,
    JSON,
    KEEP_COPIES,
    PRECISION,
    PROMPT,
    PROTOCOL,
    QUERY,
    RESIZE,
    SEED,
    SEEDS,
    SHOT,
    STORE,
    STORED_ONLY,
    STRATEGY_OPTION,
    TUNING_OPTION,
    WAY,
    chosen_progress,
    given,
    pairs,
    show,
    tell_damaged,
    tell_missing,
    tell_notes,
    tell_passed_over,
    tell_unreadable,
)
from kshot.errors import OptionError
from kshot.terminal import console

SHOWN = 20  # paths without a seal that are printed


@app.command()
def extract(
    data: DATA,
    backbone: BACKBONE = "kshot-tiny",
    cut: Annotated[str, typer.Option(help="last, frames, embedding or a block's number")] = "last",
    store: STORE = None,
    frames: FRAMES = 8,
    resize: RESIZE = "short",
    dtype: Annotated[str, typer.Option(help="float16 or float32, as stored")] = "float16",
    device: DEVICE = "cpu",
    precision: PRECISION = "float32",
    workers: Annotated[int | None, typer.Option(help="decoding processes; one a core by default")] = None,
    timeout: Annotated[float, typer.Option(help="seconds until a clip counts as unreadable")] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print clips, bytes and time; store nothing")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 1 if a clip could not be read")] = False,
    allow_damaged: ALLOW_DAMAGED = False,
    as_json: JSON = False,
) -> None:
    """Store the activations of every clip, once. A stopped run goes on where it was.

    Example: kshot extract clips.csv --backbone openai/clip-vit-base-patch16 --dry-run
    """
    from kshot.activations import estimation, extraction

    shared: dict[str, Any] = {"cut": cut, "store": store, "frames": frames, "dtype": dtype}
    shared |= {"device": device, "precision": precision, "workers": workers, "resize": resize}
    shared["allow_damaged"] = allow_damaged
    if dry_run:
        show(estimation.estimate(data, backbone, **shared).report(), as_json, _tell_estimate)
        return
    done = extraction.extract(data, backbone, **shared, timeout=timeout, check=True, progress=chosen_progress(as_json))
    report = done.report()
    show(report, as_json, _tell_extraction)
    if strict and report["unreadable"]:
        raise typer.Exit(1)


@app.command()
def train(
    context: typer.Context,
    data: DATA,
    out: Annotated[Path, typer.Option(help="the run folder to write")],
    strategy: Annotated[str, typer.Option(help="meta, finetune, finetune-meta or direct")] = "meta",
    tuning: Annotated[str, typer.Option(help="partial, full, lora, ...; see docs/tuning.md")] = "partial",
    layers: Annotated[str | None, typer.Option(help="partial: proj, block, block+ln_post+proj, or last k")] = None,
    backbone: BACKBONE = "kshot-tiny",
    head: Annotated[str | None, typer.Option(help="the head that scores episodes")] = None,
    way: WAY = 5,
    shot: SHOT = 1,
    query: QUERY = 5,
    strategy_option: STRATEGY_OPTION = None,
    tuning_option: TUNING_OPTION = None,
    head_option: HEAD_OPTION = None,
    steps: Annotated[int, typer.Option(help="optimiser steps")] = 400,
    lr: Annotated[float, typer.Option(help="learning rate")] = 1e-4,
    optimizer: Annotated[str, typer.Option(help="adam, adamw or sgd")] = "adam",
    schedule: Annotated[str, typer.Option(help="cosine or constant")] = "cosine",
    weight_decay: Annotated[float, typer.Option(help="weight decay")] = 0.0,
    warmup: Annotated[int, typer.Option(help="steps of linear warm-up")] = 0,
    accumulate: Annotated[int, typer.Option(help="batches or episodes a step")] = 1,
    clip: Annotated[float, typer.Option(help="largest gradient norm, 0 for none")] = 0.0,
    val_every: Annotated[int, typer.Option(help="steps between looks at the val classes")] = 50,
    val_episodes: Annotated[int, typer.Option(help="episodes of a look")] = 500,
    patience: Annotated[int, typer.Option(help="looks without a gain until the end, 0 for never")] = 0,
    select: Annotated[str, typer.Option(help="classes that choose the best weights: val, or none")] = "val",
    shared_group: Annotated[bool, typer.Option(help="a val query may share its source with a support clip")] = True,
    seed: SEED = 0,
    frames: FRAMES = 8,
    resize: RESIZE = "short",
    views: Annotated[int, typer.Option(help="stored views of a base clip, one drawn a visit")] = 1,
    augment: Annotated[str, typer.Option(help="what views change: some of time,crop,flip")] = "time",
    no_flip: Annotated[
        list[str] | None,
        typer.Option(help="a class never mirrored, or none; else those with left, right or clockwise in their name"),
    ] = None,
    prompt: PROMPT = None,
    store: STORE = None,
    stored_only: STORED_ONLY = False,
    device: DEVICE = "cpu",
    precision: PRECISION = "float32",
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    protocol: PROTOCOL = None,
    keep_copies: KEEP_COPIES = False,
    as_json: JSON = False,
) -> None:
    """Adapt a backbone to the base classes of a data set. Ctrl-C is safe: --resume goes on.

    Example: kshot train motion --strategy meta --tuning partial --out runs/meta
    """
    from kshot.fewshot.training import train as run

    chosen: dict[str, Any] = {"prompts": prompt} if prompt else {}
    if no_flip:
        chosen["no_flip"] = [] if no_flip == ["none"] else no_flip
    values = {
        "strategy": strategy, "tuning": tuning, "layers": layers, "backbone": backbone, "head": head, "way": way,
        "shot": shot, "query": query, "steps": steps, "lr": lr, "optimizer": optimizer, "schedule": schedule,
        "weight_decay": weight_decay, "warmup": warmup, "accumulate": accumulate, "clip": clip, "val_every": val_every,
        "val_episodes": val_episodes, "patience": patience, "select": select,
        "shared_group": shared_group, "seed": seed, "frames": frames,
        "resize": resize, "views": views, "augment": augment, "store": store, "stored_only": stored_only,
        "device": device, "precision": precision, "resume": resume,
    }  # fmt: skip
    trained = run(
        data, out, strategy_options=pairs(strategy_option), tuning_options=pairs(tuning_option),
        head_options=pairs(head_option), protocol=protocol, keep_copies=keep_copies, progress=chosen_progress(as_json),
        **(given(context, values) if protocol else values), **chosen,
    )  # fmt: skip
    show(trained.report(), as_json, _tell_training)


@app.command()
def evaluate(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(help="as in extract; leave out with --features")] = None,
    backbone: Annotated[str | None, typer.Option(help="as in extract; the adapted run's by default")] = None,
    adapted: Annotated[Path | None, typer.Option(help="a run folder of kshot train")] = None,
    features: Annotated[Path | None, typer.Option(help="ready-made features, .npz")] = None,
    head: Annotated[str | None, typer.Option(help="prototype by default, or the adapted run's")] = None,
    head_option: HEAD_OPTION = None,
    way: WAY = 5,
    shot: SHOT = 1,
    query: QUERY = 5,
    episodes: Annotated[int, typer.Option(help="random episodes")] = 10_000,
    seed: SEED = 0,
    split: Annotated[str, typer.Option(help="test (novel), val, train (base) or all")] = "test",
    shared_group: Annotated[bool, typer.Option(help="a query may share its source with a support clip")] = True,
    center: Annotated[bool, typer.Option("--center", help="subtract the mean of the clips evaluated")] = False,
    prompt: PROMPT = None,
    frames: Annotated[int | None, typer.Option(help="frames a clip; 8, or as the run was trained")] = None,
    resize: Annotated[str | None, typer.Option(help="as in extract; as the run was trained by default")] = None,
    store: STORE = None,
    stored_only: STORED_ONLY = False,
    device: DEVICE = "cpu",
    precision: PRECISION = "float32",
    out: Annotated[Path | None, typer.Option(help="also write the whole result, every episode, as JSON")] = None,
    protocol: PROTOCOL = None,
    keep_copies: KEEP_COPIES = False,
    as_json: JSON = False,
) -> None:
    """Few-shot accuracy over random episodes, with its 95 % interval.

    Example: kshot evaluate motion --adapted runs/meta --shot 5 --json
    """
    from kshot.fewshot.evaluation import evaluate as run

    chosen: dict[str, Any] = {"prompts": prompt} if prompt else {}
    values = {
        "backbone": backbone, "adapted": adapted, "features": features, "head": head, "way": way, "shot": shot,
        "query": query, "episodes": episodes, "seed": seed, "split": split, "shared_group": shared_group,
        "center": center, "frames": frames, "resize": resize, "store": store, "stored_only": stored_only,
        "device": device, "precision": precision, "out": out,
    }  # fmt: skip
    result = run(
        data, head_options=pairs(head_option), protocol=protocol, keep_copies=keep_copies,
        progress=chosen_progress(as_json),
        **(given(context, values) if protocol else values), **chosen,
    )  # fmt: skip
    show(result.summary(), as_json, _tell_result)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for runs, results and report.html")] = Path("demo"),
    seed: SEED = 0,
    as_json: JSON = False,
) -> None:
    """Everything, offline, in minutes: drawn clips, every strategy, one table and a report."""
    from kshot.demo import demo as run

    report = run(out, seed, progress=chosen_progress(as_json))
    show(report, as_json, _tell_demo)


@app.command()
def study(
    study: Annotated[str, typer.Argument(help="quick, or a TOML file")],
    out: Annotated[Path, typer.Option(help="the study's folder")],
    data: Annotated[list[str] | None, typer.Option(help="data sets in place of the study's own")] = None,
    backbone: Annotated[list[str] | None, typer.Option(help="backbones in place of the study's own")] = None,
    seed: SEEDS = None,
    episodes: Annotated[int | None, typer.Option(help="test episodes in place of the study's own")] = None,
    protocol: PROTOCOL = None,
    store: STORE = None,
    device: DEVICE = "cpu",
    precision: PRECISION = "float32",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print disk, hours and memory of each row; store nothing")
    ] = False,
    speed: Annotated[
        float | None, typer.Option(help="of a dry run: 1e12 multiply-adds a second, in place of this machine's")
    ] = None,
    keep_copies: KEEP_COPIES = False,
    as_json: JSON = False,
) -> None:
    """Compare strategies, tuning methods and heads on the same episodes. Run again to go on after a stop.

    Example: kshot study quick --out studies/quick
    """
    from kshot.study.runner import run

    if dry_run:
        from kshot.study.forecast import forecast

        told = forecast(
            study, data or (), backbone or (), seed or (), episodes, protocol, device, precision, speed,
            progress=chosen_progress(as_json),
        )  # fmt: skip
        show(told, as_json, _tell_forecast)
        return
    if speed is not None:
        raise OptionError("--speed belongs to --dry-run")

    done = run(
        study, out, data or (), backbone or (), seed or (), episodes, protocol, store, device, precision,
        progress=chosen_progress(as_json), keep_copies=keep_copies,
    )  # fmt: skip
    show(done, as_json, _tell_study)
    if any("error" in row for row in done["rows"]):
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="a study's folder")],
    out: Annotated[Path | None, typer.Option(help="folder for report.html and plots; the study's by default")] = None,
    as_json: JSON = False,
) -> None:
    """Render a study as one self-contained HTML page, with its plots as files."""
    from kshot.report import report as run

    written = run(folder, out, progress=chosen_progress(as_json))
    show(written, as_json, lambda values: typer.echo(f"wrote {values['page']} and {len(values['plots'])} plots"))


@app.command()
def verify(
    path: Annotated[
        Path, typer.Argument(help="a store, run, model, study, export, backbone, benchmark, project, .npz")
    ],
    heal: Annotated[
        bool, typer.Option("--heal", help="of a store: remove what is damaged; extract writes it again")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Check what kshot wrote against its seals; what has none is named. Exits with 2 if something is damaged.

    Example: kshot verify runs/meta
    """
    from kshot.verify import verify as run

    report = run(path, heal)
    show(report, as_json, _tell_verification)
    if report["damaged"] and not report["healed"]:
        raise typer.Exit(2)


def _tell_estimate(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['data']}: {values['clips']} clips, {values['stored']} stored already\n"
        f"disk: {values['bytes'] / 1e6:,.1f} MB in all, {values['bytes_to_write'] / 1e6:,.1f} MB to write "
        f"to {values['store']}\n"
        f"time: about {values['seconds']:,.0f} s (measured on {values['measured_on']} clips: "
        f"{values['seconds_decode'] * 1000:.1f} ms decoding, {values['seconds_encode'] * 1000:.1f} ms encoding a clip)"
    )
    tell_unreadable(values["unreadable"])


def _tell_extraction(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['clips']} clips of {values['data']} at cut {values['cut']} in {values['store']}: "
        f"{values['stored_now']} stored now in {values['seconds']:.1f} s, {len(values['unreadable'])} unreadable"
    )
    tell_missing(values["data"], values["missing"])
    tell_notes(values["notes"])
    tell_unreadable(values["unreadable"])
    tell_damaged(values["damaged"])
    tell_passed_over(values["passed_over"])


def _tell_training(values: dict[str, Any]) -> None:
    val = values["val_accuracy"]
    chosen = f"val accuracy {val:.1f} % at step {values['best_step']}" if val is not None else "no val classes"
    typer.echo(
        f"{values['run']}: {values['weights']:,} trained weights, {chosen}, {values['seconds']:.1f} s\n"
        f"next: kshot evaluate DATA --adapted {values['run']}"
    )
    tell_missing("the data set", values["missing"])
    tell_notes(values["notes"])
    tell_unreadable(values["unreadable"])
    tell_damaged(values["damaged"])


def _tell_result(values: dict[str, Any]) -> None:
    interval = f" +- {values['ci95']:.2f}" if values["ci95"] is not None else ""
    typer.echo(
        f"{values['accuracy']:.2f} %{interval}  ({values['way']}-way {values['shot']}-shot, "
        f"{values['query']} queries, {values['episodes']:,} episodes, seed {values['seed']}, split {values['split']}, "
        f"{values['clips']} clips, head {values['head']}, {values['backbone']}, {values['seconds']:.1f} s)"
    )
    if followed := values["options"].get("protocol"):
        changed = ", ".join(f"{name} {value}" for name, value in followed["changed"].items())
        typer.echo(f"protocol {followed['name']}" + (f", but {changed}" if changed else ""))
    width = max(map(len, values["per_class"]))
    for name, accuracy in sorted(values["per_class"].items(), key=lambda item: -item[1]):
        typer.echo(f"  {name:<{width}}  {accuracy:5.1f} %")
    tell_missing(values["data"], values["missing"])
    tell_notes(values["notes"])
    tell_unreadable(values["unreadable"])
    tell_damaged(values["damaged"])


def _tell_study(values: dict[str, Any]) -> None:
    from rich.table import Table

    from kshot.fewshot import cost
    from kshot.study.tables import lacking, noted

    settings, screen = values["settings"], console(width=None if sys.stdout.isatty() else 140)
    for data, backbone in dict.fromkeys((line["data"], line["backbone"]) for line in values["summary"]):
        lines = [line for line in values["summary"] if (line["data"], line["backbone"]) == (data, backbone)]
        shots = sorted({line["shot"] for line in lines if "shot" in line})
        title = f"{data}, {backbone}: {settings['way']}-way accuracy in %, {settings['episodes']:,} episodes a seed"
        table = Table("method", title=title, title_justify="left")
        for shot in shots:
            table.add_column(f"{shot}-shot", justify="right")
            table.add_column(f"to {settings['baseline'] or '-'}", justify="right")
        finished: list[dict[str, Any]] = []
        failed: list[str] = []
        for name in dict.fromkeys(line["name"] for line in lines):
            own = {line.get("shot"): line for line in lines if line["name"] == name}
            if None in own:
                table.add_row(name, "failed")
                failed.append(f"{name} failed: {own[None]['error']}")
                continue
            cells = []
            for shot in shots:
                line = own[shot]
                fewer = "" if line["episodes"] == settings["episodes"] else "*"
                cells.append(f"{line['accuracy']:.1f} ± {line['ci95']:.1f}{fewer}")
                paired = f"{line['difference']:+.1f} ± {line['difference_ci95']:.1f}" if "difference" in line else ""
                cells.append(paired)
            finished.append(own[shots[-1]])
            table.add_row(name, *cells)
        screen.print(table)
        if told := lacking(values["rows"], data):
            typer.echo(told)
        tell_notes(noted(values["rows"], data))
        fewer_rows = {f"{line['name']}: first {line['episodes']:,} episodes" for line in lines if "episodes" in line
                      and line["episodes"] != settings["episodes"]}  # fmt: skip
        for note in [*(f"* {fewer}" for fewer in sorted(fewer_rows)), *failed]:
            typer.echo(note)
        if keys := cost.present(finished):
            costs = Table(title=f"cost, at {shots[-1]}-shot where it depends on the shots", title_justify="left")
            costs.add_column("method")
            for key in keys:  # one word a line, so that ten columns stand side by side
                costs.add_column(cost.COLUMNS[key][0].replace(" ", "\n").replace("-", "-\n"), justify="right")
            for line in finished:
                costs.add_row(line["name"], *(cost.written(line, key) for key in keys))
            screen.print(costs)


def _tell_forecast(values: dict[str, Any]) -> None:
    from rich.table import Table

    from kshot.fewshot.cost import as_bytes, as_time

    screen, settings = console(width=None if sys.stdout.isatty() else 140), values["settings"]
    told = f"seeds {', '.join(map(str, settings['seeds']))}, shots {', '.join(map(str, settings['shots']))}"
    typer.echo(f"{values['title']}: {told}, {settings['episodes']:,} episodes each; counted from nothing to the end\n")
    for part in values["parts"]:
        rate = f"{values['speed']:g}e12 multiply-adds a second" if values["speed"] else f"this {part['device']}"
        clips = ", ".join(f"{count:,} {split}" for split, count in part["clips"].items())
        decoding = "not timed" if part["decoding"] is None else f"{part['decoding'] * 1000:.0f} ms a clip in a process"
        typer.echo(f"{part['data']} ({clips} clips), {part['backbone']}\nat {rate}, decoding {decoding}")
        stores = Table("stored at cut", title="activations", title_justify="left")
        for name in ("clips", "disk", "time"):
            stores.add_column(name, justify="right")
        for one in part["stores"]:
            stores.add_row(str(one["cut"]), f"{one['clips']:,}", as_bytes(one["bytes"]), as_time(one["seconds"]))
        screen.print(stores)
        rows = Table("method", title="rows", title_justify="left")
        for name in ("trainings", "training", "looks at val", "testing", "together", "memory of a step"):
            rows.add_column(name, justify="right")
        for one in part["rows"]:
            if "error" in one:
                rows.add_row(one["name"], "cannot run")
                continue
            times = [as_time(one[key]) for key in ("training", "looks", "testing", "seconds")]
            rows.add_row(one["name"], str(one["trainings"] or "–"), *times, as_bytes(one["memory"] or None))
        screen.print(rows)
        for one in part["rows"]:
            if "error" in one:
                typer.echo(f"{one['name']} cannot run: {one['error']}")
    typer.echo(f"in all: {as_bytes(values['bytes'])} on disk, {as_time(values['seconds'])}")


def _tell_demo(values: dict[str, Any]) -> None:
    _tell_study(values)
    typer.echo(f"\nreport: {values['report']}  ({values['seconds']:.0f} s)\n\n{values['next_steps']}")


def _tell_verification(values: dict[str, Any]) -> None:
    if values["kind"] == "store":
        looked = f"{values['shards']} shards and {values['digests']:,} digests in {values['store']}"
    else:
        looked = f"{values['path']}, a {values['kind']}: {values['checked']:,} files checked"
    typer.echo(f"{looked}: {len(values['damaged'])} damaged")
    for path, fault in values["damaged"].items():
        typer.echo(f"  {path}: {fault}{' (removed; extract again)' if values['healed'] else ''}")
    for path, why in list(values["unsealed"].items())[:SHOWN]:
        typer.echo(f"  no seal: {path}: {why}")
    if (more := len(values["unsealed"]) - SHOWN) > 0:
        typer.echo(f"  and {more:,} more without a seal; --json lists all")
