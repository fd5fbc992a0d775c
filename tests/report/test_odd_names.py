"""The page and the tables of a study whose names are what people may write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_report import Reader

import studies
from kshot.report import page
from kshot.report.comparison import compared
from kshot.report.filmstrips import Mixed, Reel, Single, Strip
from kshot.report.pictures import Picture
from kshot.study.file import Row, Study
from kshot.study.results import StudyResult
from kshot.study.tables import as_markdown
from odd_names import HOSTILE, READER, shown


def study(folder: Path, name: str) -> dict[str, Any]:
    """A study in which every name is this one, with a number where names must differ."""
    plan = Study(
        name, tuple(Row(f"{name} {number}", head_options={name: name}) for number in range(3)), (f"{name} data",),
        (f"{name} backbone",), (1, 5), (0, 1), episodes=9, baseline=f"{name} 0", split=name, about=name,
    )  # fmt: skip
    found = studies.write(
        folder, plan, lambda row, data, shot: 0.3 + 0.2 * (row.name == f"{name} 1"),
        failed=lambda row, seed: name if row.name == f"{name} 2" or (seed and row.name == f"{name} 1") else "",
        classes=[f"{name} {number}" for number in range(6)], unreadable={name: name},
        costs=lambda row, shot: {"multiply_adds_per_clip": 5, "device": name, "precision": name},
    )  # fmt: skip
    for row in found["rows"]:
        row["notes"] = [name]
    return found


def html(folder: Path, name: str) -> str:
    read = StudyResult.parse(study(folder, name), "study.json")
    (comparison,) = compared(read, folder)
    strip = Strip(name, f"{name}.mp4", b"jpeg")
    singles = [Single(strip, 9, 3, name, 5)]
    reel = Reel([(strip, 50.0)], [Mixed(strip, strip, 5.0, 6.0)], True, [name], singles, singles)
    pictures = [Picture("accuracy", name, name, name, name, b"<svg/>", b"")]
    return page.compose(read, [page.Part(comparison, pictures, reel)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[str]]]:
    """The tags of the page, with the names of their attributes, where every name is a word."""
    return outline(html(tmp_path_factory.mktemp("plain"), "word"))


def outline(text: str) -> list[tuple[str, list[str]]]:
    reader = Reader(text)
    assert reader.faults == []
    return [(tag, sorted(attributes)) for tag, attributes in reader.tags]


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_names_change_nothing_of_the_page_but_its_words(
    tmp_path: Path, name: str, plain: list[tuple[str, list[str]]]
) -> None:
    text = html(tmp_path, name)
    found = outline(text)
    if name == "`rm -rf`":  # what a study is for is prose: what it quotes so is code, there alone
        assert f'<p class="about"><code>{name.strip("`")}</code></p>' in text
        found.remove(("code", []))
    assert found == plain
    assert any(row[0].startswith(f"{name} 0") for row in Reader(text).rows)
    images = [str(values["src"]) for tag, values in Reader(text).tags if tag == "img"]
    assert images and all(source.startswith("data:image/") for source in images)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_change_nothing_of_the_markdown_table_but_its_words(tmp_path: Path, name: str) -> None:
    tokens, plain = (
        READER.parse(as_markdown(StudyResult.parse(study(tmp_path / str(one == name), one), "study.json")))
        for one in (name, "word")
    )
    assert [(t.type, t.tag, t.level) for t in tokens] == [(t.type, t.tag, t.level) for t in plain]
    words = " ".join(name.splitlines()).strip()
    inline = [shown(unmarked(token.children or [])) for token in tokens if token.type == "inline"]
    assert inline[0] == words and f"failed: {words}" in inline


def unmarked(parts: list[Any]) -> list[Any]:
    """The parts without our own bold: that of a difference, a whole cell, and of the word that explains it."""
    shown_parts = [part for part in parts if part.content or part.type != "text"]
    kinds = [part.type for part in shown_parts]
    if kinds.count("strong_open") != 1:
        return parts
    begin, end = kinds.index("strong_open"), kinds.index("strong_close")
    whole = (begin, end) == (0, len(kinds) - 1)
    ours = whole or [part.content for part in shown_parts[begin + 1 : end]] == ["Bold"]
    return [part for part in parts if not ours or not part.type.startswith("strong")]
