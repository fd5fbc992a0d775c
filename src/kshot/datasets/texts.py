"""A file of class texts: a CSV with the columns `label,text`, a row for each text, as many a class as one likes.

Rows of a class stand in their order, which matters to heads that take them as phases of the action.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kshot import gate, names
from kshot.datasets.sheet import read_sheet
from kshot.datasets.table import empty_rows, unused_columns
from kshot.errors import DataError

NEEDED = ("label", "text")
SHOWN = 3  # classes in a message


@dataclass(frozen=True)
class Descriptions:
    """Texts that describe classes, and the file that they were read from.

    Attributes:
        file: its path, as it was given.
        sha256: of its bytes.
        of: class -> its texts, in the order of the file.
        notes: sentences on what of the file was passed over, with counts.
    """

    file: str
    sha256: str
    of: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, str]:
        """Which file it was, ready for JSON."""
        return {"file": self.file, "sha256": self.sha256}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Descriptions:
        """From what a model folder keeps of them."""
        return cls(values["file"], values["sha256"], {label: tuple(texts) for label, texts in values["of"].items()})

    def expect_apart(self) -> Mapping[str, tuple[str, ...]]:
        """The texts of every class; refuses a class that has one twice, which would weigh double in a mean.

        Raises:
            DataError: names the class, and counts such classes.
        """
        twice = [name for name, texts in self.of.items() if len(set(texts)) < len(texts)]
        if twice:
            raise DataError(
                f"{self.file} has a text twice of {_listed(twice, 'class', 'classes', ())}: remove one of them, or "
                "take the texts as phases (--head-option phases=true)"
            )
        return self.of

    def expect(self, needed: Iterable[str], known: Collection[str]) -> None:
        """Refuses a file that lacks a class, or describes one that there is not.

        Args:
            needed: classes that must have a text.
            known: all classes that there are.

        Raises:
            DataError: names them, how many they are, and the nearest name.
        """
        lacking = [name for name in needed if name not in self.of]
        if lacking:
            spare = [name for name in self.of if name not in known]
            raise DataError(
                f"{self.file} has no text of {_listed(lacking, 'class', 'classes', spare)}: add a row for each"
            )
        odd = [name for name in self.of if name not in known]
        if odd:
            raise DataError(
                f"{self.file} describes {_listed(odd, 'class', 'classes', known)}, which the data do not have: correct "
                "or remove the rows"
            )


def _listed(odd: list[str], one: str, many: str, near: Iterable[str]) -> str:
    """ "class 'wav' (did you mean 'wave'?)", or "7 classes: 'a', 'b', 'c' and 4 more"."""
    close = difflib.get_close_matches(odd[0], list(near), n=1)
    hint = f" (the nearest is '{close[0]}')" if close else ""
    if len(odd) == 1:
        return f"{one} '{odd[0]}'{hint}"
    more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
    shown = [f"'{name}'" for name in odd[:SHOWN]]
    return f"{len(odd)} {many}: {', '.join([f'{shown[0]}{hint}', *shown[1:]])}{more}"


def read_texts(path: str | Path) -> Descriptions:
    """The class texts of a CSV, as any system writes it (see `kshot.datasets.sheet`).

    Raises:
        DataError: unreadable, a missing column, a row without label or text, labels that look alike, or a text that
            follows itself.
    """
    path = Path(path)
    data = gate.read_bytes(path)
    sheet = read_sheet(path, NEEDED)
    for column in NEEDED:
        if sheet.header.count(column) != 1:
            found = ", ".join(map(repr, sheet.header[:12])) or "nothing"
            how = "more than one" if column in sheet.header else "no"
            raise DataError(f"{path.name}: {how} column '{column}' in the header, found {found}: expected label,text")
    of: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    for line, row in sheet.rows():
        place = f"{path.name}: line {line}"
        label, text = names.label(row["label"], place), " ".join(names.tidy(row["text"]).split())
        if not text:
            raise DataError(f"{place}: the text of class '{label}' is empty: write it, or remove the row")
        names.label(text, place, "text")
        if of.get(label, [""])[-1] == text:
            raise DataError(f"{place}: class '{label}' has this text in the row before already: '{text}'")
        of.setdefault(label, []).append(text)
        first.setdefault(label, line)
    names.distinct(of, "label", lambda label: f" ({path.name}: line {first[label]})")
    if not of:
        raise DataError(f"{path.name} holds no class texts: expected a row 'label,text' for each")
    unused = [column for column in sheet.header if column not in NEEDED]
    return Descriptions(
        str(path), hashlib.sha256(data).hexdigest(), {label: tuple(texts) for label, texts in of.items()},
        (*unused_columns(path, unused), *empty_rows(path, sheet.empty)),
    )  # fmt: skip
