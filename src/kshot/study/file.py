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
        train_shot: shot of training and val episodes; 0 for the same as at test, so that weights, and values of a
            search, are chosen for each shot on its own; None for the study's.
        seeds: of this row where they differ from the study's; empty for those.
    """

    name: str
    strategy: str = field(default="frozen", kw_only=True)
    strategy_options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    tuning_options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    head_options: dict[str, Any] = field(default_factory=dict, kw_only=True)
    train: dict[str, Any] = field(default_factory=dict)
    search: dict[str, list[Any]] | None = None
    episodes: int | None = None
    train_shot: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Compare:
    """A comparison that is declared before anything is run. A list in `to` becomes one comparison for each row.

    Attributes:
        name: the question, as tables put it.
        of: a row's name.
        to: the name of the row that it is compared to, on the same seeds and episodes.
        shots: at which shots; empty for all of the study. Every shot is a test of its own.
    """

    name: str
    of: str
    to: str
    shots: tuple[int, ...] = ()


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
        train_shot: as in `Row`, of the rows that do not say; None for what the protocol does: 0 for one that trains at
            the shot of the test, else 1.
        compare: comparisons declared beforehand. Where there are any, no other difference is marked.
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
    train_shot: int | None = None
    compare: tuple[Compare, ...] = ()

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """The seeds of a row."""
        return next((row.seeds for row in self.rows if row.name == name and row.seeds), self.seeds)

    @property
    def every_seed(self) -> tuple[int, ...]:
        """The study's own seeds, then those that single rows have besides."""
        return tuple(dict.fromkeys([*self.seeds, *(seed for row in self.rows for seed in row.seeds)]))


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
    if seeds:
        plan = replace(plan, seeds=tuple(seeds), rows=tuple(replace(row, seeds=()) for row in plan.rows))
    plan = replace(plan, episodes=plan.episodes if episodes is None else episodes)
    plan = replace(plan, rows=tuple(replace(row, train_shot=_train_shot(plan, row)) for row in plan.rows))
    if wrong := impossible(plan):
        raise OptionError(f"{of_row(plan, wrong[0])}{wrong[2]}")
    return plan


def _train_shot(plan: Study, row: Row) -> int:
    """The shot that a row trains and is chosen at, 0 for each of its tests: its own, the study's, the protocol's."""
    for own in (row.train_shot, plan.train_shot):
        if own is not None:
            return own
    return 0 if protocols.trains_at_each_shot(plan.protocol) else 1


def _read(path: Path, protocol: str | None) -> Study:
    text = gate.read_text(path, error=OptionError)
    table = gate.read_toml(path, error=OptionError)
    rows, compare = table.pop("row", []), table.pop("compare", [])
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
    declared, table_of = _declared(path, text, compare)
    study = _typed(path, Study, {"title": path.stem, "rows": tuple(made), "compare": declared, **values})
    if wrong := impossible(study):
        index, key, problem = wrong
        line = _line(text, None if index is None else source_of[index], key)
        if key == "compare" and (amiss := _undeclarable(study)):
            line = _line(text, table_of[amiss[0]], amiss[1], "compare")
        raise OptionError(f"{path}{line}: {of_row(study, index)}{problem}")
    return study


