"""What settings are made of: fields with a default, limits and one sentence of help, in small frozen dataclasses.

`kshot.settings` has the settings themselves.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any, ClassVar, Self, get_type_hints

from kshot import options
from kshot.errors import OptionError, unknown
from kshot.gate import shortened


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float = math.inf,
    above: float | None = None,
    among: Sequence[str] = (),
    option: str = "",
    flag: bool = False,
    formerly: str = "",
) -> Any:
    """A field of a settings class.

    Args:
        default: its value where none is given.
        help: one sentence for `--help`, docs and editors.
        low: the least value that it may have.
        high: the largest one. Beyond it lies a slip of the keyboard, or a file made to fill memory or disk.
        above: a value that it must exceed.
        among: the texts that it may be.
        option: what the command line calls it, where that is not its own name.
        flag: whether the command line can only switch it on.
        formerly: its name in files of older versions, which are still read.
    """
    about = {
        "help": help, "low": low, "high": high, "above": above, "among": tuple(among), "option": option, "flag": flag,
        "formerly": formerly,
    }  # fmt: skip
    return field(default=default, metadata=about)


class Settings:
    """Base of the settings classes. Making one checks the type and the limits of every field."""

    def __post_init__(self) -> None:
        for name in self.names():
            value = getattr(self, name)
            if hasattr(value, "dtype") and hasattr(value, "item"):  # NumPy's numbers are numbers
                object.__setattr__(self, name, value := value.item())
            if isinstance(value, list):  # what is frozen has no lists
                object.__setattr__(self, name, value := tuple(value))
            self.expect(name, value)

    @classmethod
    def expect(cls, name: str, value: Any) -> None:
        """Refuses a value of another type than the setting's annotation, or outside of its limits.

        Raises:
            OptionError: says what was expected and what was found.
        """
        one = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]
        _check(cls, one, value)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a mapping that may hold other things too. What it lacks, or says is None, has its default."""
        return cls(**{name: values[name] for name in cls.names() if values.get(name) is not None})

    @classmethod
    def fields(cls) -> tuple[Field[Any], ...]:
        """Its settings as fields, made by `setting`; a class that inherits them may have other fields, too."""
        return tuple(one for one in fields(cls) if "help" in one.metadata)  # type: ignore[arg-type]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of its settings."""
        return tuple(one.name for one in cls.fields())

    def values(self) -> dict[str, Any]:
        """Name -> value."""
        return {name: getattr(self, name) for name in self.names()}

    def record(self) -> dict[str, Any]:
        """Name -> value, ready for JSON."""
        return {name: _plain(value) for name, value in self.values().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _check(kind: type[Settings], one: Field[Any], value: Any) -> None:
    """Refuses a value of another type than the field's annotation, or outside of its limits."""
    name, about = one.name, one.metadata
    if about.get("among") and value not in about["among"]:
        raise unknown(name, value, about["among"])
    low, high, above = about.get("low"), about.get("high", math.inf), about.get("above")
    whole = str(one.type).startswith("int")  # annotations are texts in this module
    if value is None and one.default is None:
        return
    if low is None and above is None:
        if problem := options.problem(_hints(kind)[name], value):  # type: ignore[arg-type]
            raise OptionError(f"{name}: {problem}, found {shortened(value)}")
    elif whole:
        expect_whole(name, value, low, high)
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OptionError(f"{name} must be a finite number, found {shortened(value)}")
    elif low is not None and value < low:
        raise OptionError(f"{name} must be at least {low}, found {value}")
    elif value > high:
        raise OptionError(f"{name} must be at most {high:,}, found {value}")
    elif above is not None and value <= above:
        raise OptionError(f"{name} must be above {above}, found {value}")


def expect_whole(name: str, value: Any, low: float | None = None, high: float = math.inf) -> None:
    """Refuses what is no whole number, or outside of its limits.

    Raises:
        OptionError: names the value, the limit and what was found.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"{name} must be a whole number, found {shortened(value)}") from None
    if isinstance(value, bool):
        raise OptionError(f"{name} must be a whole number, found {value}")
    if low is not None and number < low:
        raise OptionError(f"{name} must be at least {low}, found {shortened(number)}")
    if number > high:
        raise OptionError(f"{name} must be at most {high:,}, found {shortened(number)}")


class Front:
    """Base of the settings of a public function: a group of settings classes, one an attribute.

    Attributes:
        function: the function's name, for messages.
        undecided: settings whose default depends on the call's other arguments; None stands for it.
    """

    function: ClassVar[str] = ""
    undecided: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @functools.cache
    def groups(cls) -> dict[str, type[Settings]]:
        """Attribute -> settings class."""
        found = get_type_hints(cls)
        return {one.name: found[one.name] for one in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    @functools.cache
    def fields(cls) -> dict[str, Field[Any]]:
        """Name -> field of all its groups."""
        return {one.name: one for group in cls.groups().values() for one in group.fields()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Name -> default."""
        return {name: one.default for name, one in cls.fields().items()}

    @classmethod
    def chosen(cls, given: Iterable[Settings], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """What a caller gave: name -> value. Keywords beat objects; None, where it may stand, was not given.

        Raises:
            OptionError: the function has no such settings, or they cannot have these values.
        """
        values: dict[str, Any] = {}
        for group in given:
            if not isinstance(group, tuple(cls.groups().values())):
                listed = ", ".join(kind.__name__ for kind in cls.groups().values())
                raise OptionError(
                    f"{cls.function} takes settings ({listed}) and keyword arguments after its first ones, found "
                    f"{shortened(group)}"
                )
            values |= group.values()
        for name, value in cls.renamed(keywords).items():
            if name not in cls.fields():
                raise unknown(f"argument of {cls.function}", name, cls.fields())
            if value is not None:
                values[name] = value
            elif name not in cls.undecided:
                next(group for group in cls.groups().values() if name in group.names()).expect(name, value)
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a mapping that may hold other things too; what it lacks has its default."""
        return cls(**{name: group.of(values) for name, group in cls.groups().items()})

    def values(self) -> dict[str, Any]:
        """Name -> value of all its groups."""
        found: dict[str, Any] = {}
        for name in self.groups():
            found |= getattr(self, name).values()
        return found

    @classmethod
    def renamed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings from a caller, or a file, of any version, under today's names."""
        today = {one.metadata["formerly"]: one.name for one in cls.fields().values() if one.metadata["formerly"]}
        return {today.get(name, name): value for name, value in values.items()}
