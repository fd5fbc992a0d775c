"""A study's TOML file: what it becomes, what protocols add, and on which line each mistake is found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kshot.errors import OptionError
from kshot.fewshot import protocols
from kshot.study import file as module
from kshot.study.file import Row, Study, impossible, of_row, read_study

ROW = '[[row]]\nname = "m"\nstrategy = "meta"\n'


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_a_file_that_says_little_has_the_defaults(write: Any) -> None:
    assert read_study(write(ROW)) == Study("mine", (Row("m", strategy="meta"),))


def test_single_texts_stand_for_lists_of_one_and_lists_become_tuples(write: Any) -> None:
    found = read_study(write('data = "d"\nbackbone = ["b", "c"]\nprompts = "a {}"\nshots = [5]\n' + ROW))
    assert (found.data, found.backbone, found.prompts, found.shots) == (("d",), ("b", "c"), ("a {}",), (5,))


def test_names_are_tidied_and_a_baseline_with_them(write: Any) -> None:
    found = read_study(write('baseline = " Cafe\\u0301 "\n[[row]]\nname = " Caf\\u00e9 "\n'))
    assert found.baseline == found.rows[0].name == "Café"


def test_lists_are_crossed_in_their_order_and_named_after_what_differs(write: Any) -> None:
    lists = 'layers = ["proj", 2]\nhead = ["otam", "nearest"]\ntrain = {steps = 3}\n'
    found = read_study(write(ROW + lists + '[[row]]\nname = "last"\n'))
    assert [one.name for one in found.rows] == [
        "m, proj, otam", "m, proj, nearest", "m, 2, otam", "m, 2, nearest", "last",
    ]  # fmt: skip
    assert [(one.layers, one.head) for one in found.rows[:4]] == [
        ("proj", "otam"), ("proj", "nearest"), (2, "otam"), (2, "nearest"),
    ]  # fmt: skip
    assert [one.train for one in found.rows] == [{"steps": 3}] * 4 + [{}]


def test_an_option_of_a_crossed_row_is_found_on_the_line_of_its_table(write: Any) -> None:
    text = (
        f'{ROW}[[row]]\nname = "x"\nstrategy = "meta"\nlayers = ["proj", "block"]\n[[row]]\nname = "y"\nhead = "ota"\n'
    )
    with pytest.raises(OptionError, match=r"mine\.toml, line 10: row 'y': unknown head 'ota': did you mean 'otam'"):
        read_study(write(text))


def test_what_all_rows_share_is_found_before_them(write: Any) -> None:
    with pytest.raises(OptionError, match=r"line 3: row 'm': train: lr must be above 0, found 0"):
        read_study(write('title = "t"\n# lr\ntrain = { lr = 0 }\n' + ROW))
    with pytest.raises(OptionError, match=r"line 2: row 'm': train: lr must be a finite number, found 'x'"):
        read_study(write('title = "t"\nsearch = { lr = [0.1, "x"] }\n' + ROW))
    with pytest.raises(OptionError, match=r"mine\.toml, line 2: seeds must differ: .*found \[1, 1\]"):
        read_study(write('title = "t"\nseeds = [1, 1]\n' + ROW))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows: add at least one [[row]] with a name and a strategy"),
        ("row = 3\n", "has no rows"),
        ("row = [3]\n", "row 1 must be a table, [[row]], found 3"),
        ('[[row]]\nstrategy = "meta"\n', "every [[row]] needs a name"),
        ("[[row]]\nname = 3\n", "every [[row]] needs a name"),
        ("protocol = 3\n" + ROW, "protocol must be a text, found 3"),
        ('protocol = "paper2"\n' + ROW, "unknown protocol 'paper2': did you mean 'paper'"),
        ("seeds = [0.5]\n" + ROW, "seeds.0: input should be a valid integer"),
        ("shots = [0]\n" + ROW, "line 1: shot must be at least 1, found 0"),
        ("shots = 3\n" + ROW, "shots: "),
        ('title = ["x"]\n' + ROW, "title: "),
        ("search = { lr = [] }\n" + ROW, "search.lr must be a list of values to try, found []"),
        ("search = 3\n" + ROW, "search must be a table such as { lr = ... }, found 3"),
        (ROW + "train = 3\n", "train must be a table such as"),
        (ROW + "shot = 3\n", "line 4: unknown key of a row 'shot'"),
        (ROW + "train = { shot = 3 }\n", "line 4: unknown key of train 'shot'"),
        (ROW + "train = { layers = 3 }\n", "line 4: unknown key of train 'layers'"),
        (ROW + "episodes = 2.5\n", "episodes: "),
        (ROW + 'tuning = ["lora", "lorra"]\n', "line 4: row 'm, lorra': unknown tuning method 'lorra'"),
        (ROW + "tuning = []\n", "row 'm': tuning must be one value or a list of some, found []"),
        (ROW + 'head = ["otam"]\nlayers = []\n', "row 'm': layers must be one value or a list of some, found []"),
        (ROW + ROW, "line 5: row 'm': two rows are called 'm'; give each its own name"),
        ('baseline = "n"\n' + ROW, "line 1: unknown baseline 'n'"),
        ("[row.train]\nlr = 1\n", "has no rows"),
        ("query = 0\n" + ROW, "line 1: query must be at least 1, found 0"),
        ("a = [\n", "is no TOML"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_its_line(text: str, message: str, write: Any) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as refused:
        read_study(write(text))
    told = str(refused.value)
    assert told.count("mine.toml") == 1 and "\n" not in told


def test_a_missing_file_is_told_apart_from_a_missing_study(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=re.escape(f"no file {tmp_path / 'none.toml'}")):
        read_study(tmp_path / "none.toml")
    with pytest.raises(OptionError, match="unknown study 'headz': did you mean 'heads'"):
        read_study("headz")


def test_a_protocol_fills_in_what_the_file_leaves_out(write: Any) -> None:
    preset = protocols.preset("trx", "testing")
    plain, own = read_study(write(ROW), "trx"), read_study(write("query = 3\nway = 4\n" + ROW), "trx")
    assert plain.query == preset["query"] and plain.protocol == "trx" and plain.train == {}
    assert (own.query, own.way, own.episodes, own.train) == (3, 4, preset["episodes"], {"query": 3})
    both = read_study(write('protocol = "paper"\nquery = 3\ntrain = { query = 7, steps = 2 }\n' + ROW), "trx")
    assert both.protocol == "trx" and both.train == {"query": 7, "steps": 2}
    assert read_study(write('protocol = "paper"\n' + ROW)).protocol == "paper"


def test_older_names_of_settings_are_read(write: Any) -> None:
    assert read_study(write("train = { clip = 2.0 }\n" + ROW + "train = { clip = 3.0 }\n")).rows[0].train == {
        "max_grad_norm": 3.0
    }


def study(*rows: Row, **values: Any) -> Study:
    return Study("s", rows or (Row("a"),), **values)


@pytest.mark.parametrize(
    ("made", "index", "key", "text"),
    [
        (study(shots=()), None, "shots", "shots must be a list of numbers, found none"),
        (study(seeds=()), None, "seeds", "found none"),
        (study(shots=(1, 1)), None, "shots", r"shots must differ: .*\[1, 1\]"),
        (study(seeds=tuple(range(1001))), None, "seeds", "seeds must be at most 1,000"),
        (study(seeds=(-1,)), None, "seeds", "seed must be at least 0"),
        (study(shots=tuple(range(1, 102))), None, "shots", "shots must be at most 100"),
        (study(baseline="b"), None, "baseline", "unknown baseline 'b'"),
        (study(Row("a"), Row("a")), 1, "name", "two rows are called 'a'"),
        (study(Row("Wave"), Row("wave")), 1, "name", "look alike"),
        (study(Row("a"), Row("b ")), 1, "name", "blanks around it"),
        (study(Row("a"), Row("b", strategy="x")), 1, "strategy", "unknown strategy 'x'"),
        (study(Row("a", strategy="meta", strategy_options={"x": 1})), 0, "strategy_options", "has no option 'x'"),
        (study(Row("a", tuning="lora", tuning_options={"rnk": 2})), 0, "tuning_options", "has no option 'rnk'"),
        (study(Row("a", head_options={"x": 1})), 0, "head_options", "head 'prototype' has no option 'x'"),
        (study(Row("a", train={"steps": 0})), 0, "train", "train: steps must be at least 1"),
        (study(train={"steps": 0}), 0, "train", "train: steps must be at least 1"),
        (study(search={"lr": [1.0, -1.0]}), 0, "search", "train: lr must be above 0, found -1.0"),
        (study(search={"lr": [0.1] * 32, "steps": [1] * 32}), 0, "search", "searched must be at most 1,000"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_found_with_its_row_and_key(made: Study, index: int | None, key: str, text: str) -> None:
    found = impossible(made)
    assert found is not None and found[:2] == (index, key)
    assert re.search(text, found[2]), found[2]


def test_what_works_is_let_through() -> None:
    assert impossible(study()) is None
    assert impossible(study(Row("a"), Row("b", strategy="meta"), baseline="b", split="all", seeds=(3, 0))) is None
    fine = Row("a", train={"steps": 1}, search={})
    assert impossible(study(fine, search={"lr": [-1.0]})) is None, "a row's own search stands in for the study's"
    assert impossible(study(Row("a", train={"steps": 2}), train={"steps": 0})) is None, "a row's own setting, too"


def test_a_row_is_named_before_its_problem() -> None:
    made = study(Row("a"), Row("b"))
    assert (of_row(made, None), of_row(made, 0), of_row(made, 1)) == ("", "row 'a': ", "row 'b': ")


TEXT = 'lr = 1\n\n[[row]]\nname = "a"\n  [[row]]\nhead = "x"\n[row.train]\nsteps = 1\n'


@pytest.mark.parametrize(
    ("number", "key", "line"),
    [
        (None, "lr", ", line 1"), (None, "head", ""), (0, "name", ", line 4"), (0, "head", ""), (1, "head", ", line 6"),
        (1, "train", ", line 7"), (1, "steps", ", line 8"), (1, "lr", ", line 1"),
        (1, "ste", ""), (7, "lr", ", line 1"),
    ],
)  # fmt: skip
def test_lines_are_counted_within_tables(number: int | None, key: str, line: str) -> None:
    assert module._line(TEXT, number, key) == line
