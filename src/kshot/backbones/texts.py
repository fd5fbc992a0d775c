"""Class texts: how a class name becomes words, and whether the text tower still sees the name in them.

Every text that stands for a class is made here. A tower reads a limited number of tokens; what lies beyond them, or
behind a token that it takes for the end, it never sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kshot.backbones.prompts import READABLE, SPELLED, expect_prompts
from kshot.errors import DataError, OptionError
from kshot.settings import PROMPTS

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 60  # characters of a prompt or a name in a message


@dataclass(frozen=True)
class ClassText:
    """A class name, or a description that stands for it, in one prompt.

    Attributes:
        template: the prompt, with `{}` or `{spelled}` where the name goes.
        name: the class name, as it was given.
        words: what the tokenizer gets.
        begin: first character of `words` that belongs to the name or description.
        end: the one after its last.
    """

    template: str
    name: str
    words: str
    begin: int
    end: int

    @property
    def said(self) -> str:
        """What stands in the place of the name."""
        return self.words[self.begin : self.end]

    @property
    def described(self) -> bool:
        """Whether that is not the name itself."""
        return self.said not in (self.name, spoken(self.name))

    def title(self) -> str:
        """What it is, for a message."""
        return f"text '{short(self.said)}' of class '{short(self.name)}'" if self.described else f"'{short(self.name)}'"


@dataclass(frozen=True)
class Wording:
    """How classes are put into words.

    Attributes:
        prompts: templates of class texts, or names of ensembles; see `expect_prompts`.
        descriptions: class name -> texts that stand in its place; a class that is not in it stands for itself.
        phases: whether these are phases in order, whose vectors are kept apart.
    """

    prompts: Sequence[str] | str = PROMPTS
    descriptions: Mapping[str, Sequence[str]] | None = None
    phases: bool = False

    @classmethod
    def of(cls, prompts: Prompts) -> Wording:
        """What templates alone stand for; a wording is itself."""
        return prompts if isinstance(prompts, Wording) else cls(prompts)

    def templates(self, whole: bool = False) -> list[str]:
        """The templates. For descriptions, or where `whole`, the default one stands for a text alone: it is for names
        in a sentence.

        Raises:
            OptionError: see `expect_prompts`.
        """
        found = expect_prompts(self.prompts)
        return ["{}"] if (whole or self.descriptions is not None) and tuple(found) == PROMPTS else found

    def said(self, name: str) -> Sequence[str]:
        """The texts that stand for a class."""
        return (self.descriptions or {}).get(name, (spoken(name),))

    def joined(self, vectors: Tensor, names: Sequence[str]) -> Tensor:
        """One unit vector a class, or one a phase, from the vectors of texts.

        A class of fewer phases than the most has them repeated, as alike often as it goes, so that all classes have K.

        Args:
            vectors: (n, P) of each text of each class in turn; see `said`.
            names: C class names.

        Returns:
            (C, P) normalised means, or with `phases` (C, K, P) unit vectors.
        """
        import torch
        from torch.nn.functional import normalize

        counts = [len(self.said(name)) for name in names]
        parts, most = torch.split(vectors, counts), max(counts)
        if self.phases:
            return normalize(torch.stack([part[torch.arange(most) * len(part) // most] for part in parts]), dim=-1)
        return normalize(torch.stack([part.mean(0) for part in parts]), dim=-1)


Prompts = Sequence[str] | str | Wording


def spoken(name: str) -> str:
    """A class name as it is read: underscores are spaces."""
    return name.replace("_", " ")


def written(names: Sequence[str], templates: Sequence[str], wording: Wording | None = None) -> list[ClassText]:
    """Every text of every class in every template, all templates of the first text of the first class first.

    Args:
        names: class names; underscores are read as spaces, but in a template with `{spelled}`.
        templates: with `{}` or `{spelled}` where the name goes.
        wording: whose descriptions stand in place of names, as they are written.

    Raises:
        OptionError: no names.
    """
    if not len(names):
        raise OptionError("no class names to embed: give at least one")
    made = []
    for name in names:
        for said in (wording or Wording()).said(name):
            for template in templates:
                slot = SPELLED if SPELLED in template else READABLE
                words = name if slot == SPELLED and said == spoken(name) else said
                begin = template.index(slot)
                made.append(ClassText(template, name, template.replace(slot, words), begin, begin + len(words)))
    return made


def examine(
    texts: Sequence[ClassText], encodings: Sequence[Any], ends: Sequence[int], starts: int = 1, ordered: bool = False
) -> list[str]:
    """What the tower does not see of the texts, in words; nothing where it sees all of them.

    Args:
        texts: from `written`.
        encodings: of the tokenizers library, one a text.
        ends: places of the token at which the tower stops reading, one a text.
        starts: number of tokens before the first word.
        ordered: whether classes differ whose texts do in nothing but their order.

    Raises:
        OptionError: a prompt leaves no room for a name.
        DataError: two classes that the tower cannot tell apart, or a name of which nothing is left.
    """
    cut: dict[str, list[tuple[ClassText, int, int]]] = {}
    wholes = []
    for text, encoding, end in zip(texts, encodings, ends, strict=True):
        offsets = encoding.offsets[starts:end]
        reach = max((stop for _, stop in offsets), default=0)
        whole = end == len(encoding.ids) - 1 and not encoding.overflowing
        shown = any(start < text.end and stop > text.begin for start, stop in offsets)
        if not shown and not whole:
            raise OptionError(
                f"prompt '{short(text.template)}' leaves no room for {text.title()}: this text tower reads "
                f"{end - starts} tokens of it and stops before the name; shorten the prompt"
            )
        if not shown:
            what = text.title() if text.described else f"the class name {text.title()}"
            how = "write it in other words" if text.described else "rename the class"
            raise DataError(f"nothing is left of {what} in tokens: {how}")
        wholes.append(whole)
        if not whole:
            cut.setdefault(text.template, []).append((text, reach, end - starts))
    expect_apart(texts, [encoding.ids[:end] for encoding, end in zip(encodings, ends, strict=True)], wholes, ordered)
    return [
        _sentence(template, lost, sum(text.template == template for text in texts)) for template, lost in cut.items()
    ]


def expect_apart(
    texts: Sequence[ClassText], rows: Sequence[Sequence[int]], wholes: Sequence[bool], ordered: bool = False
) -> None:
    """Refuses classes whose texts are the same, or become so where they are cut off.

    Args:
        texts: from `written`.
        rows: what the tower reads of each.
        wholes: whether that is all of it.
        ordered: see `examine`.

    Raises:
        DataError: whole texts are the same.
        OptionError: texts that are cut off are.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(texts):
        groups.setdefault((text.template, text.name), []).append(number)
    seen: dict[tuple[str, tuple[tuple[int, ...], ...]], list[int]] = {}
    equal: dict[tuple[str, str], list[int]] = {}
    for (template, name), own in groups.items():
        read = [tuple(rows[number]) for number in own]
        first = seen.setdefault((template, tuple(read if ordered else sorted(read))), own)
        if first is not own:
            equal.setdefault((texts[first[0]].name, name), [*first, *own])
    if not equal:
        return
    (one, other), numbers = next(iter(equal.items()))
    text = texts[numbers[0]]
    called = f"classes '{short(one)}' and '{short(other)}'"
    more = f", and {len(equal) - 1} more pair{'s' * (len(equal) > 2)} of classes too" if len(equal) > 1 else ""
    if all(wholes[number] for number in numbers):
        remedy = "give them texts that differ" if text.described else "rename one of them"
        raise DataError(
            f"{called} are one text to this backbone ('{short(text.words)}'){more}: {remedy}, or use a method or head "
            "without class texts"
        )
    raise OptionError(
        f"in the prompt '{short(text.template)}' {called} are cut off before they differ{more}: shorten the prompt or "
        f"the {'texts' if text.described else 'names'}"
    )


def _sentence(template: str, lost: Sequence[tuple[ClassText, int, int]], texts: int) -> str:
    first, reach, tokens = lost[0]
    left = first.words[reach:].strip()
    return (
        f"prompt '{short(template)}': {len(lost)} of {texts} class texts are longer than the {tokens} tokens that "
        f"this text tower reads, and cut off; of '{short(first.name)}' it does not see '{short(left)}'"
    )


def short(text: str) -> str:
    """A prompt or name for a message."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
