"""Commands for researchers: extract, train, evaluate, demo, study, report, verify."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kshot.cli import early
from kshot.cli.app import app
from kshot.cli.common import (
    ALLOW_DAMAGED,
    BACKBONE,
    DATA,
    JSON,
    PROTOCOL,
    SEED,
    SEEDS,
    chosen_progress,
    show,
    tell_damaged,
    tell_missing,
    tell_notes,
    tell_passed_over,
    tell_unreadable,
)
from kshot.cli.settings import takes
from kshot.errors import DataError, OptionError
from kshot.settings import Arithmetic, Compute, EpisodeRules, Evaluating, Spread, Training, View
from kshot.study.sharing import Sharing

if TYPE_CHECKING:
    from kshot.demo import Demo
    from kshot.fewshot.result import Result

SHOWN = 20  # paths without a seal that are printed


@app.command()
@takes(View, Compute, Spread, without=("prompts", "texts", "stored_only"))
def extract(
    context: typer.Context,
    data: DATA,
    backbone: BACKBONE = None,
    cut: Annotated[str, typer.Option(help="last, frames, embedding or a block's number")] = "last",
    workers: Annotated[int | None, typer.Option(help="decoding processes; one a core by default")] = None,
    timeout: Annotated[float, typer.Option(help="seconds until a clip counts as unreadable")] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print clips, bytes and time; store nothing")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="exit with 1 if a clip could not be read")] = False,
    allow_damaged: ALLOW_DAMAGED = False,
    identity: Annotated[
        str, typer.Option(help="content, or stat: read new clips when they are decoded only")
    ] = "content",
    as_json: JSON = False,
    **settings: Any,
) -> None:
    """Store the activations of every clip, once. A stopped run goes on where it was.

    Example: kshot extract clips.csv --backbone openai/clip-vit-base-patch16 --dry-run
    """
    early.expect_arithmetic(*(settings.get(field.name, field.default) for field in Arithmetic.fields()))
    early.expect_engine(Spread.of(settings))
    early.expect_data(data)
    from kshot.activations import estimation, extraction

    shared = settings | {"cut": cut, "workers": workers, "allow_damaged": allow_damaged}
    shared["identity"] = identity
    if dry_run:
        show(estimation.estimate(data, backbone, **shared).report(), as_json, _tell_estimate)
        return
    done = extraction.extract(data, backbone, **shared, timeout=timeout, check=True, progress=chosen_progress(as_json))
    report = done.report()
    show(report, as_json, _tell_extraction)
    if strict and report["unreadable"]:
        raise typer.Exit(1)


@app.command()
@takes(*Training.groups().values())
def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="the run folder to write")],
    data: Annotated[str | None, typer.Argument(help="as in extract; leave out with --features")] = None,
    backbone: BACKBONE = None,
    features: Annotated[Path | None, typer.Option(help="ready-made features, .npz: a layer on them learns")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    protocol: PROTOCOL = None,
    as_json: JSON = False,
    **settings: Any,
) -> None:
    """Adapt a backbone to the base classes of a data set. Ctrl-C is safe: --resume goes on.

    Example: kshot train motion --strategy meta --tuning partial --out runs/meta
    """
    early.expect_settings(Training, protocol, "training", settings)
    early.expect_data(data)
    early.expect_file(features, DataError)
    from kshot.fewshot.training import train as run

    trained = run(
        data, out, backbone=backbone, features=features, resume=resume, protocol=protocol,
        progress=chosen_progress(as_json), **settings,
    )  # fmt: skip
    show(trained.report(), as_json, _tell_training)


@app.command()
@takes(*Evaluating.groups().values(), without=("shot",), undecided=Evaluating.undecided)
def evaluate(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(help="as in extract; leave out with --features")] = None,
    backbone: Annotated[str | None, typer.Option(help="as in extract; with --adapted the run's")] = None,
    adapted: Annotated[Path | None, typer.Option(help="a run folder of kshot train; it sees clips as trained")] = None,
    features: Annotated[Path | None, typer.Option(help="ready-made features, .npz")] = None,
    out: Annotated[Path | None, typer.Option(help="also write the whole result, every episode, as JSON")] = None,
    protocol: PROTOCOL = None,
    shot: Annotated[
        str, typer.Option(help="support clips a class; 1..5: each class of an episode draws its own number")
    ] = "1",
    as_json: JSON = False,
    **settings: Any,
) -> None:
    """Few-shot accuracy over random episodes, with its 95 % interval.

    Example: kshot evaluate motion --adapted runs/meta --shot 5 --json
    """
    asked = _shots(shot)
    if "least_shot" in asked and "least_shot" in settings:
        raise OptionError(f"--shot {shot} has a least number of its own: leave --least-shot out")
    settings |= asked
    early.expect_settings(Evaluating, protocol, "testing", settings, None if adapted else "prototype")
    early.expect_run(adapted)
    early.expect_data(data)
    early.expect_file(features, DataError)
    from kshot.fewshot.evaluation import evaluate as run

    result = run(
        data, backbone, adapted=adapted, features=features, out=out, protocol=protocol,
        progress=chosen_progress(as_json), **settings,
    )  # fmt: skip
    show(result.summary(), as_json, lambda _: _tell_result(result))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for runs, results and report.html")] = Path("demo"),
    seed: SEED = 0,
    as_json: JSON = False,
) -> None:
    """Everything, offline, in minutes: drawn clips, every strategy, one table and a report."""
    from kshot.demo import demo as run

    done = run(out, seed, progress=chosen_progress(as_json))
    show(done.plain(), as_json, lambda _: _tell_demo(done))


@app.command()
@takes(
    Compute, EpisodeRules, View, Sharing,
    without=("stored_only", "way", "query", "shared_group", "frames", "resize", "deinterlace", "prompts"),
)  # fmt: skip
def study(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="quick, or a TOML file")],
    out: Annotated[Path, typer.Option(help="the study's folder")],
    data: Annotated[list[str] | None, typer.Option(help="data sets in place of the study's own")] = None,
    backbone: Annotated[list[str] | None, typer.Option(help="backbones in place of the study's own")] = None,
    seed: SEEDS = None,
    episodes: Annotated[int | None, typer.Option(help="test episodes in place of the study's own")] = None,
    protocol: PROTOCOL = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print disk, hours and memory of each row; store nothing")
    ] = False,
    speed: Annotated[
        float | None, typer.Option(help="of a dry run: 1e12 multiply-adds a second, in place of this machine's")
    ] = None,
    as_json: JSON = False,
    **settings: Any,
) -> None:
    """Compare strategies, tuning methods and heads on the same episodes. Run again to go on after a stop.

    Example: kshot study quick --out studies/quick
    """
    if speed is not None and not dry_run:
        raise OptionError("--speed belongs to --dry-run")
    early.expect_arithmetic(*(settings.get(field.name, field.default) for field in Arithmetic.fields()))
    early.expect_file(settings.get("texts"), DataError)
    early.expect_processes()
    shard = Sharing.of(settings).shard
    plan = early.expect_study(study, protocol, data or (), seed or (), episodes)
    from kshot.cli.study_tables import tell_forecast, tell_shard, tell_study

    if dry_run:
        from kshot.study.forecast import forecast

        apart = ("store", "keep_copies", "texts", *Sharing.names())
        settings = {name: value for name, value in settings.items() if name not in apart}
        work = forecast(
            plan, data or (), backbone or (), speed=speed,
            progress=chosen_progress(as_json), **settings,
        )  # fmt: skip
        show(work, as_json, tell_forecast)
        return
    from kshot.study.runner import run

    done = run(plan, out, data or (), backbone or (), progress=chosen_progress(as_json), **settings)
    show(done.plain({"format"}), as_json, lambda _: tell_study(done) if shard is None else tell_shard(done, shard))
    if any(row.error for row in done.rows):
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="a study's folder")],
    out: Annotated[Path | None, typer.Option(help="folder for report.html and plots; the study's by default")] = None,
    as_json: JSON = False,
) -> None:
    """Render a study as one self-contained HTML page, with its plots as files."""
    from kshot.cli.study_tables import tell_report
    from kshot.report import report as run

    show(run(folder, out, progress=chosen_progress(as_json)), as_json, tell_report)


@app.command()
def verify(
    path: Annotated[
        Path,
        typer.Argument(help="a store or its address, run, model, study, export, backbone, benchmark, project, .npz"),
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


def _shots(text: str) -> dict[str, int]:
    """The settings that `--shot` stands for: a number, or the least and the most of a class, as 1..5.

    Raises:
        OptionError: it is neither.
    """
    found = re.fullmatch(r"(?:(\d{1,9})\.\.)?(\d{1,9})", text.strip())
    if not found:
        raise OptionError(f"--shot must be a whole number, or two as in 1..5, found '{text}'")
    least, most = found.groups()
    if least is not None and int(least) > int(most):
        raise OptionError(f"--shot must go from the least to the most, found '{text}': write {most}..{least}")
    return {"shot": int(most)} | ({} if least is None else {"least_shot": int(least)})


def _tell_estimate(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['data']}: {values['clips']} clips, {values['stored']} stored already; backbone {values['backbone']}\n"
        f"disk: {values['bytes'] / 1e6:,.1f} MB in all, {values['bytes_to_write'] / 1e6:,.1f} MB to write "
        f"to {values['store']}\n"
        f"time: about {values['seconds']:,.0f} s (measured on {values['measured_on']} clips: "
        f"{values['seconds_decode'] * 1000:.1f} ms decoding, {values['seconds_encode'] * 1000:.1f} ms encoding a clip)"
    )
    if values["bytes"] > values["bytes_as_embeddings"]:
        typer.echo(f"embeddings alone (--cut embedding) would take {values['bytes_as_embeddings'] / 1e6:,.1f} MB")
    if values["shards"]:
        typer.echo(
            f"plan: {values['shards']:,} files of {values['clips_a_shard']} clips; {values['actors']} at work side by "
            f"side, {values['machine_seconds'] / 3600:,.2f} hours of them in all; clips never hashed count as missing"
        )
    tell_unreadable(values["unreadable"])


def _tell_extraction(values: dict[str, Any]) -> None:
    typer.echo(
        f"{values['clips']} clips of {values['data']} at cut {values['cut']} of {values['backbone']} in "
        f"{values['store']}: "
        f"{values['stored_now']} stored now in {values['seconds']:.1f} s, {len(values['unreadable'])} unreadable"
    )
    tell_missing(values["data"], values["missing"])
    tell_notes(values["notes"])
    tell_unreadable(values["unreadable"])
    tell_damaged(values["damaged"])
    tell_passed_over(values["passed_over"])


def _tell_training(values: dict[str, Any]) -> None:
    val = values["val_accuracy"]
    chosen = "nothing chosen on val"
    if val is not None:
        ways = f"{values['val_way']}-way, chance {100 / values['val_way']:.3g} %"
        chosen = f"val accuracy {val:.1f} % ({ways}) at step {values['best_step']}"
    data = "--features FEATURES" if values["backbone"].startswith("features:") else "DATA"
    typer.echo(
        f"{values['run']}: {values['weights']:,} trained weights of {values['backbone']}, {chosen}, "
        f"{values['seconds']:.1f} s\n"
        f"next: kshot evaluate {data} --adapted {quote(str(values['run']))}"
    )
    tell_missing("the data set", values["missing"])
    tell_notes(values["notes"])
    tell_unreadable(values["unreadable"])
    tell_damaged(values["damaged"])


def _tell_result(result: Result) -> None:
    interval = f" +- {result.ci95:.2f}" if result.ci95 is not None else ""
    least = result.options.least_shot
    shots = result.shot if least is None else f"{least}..{result.shot}"
    trained = "this one training, " if result.options.adapted else ""
    typer.echo(
        f"{result.accuracy:.2f} %{interval}  (chance {result.chance:.4g} %, {result.way}-way {shots}-shot, "
        f"{result.query} queries, {result.episodes:,} episodes, seed {result.seed}, split {result.split}, "
        f"{result.clips} clips, head {result.head}, backbone {result.backbone}, {result.seconds:.1f} s)"
    )
    if interval:
        typer.echo(f"+- is half of a 95 % interval over episodes: of these classes, {trained}new episodes")
    if alone := result.text_alone:
        half = f" +- {alone.ci95:.2f}" if alone.ci95 is not None else ""
        typer.echo(f"{alone.accuracy:.2f} %{half}  by class texts alone, without a support clip, on the same episodes")
    if followed := result.options.protocol:
        changed = ", ".join(f"{name} {value}" for name, value in followed.changed.items())
        typer.echo(f"protocol {followed.name}" + (f", but {changed}" if changed else ""))
    width = max(map(len, result.per_class))
    for name, accuracy in sorted(result.per_class.items(), key=lambda item: -item[1]):
        typer.echo(f"  {name:<{width}}  {accuracy:5.1f} %")
    tell_missing(result.data, result.missing)
    tell_notes(result.notes)
    tell_unreadable(result.unreadable)
    tell_damaged([one.model_dump() for one in result.damaged])


def _tell_demo(done: Demo) -> None:
    from kshot.cli.study_tables import tell_study

    tell_study(done.study)
    typer.echo("\nThe same where the backbone sees badly: the camera hangs upside down.")
    tell_study(done.shift)
    typer.echo(
        f"\nBoth tables are of one seed: an example, not a verdict on methods.\n"
        f"reports: {done.report} and {done.shift_report}  ({done.seconds:.0f} s)\n\n{done.next_steps}"
    )


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
