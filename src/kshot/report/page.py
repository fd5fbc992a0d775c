"""The page: numbers and pictures of a study turned into HTML. Every name that comes from outside is escaped."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from itertools import groupby
from string import Template
from typing import Any

from kshot.fewshot import cost
from kshot.report import published
from kshot.report.comparison import Comparison
from kshot.report.filmstrips import Reel, Single, Strip
from kshot.report.pictures import Picture
from kshot.report.plots import in_shots

STRATEGIES = {
    "zero-shot": "Compares a clip with the names of the actions. No support clip is looked at.",
    "frozen": "The backbone as it came: its embeddings of support and query clips are compared.",
    "direct": "Uses no base classes: in every episode, weights are tuned anew on its few support clips.",
    "finetune": "Finetuning: trained on the base classes by ordinary classification.",
    "meta": "Meta-learning: trained on episodes of base classes, the very task it is tested on.",
    "finetune-meta": "Finetuning first, then Meta-learning from there, in one run.",
}
SPLITS = {
    "test": "novel classes, which no method has seen in training or in choosing its weights",
    "val": "validation classes, which served to choose weights, so this is no final figure",
    "train": "base classes, which the methods were trained on, so this is no final figure",
    "all": "classes of the whole data set",
}
BESIDE = {"trained_parameters": "weights", "training_seconds": "seconds"}  # costs in the main table
COSTS = {  # the table of costs: group -> key of the summary -> heading
    "weights": {"trained_parameters": "trained", "stored_parameters": "kept"},
    "multiply-adds": {"multiply_adds_per_clip": "a clip", "multiply_adds_per_step": "a training step"},
    "bytes": {"stored_bytes": "stored", "peak_memory": "peak memory"},
    "seconds": {"seconds_per_step": "a step", "training_seconds": "training", "evaluation_seconds": "evaluation"},
}


@dataclass(frozen=True)
class Part:
    """What the page says about one comparison."""

    comparison: Comparison
    pictures: Sequence[Picture]
    reel: Reel


def compose(study: dict[str, Any], parts: Sequence[Part]) -> str:
    """The whole page, from what `kshot.study.runner.load` gives and what was drawn."""
    comparisons, settings = [part.comparison for part in parts], study["settings"]
    about = settings.get("about", "").strip()
    return Template(resources.files("kshot.report").joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(study["title"]),
        version=escape(study["version"]),
        byline=f"{_day(study['date'])} · kshot {escape(study['version'])}",
        about=f'<p class="about">{escape(about)}</p>' if about else "",
        findings=_findings(comparisons),
        setting=_setting(settings, comparisons),
        nav=_nav(comparisons),
        comparisons="\n".join(_section(part, number) for number, part in enumerate(parts, 1)),
        methods=_methods(settings, comparisons),
        repeat=_repeat(study, comparisons),
    )


# What came out


def _findings(comparisons: Sequence[Comparison]) -> str:
    """The winner of each comparison and shot (the highest, where there are many), and whether it stands apart."""
    items = []
    many = sum(len(comparison.shots) for comparison in comparisons) > 4
    for comparison in comparisons:
        where = f'<span class="where">{escape(comparison.title)}</span>' if len(comparisons) > 1 else ""
        for shot in comparison.shots[-1:] if many else comparison.shots:
            items.append(f"<li>{where}{_finding(comparison, shot)}</li>")
            where = ""
    return f'<ul class="findings">{"".join(items)}</ul>' if items else ""


def _finding(comparison: Comparison, shot: int) -> str:
    best, *others = comparison.ranked(shot)
    text = f"With <b>{in_shots(shot)}</b>, <b>{escape(best['name'])}</b> is the most accurate"
    text += f": {best['accuracy']:.1f}{_within(best['ci95'], 1)}\N{NO-BREAK SPACE}%"
    if best["name"] == comparison.baseline:
        text += ", and it is the baseline"
    elif "difference" in best:
        text += f", {_against(best['difference'], best['difference_ci95'], comparison.baseline)}"
    rival = next((line for line in others if line["name"] != comparison.baseline), None)
    pair = comparison.paired(best["name"], rival["name"], shot) if rival else None
    if rival and pair:
        lead, half = pair
        name, points = escape(rival["name"]), _number(abs(lead), half)
        if lead == half == 0:
            text += f". {name} gives the same answers"
        elif lead > half:
            text += f". The next, {name}, is {points} behind"
        elif -lead > half:
            text += f". But on the episodes that both took, {name} is {points} ahead"
        else:
            text += f". The next, {name}, is too close to call ({points} {'behind' if lead >= 0 else 'ahead'})"
    return text + "."


def _against(difference: float, half: float, baseline: str) -> str:
    if abs(difference) <= half:
        return f"not to be told from {escape(baseline)} ({_signed(difference, half)}{_within(half)} points)"
    return f"{_number(abs(difference), half)} points {'above' if difference > 0 else 'below'} {escape(baseline)}"


def _setting(settings: dict[str, Any], comparisons: Sequence[Comparison]) -> str:
    """The whole experiment in plain words."""
    way, shots, seeds, baseline = settings["way"], settings["shots"], settings["seeds"], settings["baseline"]
    count, clips = _either(shots), "clip" if list(shots) == [1] else "clips"
    few = any(line.get("episodes", math.inf) < settings["episodes"] for c in comparisons for line in c.lines)
    words = (
        f"<p>Can a model name an action after seeing only {count} {clips} of it? Each test, an <b>episode</b>, draws "
        f"{way} actions at random ({way}-<b>way</b>). It shows {count} labelled {clips} of each, the <b>shots</b>, and "
        f"asks for the action in {settings['query']} other clips of each, the <b>queries</b>. Accuracy is the share of "
        f"queries named correctly, averaged over {settings['episodes']:,} episodes"
        + (f" for each of {len(seeds)} seeds" if len(seeds) > 1 else "")
        + f"; guessing gives {100 / way:.0f} %. The actions are {SPLITS.get(settings['split'], settings['split'])}."
        + ("" if settings["shared_group"] else " A query never shows the same source as a support clip.")
        + f" A model is given {settings['frames']} frames of a clip."
        + (" Embeddings are centred on the mean of all clips evaluated." if settings["center"] else "")
        + (" Methods with fewer episodes took the first of them." if few else "")
        + "</p><p>The figure after ± is half of a 95 % interval over episodes: how well the mean over <i>these</i> "
        "clips is known. It says nothing about other clips or other training runs"
        + (": for those, compare the seeds." if len(seeds) > 1 else ".")
    )
    if baseline:
        words += (
            f" All methods answer the same episodes, so a <b>difference</b> to {escape(baseline)} is taken episode by "
            f'episode, which is much sharper than two separate figures. <span class="up">▲</span> and '
            f'<span class="down">▼</span> mark those whose interval excludes zero'
            + (", and small print tells how many seeds agree in sign." if len(seeds) > 1 else ".")
        )
    names = " and ".join(dict.fromkeys(f"{escape(c.data)} ({c.clips})" for c in comparisons))
    spines = " and ".join(dict.fromkeys(escape(c.backbone) for c in comparisons))
    return f"<section><h2>The setting</h2>{words}</p><p>Data: {names}. Backbone: {spines}.</p></section>"


def _nav(comparisons: Sequence[Comparison]) -> str:
    if len(comparisons) < 2:
        return ""
    links = (f'<a href="#comparison-{n}">{escape(c.title)}</a>' for n, c in enumerate(comparisons, 1))
    return f'<nav aria-label="Comparisons">{"".join(links)}</nav>'


def _section(part: Part, number: int) -> str:
    inside = (
        _table(part.comparison) + _failures(part.comparison) + _costs(part.comparison) + _published(part.comparison)
    )
    for group, pictures in groupby(part.pictures, key=lambda picture: picture.group):
        inside += f'<h3>{escape(group)}</h3><div class="plots">{"".join(map(_figure, pictures))}</div>'
    inside += _reel(part.comparison, part.reel)
    return f'<section id="comparison-{number}"><h2>{escape(part.comparison.title)}</h2>{inside}</section>'


def _figure(picture: Picture) -> str:
    return (
        f'<figure class="plot"><h4>{escape(picture.title)}</h4><img src="{_uri(picture.svg, "svg+xml")}" '
        f'alt="{escape(picture.alt)}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
    )


# Tables


def _table(comparison: Comparison) -> str:
    """The main table: a row for each method, accuracy and difference for each shot, then cost."""
    wide = 2 if comparison.baseline else 1
    costs = [key for key in BESIDE if any(line.get(key) for line in comparison.lines)]
    groups = [(in_shots(shot), wide) for shot in comparison.shots] + [("cost of training", len(costs))]
    below = (["accuracy, %", "difference"][:wide]) * len(comparison.shots) + [BESIDE[key] for key in costs]
    top = "".join(f'<th colspan="{span}" scope="colgroup"><span>{text}</span></th>' for text, span in groups if span)
    head = f'<tr class="group"><td></td>{top}</tr><tr>{_heads(["method", *below])}</tr>'
    body = []
    for name in comparison.names:
        tag = '<span class="tag">baseline</span>' if name == comparison.baseline else ""
        own = comparison.lines_of(name)
        if own:
            cells = [cell for shot in comparison.shots for cell in _cells(comparison, own.get(shot), shot)[:wide]]
            cells += [_cost_cell(comparison, next(iter(own.values())), key) for key in costs]
        else:
            reason = escape(comparison.failures(name)[0]["error"])
            cells = [f'<td class="failed" colspan="{max(1, len(below))}">failed: {reason}</td>']
        body.append(f'<tr><th scope="row">{_name(name)}{tag}</th>{"".join(cells)}</tr>')
    return _scrolling(head, body, comparison.title)


def _cells(comparison: Comparison, line: dict[str, Any] | None, shot: int) -> list[str]:
    """Accuracy and difference of a method at a shot."""
    if line is None:
        return ['<td class="none">–</td>'] * 2
    settings = comparison.settings
    best = round(comparison.ranked(shot)[0]["accuracy"], 1)
    strong = ' class="best"' if round(line["accuracy"], 1) == best else ""
    lost = len(settings["seeds"]) - line["seeds"]
    notes = [f"{line['episodes']:,} episodes"] if line["episodes"] < settings["episodes"] else []
    notes += [f"{line['seeds']} of {len(settings['seeds'])} seeds"] if lost else []
    accuracy = f"<td><span{strong}>{line['accuracy']:.1f}</span>{_half(line['ci95'], 1)}{_under(notes)}</td>"
    if "difference" not in line:
        return [accuracy, "<td></td>" if line["name"] == comparison.baseline else '<td class="none">–</td>']
    value, half = line["difference"], line["difference_ci95"]
    if value == half == 0:
        return [accuracy, '<td class="none">same answers</td>']
    clear = abs(value) > half and abs(value) >= 0.005  # what is written as 0.00 is no gain, however sure
    kind, mark = ("unclear", "") if not clear else ("up", "▲ ") if value > 0 else ("down", "▼ ")
    seeds = [f"{line['agree']}/{line['seeds']} seeds"] if line["seeds"] > 1 else []
    number = f'<span class="{kind}">{mark}{_signed(value, half)}</span>{_half(half)}'
    return [accuracy, f"<td>{number}{_under(seeds)}</td>"]


def _cost_cell(comparison: Comparison, line: dict[str, Any], key: str) -> str:
    text = cost.written(line, key)
    again = key == "training_seconds" and comparison.trains_in_episodes(line)
    notes = _under(["per episode too"] if again and line.get(key) else [])
    return '<td class="none">–</td>' if text == "–" else f"<td>{text}{notes}</td>"


def _costs(comparison: Comparison) -> str:
    """What every method costs; nothing for a study of an older version, whose few costs stand in the main table."""
    if not comparison.shots:
        return ""
    lines = comparison.at(comparison.shots[-1])
    known = set(cost.present(lines))
    if known <= {*BESIDE, "evaluation_seconds"}:
        return ""
    groups = {group: [key for key in keys if key in known] for group, keys in COSTS.items()}
    top = "".join(f'<th colspan="{len(k)}" scope="colgroup"><span>{g}</span></th>' for g, k in groups.items() if k)
    below = [COSTS[group][key] for group, keys in groups.items() for key in keys]
    head = f'<tr class="group"><td></td>{top}</tr><tr>{_heads(["method", *below])}</tr>'
    body = [
        f'<tr><th scope="row">{_name(line["name"])}</th>'
        + "".join(_cost_cell(comparison, line, key) for keys in groups.values() for key in keys)
        + "</tr>"
        for line in lines
    ]
    places = dict.fromkeys(f"{line['device']}, {line['precision']}" for line in lines if line.get("device"))
    shot = f" With {in_shots(comparison.shots[-1])} where that matters." if len(comparison.shots) > 1 else ""
    return (
        f"<h3>What it costs</h3>{_scrolling(head, body, f'Costs, {comparison.title}')}"
        f'<p class="note">Device: {escape("; ".join(places))}.{shot} <b>Weights</b>: those of backbone and head that '
        "learn, and those kept in the run’s file. <b>Multiply-adds</b>: of the image tower for a whole clip, and of "
        "loss and gradients of a training step as they are computed from stored activations; counted by PyTorch. "
        "<b>Bytes</b>: activations of all clips of the row; most memory used at a time, on a CPU by the whole process "
        "with its libraries. <b>Seconds</b>: on this machine, without extraction, which rows share.</p>"
    )


def _failures(comparison: Comparison) -> str:
    """Seeds that failed of methods that otherwise went through; the table tells those that failed altogether."""
    lines = [
        f"<li>{escape(row['name'])}, seed {row['seed']}: {escape(row['error'])}</li>"
        for name in comparison.names
        if comparison.lines_of(name)
        for row in comparison.failures(name)
    ]
    return f'<div class="note"><p>Failed, and not counted:</p><ul>{"".join(lines)}</ul></div>' if lines else ""


def _published(comparison: Comparison) -> str:
    """Published results on the same novel classes below the study's best row; nothing where there are none."""
    settings, best, shots = comparison.settings, comparison.best(), comparison.shots
    if best is None or settings["split"] not in ("test", "novel"):
        return ""
    rows = published.matching(comparison.data, settings["way"], shots, comparison.classes)
    if not rows:
        return ""
    name = published.known_as(comparison.data)
    own = {shot: f"{line['accuracy']:.1f}{_half(line['ci95'], 1)}" for shot, line in comparison.lines_of(best).items()}
    body = [_published_row(best, "this study", comparison.backbone, [own.get(shot, "–") for shot in shots], "")]
    for row in rows:
        cells = [published.written(row.accuracy.get(shot)) or "–" for shot in shots]
        link = f'<a href="{escape(row.source.link)}">{escape(row.source.name)}</a>'
        body.append(_published_row(row.method, "published", row.backbone, cells, link))
    protocols = {row.source.name: f"{row.source.protocol}. Read: {row.source.read}." for row in rows}
    head = f"<tr>{_heads(['method', 'backbone'], 'text')}{_heads([*map(in_shots, shots), 'read at'])}</tr>"
    return (
        f"<h3>Published on {escape(name)}</h3>{_scrolling(head, body, f'Published on {name}')}"
        f'<p class="note">Not made with kshot and not the same test: backbones, what these had seen, class texts, '
        f"frames and the choice of weights differ. Here: {comparison.clips} (the published split has "
        f"{published.SETS[name][1]:,}), {settings['frames']} frames, {settings['query']} queries a class.</p>"
        f"<details><summary>How they were tested, and what was read</summary>{_list(protocols)}</details>"
    )


