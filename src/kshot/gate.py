"""The one gate for files that users give: regular, of bounded size, checked before anything opens them.

A pipe, a socket or a device would hold whoever opens it for ever; a file of terabytes would fill the memory. Text comes
as UTF-8, with or without a byte-order mark, or as UTF-16 with one, as Windows writes it; JSON, TOML and XML of any
depth fail in one line, and XML expands no entities. What a file says is checked
to be of the kinds that it should be (`typed`), and names that it gives lead into its own folder (`inside`).
"""

from __future__ import annotations

import codecs
import json
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from kshot.errors import CheckpointError, DataError, KshotError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

TEXT_BYTES = 256 << 20
"""A list of ten million clips is smaller; what is larger is no list, configuration or manifest."""
XML_DEPTH = 64
"""Elements within elements; annotations of videos have less than ten."""
PIECE = 1 << 18  # bytes that are decoded at a time
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""Its byte-order marks."""


def regular(path: str | os.PathLike[str], most: int | None = None, error: type[KshotError] = DataError) -> int:
    """Bytes of a regular file; links are followed. Nothing is opened.

    Args:
        path: the file.
        most: bytes that it may have; None for any number.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) it is missing, no regular file, unreachable or larger than `most`.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise error(f"no such file: {os.fspath(path)}") from None
    except (OSError, ValueError) as reason:  # ValueError: a null byte in the name
        raise error(f"{os.fspath(path)} cannot be reached ({getattr(reason, 'strerror', None) or reason})") from None
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{os.fspath(path)} is {kind(found.st_mode)}: expected a regular file")
    if most is not None and found.st_size > most:
        raise error(f"{os.fspath(path)} has {found.st_size:,} bytes: expected at most {most:,}")
    return found.st_size


def expect_config(folder: Path, what: str, command: str) -> None:
    """Refuses a folder without the config.json that a command writes.

    Args:
        folder: as the user gave it.
        what: it should be, as in "a model".
        command: that writes it.

    Raises:
        CheckpointError: there is none.
    """
    if not (folder / "config.json").exists():
        raise CheckpointError(f"{folder} is not {what} folder: expected config.json in it, as `{command}` writes")


def kind(mode: int) -> str:
    """What a path leads to, in words, from `st_mode`.

    >>> kind(os.stat("/dev/null").st_mode)
    'a device'
    """
    return {
        stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device", stat.S_IFREG: "a regular file",
    }.get(stat.S_IFMT(mode), "no regular file")  # fmt: skip


@contextmanager
def _readable(path: str | os.PathLike[str], error: type[KshotError] = DataError) -> Iterator[None]:
    """Tells what the system says of a file that cannot be read."""
    try:
        yield
    except OSError as reason:
        raise error(f"{os.fspath(path)} cannot be read ({reason.strerror or reason})") from None


def read_bytes(path: str | os.PathLike[str], most: int = TEXT_BYTES, error: type[KshotError] = DataError) -> bytes:
    """All of a small regular file.

    Args:
        path: the file.
        most: bytes that it may have.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) see `regular`.
    """
    regular(path, most, error)
    with _readable(path, error), open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise error(f"{os.fspath(path)} has more than {most:,} bytes")
    return data


