"""The facts of the benchmarks: as the published lists and names beside the repository have them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from kshot.datasets import BENCHMARKS
from kshot.datasets.benchmark import SPLITS, ListedClip, benchmark, digest, plain
from kshot.errors import DataError, OptionError

NAMES = list(BENCHMARKS)


def files(shared: Path, name: str) -> dict[str, Path]:
    return {split: shared / "splits" / f"{name.replace('-', '_')}_{split}.csv" for split in SPLITS}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_is_whole(name: str) -> None:
    bench = benchmark(name)
    assert bench.name == name
    assert {split: len(bench.classes[split]) for split in SPLITS} == {
        "hmdb51": {"train": 31, "val": 10, "test": 10}, "ucf101": {"train": 70, "val": 10, "test": 21},
    }.get(name, {"train": 64, "val": 12, "test": 24})  # fmt: skip
    labels = [label for split in SPLITS for label in bench.classes[split]]
    assert len(set(labels)) == len(labels) == len(bench.split_of) == len({plain(label) for label in labels})
    assert len({bench.readable(label) for label in labels}) == len(labels)
    assert all(re.fullmatch(r"[0-9a-f]{64}", bench.digests[split]) for split in SPLITS)
    if bench.published:
        assert len({bench.published(label) for label in labels}) == len(labels)
    if bench.counts is not None:
        assert sum(bench.counts.values()) == sum(bench.clips.values()) and bench.counts.keys() == set(labels)
    else:
        assert all(re.match(r"https://\S+/[0-9a-f]{40}/\S+$", bench.lists[split]) for split in SPLITS)


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_published_lists(name: str, shared: Path) -> None:
    """Against the table of counts, and against the lists themselves."""
    bench = benchmark(name)
    told = (shared / "splits" / "README.md").read_text("utf-8")
    for split, file in files(shared, name).items():
        line = re.search(rf"\| `{file.name}` \| (\d+) \| (\d+) \| (\d+)–(\d+) \|", told)
        assert line, file.name
        assert (len(bench.classes[split]), bench.clips[split]) == (int(line[1]), int(line[2]))
        if bench.counts is not None:
            counts = [bench.counts[label] for label in bench.classes[split]]
            assert (min(counts), max(counts)) == (int(line[3]), int(line[4]))
            assert Counter(row["label"] for row in rows(file)) == {c: bench.counts[c] for c in bench.classes[split]}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_the_published_ones(name: str, shared: Path) -> None:
    """Class numbers, readable texts, and the texts of published code where it gives any."""
    bench, kept = benchmark(name), name.removesuffix("-clipfsar").replace("-", "_")
    named = [row for row in rows(shared / "splits" / "class_names.csv") if row["dataset"] == kept]
    assert len(named) == len(bench.split_of)
    for row in named:
        label = row["label"]
        assert bench.classes[row["split"]][int(row["index"])] == label
        assert bench.readable(label) == row["readable"]
        if row["clipfsar_text"]:
            assert (bench.published or bench.readable)(label) == row["clipfsar_text"]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("ssv2")])
def test_every_published_name_is_understood(name: str, shared: Path) -> None:
    bench = benchmark(name)
    for split, file in files(shared, name).items():
        clips = []
        for row in rows(file):
            clip = bench.read(PurePosixPath(row["path"]).with_suffix(".avi"))
            assert clip is not None, row
            assert bench.label(clip.label) == row["label"]
            clips.append((row["label"], clip.id))
        assert digest(clips) == bench.digests[split]


def test_names_tell_class_and_source() -> None:
    hmdb, ucf, kinetics, ssv2 = (benchmark(name).read for name in ("hmdb51", "ucf101", "kinetics100", "ssv2-small"))
    one = "draw_sword/Blade_Of_Fury_-_Scene_1_draw_sword_f_cm_np2_ri_bad_0.avi"
    assert hmdb(PurePosixPath(one)) == ListedClip(one[:-4], "draw_sword", "Blade_Of_Fury_-_Scene_1")
    assert hmdb(PurePosixPath(one.split("/")[1])) == ListedClip(one[:-4], "draw_sword", "Blade_Of_Fury_-_Scene_1")
    sword = hmdb(PurePosixPath("sword/x_draw_sword_f_cm_np10_ri_bad_0.avi"))
    assert sword == ListedClip("sword/x_draw_sword_f_cm_np10_ri_bad_0", "sword", "x_draw"), "the folder settles it"
    assert ucf(PurePosixPath("HandstandPushups/v_HandStandPushups_g05_c02.avi")) == ListedClip(
        "HandstandPushups/v_HandStandPushups_g05_c02", "HandstandPushups", "HandstandPushups_g05"
    )
    assert kinetics(PurePosixPath("air_drumming/-VtLx-mcPds_000012_000022.mp4")) == ListedClip(
        "-VtLx-mcPds_000012_000022", "air_drumming", "-VtLx-mcPds"
    )
    assert kinetics(PurePosixPath("val_256/x/-514AQUrSow.mkv")) == ListedClip("-514AQUrSow", "x", "-514AQUrSow")
    assert ssv2(PurePosixPath("20bn-something-something-v2/78687.webm")) == ListedClip("78687", "", "78687")
    for read, name in (
        (hmdb, "a/b.avi"), (ucf, "a/v_Nothing_g01_c01.avi"), (kinetics, "short.mp4"), (ssv2, "a.webm"),
        (kinetics, "-514AQUrSow-and-more.mp4"),
    ):  # fmt: skip
        assert read(PurePosixPath(name)) is None


@pytest.mark.parametrize(("name", "path"), [
    ("hmdb51", "golf/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"), ("hmdb51", "golf/holiday.avi"),
    ("ucf101", "Biking/v_Archery_g01_c01.avi"), ("ucf101", "Biking/v_Biking_01.avi"),
])  # fmt: skip
def test_a_name_that_contradicts_its_folder_is_refused(name: str, path: str) -> None:
    with pytest.raises(
        DataError, match=rf"{path}: its folder says '\w+', but its name .*: the copy is not the published"
    ):
        benchmark(name).read(PurePosixPath(path))


def test_groups_are_those_of_the_real_clips(shared: Path) -> None:
    """J-HMDB's clips bear HMDB51's names; their index names the source video of each."""
    read = benchmark("hmdb51").read
    told = [row for row in rows(shared / "clips" / "clips.csv") if row["dataset"] == "jhmdb"]
    for row in told:
        clip = read(PurePosixPath(row["path"]))
        assert clip and (clip.label.replace("_", " "), clip.group) == (row["label"], row["group"])
        assert benchmark("hmdb51").split_of[clip.label] == row["split"]
    assert len(told) == 420


def test_class_texts_put_right_and_as_published() -> None:
    hmdb, ucf, ssv2 = (benchmark(name) for name in ("hmdb51", "ucf101", "ssv2-full"))
    assert (hmdb.readable("draw_sword"), hmdb.published("draw_sword")) == ("draw sword", "draw_sword")
    assert (ucf.readable("BlowDryHair"), ucf.published("BlowDryHair")) == ("blow dry hair", "Blow DryHair")
    assert (ucf.readable("Skijet"), ucf.published("Skijet")) == ("jet skiing", "Skijet")
    assert (ssv2.readable("Closing something"), ssv2.published("Closing something")) == (
        "Closing something", "Closing [something]",
    )  # fmt: skip
    assert benchmark("kinetics100").published is None
    assert benchmark("kinetics100").label("Hurling_(sport)") == "hurling (sport)"
    assert ssv2.label("Closing [something]") == "Closing something"


def test_an_unknown_benchmark_is_named() -> None:
    with pytest.raises(OptionError, match="unknown benchmark 'hmdb': did you mean 'hmdb51'"):
        benchmark("hmdb")