def _published_row(name: str, tag: str, backbone: str, cells: Sequence[str], source: str) -> str:
    label = f'<th scope="row">{escape(name)}<span class="tag">{tag}</span></th><td class="text">{escape(backbone)}</td>'
    return f"<tr>{label}{''.join(f'<td>{cell}</td>' for cell in cells)}<td>{source}</td></tr>"


def _methods(settings: dict[str, Any], comparisons: Sequence[Comparison]) -> str:
    """What the strategies are; then strategy, tuned weights, head and options of each method."""
    heads = {row["name"]: row["head"] for c in comparisons for row in c.rows if row.get("head")}
    trained = {row["name"]: row["trained_parameters"] for c in comparisons for row in c.rows if "error" not in row}
    body = []
    for row in settings["rows"]:
        tuned = " ".join(str(row[key]) for key in ("tuning", "layers") if row[key] is not None)
        given = {k: v for kind in ("strategy", "tuning", "head") for k, v in row[f"{kind}_options"].items()} | row[
            "train"
        ]
        cells = (
            row["strategy"],
            tuned if trained.get(row["name"], 1) else "nothing",
            heads.get(row["name"]) or row["head"] or "–",
            ", ".join(f"{key} = {value}" for key, value in given.items()) or "–",
        )
        inside = "".join(f'<td class="text">{escape(cell)}</td>' for cell in cells)
        body.append(f'<tr><th scope="row">{_name(row["name"])}</th>{inside}</tr>')
    head = f"<tr>{_heads(['method', 'strategy', 'tunes', 'head', 'options'], 'text')}</tr>"
    used = dict.fromkeys(row["strategy"] for row in settings["rows"])
    words = _list({name: STRATEGIES[name] for name in used if name in STRATEGIES})
    return f"<section><h2>The methods</h2>{words}{_scrolling(head, body, 'Methods')}</section>"