def _declared(path: Path, text: str, tables: Any) -> tuple[tuple[Compare, ...], list[int]]:
    """The comparisons of a file, and which of its [[compare]] each was made from."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise OptionError(f"{path}: compare must be tables, [[compare]], each with a name, of and to")
    made: list[Compare] = []
    source_of: list[int] = []
    for number, table in enumerate(tables):
        _check(path, text, table, {f.name for f in fields(Compare)}, "a comparison")
        if lacking := [key for key in ("name", "of", "to") if key not in table]:
            raise OptionError(
                f"{path}: every [[compare]] needs name, of and to; number {number + 1} lacks {lacking[0]}"
            )
        to = table["to"] if isinstance(table["to"], list) else [table["to"]]
        if not to:
            raise OptionError(f"{path}: comparison {gate.shortened(table['name'])}: to must name at least one row")
        made += [_typed(path, Compare, {**table, "to": other}) for other in to]
        source_of += [number] * len(to)
    tidied = [replace(one, name=names.tidy(one.name), of=names.tidy(one.of), to=names.tidy(one.to)) for one in made]
    return tuple(tidied), source_of


def _undeclarable(study: Study) -> tuple[int, str, str] | None:
    """The first thing in its comparisons that cannot work: number of the comparison, key, problem."""
    called = [row.name for row in study.rows]
    tests: set[tuple[str, str, int]] = set()
    for number, one in enumerate(study.compare):
        for key in ("of", "to"):
            if (name := getattr(one, key)) not in called:
                return number, key, str(unknown("row", name, called))
        if one.of == one.to:
            return number, "to", f"a row cannot be compared to itself, found '{one.of}' twice"
        if strange := [shot for shot in one.shots if shot not in study.shots]:
            return number, "shots", f"the study has no {strange[0]}-shot, only {list(study.shots)}"
        first, second = sorted((one.of, one.to))
        mine = [(first, second, shot) for shot in one.shots or study.shots]
        if len(set(mine)) < len(mine) or tests & set(mine):
            return number, "of", "the same two rows at the same shot are compared twice; declare each once"
        tests |= set(mine)
    return None


def impossible(study: Study) -> tuple[int | None, str, str] | None:
    """The first thing in a study that cannot work whatever the data: number of the row, if one's; key; problem."""
    for key, limit, values in (("shots", "shot", study.shots), ("seeds", "seed", study.seeds)):
        try:
            _numbers(key, limit, values)
        except OptionError as error:
            return None, key, str(error)
    if study.least_shot is not None and study.least_shot > min(study.shots):
        problem = f"least_shot must be at most the shots, {list(study.shots)}, found {study.least_shot}"
        return None, "least_shot", problem
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
    if amiss := _undeclarable(study):
        return None, "compare", f"comparison '{study.compare[amiss[0]].name}': {amiss[2]}"
    if study.split not in (*SPLITS, "all"):
        return None, "split", str(unknown("split", study.split, [*SPLITS, "all"]))
    for number, row in enumerate(study.rows):
        checks: dict[str, Callable[[], object]] = {
            "strategy": partial(get_strategy, row.strategy, **row.strategy_options),
            "tuning": partial(tuning.expect, row.tuning, row.tuning_options),
            "head": partial(heads.expect, row.head or "prototype", row.head_options),
            "train": partial(_training, {**study.train, **row.train}),
            "search": partial(_searching, study.search if row.search is None else row.search),
            "seeds": partial(_numbers, "seeds", "seed", row.seeds or study.seeds),
        }
        for key, check in checks.items():
            try:
                check()
            except OptionError as error:
                named = f"{key}_options" if f"{key}_options" in vars(row) and "option '" in str(error) else key
                return number, named, str(error)
    return None


def _numbers(key: str, limit: str, values: Sequence[int]) -> None:
    """Refuses a list of shots or seeds that is empty, has impossible ones, or one of them twice."""
    if not values:
        raise OptionError(f"{key} must be a list of numbers, found none")
    for value in values:
        settings.expect(**{limit: value})
    settings.expect(**{key: len(values)})
    if len(set(values)) < len(values):
        raise OptionError(f"{key} must differ: the same one twice would count twice, found {list(values)}")


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


def _line(text: str, number: int | None, key: str, kind: str = "row") -> str:
    """ ", line 7": where a study's file sets a key, in its table number `number` of rows or before them; "" if nowhere.

    What all rows share may be what is wrong with one. kind: "compare" for the tables of comparisons.
    """
    parts = re.split(r"(?m)^(?=[ \t]*\[\[(?:row|compare)\]\])", text)
    starts = list(itertools.accumulate(map(len, parts), initial=0))
    tables = [place for place, part in enumerate(parts) if re.match(rf"[ \t]*\[\[{kind}\]\]", part)]
    for part in [*tables[number : number + 1], 0] if number is not None else [0]:
        if found := re.search(rf"(?m)^\s*\[*(?:{kind}\.)?{key}\b", parts[part]):
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
