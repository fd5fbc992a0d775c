"""Names that people give, behind every door: labels and groups as text, and names as names of folders.

A missing value is nothing: it never becomes the word "None" or "nan". Texts that a reader cannot tell apart are not two
actions, and names that lose something on their way to a folder's name do not share it.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kshot.errors import DataError, KshotError

NOTHING = frozenset({"", "nan", "NaN", "<NA>", "NaT"})
"""Texts that tables write where there is nothing. "None" is not among them: it may be what an action is called."""

LONGEST = 40  # characters of a part of a folder's name
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})

JOINERS = "\u200c\u200d"  # shape the letters of several scripts, and emoji
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def tidy(text: str) -> str:
    """Text without blanks around it, its letters composed (NFC): what is compared and kept."""
    return unicodedata.normalize("NFC", text).strip()


def plain(text: str) -> str:
    """What a reader sees of a text: equal for texts that differ in case, form of letters, blanks or hidden marks only.

    >>> plain("Wave  again") == plain("wave again")
    True
    """
    seen = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c for c in seen if unicodedata.category(c) not in _HIDDEN).split())


def label(value: Any, place: str, kind: str = "label", error: type[KshotError] = DataError) -> str:
    """A value as the text of a label.

    Args:
        value: text, bytes (UTF-8), a whole or finite number; scalars of NumPy, pandas and PyTorch are taken as what
            they hold. 1.0 is written "1", as the table meant it before a missing value beside it made it floating.
        place: where it stands, for the message ("line 7").
        kind: what it is.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) nothing, something else, or a character that is not shown, by its number.
    """
    text = _text(value, place, kind, error)
    if text is None:
        blank = value is None or (isinstance(value, str | bytes) and not value.strip())
        raise error(f"{place} has no {kind}" + ("" if blank else f", found {value!r}"))
    for position, character in enumerate(text):
        if unicodedata.category(character) in _HIDDEN and character not in JOINERS:
            raise error(
                f"{place}: {kind} {text!a} holds U+{ord(character):04X} at position {position + 1}, a character "
                f"that is not shown: write it without"
            )
    return text


def labels(values: Iterable[Any], place: Callable[[int], str], kind: str = "label") -> list[str]:
    """Values as the texts of labels, one for each; see `label`.

    Args:
        values: whatever `label` takes.
        place: where value i stands.
        kind: what they are.

    Raises:
        DataError: as `label`, or two that a reader cannot tell apart.
    """
    numbers, texts = numbered(values, place, kind)
    return [texts[number] for number in numbers]


def numbered(values: Iterable[Any], place: Callable[[int], str], kind: str = "label") -> tuple[array[int], list[str]]:
    """As `labels`: for each value the number of its text, and the texts, in the order in which they come."""
    known: dict[str, int] = {}
    first: dict[str, tuple[int, int]] = {}  # text -> its number and where it comes first
    numbers = array("q")
    for index, value in enumerate(values):
        number = known.get(value) if isinstance(value, str) else None
        if number is None:
            number, _ = first.setdefault(label(value, place(index), kind), (len(first), index))
            if isinstance(value, str):
                known[value] = number
        numbers.append(number)
    distinct(first, kind, lambda text: f" ({place(first[text][1])})")
    return numbers, list(first)


def distinct(
    texts: Iterable[str],
    kind: str = "label",
    place: Callable[[str], str] = lambda text: "",
    error: type[KshotError] = DataError,
) -> None:
    """Refuses different texts that a reader cannot tell apart.

    Args:
        texts: any number of them; equal ones are no fault.
        kind: what they are, in the singular.
        place: where a text stands, as the end of its name in the message.
        error: which error to raise.

    Raises:
        KshotError: (as `error`) two of them look alike; it names both.
    """
    seen: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        other = seen.setdefault(plain(text), text)
        if other != text:
            raise error(
                f"{kind}s {other!r}{place(other)} and {text!r}{place(text)} look alike: they differ in case, in blanks "
                f"or in how their letters are stored; write both the same way"
            )


def groups(values: Iterable[Any], place: Callable[[int], str]) -> Iterator[str]:
    """Values as the texts of groups, "" for a missing one: that clip is a group by itself.

    Raises:
        DataError: something that is neither text nor a number.
    """
    return (_text(value, place(index), "group", DataError) or "" for index, value in enumerate(values))


def lone(groups: Sequence[str], given: bool = False) -> list[str]:
    """A sentence on clips without a group among others that have one; none where all or no clips have one.

    Args:
        groups: of the clips, "" for none.
        given: whether the user gave groups; then it is said too that all of them are empty.
    """
    count = sum(not group for group in groups)
    if not count or (count == len(groups) and not given):
        return []
    return [f"{count} of {len(groups)} clips name no group: each counts as filmed by itself"]


def _text(value: Any, place: str, kind: str, error: type[KshotError]) -> str | None:
    """A scalar as tidy text; None where there is nothing."""
    if not isinstance(value, str | bytes) and hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item() if _there(value) else None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise error(f"{place}: {kind} {value!r} is no UTF-8 text") from None
    if isinstance(value, str):
        text = tidy(value)
        return None if text in NOTHING else text
    if value is None or not _there(value):
        return None
    if isinstance(value, int | float) and math.isfinite(value):
        whole = not isinstance(value, bool) and value == int(value)
        return str(int(value) if whole else value)
    raise error(f"{place}: expected text or a number as its {kind}, found {value!r}")


def _there(value: Any) -> bool:
    """False for NaN, NaT, NA: what is not equal to itself."""
    if getattr(value, "shape", ()) or isinstance(value, list | tuple | dict | set):
        return True
    try:
        return bool(value == value)
    except (TypeError, ValueError):  # pandas' NA answers neither yes nor no
        return False


def folder_name(*parts: str, marked: bool = False) -> str:
    """A name for a folder or file that any file system takes, of the names it stands for.

    Small letters, digits and single hyphens stay as they are, parts joined by hyphens. Where anything else is lost, or
    the name means a device on Windows, a mark made of the whole parts follows: names that differ do not come out the
    same. Of a long part, such as a path, the end stays.

    Args:
        parts: the names.
        marked: put the mark in any case.

    >>> folder_name("motion", "kshot-tiny"), folder_name("Tip (a=1)"), folder_name("tip a 1")
    ('motion-kshot-tiny', 'tip-a-1-4795e648', 'tip-a-1-36f74400')
    """
    slugs = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")[-LONGEST:].strip("-") for part in parts]
    name = "-".join(slug for slug in slugs if slug)
    if not marked and slugs == list(parts) and all(slugs) and name not in RESERVED:
        return name
    mark = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(filter(None, (name, mark)))


def folder_names(many: Sequence[tuple[str, ...]]) -> list[str]:
    """`folder_name` of each, all of them different: ("a", "b-c") and ("a-b", "c") are marked."""
    made = [folder_name(*parts) for parts in many]
    count = Counter(made)
    return [
        folder_name(*parts, marked=True) if count[name] > 1 else name for name, parts in zip(made, many, strict=True)
    ]
