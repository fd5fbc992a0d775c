"""Command-line options made from the fields of `kshot.settings`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from kshot.cli.common import pairs
from kshot.settings.fields import Settings

READ_AS = (Path, str, bool, int, float)
"""What an option is read as where a setting may be several: the first of these."""


def takes(
    *groups: type[Settings], without: Iterable[str] = (), undecided: Iterable[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command an option for each field of settings classes.

    The command has an argument `context` and gets, as keyword arguments, those settings that the user gave, whatever
    their value: so protocols and adapted runs can tell them from defaults.

    Args:
        groups: settings classes.
        without: fields that are no option of this command.
        undecided: fields whose default depends on other things and is not shown.
    """
    left_out, open_ones = set(without), set(undecided)
    kinds = {name: get_type_hints(group)[name] for group in groups for name in group.names() if name not in left_out}
    fields = {one.name: one for group in groups for one in group.fields()}
    options = []
    for name, hint in kinds.items():
        about, default = fields[name].metadata, None if name in open_ones else fields[name].default
        members = {get_origin(kind) or kind for kind in _members(hint)}
        several = bool(about["option"]) or members == {Sequence}  # an option that stands once for each value
        kind: Any = list[str] if several else next(each for each in READ_AS if each in members)
        if several or default is None:
            kind, default = kind | None, None
        called = f"--{(about['option'] or name).replace('_', '-')}"
        spelled = () if kind is bool and not about["flag"] else (called,)  # --name and --no-name
        annotation = Annotated[kind, typer.Option(*spelled, help=about["help"])]
        options.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]

        @functools.wraps(command)
        def call(context: typer.Context, **values: Any) -> None:
            asked = {name: values.pop(name) for name in kinds}
            given = {name: _value(kinds[name], value) for name, value in asked.items() if _given(context, name)}
            command(context=context, **values, **given)

        call.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        call.__annotations__ = {one.name: one.annotation for one in (*own, *options)}
        return call

    return wrap


def _members(hint: Any) -> set[Any]:
    """The types of a union, None left out; of any other type, itself."""
    if get_origin(hint) not in (Union, UnionType):
        return {hint}
    return {kind for kind in get_args(hint) if kind is not NoneType}


def _given(context: typer.Context, name: str) -> bool:
    """Whether the user gave an option, rather than leave it at its default."""
    return getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"


def _value(hint: Any, value: Any) -> Any:
    """What an option says. NAME=VALUE texts are a mapping; "none" alone is an empty list."""
    if Mapping in {get_origin(kind) for kind in _members(hint)}:
        return pairs(value)
    return [] if value == ["none"] else value