# Clips


def _reel(comparison: Comparison, reel: Reel) -> str:
    best, shot = escape(comparison.best() or ""), in_shots(comparison.shots[-1]) if comparison.shots else ""
    parts = []
    if reel.known:
        which = "the best and the least known classes" if reel.some else "one clip of each class"
        strips = "".join(_strip(strip, f"{percent:.0f} % right") for strip, percent in reel.known)
        parts.append(
            f'<h3>What the classes look like</h3><p class="note">The frames that a model is given: {which}, '
            f'in the order of how often {best} is right with {shot}.</p><div class="strips">{strips}</div>'
        )
    if reel.mixed:
        parts.append(
            f'<h3>What looks alike</h3><p class="note">The classes that {best} mixes up most with {shot}. '
            "Percent of the queries in episodes that hold both.</p>"
        )
    for pair in reel.mixed:
        one, other = escape(pair.one.label), escape(pair.other.label)
        parts.append(
            f'<div class="pair"><p><b>{one}</b> is taken for <b>{other}</b> in {pair.there:.0f} %, '
            f"the other way round in {pair.back:.0f} %.</p>"
            f'<div class="strips">{_strip(pair.one)}{_strip(pair.other)}</div></div>'
        )
    kinds = ((reel.successes, "Typical successes", "right"), (reel.failures, "Typical failures", "wrong"))
    for singles, heading, kind in kinds:
        if singles:
            parts.append(
                f'<h3>{heading}</h3><p class="note">Single clips that {best} is most reliably {kind} about with '
                f'{shot}, at most one of a class, over all times that each was a query.</p><div class="strips">'
                f"{''.join(map(_single, singles))}</div>"
            )
    return "".join(parts) + "".join(f'<p class="note">{escape(note)}</p>' for note in reel.notes)


