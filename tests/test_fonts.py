"""Letters of names in figures: a font of this machine that has them, or one line that says which to install."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from PIL import Image

import studies
from kshot import fonts
from kshot.report import plots, report
from kshot.report.plots import Point
from kshot.study.file import Row, Study

HINDI, BLOCK = "हिलना", "\u2588"  # no script of DejaVu's; and what the font below has in place of one of its letters


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the only fonts that this machine has beside those of matplotlib."""
    folder, known = tmp_path / "fonts", [*fontManager.ttflist]
    folder.mkdir()
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: sorted(map(str, folder.glob("*.ttf"))))
    monkeypatch.setattr(fonts, "FAMILIES", ("DejaVu Sans",))
    yield folder
    fontManager.ttflist[:] = known
    fontManager._findfont_cached.cache_clear() if hasattr(fontManager, "_findfont_cached") else None


def with_letters(path: Path, name: str, letters: str) -> None:
    """A copy of DejaVu Sans under another name, in which these letters look like a full block."""
    ttlib = pytest.importorskip("fontTools.ttLib")
    made = ttlib.TTFont(findfont("DejaVu Sans"))
    for table in made["cmap"].tables:
        if table.isUnicode():
            glyph = table.cmap[ord(BLOCK)]
            table.cmap.update({ord(letter): glyph for letter in letters})
    for record in made["name"].names:
        if record.nameID in (1, 4, 16):
            record.string = name
    made.save(path)


def bars(name: str) -> Callable[[], Figure]:
    return lambda: plots.per_class({"m": {name: 60.0, "wave": 40.0}})


def test_a_font_of_this_machine_is_found(system: Path) -> None:
    without, _ = fonts_of(bars("a"))
    assert plots.render(bars("a"))[2] == "" and without == ["DejaVu Sans"]
    assert plots.render(bars(HINDI))[2] == "".join(sorted(set(HINDI)))
    with_letters(system / "hindi.ttf", "Some Hindi", HINDI)
    (system / "broken.ttf").write_bytes(b"no font")
    families, missing = fonts_of(bars(HINDI))
    assert families == ["DejaVu Sans", "Some Hindi"] and missing == ""
    shown = np.asarray(Image.open(io.BytesIO(plots.render(bars(HINDI))[1])).convert("L"))
    empty = np.asarray(Image.open(io.BytesIO(plots.render(bars("     "))[1])).convert("L"))
    assert (shown < 60).mean() > (empty < 60).mean() + 0.002, "its letters are there, as the blocks that they are"


def fonts_of(draw: Callable[[], Figure]) -> tuple[list[str], str]:
    """The fonts that a figure was drawn in, and the letters that it lacks."""
    with matplotlib.rc_context():
        _, missing = fonts.drawn(draw)
        return list(matplotlib.rcParams["font.family"]), missing


@pytest.mark.parametrize(
    ("name", "font"),
    [
        (HINDI, "Noto Sans Devanagari"), ("ਹੱਥ", "Noto Sans Gurmukhi"), ("跳ぶ", "Noto Sans CJK"),
        ("손", "Noto Sans CJK"), ("กระโดด", "Noto Sans Thai"), ("🤸", "Noto Emoji"),
    ],
)  # fmt: skip
def test_where_there_is_none_it_is_said_which_to_install(system: Path, name: str, font: str) -> None:
    missing = fonts_of(bars(name))[1]
    note = fonts.advice(missing)
    assert note.endswith(f"install {font}") and missing[0] in note and "\n" not in note


def test_what_the_usual_fonts_have_needs_no_search(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: pytest.fail("fonts were looked for"))
    for name in ("wave", "Žluťoučký kůň", "прыжок", "κύμα", "a$b ±0.1 … “x”"):
        assert fonts_of(bars(name)) == (["DejaVu Sans"], "")


def test_the_report_says_it_in_one_line(system: Path, tmp_path: Path) -> None:
    plan = Study("s", (Row("a"), Row("b")), ("d",), ("b",), (1,), (0,), episodes=20, baseline="a")
    studies.write(tmp_path, plan, lambda row, *_: 0.5, classes=(HINDI, "กระโดด", "wave", "bow", "hop"))
    told = [note for note in report(tmp_path)["notes"] if "font" in note]
    assert len(told) == 1 and told[0].endswith("install Noto Sans Devanagari and Noto Sans Thai")
    with_letters(system / "hindi.ttf", "Some Hindi", HINDI)
    told = [note for note in report(tmp_path)["notes"] if "font" in note]
    assert len(told) == 1 and told[0].endswith("install Noto Sans Thai"), "though it was not there when kshot began"


def test_points_are_drawn_as_before(system: Path) -> None:
    """An ordinary figure's files do not depend on this."""
    draw = lambda: plots.accuracy([Point("a", 1, 50, 1), Point("b", 1, 60, 1)])  # noqa: E731
    svg, png, missing = plots.render(draw)
    assert missing == "" and b"Verdana" in svg and png == plots.render(draw)[1]
