"""Results as types, and as JSON at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Record:
    """Base of the dataclasses of results. `record["name"]` reads a field, too, as in the JSON that it becomes."""

    def __getitem__(self, name: str) -> Any:
        if name not in _names(self):
            raise KeyError(name)
        return getattr(self, name)

    def plain(self: DataclassInstance) -> dict[str, Any]:
        """Ready for JSON: field name -> value, records inside included."""
        return asdict(self)

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Self:
        """The record of which `plain` gave these values; a field that an older kshot did not write has its default."""
        known = _names(cls)
        return cls(**{name: value for name, value in values.items() if name in known})


def _names(record: Any) -> set[str]:
    return {field.name for field in fields(record)}
