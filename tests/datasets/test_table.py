"""Tables of clips, and everything that can be wrong with one, named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kshot import datasets, gate
from kshot.datasets import table
from kshot.errors import DataError, OptionError


def write(folder: Path, text: str, clips: int = 9, encoding: str = "utf-8") -> Path:
    for index in range(clips):
        (folder / f"{index}.mp4").touch()
    path = folder / "clips.csv"
    path.write_bytes(text.encode(encoding))
    return path


FULL = (
    "path,label,extra,split,group\n"
    "1.mp4,run,x,base,park\n"
    "2.mp4,run,y,train,\n"
    '3.mp4,"wave, both hands",x,NOVEL,park\n'
    "\n"
    " 4.mp4 , sit down ,y,val, sofa \n"
)


def test_columns(tmp_path: Path) -> None:
    data = datasets.load(write(tmp_path, FULL))
    assert data.name == "clips"
    assert data.paths == tuple(tmp_path / f"{index}.mp4" for index in (1, 2, 3, 4))
    assert data.classes == ("run", "sit down", "wave, both hands")
    assert data.labels.tolist() == [0, 0, 2, 1]
    assert data.splits.tolist() == ["train", "train", "test", "val"]
    assert data.groups[[0, 2, 3]].tolist() == ["park", "park", "sofa"]
    assert data.groups[1] not in ("", "park", "sofa")


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, FULL.replace("extra", "fps"))
    assert datasets.load(path).notes == (
        "1 column of clips.csv not used: fps",
        "1 of 4 clips name no group: each counts as filmed by itself",
    )
    assert datasets.load(f"{path}?fps=x").notes == (), "a column to filter by is used, and both clips have a group"
    many = ",".join(f"c{i}" for i in range(10))
    wide = write(tmp_path, f"path,label,{many}\n1.mp4,a,{many}\n2.mp4,b,{many}\n")
    assert datasets.load(wide).notes == ("10 columns of clips.csv not used: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more",)


@pytest.mark.parametrize(
    "column", ["friend", "restart", "weekend", "ending_kind", "from", "stopwatch", "trend", "to_do"]
)
def test_other_columns_are_no_segments(tmp_path: Path, column: str) -> None:
    assert len(datasets.load(write(tmp_path, f"path,label,{column}\n1.mp4,a,x\n2.mp4,b,y\n"))) == 2


def test_two_columns_suffice_and_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    data = datasets.load(write(tmp_path, "path,label\n1.mp4,größer\n2.mp4,b\n", encoding="utf-8-sig"))
    assert data.classes == ("b", "größer")
    assert data.splits.tolist() == ["", ""]
    assert len(set(data.groups.tolist())) == 2


def test_absolute_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").touch()
    data = datasets.load(write(tmp_path, f"path,label\n{tmp_path}/elsewhere/a.mp4,run\n"))
    assert data.paths == (tmp_path / "elsewhere" / "a.mp4",)


def test_row_filter(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    for data in (datasets.load(path, where={"extra": "x"}), datasets.load(f"{path}?extra=x")):
        assert (len(data), data.classes) == (2, ("run", "wave, both hands"))
    assert len(datasets.load(f"{path}?extra=y&label=sit+down")) == 1
    assert len(datasets.load(f"{path}?extra=y", where={"label": "sit down"})) == 1
    with pytest.raises(DataError, match=r"clips\.csv: no row has extra = 'z'$"):
        datasets.load(f"{path}?extra=z")
    with pytest.raises(OptionError, match=r"no column 'extr' to filter by: did you mean 'extra'\? It has path, label"):
        datasets.load(f"{path}?extr=x")
    with pytest.raises(OptionError, match=r"expected a filter like '.*clips\.csv\?column=value', found '\?extra'"):
        datasets.load(f"{path}?extra")
    odd = tmp_path / "what?.csv"
    odd.write_text("path,label\n1.mp4,run\n")
    assert len(datasets.load(odd)) == 1


def test_a_filter_may_leave_out_the_rows_that_clash(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label,split,set\n1.mp4,run,train,a\n2.mp4,run,test,b\n")
    assert datasets.load(f"{path}?set=b").splits.tolist() == ["test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"clips\.csv is empty: expected a header line 'path,label"),
        ("path,label\n", r"^clips\.csv holds no clips$"),
        (
            "path,Label\n1.mp4,a\n",
            r"no column 'label' in the header, found 'path', 'Label'; write 'label' in place of 'Label'$",
        ),
        (
            "dir,label\n1.mp4,a\n",
            r"no column 'path' in the header, found 'dir', 'label'$",
        ),
        ("1.mp4,a\n2.mp4,b\n", r"no column 'path' in the header, found '1\.mp4', 'a'$"),
        ("dir;label\n1.mp4;a\n", r"no column 'path' in the header, found 'dir;label'$"),
        ("path;label\n1.mp4;a;b\n", r"line 2 has 3 values, the header 2: put a value that holds a semicolon between"),
        ("path,label,label\n1.mp4,a,b\n", r"the header names column 'label' more than once$"),
        ("path,label\n1.mp4,a\n2.mp4\n", r"line 3 has 1 values, the header 2: put a value that holds a comma between"),
        ("path,label\n1.mp4,a,b\n", r"line 2 has 3 values, the header 2"),
        ('path,label\n1.mp4,"a\n', r"line \d: unexpected end of data$"),
        ("path,label\n,a\n", r"line 2 has no path$"),
        ("path,label\n1.mp4,a\n2.mp4, \n", r"^clips\.csv: line 3 has no label$"),
        ("path,label\n1.mp4,a\n2.mp4,b\n1.mp4,a\n", r"clip '1\.mp4' is listed twice, on lines 2 and 4$"),
        (
            "path,label,split\n1.mp4,a,train\n2.mp4,b,test\n3.mp4,a,novel\n",
            r"label 'a' is in two splits, 'train' \(line 2\) and 'test' \(line 4\): splits are by class",
        ),
        (
            "path,label,split\n1.mp4,a,train\n2.mp4,a,\n",
            r"label 'a' is in two splits, 'train' \(line 2\) and '' \(line 3\)",
        ),
        ("path,label,split\n1.mp4,a,tarin\n", r"^clips\.csv: line 2: unknown split 'tarin': did you mean 'train'\?"),
        (
            "path,label\nx.mp4,a\n1.mp4,a\ny.mp4,a\nz.mp4,b\nw.mp4,b\n",
            r"4 of 5 clips are missing: .*x\.mp4 \(line 2\), .*y\.mp4 \(line 4\), .*z\.mp4 \(line 5\) and 1 more: "
            r"paths are relative to /",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        datasets.load(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_what_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\n1.mp4,größer\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"clips\.csv is no UTF-8 text \(byte 19 is not\): save it as 'CSV UTF-8'$"):
        datasets.load(path)
    path.write_bytes(b"path,label\n1\0.mp4,a\n")
    with pytest.raises(DataError, match=r"clips\.csv: 1 of 1 clips are missing"):
        datasets.load(path)
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(DataError, match=r"folder\.csv is a folder: expected a regular file"):
        table.load_table(folder)


def test_missing_files_can_be_allowed(tmp_path: Path) -> None:
    """A store may hold activations of clips that were deleted since."""
    path = write(tmp_path, "path,label\nx.mp4,a\n1.mp4,b\n")
    assert len(datasets.load(path, check_files=False)) == 2


def test_real_table(shared: Path) -> None:
    path = shared / "clips" / "clips.csv"
    assert len(datasets.load(path)) == 570
    jhmdb = datasets.load(f"{path}?dataset=jhmdb")
    sizes = [(len(part), len(part.classes)) for part in map(jhmdb.select, ("train", "val", "test", "all"))]
    assert sizes == [(240, 12), (80, 4), (100, 5), (420, 21)]
    assert datasets.load(path, where={"dataset": "ssv2small-frames"}).paths[0].is_dir()


def test_published_split_lists(shared: Path) -> None:
    """The lists name no files that are here, and have no header beyond path and label."""
    data = datasets.load(shared / "splits" / "hmdb51_test.csv", check_files=False)
    assert (len(data), len(data.classes)) == (1292, 10)


def told(tmp_path: Path, text: str) -> str:
    """The message of a table that is refused."""
    with pytest.raises(DataError) as caught:
        datasets.load(write(tmp_path, text))
    return str(caught.value)


@pytest.mark.parametrize("header", ["path,label,from", "path,label,to", "path,label,From,too"])
def test_from_or_to_alone_is_a_column_like_any_other(tmp_path: Path, header: str) -> None:
    columns = header.split(",")[2:]
    data = datasets.load(write(tmp_path, f"{header}\n1.mp4,a{',x' * len(columns)}\n"))
    assert len(data) == 1 and data.notes[0].endswith(f"of clips.csv not used: {', '.join(columns)}")


def test_a_header_without_a_column_that_is_needed_says_what_it_has(tmp_path: Path) -> None:
    assert told(tmp_path, "") == "clips.csv is empty: expected a header line 'path,label[,start,end,split,group]'"
    assert told(tmp_path, "a;b,label\n") == "clips.csv: no column 'path' in the header, found 'a;b', 'label'"
    assert told(tmp_path, "path\n") == "clips.csv: no column 'label' in the header, found 'path'"
    for count in (11, 12, 13):
        names = [f"c{n}" for n in range(count)]
        found = ", ".join(repr(name) for name in names[:12])
        assert told(tmp_path, ",".join(names) + "\n") == f"clips.csv: no column 'path' in the header, found {found}"
    assert told(tmp_path, "path,lable\n").endswith("; write 'label' in place of 'lable'")
    assert told(tmp_path, "path,late\n").endswith("found 'path', 'late'"), "not near enough"


def test_lines_of_another_length_say_what_to_do(tmp_path: Path) -> None:
    assert told(tmp_path, "path,label\n\n1.mp4,a\n2.mp4,b,c\n") == (
        "clips.csv: line 4 has 3 values, the header 2: put a value that holds a comma between double quotes"
    )


@pytest.mark.parametrize("count", [1, 7, 8, 9, 12])
def test_eight_columns_that_are_not_used_are_named(count: int) -> None:
    names = [f"c{n}" for n in range(count)]
    more = f" and {count - 8} more" if count > 8 else ""
    (sentence,) = table.unused_columns(Path("d/clips.csv"), names, "array")
    kind = "array" if count == 1 else "arrays"
    assert sentence == f"{count} {kind} of clips.csv not used: {', '.join(names[:8])}{more}"
    assert table.unused_columns(Path("d/clips.csv"), []) == []


@pytest.mark.parametrize("count", [1, 3, 4])
def test_three_missing_clips_are_named(tmp_path: Path, count: int) -> None:
    rows = "".join(f"x{n}.mp4,a\n" for n in range(count))
    shown = ", ".join(f"{tmp_path / f'x{n}.mp4'} (line {n + 2})" for n in range(min(3, count)))
    more = f" and {count - 3} more" if count > 3 else ""
    assert told(tmp_path, f"path,label\n{rows}1.mp4,a\n") == (
        f"clips.csv: {count} of {count + 1} clips are missing: {shown}{more}: paths are relative to "
        f"{tmp_path.resolve()}"
    )


def test_a_table_can_be_given_another_name_and_all_conditions_have_to_hold(tmp_path: Path) -> None:
    path = write(tmp_path, " path , label ,extra\n1.mp4,a,x\n2.mp4,a,y\n3.mp4,b,x\n")
    assert table.load_table(path).name == "clips" and table.load_table(path, name="mine").name == "mine"
    assert table.load_table(path, {"extra": "x", "label": "a"}).paths == (tmp_path / "1.mp4",)
    with pytest.raises(DataError, match=r"^clips\.csv: no row has extra = 'y' and label = 'b'$"):
        table.load_table(path, {"extra": "y", "label": "b"})
    assert table.load_table(path).notes == ("1 column of clips.csv not used: extra",)
    assert table.load_table(path, {"extra": "x"}).notes == ()


def test_line_ends_within_a_value_are_part_of_it(tmp_path: Path) -> None:
    """The csv module has to see them as they are, and lines are counted by it."""
    path = write(tmp_path, 'path,label,extra\r\n1.mp4,a,"x\r\ny"\r\n9.mp4,b\r\n')
    with pytest.raises(DataError, match="line 4 has 2 values"):
        table.load_table(path)


ROWS = ("path,label,group", "a/1.mp4,größer,x", "a/2.mp4,klein,y")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_of_other_systems_are_the_same_table(tmp_path: Path, encoding: str, end: str, mark: str) -> None:
    (tmp_path / "a").mkdir()
    for number in (1, 2):
        (tmp_path / "a" / f"{number}.mp4").touch()
    text = end.join(ROWS).replace(",", mark).replace("/", "\\") + end
    bom = "\ufeff" if encoding.endswith("bom") else ""
    path = write(tmp_path, bom + text, encoding=encoding.removesuffix("-bom"))
    data = datasets.load(path)
    assert data.paths == (tmp_path / "a" / "1.mp4", tmp_path / "a" / "2.mp4")
    assert (data.classes, data.groups.tolist(), data.notes) == (("größer", "klein"), ["x", "y"], ())


def test_the_separator_that_excel_names_is_taken_and_lines_count_on(tmp_path: Path) -> None:
    assert len(datasets.load(write(tmp_path, "sep=;\r\npath;label\r\n1.mp4;a\r\n"))) == 1
    assert "line 3 has 3 values" in told(tmp_path, "sep=|\npath|label\n1.mp4|a|b\n")


def test_empty_rows_and_columns_of_a_spreadsheet_are_passed_over_and_counted(tmp_path: Path) -> None:
    data = datasets.load(write(tmp_path, ",,,\npath,label,,\n1.mp4,a,,\n,,,\n2.mp4,b,,,,\n ,,,\n\n"))
    assert data.classes == ("a", "b") and data.notes == ("2 empty rows of clips.csv passed over",)
    assert datasets.load(write(tmp_path, "path,label\n1.mp4,a\n,\n")).notes == ("1 empty row of clips.csv passed over",)


def test_paths_from_home_and_names_that_only_look_like_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "clips").mkdir(parents=True)
    (home / "clips" / "1.mp4").touch()
    monkeypatch.setenv("HOME", str(home))
    for name in ("~1.mp4", "a\\b.mp4"):
        (tmp_path / name).touch()
    data = datasets.load(write(tmp_path, "path,label\n~/clips/1.mp4,a\n~1.mp4,b\na\\b.mp4,b\n"))
    assert data.paths == (home / "clips" / "1.mp4", tmp_path / "~1.mp4", tmp_path / "a\\b.mp4")
    (home / "clips.csv").write_text("path,label\nclips/1.mp4,a\n")
    assert datasets.load("~/clips.csv").paths == (home / "clips" / "1.mp4",)
    assert datasets.load("~/clips.csv?label=a").classes == ("a",)


def test_a_drive_of_windows_is_said_to_lead_nowhere(tmp_path: Path) -> None:
    text = told(tmp_path, "path,label\nC:\\clips\\1.mp4,a\n1.mp4,b\n")
    assert text.endswith("a path with a drive of Windows leads nowhere here: write it as seen from the table's folder")
    assert "Windows" not in told(tmp_path, "path,label\nx.mp4,a\n")


def test_a_table_may_be_larger_than_other_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million clips are more text than any configuration has."""
    path = write(tmp_path, FULL)
    monkeypatch.setattr(gate, "TEXT_BYTES", 20)
    assert len(datasets.load(path)) == 4