def read_text(path: str | os.PathLike[str], most: int = TEXT_BYTES, error: type[KshotError] = DataError) -> str:
    """All of a small text file in UTF-8 or UTF-16, without its byte-order mark; line ends as they are.

    Args:
        path: the file.
        most: bytes that it may have.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) see `regular`, or it is neither: the message says how to save it anew.
    """
    data = read_bytes(path, most, error)
    wide = data.startswith(UTF_16)
    try:
        return data.decode("utf-16" if wide else "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as reason:
        raise error(_no_text(path, wide, reason.start)) from None


def _no_text(path: str | os.PathLike[str], wide: bool, place: int) -> str:
    form, file = "UTF-16" if wide else "UTF-8", os.fspath(path)
    how = "'CSV UTF-8'" if file.lower().endswith(".csv") else "UTF-8"  # as spreadsheets call it
    return f"{file} is no {form} text (byte {place:,} is not): save it as {how}"


@contextmanager
def open_text(
    path: str | os.PathLike[str], most: int = TEXT_BYTES, error: type[KshotError] = DataError
) -> Iterator[TextIO]:
    """A text file to be read line by line, as `read_text` reads all of it; a wrong byte is told before the first line.

    Args:
        path: the file.
        most: bytes that it may have.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) see `read_text`.
    """
    regular(path, most, error)
    with _readable(path, error):
        with open(path, "rb") as file:
            wide = file.read(2) in UTF_16
            decoder, place = codecs.getincrementaldecoder("utf-16" if wide else "utf-8")(), file.seek(0)
            block = b" "
            while block:
                block, held = file.read(PIECE), len(decoder.getstate()[0])
                try:
                    decoder.decode(block, final=not block)
                except UnicodeDecodeError as reason:
                    raise error(_no_text(path, wide, place - held + reason.start)) from None
                place += len(block)
                if place > most:
                    raise error(f"{os.fspath(path)} has more than {most:,} bytes")
        text = open(path, encoding="utf-16" if wide else "utf-8-sig", newline="")  # noqa: SIM115 (closed below, where errors are the user's)
    with text:
        yield text


def beginning(path: str | os.PathLike[str]) -> str:
    """The first characters of a file of any size, which tell JSON, XML and tables apart; errors as of `read_bytes`."""
    regular(path)
    with _readable(path), open(path, "rb") as file:
        head = file.read(4096)
    return head.decode("utf-16" if head.startswith(UTF_16) else "utf-8-sig", errors="ignore").lstrip()


def read_json(path: str | os.PathLike[str], most: int = TEXT_BYTES, error: type[KshotError] = DataError) -> Any:
    """The value of a JSON file.

    Args:
        path: the file.
        most: bytes that it may have.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) see `read_text`, or it is no JSON or nested too deeply.
    """
    text = read_text(path, most, error)
    try:
        return json.loads(text)
    except RecursionError:
        raise error(f"{Path(path)} is nested too deeply to be what it should be") from None
    except ValueError as reason:
        raise error(f"{Path(path)} is no JSON ({reason})") from None


def glimpse(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object of a JSON file; an empty one where the file is missing, damaged or holds something else."""
    try:
        found = read_json(path)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def read_toml(path: str | os.PathLike[str], most: int = TEXT_BYTES, error: type[KshotError] = DataError) -> Any:
    """The table of a TOML file.

    Args:
        path: the file.
        most: bytes that it may have.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) see `read_text`, or it is no TOML or nested too deeply.
    """
    text = read_text(path, most, error)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise error(f"{Path(path)} is nested too deeply to be what it should be") from None
    except ValueError as reason:
        raise error(f"{Path(path)} is no TOML ({reason})") from None


def read_xml(path: str | os.PathLike[str], most: int = TEXT_BYTES, error: type[KshotError] = DataError) -> Element:
    """The root element of an XML file. A document type, and with it every entity of its own, is refused unread.

    Args:
        path: the file.
        most: bytes that it may have.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) see `read_bytes`, or it is no XML, has a document type or is nested too deeply.
    """
    from xml.etree.ElementTree import ParseError, TreeBuilder

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    class Shallow(TreeBuilder):
        depth = 0

        def start(self, tag: str, attrs: dict[str, str]) -> Element:
            self.depth += 1
            if self.depth > XML_DEPTH:
                raise error(f"{Path(path)} is nested too deeply to be what it should be")
            return super().start(tag, attrs)

        def end(self, tag: str) -> Element:
            self.depth -= 1
            return super().end(tag)

    parser = DefusedXMLParser(target=Shallow(), forbid_dtd=True)
    try:
        parser.feed(read_bytes(path, most, error))
        root: Element = parser.close()
    except DefusedXmlException:
        raise error(
            f"{Path(path)} declares a document type (<!DOCTYPE ...>), with which XML can grow without limit: remove "
            f"that line, no program that writes annotations of videos needs it"
        ) from None
    except (ParseError, ValueError, LookupError) as reason:  # LookupError: an encoding that nobody knows
        raise error(f"{Path(path)} is no XML ({reason})") from None
    return root


def typed(value: Any, form: type[BaseModel], source: object, error: type[KshotError] = DataError) -> Any:
    """What a file holds, checked against one of `kshot.forms`, and handed on as it is; see `parsed`."""
    parsed(value, form, source, error)
    return value


def parsed(value: Any, form: type[M], source: object, error: type[KshotError] = DataError) -> M:
    """What a file holds, as one of `kshot.forms`.

    Args:
        value: as JSON gave it.
        form: what it should be.
        source: how a message begins: the file.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) names the field, what was expected there and what was found.
    """
    from pydantic import ValidationError

    try:
        return form.model_validate(value)
    except ValidationError as reason:
        first = reason.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise error(f"{source} is damaged: it lacks '{place}'") from None
        wanted = first["msg"].lower().removeprefix("input should ")
        wanted = f"it should {wanted}" if wanted != first["msg"].lower() else wanted
        place = f"{place}: " if place else ""
        raise error(f"{source} is damaged: {place}{wanted}, found {shortened(first['input'])}") from None


def shortened(value: object, most: int = 60) -> str:
    """A value for a message, however large it is."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; a whole number of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def inside(folder: str | os.PathLike[str], name: object, error: type[KshotError] = DataError) -> Path:
    """The path of a file that a file of `folder` names. It lies in that folder, also after links were followed.

    Args:
        folder: whose file gives the name.
        name: as it was read.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) no text, empty, absolute, with a drive or "..", or a link that leads out.
    """
    home = Path(folder)
    if not isinstance(name, str) or not name or "\0" in name:
        raise error(f"{home} names a file by {shortened(name)}: expected the name of a file in that folder")
    windows = PureWindowsPath(name)  # reads "/" and "\\" as separators, and drives
    if windows.anchor or ".." in windows.parts or ":" in name:
        raise error(f"{home} names {shortened(name)}, which is outside of it: nothing of it is read")
    path = home / name
    homes = [home.resolve()]
    if home.parent.name == "snapshots":  # of the hub's cache, where files are links to blobs beside it
        homes.append(homes[0].parents[1] / "blobs")
    if not any(path.resolve().is_relative_to(one) for one in homes):
        raise error(f"{path} is a link out of its folder: nothing of it is read")
    return path
