"""The whole page, as a reader's browser gets it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import studies
from kshot.errors import DataError, OptionError, StoreError
from kshot.report import report
from kshot.study.file import Row, Study

ROWS = (
    Row("zero-shot", strategy="zero-shot"),
    Row("frozen <base> & co", strategy="frozen"),
    Row("direct", strategy="direct", episodes=40),
    Row("meta", strategy="meta", layers=2),
    Row("meta, all", strategy="meta", tuning="full"),
    Row("broken", strategy="meta", head="trx"),
)
SKILL = {"zero-shot": 0.25, "frozen <base> & co": 0.5, "direct": 0.55, "meta": 0.7, "meta, all": 0.7}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two seeds at two shots on clips that exist: folders of frames, one of them empty."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number, name in enumerate(studies.CLASSES):
        for clip in range(2):
            path = folder / "clips" / f"{number}-{clip}"
            path.mkdir(parents=True)
            lines.append(f'clips/{path.name},"{name}",test')
            for frame in range(3 if name != "wave" else 0):
                image = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
                Image.fromarray(image).save(path / f"{frame}.png")
    (folder / "clips.csv").write_text("\n".join(lines))
    plan = Study(
        "Tuning <script>alert(1)</script> & co", ROWS, (str(folder / "clips.csv"),), ("tiny",), (1, 5), (0, 1),
        episodes=200, baseline="frozen <base> & co", about="Is a $ worth it?",
    )  # fmt: skip
    found = studies.write(
        folder, plan,
        skill=lambda row, data, shot: SKILL[row.name] + 0.02 * shot,
        cost=lambda row: (0, 0.0) if row.strategy in ("zero-shot", "frozen") else (1000 * len(row.name), 3.25),
        failed=lambda row, seed: {"broken": "expected <8> frames", "meta, all": "no memory" * seed}.get(row.name, ""),
        unreadable={"a.mp4": "a.mp4: cut <short>"},
    )  # fmt: skip
    return folder, found


@pytest.fixture(scope="module")
def made(study: tuple[Path, dict[str, Any]]) -> tuple[dict[str, Any], str]:
    files = report(study[0])
    return files, Path(files["page"]).read_text("utf-8")


class Reader(HTMLParser):
    """Collects tags with their attributes, table rows as text, and tags that were not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.faults += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.slow
def test_the_page_is_well_formed_and_needs_nothing_else(made: tuple[dict[str, Any], str]) -> None:
    page = made[1]
    reader = Reader(page)
    assert reader.faults == []
    assert not [tag for tag, _ in reader.tags if tag in ("script", "iframe", "object", "embed")]
    addresses = [values[name] for _, values in reader.tags for name in ("src", "href") if name in values]
    assert addresses and all(str(a).startswith(("data:", "#")) for a in addresses)
    assert not re.search(r"@import|url\(", page)
    images = [values for tag, values in reader.tags if tag == "img"]
    assert len(images) == 8 + 5 + 3 * 2  # figures, classes with a clip, pairs
    assert all(len(str(values["alt"])) > 20 for values in images)


def test_names_from_outside_are_escaped(made: tuple[dict[str, Any], str]) -> None:
    page = made[1]
    for text in ("<script>alert", "<base>", "<slowly>", "<8>", "<short>"):
        assert text not in page
        assert text.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "Is a $ worth it?" in page


def test_the_table_holds_the_figures_of_the_study(
    study: tuple[Path, dict[str, Any]], made: tuple[dict[str, Any], str]
) -> None:
    rows = {row[0]: row[1:] for row in Reader(made[1]).rows if len(row) in (2, 7)}
    lines = {(line["name"], line.get("shot")): line for line in study[1]["summary"]}
    wanted = []
    for shot in (1, 5):
        line = lines["direct", shot]
        mark = "▲ " if line["difference"] > line["difference_ci95"] else ""
        wanted.append(f"{line['accuracy']:.1f} ±{line['ci95']:.1f}40 episodes")
        wanted.append(f"{mark}+{line['difference']:.1f} ±{line['difference_ci95']:.1f}2 of 2 seeds")
    assert rows["direct"] == [*wanted, "6,000", "3.25per episode too"]
    assert rows["zero-shot"][1].startswith("▼ −") and rows["zero-shot"][4:] == ["–", "–"]
    assert rows["frozen <base> & cobaseline"][1] == ""
    assert rows["broken"] == ["failed: expected <8> frames"]
    assert "1 of 2 seeds" in rows["meta, all"][0]
    assert "meta, all, seed 1: no memory" in made[1]


