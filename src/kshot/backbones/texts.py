"""Class texts: how a class name becomes words, and whether the text tower still sees the name in them.

Every text that stands for a class is made here. A tower reads a limited number of tokens; what lies beyond them, or
behind a token that it takes for the end, it never sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from kshot.errors import DataError, OptionError

SHOWN = 60  # characters of a prompt or a name in a message
READABLE, SPELLED = "{}", "{spelled}"
"""Where a class name goes in a prompt: with underscores read as spaces, or as it is spelled."""


@dataclass(frozen=True)
class ClassText:
    """A class name in one prompt.

    Attributes:
        template: the prompt, with `{}` or `{spelled}` where the name goes.
        name: the class name, as it was given.
        words: what the tokenizer gets.
        begin: first character of `words` that belongs to the name.
        end: the one after its last.
    """

    template: str
    name: str
    words: str
    begin: int
    end: int


def expect_prompts(prompts: Sequence[str] | str) -> list[str]:
    """Templates of class texts as a list; each has `{}` where the class name goes, or `{spelled}`.

    Raises:
        OptionError: none, or one without a place for the class name.
    """
    templates = [prompts] if isinstance(prompts, str) else list(prompts)
    bad = [one for one in templates if not isinstance(one, str) or (READABLE in one) == (SPELLED in one)]
    if bad or not templates:
        raise OptionError(f"a prompt needs {{}} where the class name goes, got '{bad[0] if bad else ''}'")
    return templates


def written(names: Sequence[str], templates: Sequence[str]) -> list[ClassText]:
    """Every name in every template, all templates of the first name first.

    Underscores are read as spaces where the template has `{}`, and stay where it has `{spelled}`.
    """
    made = []
    for name in names:
        for template in templates:
            slot, said = (SPELLED, name) if SPELLED in template else (READABLE, name.replace("_", " "))
            begin = template.index(slot)
            made.append(ClassText(template, name, template.replace(slot, said), begin, begin + len(said)))
    return made


def examine(texts: Sequence[ClassText], encodings: Sequence[Any], ends: Sequence[int], starts: int = 1) -> list[str]:
    """What the tower does not see of the texts, in words; nothing where it sees all of them.

    Args:
        texts: from `written`.
        encodings: of the tokenizers library, one a text.
        ends: places of the token at which the tower stops reading, one a text.
        starts: number of tokens before the first word.

    Raises:
        OptionError: a prompt leaves no room for a name.
        DataError: two names that the tower cannot tell apart, or one of which nothing is left.
    """
    cut: dict[str, list[tuple[ClassText, int, int]]] = {}
    seen: dict[tuple[str, tuple[int, ...]], tuple[ClassText, bool]] = {}
    for text, encoding, end in zip(texts, encodings, ends, strict=True):
        offsets = encoding.offsets[starts:end]
        reach = max((stop for _, stop in offsets), default=0)
        whole = end == len(encoding.ids) - 1 and not encoding.overflowing
        shown = any(start < text.end and stop > text.begin for start, stop in offsets)
        if not shown and not whole:
            raise OptionError(
                f"prompt '{short(text.template)}' leaves no room for '{short(text.name)}': this text tower reads "
                f"{end - starts} tokens of it and stops before the name; shorten the prompt"
            )
        if not shown:
            raise DataError(f"nothing is left of the class name '{short(text.name)}' in tokens: rename the class")
        key = (text.template, tuple(encoding.ids[:end]))
        other, other_whole = seen.setdefault(key, (text, whole))
        if other.name != text.name:
            refuse_equal(other, text, whole and other_whole)
        if not whole:
            cut.setdefault(text.template, []).append((text, reach, end - starts))
    return [_sentence(template, lost, len({text.name for text in texts})) for template, lost in cut.items()]


def refuse_equal(one: ClassText, other: ClassText, whole: bool = True) -> NoReturn:
    """Refuses two names that are one text, or that are (not `whole`) once they are cut off.

    Raises:
        DataError: as whole texts.
        OptionError: as texts cut off.
    """
    names = f"'{short(one.name)}' and '{short(other.name)}'"
    if whole:
        raise DataError(
            f"classes {names} are one text to this backbone ('{short(one.words)}'): rename one of them, or use a "
            "method or head without class texts"
        )
    raise OptionError(
        f"in the prompt '{short(one.template)}' classes {names} are cut off before they differ: shorten the prompt or "
        "the names"
    )


def _sentence(template: str, lost: Sequence[tuple[ClassText, int, int]], classes: int) -> str:
    first, reach, tokens = lost[0]
    left = first.words[reach:].strip()
    return (
        f"prompt '{short(template)}': {len(lost)} of {classes} class texts are longer than the {tokens} tokens that "
        f"this text tower reads, and cut off; of '{short(first.name)}' it does not see '{short(left)}'"
    )


def short(text: str) -> str:
    """A prompt or name for a message."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
