"""What a timeline can be written as: names of formats and kinds of pictures, checked before any work."""

from __future__ import annotations

from pathlib import Path

from kshot.errors import OptionError, unknown

FORMATS = {
    "table": "as_table",
    "json": "as_json",
    "csv": "as_csv",
    "vtt": "as_webvtt",
    "label-studio": "as_label_studio",
}
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