def test_the_findings_name_the_winner_and_whether_it_stands_apart(made: tuple[dict[str, Any], str]) -> None:
    findings = re.findall(r"<li>With (.*?)</li>", made[1])
    assert len(findings) == 2
    assert findings[0].startswith("<b>1 shot</b>, <b>meta</b> is the most accurate: ")
    assert "points above frozen &lt;base&gt; &amp; co" in findings[0]
    assert "The next, direct, is " in findings[0]  # not the method that lost a seed


def test_plots_are_written_beside_the_page(
    study: tuple[Path, dict[str, Any]], made: tuple[dict[str, Any], str]
) -> None:
    names = ["accuracy", "shots", "weights-1-shot", "seconds-1-shot", "weights-5-shot", "seconds-5-shot"]
    names += ["classes", "confusion"]
    assert made[0]["page"] == str(study[0] / "report.html")
    assert made[0]["plots"] == [str(study[0] / "plots" / f"{name}.{kind}") for name in names for kind in ("svg", "png")]
    for path in map(Path, made[0]["plots"]):
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    assert not list(study[0].rglob("*.tmp"))


def test_a_class_without_readable_clips_is_noted(made: tuple[dict[str, Any], str]) -> None:
    assert len(made[0]["notes"]) == 1
    assert made[0]["notes"][0].startswith("No filmstrip of wave: ")


def test_the_page_tells_how_to_repeat_it(made: tuple[dict[str, Any], str]) -> None:
    for text in ("kshot study study.toml --out results", "fingerprint " + "f" * 64, "episodes = 200", "a.mp4: cut"):
        assert text in made[1]


def test_several_comparisons_each_get_a_section_and_their_own_files(tmp_path: Path) -> None:
    plan = Study("two", (Row("frozen"),), ("gone.csv", "also-gone.csv"), ("tiny",), (1,), episodes=20)
    studies.write(tmp_path, plan, lambda row, data, shot: 0.5)
    files = report(tmp_path, tmp_path / "elsewhere")
    page = (tmp_path / "elsewhere" / "report.html").read_text()
    assert not (tmp_path / "report.html").exists()
    assert [Path(p).name for p in files["plots"] if p.endswith("svg")] == [
        f"{n}-{name}.svg" for n in (1, 2) for name in ("accuracy", "classes", "confusion")
    ]
    assert page.count("<section id=") == 2 and page.count('href="#comparison-') == 2
    assert "difference</th>" not in page  # no baseline, nothing to differ from
    assert [note.split(":")[0] for note in files["notes"]] == [
        "No filmstrips of gone.csv", "No filmstrips of also-gone.csv",
    ]  # fmt: skip


def test_a_study_in_which_all_failed_still_gives_a_page(tmp_path: Path) -> None:
    plan = Study(
        "all lost", (Row("frozen"), Row("meta", strategy="meta")), ("gone.csv",), ("tiny",), (1,), baseline="frozen"
    )
    studies.write(tmp_path, plan, lambda row, data, shot: 0.5, failed=lambda row, seed: "no clip could be read")
    files = report(tmp_path)
    assert files["plots"] == [] and Reader(Path(files["page"]).read_text()).faults == []
    assert Path(files["page"]).read_text().count("failed: no clip could be read") == 4  # two tables


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no finished study: expected study.json"),
        ("{", "is no JSON"),
        ('{"title": "t", "rows": []}', "is damaged: it lacks 'version'"),
        ("[1]", "expected a JSON object, found [1]; run the study again"),
    ],
)
def test_a_folder_without_a_study_is_refused_and_nothing_written(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    studies.write(tmp_path, Study("s", (Row("frozen"),), ("gone.csv",), shots=(1,), episodes=5), lambda *_: 0.5)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file; name a folder"):
        report(tmp_path, tmp_path / "file")
    with pytest.raises(StoreError, match="cannot write to"):
        report(tmp_path, tmp_path / "file" / "below")
    assert json.loads((tmp_path / "study.json").read_text())["title"] == "s"
