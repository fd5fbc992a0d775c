"""Tables of segments: which columns, which times, what is refused in one line, and what counts as filmed together."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from kshot import datasets
from kshot.datasets import segments
from kshot.datasets.listing import clips_of
from kshot.datasets.times import read_time
from kshot.errors import DataError
from kshot.excerpts import Excerpt


def write(folder: Path, text: str, videos: int = 3) -> Path:
    for number in range(1, videos + 1):
        (folder / f"{number}.mp4").touch()
    path = folder / "clips.csv"
    path.write_text(text, "utf-8")
    return path


def test_a_video_has_many_segments_and_an_empty_end_is_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label,start,end\n1.mp4,a,0,1.5\n1.mp4,b,0:01.5,1:02:03.25\n2.mp4,a,,2\n3.mp4,b,,\n")
    data = datasets.load(path)
    one, two, three = (tmp_path / f"{n}.mp4" for n in (1, 2, 3))
    assert data.clips == (Excerpt(one, 0.0, 1.5), Excerpt(one, 1.5, 3723.25), Excerpt(two, None, 2.0), three)
    assert data.spans is not None and data.spans.shape == (4, 2) and np.isnan(data.spans[3]).all()
    assert data.subset([3, 0]).clips == (three, Excerpt(one, 0.0, 1.5))
    assert [Path(clip).name for clip in clips_of(str(path))[0]] == [
        "1.mp4#t=0,1.5", "1.mp4#t=1.5,3723.25", "2.mp4#t=,2", "3.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "values", "span"),
    [
        ("start,end", "0.5,1", (0.5, 1.0)),
        ("Start,End", "0.5,1", (0.5, 1.0)),
        ("begin,stop", "0.5,1", (0.5, 1.0)),
        ("start_time,end_time", "0.5,1", (0.5, 1.0)),
        ("t_start,t_end", "0.5,1", (0.5, 1.0)),
        ("time_start,time_end", "0.5,1", (0.5, 1.0)),
        ("onset,offset", "0.5,1", (0.5, 1.0)),
        ("start (s),end (s)", "0.5,1", (0.5, 1.0)),
        ("from,to", "0.5,1", (0.5, 1.0)),
        ("start_ms,end_ms", "500,1000", (0.5, 1.0)),
        ("startFrame,endFrame,fps", "15,30,30", (0.5, 1.0)),
        ("start,end,start_frame,end_frame", "0.5,1,7,8", (0.5, 1.0)),
        ("start,x", "0.5,y", (0.5, float("nan"))),
        ("start,duration", "0.5,0.5", (0.5, 1.0)),
        ("Start (s),Duration (s)", "0.5,0.5", (0.5, 1.0)),
        ("start_ms,duration_ms", "500,500", (0.5, 1.0)),
        ("start_frame,duration_frames,fps", "15,15,30", (0.5, 1.0)),
        ("start,duration", ",0.5", (float("nan"), 0.5)),
        ("start,video_duration", "0.5,9", (0.5, float("nan"))),
        ("start,end,duration", "0.5,1,9", (0.5, 1.0)),
        ("start,duration", "0.5,", (0.5, float("nan"))),
        ("End_Seconds,x", "1,y", (float("nan"), 1.0)),
    ],
)
def test_columns_that_say_where_a_clip_is(tmp_path: Path, header: str, values: str, span: tuple[float, float]) -> None:
    data = datasets.load(write(tmp_path, f"path,label,{header}\n1.mp4,a,{values}\n2.mp4,b,{values}\n"))
    assert data.spans is not None
    np.testing.assert_allclose(data.spans, [span, span])


def test_other_programs_call_columns_otherwise(tmp_path: Path) -> None:
    data = datasets.load(write(tmp_path, "Start;video;behavior;Stop\n0,5;1.mp4;a;1,5\n0;2.mp4;b;3\n"))
    assert data.classes == ("a", "b") and data.clips[0] == Excerpt(tmp_path / "1.mp4", 0.5, 1.5)
    assert data.notes[0].startswith("2 segments of 2 videos, fewer than 3 of 'a', 'b': ")
    both = datasets.load(write(tmp_path, "path,video,label,action\n1.mp4,x,a,y\n2.mp4,x,b,y\n"))
    assert both.classes == ("a", "b") and both.notes == ("2 columns of clips.csv not used: video, action",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,start,end\n1.mp4,a,2,1\n", r"clips\.csv: line 2: a segment from 2 to 1 s has no length$"),
        ("path,label,start,end\n1.mp4,a,0,1\n1.mp4,a,1,1\n", r"line 3: a segment from 1 to 1 s has no length$"),
        ("path,label,start,end\n1.mp4,a,,0\n", r"line 2: a segment from 0 to 0 s has no length$"),
        ("path,label,start,end\n1.mp4,a,-1,1\n", r"clips\.csv: line 2: start '-1' lies before the video's beginning$"),
        ("path,label,start,end\n1.mp4,a,one,1\n", r"line 2: start 'one' is no time: expected seconds \(12\.5\), m:ss"),
        ("path,label,start,end\n1.mp4,a,0,00:00:01:12\n", r"line 2: end '00:00:01:12' is no time: expected seconds"),
        ("path,label,start,end\n1.mp4,a,0,0:75\n", r"line 2: end '0:75' is no time: minutes and seconds go up to 59$"),
        ("path,label,start,end\n1.mp4,a,nan,1\n", r"line 2: start 'nan' is no time"),
        ("path,label,start,end\n1.mp4,a,0,1e3\n", r"line 2: end '1e3' is no time"),
        (
            "path,label,start,end\n1.mp4,a,0,1\n2.mp4,a,0,1\n1.mp4,a,0:00,1.0\n",
            r"clips\.csv: segment 1\.mp4#t=0,1 is listed twice, line 2 and line 4$",
        ),
        ("path,label,start,end\n1.mp4,a,,\n1.mp4,b,,\n", r"clip '1\.mp4' is listed twice, on lines 2 and 3$"),
        (
            "path,label,start_frame,end_frame\n1.mp4,a,0,25\n",
            r"'start_frame', 'end_frame': frame numbers tell no time without a rate: add a column 'fps', or write sec",
        ),
        ("path,label,frame_start,duration\n1.mp4,a,0,25\n", r"'frame_start': frame numbers tell no time"),
        ("path,label,start_frame,fps\n1.mp4,a,0,\n1.mp4,a,9,0\n", r"line 2: fps '' is no number of frames a second$"),
        ("path,label,start,begin\n1.mp4,a,0,1\n", r"columns 'start', 'begin' all say where clips begin: remove"),
        ("path,label,offset\n1.mp4,a,0\n", r"column 'offset' may be where clips begin or end: call it 'start'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_segments_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        datasets.load(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_segments_that_overlap_under_one_label_are_counted(tmp_path: Path) -> None:
    text = "path,label,start,end\n1.mp4,a,0,2\n1.mp4,a,1,3\n1.mp4,b,0,2\n2.mp4,a,0,2\n2.mp4,b,5,6\n"
    notes = datasets.load(write(tmp_path, text)).notes
    assert notes[0] == (
        "2 segments overlap others of the same label and video, the first line 2 and line 3: never support of each "
        "other's queries"
    )


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("12,5", 12.5), (".5", 0.5), ("1:02.5", 62.5), ("01:02:03", 3723.0)]
)
def test_times(text: str, value: float) -> None:
    assert read_time(text) == value


def rows(videos: int, count: int, length: float = 2.0, pause: float = 1.0) -> str:
    lines = ["path,label,start,end"]
    for video in range(videos):
        for number in range(count):
            start = number * (length + pause)
            lines.append(f"{video + 1}.mp4,{'ab'[number % 2]},{start},{start + length}")
    return "\n".join(lines) + "\n"


def test_a_video_is_a_group_where_each_label_has_three(tmp_path: Path) -> None:
    data = datasets.load(write(tmp_path, rows(3, 4)))
    assert data.groups.tolist() == [f"{n}.mp4" for n in (1, 2, 3) for _ in range(4)]
    assert data.notes == ()


def test_one_film_is_parted_into_stretches_of_time(tmp_path: Path) -> None:
    """24 segments a second apart, but for a longer pause after the fifth."""
    text = rows(1, 24).splitlines()
    later = [f"1.mp4,{line.split(',')[1]},{float(line.split(',')[2]) + 9},{float(line.split(',')[3]) + 9}"
             for line in text[6:]]  # fmt: skip
    data = datasets.load(write(tmp_path, "\n".join(text[:6] + later) + "\n"))
    blocks = [group.rpartition(" ")[2] for group in data.groups]
    assert blocks == sorted(blocks) and [blocks.count(str(n)) for n in range(1, 7)] == [5, 3, 4, 4, 4, 4]
    assert data.notes == (
        "24 segments of 1 video, fewer than 3 of 'a', 'b': groups are stretches of a video's time, 1 s apart at least, "
        "so what is said of new clips is said of these videos only",
    )


def test_groups_of_ones_own_win_and_whole_videos_stay_alone(tmp_path: Path) -> None:
    text = "path,label,start,end,group\n1.mp4,a,0,1,me\n1.mp4,a,2,3,you\n1.mp4,b,4,5,me\n2.mp4,b,,,\n3.mp4,b,,,\n"
    data = datasets.load(write(tmp_path, text))
    assert data.groups.tolist() == ["me", "you", "me", f"3:{tmp_path / '2.mp4'}", f"4:{tmp_path / '3.mp4'}"]


def test_a_video_and_its_segments_are_one_group(tmp_path: Path) -> None:
    text = "path,label,start,end\n1.mp4,a,0,1\n2.mp4,a,0,1\n3.mp4,a,0,1\n1.mp4,b,,\n2.mp4,b,,\n3.mp4,b,,\n"
    groups = datasets.load(write(tmp_path, text)).groups.tolist()
    assert groups[:3] == groups[3:] and len(set(groups)) == 3


def test_stretches_do_not_cut_what_overlaps() -> None:
    chain = [(float(start), start + 1.5) for start in range(20)]
    assert segments._blocks(chain, 4) == ([0] * 20, [])
    numbers, pauses = segments._blocks([(float(start), start + 1.0) for start in range(20)], 4)
    assert numbers == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5 or len(set(numbers)) == 4
    assert pauses == [0.0] * 3


def test_ten_thousand_segments_are_read_in_seconds(tmp_path: Path) -> None:
    lines = ["path,label,start,end"]
    for video in range(200):
        (tmp_path / f"{video}.mp4").touch()
        lines += [f"{video}.mp4,{'abcdefghij'[i % 10]},{i * 3},{i * 3 + 2}" for i in range(50)]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(lines) + "\n")
    begin = time.process_time()
    data = datasets.load(path)
    assert len(data.clips) == 10_000 and len(set(data.groups.tolist())) == 200
    assert time.process_time() - begin < 10, "processor time, which other programs do not change"


def test_a_column_in_other_case_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no column 'path' in the header, found Path, set; write 'path' in place of 'Path'$"
    ):
        clips_of(str(write(tmp_path, "Path,set\n1.mp4,a\n")))


def test_a_table_without_labels_gives_a_clip_a_row_and_counts_rows_without_a_path(tmp_path: Path) -> None:
    path = write(tmp_path, "path,set\n2.mp4,a\n1.mp4,a\n,a\n2.mp4,b\n,\n,b\n")
    found, notes = clips_of(str(path))
    assert [Path(clip).name for clip in found] == ["2.mp4", "1.mp4", "2.mp4"]
    assert notes == ["2 rows of clips.csv without a path passed over", "1 empty row of clips.csv passed over"]
    assert clips_of(f"{path}?set=b")[1][0] == "1 row of clips.csv without a path passed over"
