"""One function for labels, groups and names: the same bad values through every door, and names of folders."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot import Recognizer, datasets, names
from kshot.errors import DataError, KshotError, OptionError
from kshot.study import file as study_file


class NA:
    """As pandas' NA: it compares to nothing, and has no truth."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


NOTHING = [
    None,
    math.nan,
    np.nan,
    np.float32("nan"),
    np.datetime64("NaT"),
    NA(),
    "",
    "  ",
    "nan",
    "NaN",
    "<NA>",
    "NaT",
    b"",
]


@pytest.mark.parametrize(
    "value", NOTHING, ids=[f"{type(v).__name__} {v}" if not isinstance(v, NA) else "NA" for v in NOTHING]
)
def test_nothing_is_no_label_and_a_group_by_itself(value: Any):
    with pytest.raises(DataError, match=r"^line 3 has no label"):
        names.label(value, "line 3")
    assert [*names.groups(["p1", value, " p1 "], str)] == ["p1", "", "p1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("wave", "wave"), (" wa\u0308ve\t", "w\u00e4ve"), (np.str_("a"), "a"), (b"gr\xc3\xb6\xc3\x9fer", "größer"),
        (3, "3"), (3.0, "3"), (np.int64(3), "3"), (np.float64(3.0), "3"), (2.5, "2.5"), (True, "True"),
        (np.bool_(False), "False"), (np.array("x"), "x"), ("None", "None"), ("none", "none"),
        ("می\u200cرود", "می\u200cرود"), ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)  # fmt: skip
