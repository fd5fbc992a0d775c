"""What a timeline can be written as: names of formats and kinds of pictures, checked before any work."""

from __future__ import annotations

from pathlib import Path

from kshot.datasets.annotations import writable
from kshot.errors import OptionError, unknown

OWN = ("table", "json")
"""kshot's own formats, which a timeline writes itself; the others are those of `kshot.datasets.annotations`."""
FORMATS = (*OWN, *writable())
PICTURES = ("png", "svg", "pdf")


def check_format(name: str) -> None:
    """Raises OptionError for a format that does not exist."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)


def check_picture(path: Path) -> str:
    """The kind of picture that a file name says; raises OptionError if there is none."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in PICTURES:
        raise OptionError(f"a picture is a .png, .svg or .pdf file, found '{path.name}': give it such a name")
    return kind
