"""A study's settings, and the TOML file that they are read from."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kshot import gate, heads, names, settings, tuning
from kshot.datasets import SPLITS
from kshot.errors import OptionError, unknown
from kshot.fewshot import protocols
from kshot.fewshot.strategies import get_strategy
from kshot.settings import Arithmetic, EpisodeRules, Method, Testing, Training, View

Made = TypeVar("Made")

TRAIN_KEYS = tuple(
    name
    for name in Training.fields()
    if name not in {*Method.names(), *View.names(), "shot", "seed", "shared_group", "keep_copies"}
    and name not in {"store", *Arithmetic.names()}
)
"""Settings of `kshot.train` that a study does not set from its own keys."""

SHIPPED = Path(__file__).parents[1] / "studies"


@dataclass(frozen=True)
class Row(Method):
    """One method of a study. In a file, lists in `tuning`, `layers` and `head` are crossed into several rows.

    Attributes:
        name: what tables call it.
        strategy: as in `kshot.train`; also "frozen" and "zero-shot", which train nothing.
        train: further settings of `kshot.train`.
        search: settings with several values each, of which the best on val is kept; the study's own by default.
        episodes: test episodes where they differ from the study's, for strategies that learn inside each.
        train_shot: shot of training episodes, 0 for the same as at test.
    """

    name: str
    strategy: str = field(default="frozen", kw_only=True)
    strategy_options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    tuning_options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    head_options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    train: dict[str, Any] = field(default_factory=dict)
    search: dict[str, list[Any]] | None = None
    episodes: int | None = None
    train_shot: int = 1


@dataclass(frozen=True)
class Study(View, EpisodeRules, Testing):
    """The settings of a study; see `read_study` for its file.

    Where it says nothing of frames, each backbone gets its own number: 8, or its unit where that is a clip.

    Attributes:
        title: what its report is called.
        rows: its methods.
        data: data sets, by name, path or query.
        backbone: backbones, by name or folder; none for the default of the data, see `kshot.activations.default`.
        shots: support clips a class, each a column.
        seeds: of training and of episodes, each a run.
        protocol: gives the settings of training that neither `train` nor a row does; in a file also what the file
            leaves out of way, query, episodes, frames, resize, prompts, shared_group and center.
        baseline: the row to which the others are compared.
        train: further settings of `kshot.train`, of all rows.
        search: values to try of settings of `kshot.train`, in every row that trains, so that no row is better cared for
            than another: with the first seed each combination is trained, the one with the best val accuracy is used
            with every seed. Novel classes have no part in it.
        about: a sentence on what it is for.
    """

    title: str
    rows: tuple[Row, ...]
    data: tuple[str, ...] = ("motion",)
    backbone: tuple[str, ...] = ()
    shots: tuple[int, ...] = (1, 5)
    seeds: tuple[int, ...] = (0,)
    protocol: str | None = None
    baseline: str = ""
    train: dict[str, Any] = field(default_factory=dict)
    search: dict[str, list[Any]] = field(default_factory=dict)
    about: str = ""


def read_study(source: str | Path, protocol: str | None = None) -> Study:
    """A study from a TOML file or by the name of one that ships ("quick", "paper", "heads").

    protocol: in place of the file's own. What the file says beats it.

    Raises:
        OptionError: no such study, a key that does not exist (with its line), or a value of the wrong kind.
    """
    path = Path(source)
    shipped = {file.stem: file for file in SHIPPED.glob("*.toml")}
    if str(source) in shipped:
        path = shipped[str(source)]
    elif not path.is_file():
        raise unknown("study", source, sorted(shipped)) if path.suffix != ".toml" else OptionError(f"no file {path}")
    try:
        return _read(path, protocol)
    except OptionError as error:
        if str(error).startswith(str(path)):
            raise
        raise OptionError(f"{path}: {error}") from None


def planned(
    study: str | Path | Study, protocol: str | None = None, seeds: Sequence[int] = (), episodes: int | None = None
) -> Study:
    """A study as it will run, with what is given in place of its own.

    Raises:
        OptionError: it cannot be run.
    """
    plan = (
        replace(study, protocol=protocol or study.protocol) if isinstance(study, Study) else read_study(study, protocol)
    )
    plan = replace(plan, seeds=tuple(seeds or plan.seeds), episodes=plan.episodes if episodes is None else episodes)
    if wrong := impossible(plan):
        raise OptionError(f"{of_row(plan, wrong[0])}{wrong[2]}")
    return plan


def _read(path: Path, protocol: str | None) -> Study:
    text = gate.read_text(path, error=OptionError)
    table = gate.read_toml(path, error=OptionError)
    rows = table.pop("row", [])
    _check(path, text, table, {f.name for f in fields(Study)} - {"rows"}, "a study")
    _check_training(path, text, table)
    _check_values(path, text, table)
    if not isinstance(table.get("protocol", ""), str):
        raise OptionError(f"{path}: protocol must be a text, found {gate.shortened(table['protocol'])}")
    if protocol or table.get("protocol"):
        table = _followed(table, str(protocol or table["protocol"]))
    if not isinstance(rows, list) or not rows:
        raise OptionError(f"{path} has no rows: add at least one [[row]] with a name and a strategy")
    made: list[Row] = []
    source_of: list[int] = []  # which table of the file a row was made from
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise OptionError(f"{path}: row {number + 1} must be a table, [[row]], found {gate.shortened(row)}")
        _check(path, text, row, {f.name for f in fields(Row)}, "a row")
        _check_training(path, text, row)
        made += _crossed(path, row)
        settings.expect(rows=len(made))
        source_of += [number] * (len(made) - len(source_of))
    if isinstance(table.get("baseline"), str):
        table["baseline"] = names.tidy(table["baseline"])
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    for name in ("data", "backbone", "prompts"):
        if isinstance(values.get(name), str):
            values[name] = (values[name],)
    study = _typed(path, Study, {"title": path.stem, "rows": tuple(made), **values})
    if wrong := impossible(study):
        index, key, problem = wrong
        line = _line(text, None if index is None else source_of[index], key)
        raise OptionError(f"{path}{line}: {of_row(study, index)}{problem}")
    return study


def impossible(study: Study) -> tuple[int | None, str, str] | None:
    """The first thing in a study that cannot work whatever the data: number of the row, if one's; key; problem."""
    for key, limit, values in (("shots", "shot", study.shots), ("seeds", "seed", study.seeds)):
        if not values:
            return None, key, f"{key} must be a list of numbers, found none"
        try:
            for value in values:
                settings.expect(**{limit: value})
            settings.expect(**{key: len(values)})
        except OptionError as error:
            return None, key, str(error)
        if len(set(values)) < len(values):
            return None, key, f"{key} must differ: the same one twice would count twice, found {list(values)}"
    called = [row.name for row in study.rows]
    for number, name in enumerate(called):
        try:
            if names.label(name, f"row {number + 1}", "name", OptionError) != name:
                raise OptionError(f"name {name!r} has blanks around it or letters in parts: write it without")
            names.distinct(called[: number + 1], "row name", error=OptionError)
        except OptionError as error:
            return number, "name", str(error)
        if name in called[:number]:
            return number, "name", f"two rows are called '{name}'; give each its own name"
    if study.baseline and study.baseline not in called:
        return None, "baseline", str(unknown("baseline", study.baseline, called))
    if study.split not in (*SPLITS, "all"):
        return None, "split", str(unknown("split", study.split, [*SPLITS, "all"]))
    for number, row in enumerate(study.rows):
        checks: dict[str, Callable[[], object]] = {
            "strategy": partial(get_strategy, row.strategy, **row.strategy_options),
            "tuning": partial(tuning.expect, row.tuning, row.tuning_options),
            "head": partial(heads.expect, row.head or "prototype", row.head_options),
            "train": partial(_training, {**study.train, **row.train}),
            "search": partial(_searching, study.search if row.search is None else row.search),
        }
        for key, check in checks.items():
            try:
                check()
            except OptionError as error:
                named = f"{key}_options" if f"{key}_options" in vars(row) and "option '" in str(error) else key
                return number, named, str(error)
    return None


