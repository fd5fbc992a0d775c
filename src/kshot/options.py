"""Options of a head, tuning method or strategy: whether it has them and can take their values, before anything runs."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TypeAlias, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from kshot.errors import OptionError

Positive: TypeAlias = Annotated[float, Gt(0)]
"""A number above 0."""
Count: TypeAlias = Annotated[int, Ge(1)]
"""A whole number, 1 or more."""
NotNegative: TypeAlias = Annotated[float, Ge(0)]
"""0 or more."""
Fraction: TypeAlias = Annotated[float, Ge(0), Le(1)]
"""From 0 to 1."""
Part: TypeAlias = Annotated[float, Gt(0), Lt(1)]
"""Above 0 and less than 1."""
Share: TypeAlias = Annotated[float, Ge(0), Lt(1)]
"""0 or more and less than 1."""

LIGHT = ("__future__", "typing", "collections.abc", "kshot.heads", "kshot.options", "kshot.tuning")
"""Modules that a signature's own names may come from where it is read from the source."""


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
        return problem(get_type_hints(alone, _names_of(target), include_extras=True)[option], value)
    except NameError:  # a name that only type checkers see
        return ""


def _names_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The names that annotations of a function's, or of a class's `__init__`, may use; it may be inherited."""
    made = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    return made.__globals__ if hasattr(made, "__globals__") else vars(import_module(target.__module__))


@lru_cache(maxsize=256)
def declared(place: str) -> Callable[..., Any]:
    """Something with the signature of a class or function, read from its source: importing it may import PyTorch.

    Args:
        place: "module:Class" or "module:function".

    Returns:
        A function that does nothing, with the arguments of the function or of the class's `__init__`, of which `self`
        is left out; the object itself where there is no source to read.
    """
    module, _, name = place.partition(":")
    try:
        path = Path((find_spec(module) or SimpleNamespace(origin=None)).origin or "")
        body = ast.parse(path.read_text("utf-8")).body
        made = _signature_of(body, name)
    except (OSError, ValueError, SyntaxError, NameError):
        made = None
    if made is None:
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found
    return made


def _signature_of(body: list[ast.stmt], name: str) -> Callable[..., Any] | None:
    """The stand-in for a class or function of a module's body; None where that does not say its arguments itself."""
    place = next((one for one in body if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name), None)
    if isinstance(place, ast.ClassDef):
        own = next((one for one in place.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
        if own is None:
            return _inherited(body, place)
        own.args.args.pop(0)
        place = own
    if place is None:
        return None
    used = {
        part.id
        for default in (*place.args.defaults, *place.args.kw_defaults)
        if default is not None
        for part in ast.walk(default)
        if isinstance(part, ast.Name)
    }
    plain = [one for one in body if _gives(one, used)]
    bare = ast.FunctionDef("stand_in", place.args, [ast.Pass()], [], place.returns)
    tree = ast.fix_missing_locations(ast.Module([*plain, bare], []))
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(tree, "<signature>", "exec"), names)  # of kshot's own source: imports, constants and a signature
    found: Callable[..., Any] = names["stand_in"]
    return found


def _inherited(body: list[ast.stmt], kind: ast.ClassDef) -> Callable[..., Any] | None:
    """The stand-in of the class that a class gets its `__init__` from."""
    base = kind.bases[0] if kind.bases else None
    if not isinstance(base, ast.Name):
        return None
    for one in body:
        if isinstance(one, ast.ImportFrom) and one.module and any(base.id == each.name for each in one.names):
            return declared(f"{one.module}:{base.id}")
    return _signature_of(body, base.id)


def _gives(one: ast.stmt, used: Collection[str]) -> bool:
    """Whether a statement imports names of annotations, or gives one of the names in use its value."""
    if isinstance(one, ast.ImportFrom):
        return one.module in LIGHT
    targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id in used for target in targets)


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