def test_what_a_label_is_written_as(value: Any, text: str):
    assert names.label(value, "here") == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("red\x1b[31m", r"^here: label 'red\\x1b\[31m' holds U\+001B at position 4, a character that is not shown"),
        ("a\nb", r"U\+000A at position 2"),
        ("a\u202eb", r"U\+202E at position 2"),
        ("\u200bwave", r"U\+200B at position 1"),
        ("\udcff", r"U\+DCFF"),
        (b"\xff", r"here: label b'\\xff' is no UTF-8 text"),
        ([1], r"expected text or a number as its label, found \[1\]"),
        (math.inf, "expected text or a number as its label, found inf"),
        (datetime.date(2026, 1, 2), "expected text or a number"),
        (np.zeros(2), "expected text or a number"),
    ],
)
def test_what_no_label_is(value: Any, message: str):
    with pytest.raises(DataError, match=message) as caught:
        names.label(value, "here")
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def by_table(folder: Path, labels: list[str]) -> None:
    import csv

    for index in range(len(labels)):
        (folder / f"{index}.mp4").touch()
    with (folder / "c.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([("path", "label"), *((f"{i}.mp4", label) for i, label in enumerate(labels))])
    datasets.load(folder / "c.csv")


def by_folder(folder: Path, labels: list[str]) -> None:
    for label in labels:
        (folder / "d" / label).mkdir(parents=True, exist_ok=True)
        (folder / "d" / label / "1.mp4").touch()
    datasets.load(folder / "d")


def by_features(folder: Path, labels: list[str]) -> None:
    np.savez(folder / "f.npz", features=np.random.default_rng(0).random((len(labels), 2, 3)), label=np.array(labels))
    datasets.load(folder / "f.npz")


def by_import(folder: Path, labels: list[str]) -> None:
    from kshot.fewshot.features import import_features

    np.save(folder / "f.npy", np.random.default_rng(0).random((len(labels), 2, 3)))
    (folder / "c.csv").write_text("path,label\n" + "".join(f"{i}.mp4,{t}\n" for i, t in enumerate(labels)), "utf-8")
    import_features(folder / "f.npy", folder / "out.npz", folder / "c.csv")


def by_build(folder: Path, labels: list[Any]) -> None:
    count = len(labels)
    datasets.build("made", [Path(str(i)) for i in range(count)], labels, [""] * count, [None] * count)


def by_fit(folder: Path, labels: list[Any]) -> None:
    Recognizer(backbone=folder / "none").fit([np.zeros((2, 8, 8, 3), np.uint8)] * len(labels), labels)


def by_partial_fit(folder: Path, labels: list[Any]) -> None:
    Recognizer(backbone=folder / "none").partial_fit([np.zeros((2, 8, 8, 3), np.uint8)] * len(labels), labels)


def by_study(folder: Path, labels: list[Any]) -> None:
    study = study_file.Study("s", tuple(study_file.Row(label) for label in labels))
    if wrong := study_file.impossible(study):
        raise OptionError(wrong[2])


def by_studio(folder: Path, labels: list[str]) -> None:
    from kshot.studio.project import Project

    project = Project(folder / "p", {})
    try:
        for label in labels:
            project.add_label(label)
    finally:
        project.close()


Door = Callable[[Path, list[Any]], None]
TEXTS: list[Door] = [by_table, by_folder, by_features, by_import, by_build, by_fit, by_partial_fit, by_study]
VALUES: list[Door] = [by_build, by_fit, by_partial_fit, by_study]
ALIKE = [
    ("Wave", "wave"),
    ("\u1e85a", "w\u0308a "),
    ("straße", "STRASSE"),
    ("sit  down", "sit down"),
    ("ﬁght", "fight"),
]


@pytest.mark.parametrize("door", TEXTS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("bad", ["nan", "<NA>", "a\x1b[31mb", "a\u202eb"])
def test_text_that_is_no_label_is_refused_at_every_door(door: Door, bad: str, tmp_path: Path):
    with pytest.raises(KshotError, match=r"has no label|has no name|a character that is not shown"):
        door(tmp_path, ["bow", bad, "hop"])


@pytest.mark.parametrize("door", VALUES, ids=lambda door: door.__name__)
@pytest.mark.parametrize(
    "bad", [None, math.nan, np.float64("nan"), NA(), ""], ids=["None", "nan", "float64", "NA", "blank"]
)
def test_missing_values_are_refused_at_every_door(door: Door, bad: Any, tmp_path: Path):
    with pytest.raises(KshotError, match=r"has no (label|name)"):
        door(tmp_path, ["bow", bad, "hop"])


@pytest.mark.parametrize("door", [*TEXTS, by_studio], ids=lambda door: door.__name__)
@pytest.mark.parametrize("pair", ALIKE)
def test_labels_that_look_alike_are_refused_at_every_door(door: Door, pair: tuple[str, str], tmp_path: Path):
    same = names.tidy(pair[0]) == names.tidy(pair[1])  # one label, written in two ways
    if door is by_studio or not same:
        with pytest.raises(KshotError, match=r"look alike|is an action “"):
            door(tmp_path, [*pair, "hop"])
    elif door in (by_table, by_features, by_build):
        door(tmp_path, [*pair, "hop"])


def test_one_action_written_in_two_ways_is_one():
    made = datasets.build("m", [Path("a"), Path("b"), Path("c")], [" \u1e85a", "w\u0308a", "b"], [""] * 3, [""] * 3)
    assert made.classes == ("b", "\u1e85a") and made.labels.tolist() == [1, 1, 0]
    assert made.only(["w\u0308a "]).classes == ("\u1e85a",)


def test_missing_groups_are_groups_of_their_own_and_counted():
    made = datasets.build("m", [Path(c) for c in "abcd"], list("xxyy"), [""] * 4, ["p", math.nan, None, NA()])
    assert len(set(made.groups.tolist())) == 4
    assert made.notes == ("3 of 4 clips name no group: each counts as filmed by itself",)
    assert names.lone(["", ""]) == [] and len(names.lone(["", ""], given=True)) == 1


@pytest.mark.parametrize("label", ["unknown", "Unknown", " UNKNOWN "])
def test_unknown_is_no_action_however_it_is_written(label: str, tmp_path: Path):
    with pytest.raises(DataError, match="is what a recognizer answers when it knows no better"):
        by_fit(tmp_path, ["bow", label])


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("motion", "kshot-tiny", "frozen", "seed0"), "motion-kshot-tiny-frozen-seed0"),
        (("a",), "a"),
        (("Tip (a=1)",), "tip-a-1-4795e648"),
        (("tip a 1",), "tip-a-1-36f74400"),
        (("con",), "con-1143da2b"),
        (("基线",), "a7ac587a"),
    ],
)
def test_names_of_folders(parts: tuple[str, ...], name: str):
    assert names.folder_name(*parts) == name


def test_different_names_are_different_folders_on_any_file_system():
    odd = [
        "基线",
        "零样本",
        "a",
        "A",
        "a ",
        "a.",
        "a-",
        "-a",
        "a--b",
        "a-b",
        "a b",
        "a/b",
        "..",
        "",
        " ",
        "nul",
        "NUL",
        "lpt1",
    ]
    odd += ["x" * 300, "x" * 301, "é", "e\u0301", "\udcff", "a\0b", "con.txt"]
    parts = [(name, other) for name in odd for other in ("seed0", "b")]
    made = names.folder_names([*parts, ("a-b", "c"), ("a", "b-c")])
    assert len({name.casefold() for name in made}) == len(made)
    assert all(len(name) <= 100 and name.isascii() and name == name.lower().strip(".- ") for name in made)
    assert not {*made} & names.RESERVED and not any(set(name) & set('<>:"/\\|?*\0') for name in made)