def _single(single: Single) -> str:
    share = f"right {single.right:,} of {single.asked:,} times"
    taken = f"mostly taken for <b>{escape(single.other)}</b>, {single.taken:,} times" if single.other else ""
    file = f'<span class="file">{escape(single.strip.file)}</span>'
    return _strip(single.strip, share, f'<p class="more">{file}<span>{taken}</span></p>')


def _strip(strip: Strip, right: str = "", more: str = "") -> str:
    label = escape(strip.label)
    return (
        f'<figure><img src="{_uri(strip.jpeg, "jpeg")}" alt="Frames of a clip of {label}, {escape(strip.file)}">'
        f"<figcaption><span>{label}</span><span>{right}</span></figcaption>{more}</figure>"
    )


# How to repeat it


def _repeat(study: dict[str, Any], comparisons: Sequence[Comparison]) -> str:
    settings = study["settings"]
    facts = {
        "date": study["date"],
        "kshot": ", ".join(dict.fromkeys([study["version"], *(v for c in comparisons for v in c.versions)])),
        "seeds": ", ".join(map(str, settings["seeds"])),
        **{f"backbone {c.backbone}": f"fingerprint {c.fingerprint}" for c in comparisons if c.fingerprint},
        **{key: str(value) for key, value in study["machine"].items()},
    }
    lost = {clip: reason for c in comparisons for clip, reason in c.unreadable.items()}
    lists = {
        "Clips that could not be read": list(lost.values()),
        "Damaged clips that counted": [text for c in comparisons for text in c.damaged.values()],
        "Clips of the published split that this copy lacks": [clip for c in comparisons for clip in c.missing],
        "Passed over, left out or kept apart": [note for c in comparisons for note in c.notes],
    }
    listed = {
        what: "".join(f"<li>{escape(name)}</li>" for name in dict.fromkeys(names))
        for what, names in lists.items()
        if names
    }
    return (
        "<section><h2>To repeat it</h2><p>Save the settings below as <code>study.toml</code>. A seed draws the same "
        "episodes anywhere; what is finished is not run again.</p>"
        "<pre>kshot study study.toml --out results\nkshot report results</pre>"
        f"<details><summary>Versions, seeds, fingerprints, machine</summary>{_list(facts)}</details>"
        f"<details><summary>Settings: study.toml</summary><pre>{escape(as_toml(settings))}</pre></details>"
        f"<details><summary>Every run</summary>{''.join(map(_runs, comparisons))}</details>"
        + "".join(
            f"<details><summary>{what}: {names.count('<li>')}</summary><ul>{names}</ul></details>"
            for what, names in listed.items()
        )
        + "</section>"
    )


