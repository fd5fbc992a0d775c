"""Figures in fonts that have their letters: one of this machine that has them, or which to install.

Font files are opened only where the usual fonts lack a letter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font, get_font_names
from matplotlib.text import Text

# DejaVu comes with matplotlib, Verdana is nearly as wide; the others know scripts that both lack.
FAMILIES = ("DejaVu Sans", "Verdana", "Noto Sans CJK SC", "Noto Sans CJK JP", "Arial Unicode MS")
LATIN = 0x24F  # up to here every font has the letters
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC")


def drawn(draw: Callable[[], Figure]) -> tuple[Figure, str]:
    """A figure in fonts that have its letters; for use within `matplotlib.rc_context`.

    Args:
        draw: makes the figure; it is called again where other fonts were found for it.

    Returns:
        The figure, and its letters that no font of this machine has.
    """
    families = [name for name in FAMILIES if name in set(get_font_names())]
    matplotlib.rcParams["font.family"] = families
    figure = draw()
    missing = _lacking(figure, families)
    if missing and (found := _covering(missing)):
        matplotlib.rcParams["font.family"] = families = [*families, *found]
        figure = draw()
        missing = _lacking(figure, families)
    return figure, "".join(sorted(missing))


def advice(letters: str) -> str:
    """A sentence, without its full stop, on letters that no font of this machine has, and on what to install.

    Args:
        letters: at least one.
    """
    wanted = sorted(set(letters))
    fonts = " and ".join(dict.fromkeys(map(_font, wanted)))
    shown = "".join(wanted[:8]) + "…" * (len(wanted) > 8)
    return f"no font of this machine has the letters {shown}: pictures show boxes in their place; install {fonts}"


def _lacking(figure: Figure, families: Iterable[str]) -> set[str]:
    """Letters of a figure's texts that none of these fonts has."""
    texts = {text.get_text() for text in figure.findobj(Text)}
    letters = {c for c in "".join(texts) if ord(c) > LATIN and unicodedata.category(c)[0] not in "CZ"}
    for family in families:
        if letters:
            letters -= _letters(findfont(FontProperties(family=[family])))
    return letters


def _covering(letters: Iterable[str]) -> list[str]:
    """Names of fonts of this machine that have these letters, as far as there are any; matplotlib knows them then.

    The system's folders are read anew: matplotlib's own list does not know what was installed since it was made.
    """
    left, found = set(letters), list[str]()
    for path in sorted(findSystemFonts()):
        try:
            here = left & _letters(path)
            if here:
                fontManager.addfont(path)
                found.append(FontProperties(fname=path).get_name())
        except (OSError, RuntimeError, ValueError):  # it cannot be opened, so it has no letters
            continue
        left -= here
    return found


def _letters(path: str) -> set[str]:
    return set(map(chr, get_font(path).get_charmap()))


def _font(letter: str) -> str:
    """A font that has a letter: those of the Noto family are called after the scripts, as the letters are."""
    script = unicodedata.name(letter, "").split(" ")[0].split("-")[0]
    if unicodedata.category(letter) == "So":
        return "Noto Emoji"
    return "Noto Sans CJK" if script in _CJK else f"Noto Sans {script.capitalize()}".rstrip()