def _training(asked: dict[str, Any]) -> None:
    """Refuses settings of `kshot.train` that have impossible values; their names are known."""
    try:
        Training.of(Training.renamed(asked))
    except OptionError as error:
        raise OptionError(f"train: {error}") from None


def _searching(search: Mapping[str, Sequence[Any]]) -> None:
    settings.expect(searched=math.prod(map(len, search.values())))
    for name, values in search.items():
        for value in values:
            _training({name: value})


def of_row(study: Study, number: int | None) -> str:
    return "" if number is None else f"row '{study.rows[number].name}': "


def _line(text: str, number: int | None, key: str) -> str:
    """ ", line 7": where a study's file sets a key, in its table number `number` of rows or before them; "" if nowhere.

    What all rows share may be what is wrong with one.
    """
    parts = re.split(r"(?m)^(?=[ \t]*\[\[row\]\])", text)
    starts = list(itertools.accumulate(map(len, parts), initial=0))
    for part in [0] if number is None else [number + 1, 0]:
        found = re.search(rf"(?m)^\s*\[*(?:row\.)?{key}\b", parts[part]) if part < len(parts) else None
        if found:
            return f", line {text[: starts[part] + found.end()].count(chr(10)) + 1}"
    return ""


def _crossed(path: Path, row: dict[str, Any]) -> list[Row]:
    """The rows of one [[row]], lists in tuning, layers and head crossed and named after what differs."""
    if not isinstance(row.get("name"), str):
        raise OptionError(f"{path}: every [[row]] needs a name")
    named = names.label(row["name"], f"{path}: a row", "name", OptionError)
    lists = {k: row[k] for k in ("tuning", "layers", "head") if isinstance(row.get(k), list)}
    for key in lists:
        if not lists[key]:
            raise OptionError(f"{path}: row '{named}': {key} must be one value or a list of some, found []")
    settings.expect(rows=math.prod(map(len, lists.values())))
    made = []
    for values in itertools.product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        name = ", ".join([named, *map(str, values)])
        made.append(_typed(path, Row, {**row, **chosen, "name": name}))
    return made


