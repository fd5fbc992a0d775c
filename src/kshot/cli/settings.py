"""Command-line options made from the fields of `kshot.settings`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field
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
) -> Callable[[Callable[..., None]], _Taking]:
    """Gives a command an option for each field of settings classes.

    The command has an argument `context` and gets, as keyword arguments, those settings that the user gave, whatever
    their value: so protocols and adapted runs can tell them from defaults.

    Args:
        groups: settings classes.
        without: fields that are no option of this command.
        undecided: fields whose default depends on other things and is not shown.
    """
    return functools.partial(_Taking, groups=groups, without=frozenset(without), undecided=frozenset(undecided))


class _Taking:
    """A command with its options. They are made when somebody looks at them: most starts need one command's only."""

    def __init__(
        self,
        command: Callable[..., None],
        groups: Sequence[type[Settings]],
        without: frozenset[str],
        undecided: frozenset[str],
    ) -> None:
        self._command, self._groups, self._without, self._undecided = command, groups, without, undecided
        functools.update_wrapper(self, command, [one for one in functools.WRAPPER_ASSIGNMENTS if "annot" not in one])

    def __call__(self, context: typer.Context, **values: Any) -> None:
        asked = {name: values.pop(name) for name in self._kinds}
        given = {name: _value(self._kinds[name], value) for name, value in asked.items() if _given(context, name)}
        self._command(context=context, **values, **given)

    @functools.cached_property
    def _kinds(self) -> dict[str, Any]:
        """Setting -> its type."""
        hints = {group: get_type_hints(group) for group in self._groups}
        return {name: hints[group][name] for group in self._groups for name in group.names() if self._has(name)}

    def _has(self, name: str) -> bool:
        return name not in self._without

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self._command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        fields = [one for group in self._groups for one in group.fields() if self._has(one.name)]
        return signature.replace(parameters=[*own, *(self._option(one) for one in fields)])

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return {name: one.annotation for name, one in self.__signature__.parameters.items()}

    def _option(self, field: Field[Any]) -> inspect.Parameter:
        about, default = field.metadata, None if field.name in self._undecided else field.default
        members = {get_origin(kind) or kind for kind in _members(self._kinds[field.name])}
        several = bool(about["option"]) or members == {Sequence}  # an option that stands once for each value
        kind: Any = list[str] if several else next(each for each in READ_AS if each in members)
        if several or default is None:
            kind, default = kind | None, None
        called = dict.fromkeys(f"--{name.replace('_', '-')}" for name in (about["option"] or field.name, field.name))
        spelled = () if kind is bool and not about["flag"] else called  # --name and --no-name
        annotation = Annotated[kind, typer.Option(*spelled, help=about["help"])]
        return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


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
