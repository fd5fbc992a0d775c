"""Options of a head, tuning method or strategy: whether it has them and can take their values, before anything runs."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from types import SimpleNamespace
from typing import Any, get_type_hints

from kshot.errors import OptionError


def expect(
    owner: str, known: Mapping[str, Any], chosen: Mapping[str, Any], target: Callable[..., Any] | None = None
) -> None:
    """Refuses options that `owner` does not have, and values of another kind than annotations say.

    Args:
        owner: what messages call it, as in "head 'otam'".
        known: option -> default.
        chosen: option -> value.
        target: the class or function that takes them, whose annotations count; None where it looks at values itself.

    Raises:
        OptionError: names the option, and the options that there are.
    """
    for option, value in chosen.items():
        if option not in known:
            listed = ", ".join(f"{key}={default!r}" for key, default in known.items()) or "none"
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise OptionError(f"{owner} has no option '{option}'; its options: {listed}{hint}")
        if target is not None and (wrong := _problem(target, option, value)):
            raise OptionError(f"{owner}: option '{option}': {wrong}, found {value!r}")


def _problem(target: Callable[..., Any], option: str, value: Any) -> str:
    """What is wrong with the kind of a value, in words; "" if nothing is."""
    if isinstance(value, float) and not math.isfinite(value):
        return "expected a finite number"
    parameter = signature(target).parameters.get(option)
    if parameter is None or parameter.annotation is Parameter.empty:
        return ""
    alone = SimpleNamespace(__annotations__={option: parameter.annotation})  # what others mean may be unknown
    try:
        return problem(get_type_hints(alone, _names_of(target))[option], value)
    except NameError:  # a name that only type checkers see
        return ""


def _names_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The names that annotations of a function's, or of a class's `__init__`, may use; it may be inherited."""
    made = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    return vars(sys.modules[getattr(made, "__module__", None) or target.__module__])


def problem(annotation: Any, value: Any) -> str:
    """What is wrong with the kind of a value for an annotation, in words; "" if nothing is."""
    if annotation in (bool, int, str) and type(value) is annotation and (annotation is not str or value.isascii()):
        return ""  # what most are; the first validator takes a tenth of a second

    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        problems = dict.fromkeys(each["msg"].lower().removeprefix("input should ") for each in error.errors())
        return "it should " + " or ".join(problems)
    return ""