def _typed(path: Path, kind: type[Made], values: dict[str, Any]) -> Made:
    """`kind(**values)`, its fields checked to have the types they declare."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise OptionError(f"{path}: {place}: {first['msg'].lower()}, found {gate.shortened(first['input'])}") from None


def _check(path: Path, text: str, table: dict[str, Any], known: set[str], what: str) -> None:
    for key in table:
        if key not in known:
            found = re.search(rf"^\s*\[*{re.escape(key)}\b|\b{re.escape(key)}\s*=", text, re.MULTILINE)
            line = text[: found.end()].count("\n") + 1 if found else "?"
            raise OptionError(f"{path}, line {line}: {unknown(f'key of {what}', key, sorted(known))}")


def _followed(table: dict[str, Any], protocol: str) -> dict[str, Any]:
    """A study's table with what it leaves to its protocol. Its own query is that of training, too."""
    training = dict(table.get("train", {}))  # a table, as was checked
    if "query" in table:
        training.setdefault("query", table["query"])
    return {**protocols.preset(protocol, "testing"), **table, "train": training, "protocol": protocol}


def _check_values(path: Path, text: str, table: dict[str, Any]) -> None:
    """Refuses values of settings that a study cannot have, with their line."""
    for name in (*View.names(), *EpisodeRules.names(), *Testing.names()):
        if name in table:
            try:
                Study.expect(name, table[name])
            except OptionError as error:
                raise OptionError(f"{path}{_line(text, None, name)}: {error}") from None


def _check_training(path: Path, text: str, table: dict[str, Any]) -> None:
    """`train` and `search` of a study or row name settings of `kshot.train` that the study does not set itself."""
    for key in ("train", "search"):
        if not isinstance(inner := table.get(key, {}), dict):
            raise OptionError(f"{path}: {key} must be a table such as {{ lr = ... }}, found {gate.shortened(inner)}")
        if inner:
            table[key] = inner = Training.renamed(inner)
        _check(path, text, inner, set(TRAIN_KEYS), key)
    for name, values in table.get("search", {}).items():
        if not isinstance(values, list) or not values:
            raise OptionError(f"{path}: search.{name} must be a list of values to try, found {gate.shortened(values)}")