def _runs(comparison: Comparison) -> str:
    """A line for each method and seed, as it came out."""
    head = f"<tr>{_heads(['method', 'seed', *map(in_shots, comparison.shots), 'val', 'seconds'])}</tr>"
    body = []
    for row in comparison.rows:
        if "error" in row:
            cells = [f'<td class="failed" colspan="{len(comparison.shots) + 2}">failed: {escape(row["error"])}</td>']
        else:
            results = [row["results"].get(str(shot)) for shot in comparison.shots]
            cells = [f"<td>{r['accuracy']:.2f}{_half(r['ci95'], 2)}</td>" if r else "<td>–</td>" for r in results]
            val = row.get("val_accuracy")
            cells += [f"<td>{'–' if val is None else f'{val:.1f}'}</td>", f"<td>{row['training_seconds']:,.1f}</td>"]
        body.append(f'<tr><th scope="row">{_name(row["name"])}</th><td>{row["seed"]}</td>{"".join(cells)}</tr>')
    return f"<h4>{escape(comparison.title)}</h4>{_scrolling(head, body, f'Every run, {comparison.title}')}"


def as_toml(settings: dict[str, Any]) -> str:
    """A study's settings as a file that `kshot study` reads."""
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items() if key != "rows" and value is not None]
    for row in settings["rows"]:
        lines += ["", "[[row]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in row.items() if value not in (None, {})]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


# Small parts


def _heads(names: Sequence[str], kind: str = "") -> str:
    return "".join(f'<th scope="col" class="{kind}">{escape(name)}</th>' for name in names)


def _scrolling(head: str, body: Sequence[str], label: str) -> str:
    """A table in a box of its own, which scrolls where the screen is narrow."""
    table = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _list(facts: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())}</dl>"


def _under(notes: Sequence[str]) -> str:
    return "".join(f'<span class="under">{note}</span>' for note in notes)


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _digits(half: float) -> int:
    """Decimals of a difference: one more where its interval would read ±0.0."""
    return 2 if 0 < half < 0.05 else 1


def _within(half: float, digits: int | None = None) -> str:
    return "" if math.isnan(half) else f"\N{NO-BREAK SPACE}±{half:.{_digits(half) if digits is None else digits}f}"


def _half(half: float, digits: int | None = None) -> str:
    return f'<span class="pm">{_within(half, digits)}</span>'


def _name(name: str) -> str:
    """A method, with places where a narrow column may break it."""
    return re.sub(r"\+(?=\w)", "+<wbr>", escape(name))


def _signed(value: float, half: float) -> str:
    digits = _digits(half)
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def _number(value: float, half: float) -> str:
    return f"{value:.{_digits(half)}f}{_within(half)}"


def _either(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


def _day(text: str) -> str:
    day = datetime.date.fromisoformat(text)
    return f"{day.day} {day:%B %Y}"
