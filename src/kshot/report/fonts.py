"""Fonts for the letters of names: one of this machine that has them, or which to install.

Asked only where the usual fonts lack a letter, as every font file is opened then.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.ft2font import FT2Font

_BY_SCRIPT = {  # the first word of a letter's name -> the font that has it, where that is not called after the word
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC"), "Noto Sans CJK"),
    **dict.fromkeys(("LATIN", "GREEK", "CYRILLIC"), "Noto Sans"),
}


def lacking(texts: Iterable[str], families: Sequence[str]) -> set[str]:
    """The characters of the texts that none of these fonts has.

    Args:
        texts: of a figure.
        families: names of fonts that matplotlib knows.
    """
    letters = {c for text in texts for c in text if not c.isspace() and unicodedata.category(c)[0] != "C"}
    for family in families if any(map(_is_rare, letters)) else ():
        letters -= _has(findfont(FontProperties(family=[family])))
        if not letters:
            break
    else:
        return {c for c in letters if _is_rare(c)}
    return set()


def covering(letters: Iterable[str]) -> list[str]:
    """Names of fonts of this machine that have some of the letters, as few as it needs; matplotlib knows them then.

    Args:
        letters: characters that the usual fonts lack.
    """
    left, found = set(letters), list[str]()
    for path in sorted(findSystemFonts()):
        if not left:
            break
        try:
            if not left & _has(path):
                continue
            left -= _has(path)
            fontManager.addfont(path)
            found.append(FontProperties(fname=path).get_name())
        except Exception:  # noqa: S112  (a font that cannot be opened is none)
            continue
    return found


def advice(letters: Iterable[str]) -> str:
    """A sentence, without its full stop, on letters that no font of this machine has, and what to install.

    Args:
        letters: characters; at least one.
    """
    wanted = sorted(letters)
    fonts = list(dict.fromkeys(map(_font, wanted)))
    shown = "".join(wanted[:8]) + ("…" if len(wanted) > 8 else "")
    return (
        f"no font of this machine has {len(wanted)} of the letters in the names ({shown}): the plots saved as PNG show "
        f"boxes in their place; install {' and '.join(fonts)}, and make the report again"
    )


def _is_rare(letter: str) -> bool:
    return ord(letter) > 0x24F


def _has(path: str) -> set[str]:
    font: FT2Font = get_font(path)
    return set(map(chr, font.get_charmap()))


def _font(letter: str) -> str:
    """The font that has a letter: Google's Noto fonts are called after the scripts."""
    if unicodedata.category(letter) == "So":
        return "Noto Emoji"
    script = unicodedata.name(letter, "LATIN").split()[0].split("-")[0]
    return _BY_SCRIPT.get(script, f"Noto Sans {script.capitalize()}")
