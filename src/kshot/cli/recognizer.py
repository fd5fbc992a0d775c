"""Commands of the recognizer: train it on a folder of clips, and let it name the action in others."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from kshot import addresses, gate, settings
from kshot.backbones.prompts import expect_prompts
from kshot.cli import early
from kshot.cli.answers import Shown, chosen_kind, write_answers, write_timelines
from kshot.cli.app import app
from kshot.cli.common import (
    ALLOW_DAMAGED,
    BACKBONE,
    DEINTERLACE,
    DEVICE,
    ENCODER,
    FRAMES,
    HEAD_OPTION,
    JSON,
    KEEP_COPIES,
    MODEL,
    MOVED,
    PRECISION,
    PROMPT,
    SEED,
    STORE,
    TEXTS,
    THRESHOLD,
    chosen_progress,
    importing,
    pairs,
    show,
    tell_damaged,
)
from kshot.errors import DataError, OptionError, VideoError
from kshot.excerpts import file_of
from kshot.heads import HEADS, TRANSDUCTIVE
from kshot.settings import PROMPTS, TORCH
from kshot.terminal import percent

SUSPECTS = 6  # shown on a terminal
ALIKE = 4  # actions from which the same advice stands once
SINGLE = ", ".join(name for name in HEADS if name not in TRANSDUCTIVE)
TIMELINE_FORMATS = "table, json, csv, boris, elan, cvat, label-studio, via, activitynet, vtt, srt or audacity"
EXHAUSTIVE = "all actions are marked in the annotated videos: learn what lies between as none of them"
METHODS = f"how to learn: auto compares nine ways on your clips; partial; or a head: {SINGLE}"


@app.command()
def fit(
    clips: Annotated[str, typer.Argument(help="a folder of class folders, a CSV, CSV?column=value, or annotations")],
    out: Annotated[Path, typer.Option(help="the model folder to write")],
    backbone: BACKBONE = None,
    adapted: Annotated[
        Path | None, typer.Option(help="a run of kshot train to start from, adapted on other, labelled actions")
    ] = None,
    method: Annotated[str, typer.Option(help=METHODS)] = "auto",
    head_option: HEAD_OPTION = None,
    prompt: PROMPT = None,
    texts: TEXTS = None,
    background: Annotated[str | None, typer.Option(help="the class of clips that show none of the actions")] = None,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help=EXHAUSTIVE)] = False,
    exhaustive_in: Annotated[
        list[str] | None, typer.Option(help="the same of one video or part, film.mp4#t=0,600; several times")
    ] = None,
    reject: Annotated[bool, typer.Option(help='whether "unknown" may be an answer')] = True,
    unknown_cost: Annotated[
        float,
        typer.Option(help="what naming a clip of none of the actions costs; refusing one of a trained one costs 1"),
    ] = 1.0,
    unknown_share: Annotated[float, typer.Option(help="share of videos that show none of the actions")] = 0.2,
    unknown_most: Annotated[float, typer.Option(help="share of clips of trained actions refused at most")] = 0.1,
    frames: FRAMES = None,
    deinterlace: DEINTERLACE = False,
    seed: SEED = 0,
    store: STORE = None,
    thumbnails: Annotated[bool, typer.Option(help="whether small pictures of the clips go into the model")] = True,
    keep_copies: KEEP_COPIES = False,
    device: DEVICE = "cpu",
    precision: PRECISION = "float32",
    encoder: ENCODER = TORCH,
    as_json: JSON = False,
) -> None:
    """Train a recognizer of your own actions on a few clips of each, and say what to expect of it.

    Example: kshot fit clips --out models/gym
    """
    from kshot import datasets
    from kshot.datasets.outputs import expect_outside
    from kshot.files import locked, occupied
    from kshot.recognizer.costs import ErrorCosts

    def free() -> None:
        if occupied(out) or (out.exists() and not out.is_dir()):
            raise OptionError(f"--out {out} exists already; name another folder, or remove it first")

    free()
    expect_outside(clips, out)
    costs = {"cost": unknown_cost, "share": unknown_share, "most": unknown_most}
    weighed = reject if not reject or costs == ErrorCosts().plain() else costs
    ErrorCosts.of(weighed)
    options = pairs(head_option) or None
    early.expect_method(method, options or {})
    early.expect_arithmetic(device, precision, encoder)
    early.expect_run(adapted)
    prompts = expect_prompts(prompt or PROMPTS)
    early.expect_file(texts, DataError)
    if frames is not None:
        settings.expect(frames=frames)
    data = datasets.load(clips)
    if data.features is not None:
        raise OptionError(f"{clips} holds ready-made features; a recognizer is trained on videos")
    if exhaustive or exhaustive_in:
        from kshot.datasets.rest import with_rest

        data, background = with_rest(data, exhaustive_in or (), background)
    with importing():
        from kshot import Recognizer

    model = Recognizer(
        backbone, adapted, method, frames, reject=weighed, background=background, store=store, seed=seed, device=device,
        precision=precision, encoder=encoder, keep_copies=keep_copies, head_options=options, prompts=prompts,
        texts=texts, deinterlace=deinterlace,
    )  # fmt: skip
    labels = [data.classes[number] for number in data.labels]
    with locked(out):
        free()  # another may just have ended
        model.fit(list(data.clips), labels, [str(group) for group in data.groups], progress=chosen_progress(as_json))
        model.report_.notes.extend(f"{note}." for note in data.notes)
        model.save(out, thumbnails)
    show({"model": str(out), "clips": model.n_clips_, **model.report_.plain()}, as_json, _tell_fit)


@app.command()
def predict(
    model: MODEL,
    videos: Annotated[
        list[str], typer.Argument(help="videos, frame folders, folders of clips, patterns such as new/*.mp4, or CSVs")
    ],
    timeline: Annotated[bool, typer.Option("--timeline", help="long videos: what happens when")] = False,
    format: Annotated[str, typer.Option(help=TIMELINE_FORMATS)] = "table",
    out: Annotated[Path | None, typer.Option(help="write to this file; its end says how: .json, .jsonl, .csv")] = None,
    picture: Annotated[Path | None, typer.Option(help="also draw the timeline into this .png, .svg or .pdf")] = None,
    threshold: THRESHOLD = None,
    allow_damaged: ALLOW_DAMAGED = False,
    deinterlace: DEINTERLACE = False,
    backbone: MOVED = None,
    device: DEVICE = "cpu",
    as_json: JSON = False,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="print one JSON object a clip or segment, a line each")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print a table with one row a clip or segment")] = False,
) -> None:
    """Name the action in each video, or (--timeline) the actions in a long one.

    Example: kshot predict models/gym squat.mp4 jump.mp4
    """
    from kshot.files import plain
    from kshot.recognizer.stream.formats import check_format, check_picture
    from kshot.recognizer.thresholds import read_thresholds

    flags = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv}
    early.expect_arithmetic(device)
    check_format(format)
    check_picture(picture or Path("any.png"))
    kind = chosen_kind(flags, format, timeline, out, videos, picture)
    limits = read_thresholds(threshold or [])
    for file in (out, picture):
        if file is not None and not plain(file).parent.is_dir():
            raise OptionError(f"there is no folder for {file}: make it first, or name another")
    early.expect_model(model)
    found, notes = _clips(videos)
    if timeline and len(found) != 1 and (kind not in ("jsonl", "csv") or picture):
        raise OptionError(
            f"a timeline is of one video, found {len(found)}; --jsonl and --csv take several, without --picture"
        )
    from kshot.video.workers import start_early

    _expect_one(found)
    if not timeline:
        start_early()  # it is ready when PyTorch is
    with importing():
        from kshot import Recognizer
    recognizer = Recognizer.load(model, backbone, device)
    recognizer.deinterlace |= deinterlace  # a model that was trained so does it anyway
    recognizer.thresholds(limits)  # refuses actions that there are not
    how = Shown(model, kind, format, out, picture)
    if timeline:
        write_timelines(recognizer, found, limits, how, notes)
    else:
        write_answers(recognizer, found, limits, allow_damaged, how, notes)


def _clips(videos: list[str]) -> tuple[list[str], list[str]]:
    """The clips that arguments stand for, and what of folders was passed over."""
    from kshot.datasets.listing import clips_of

    found = [clips_of(video) for video in videos]
    return [clip for clips, _ in found for clip in clips], [note for _, notes in found for note in notes]


def _expect_one(clips: list[str]) -> None:
    """Refuses clips, whole videos and parts of some, of which not one is there; addresses are opened later."""
    files = [file_of(clip) for clip in clips]
    if not any(addresses.of(file) or file.exists() for file in files):
        gate.regular(files[0], error=VideoError)


def _tell_fit(values: dict[str, Any]) -> None:
    from kshot.recognizer.advice import scope, together
    from kshot.recognizer.methods import method

    if values["warning"]:
        typer.echo(f"{values['warning']}\n")
    for video, reason in values["unreadable"].items():
        typer.echo(f"left out: {reason if video in reason else f'{video}: {reason}'}")
    width = max(len(one["label"]) for one in values["classes"])
    advice = together((one["label"], one["advice"]) for one in values["classes"])
    for one in values["classes"]:
        share = "" if one["accuracy"] is None else percent(one["accuracy"])
        clips = f"{one['clips']} clip{'s' * (one['clips'] != 1)}"
        text = one["advice"] if len(advice.get(one["advice"], [])) < ALIKE else ""
        typer.echo(f"  {one['label']:{width}}  {clips:>9} {share:>6}  {text}".rstrip())
    for text, labels in advice.items():
        if len(labels) >= ALIKE:
            typer.echo(f"{len(labels)} actions: {text}")
    tell_damaged(values["damaged"])
    for one in values["suspects"][:SUSPECTS]:
        same = (
            f"nearly the same as {one['other']} ({one['looks_like']})"
            if one["reason"] == "duplicate"
            else f"looks like {one['looks_like']}"
        )
        typer.echo(f"look again: {one['clip']} ({one['label']}) {same}")
    if len(values["suspects"]) > SUSPECTS:
        typer.echo(f"look again: {len(values['suspects']) - SUSPECTS} more, in config.json or with --json")
    for note in values["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"backbone: {values['backbone']}")
    typer.echo(f"method: {values['method']}, {method(values['method']).words}")
    found = values["accuracy"]
    if found is None:
        typer.echo(values["why"])
    else:
        of, others = scope([(one["label"], one["accuracy"]) for one in values["classes"]])
        typer.echo(
            f"expected: {100 * found['value']:.0f} % of new clips like these{f', of {of},' * bool(of)} get their label "
            f"(95 % interval {100 * found['low']:.0f} to {100 * found['high']:.0f} %); "
            f"{100 * found['balanced']['value']:.0f} % where all {'of them' if of else 'actions'} are equally frequent "
            f"({100 * found['balanced']['low']:.0f} to {100 * found['balanced']['high']:.0f} %)"
        )
        if others:
            typer.echo(f"not scored, so nothing is known of: {others}")
        typer.echo(f"from: {found['how']}; the shares beside the actions are of the same answers, not corrected")
    typer.echo(f"chance: {100 * values['chance']:.0f} %, by guessing one of {len(values['classes'])}")
    unknown = values["unknown"]
    if unknown["threshold"] is not None:
        typer.echo(
            f"unknown: said of {100 * unknown['refused']:.0f} % of clips of the trained actions and "
            f"{100 * unknown['caught']:.0f} % of others, by {unknown['clips']} clips; "
            "the model's README.md has the trade"
        )
    typer.echo(f"{values['model']}: trained on {len(values['classes'])} actions, from {values['clips']} clips")
    typer.echo(f"next: kshot predict {quote(str(values['model']))} VIDEO")
