"""Folders of class folders, and what every Dataset can do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kshot import datasets
from kshot.datasets.listing import clips_of
from kshot.datasets.outputs import expect_outside
from kshot.errors import DataError, OptionError


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


SPLIT = ("train/run/1.mp4", "train/jump/1.mp4", "train/jump/2.mp4", "val/sit/1.mp4", "novel/wave_hand/1.avi")


def test_class_folders_with_videos_and_frame_folders(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "mine",
        *["wave_hand/clip10.mp4", "wave_hand/clip2.MKV", "wave_hand/notes.txt", "wave_hand/.hidden.mp4"],
        *["run/frames/1.jpg", "run/frames/2.jpg", "__MACOSX/x.mp4", ".git/x.mp4", "readme.md"],
    )
    data = datasets.load(root)
    assert (data.name, len(data), data.classes) == ("mine", 3, ("run", "wave_hand"))
    assert [str(path.relative_to(root)) for path in data.paths] == [
        "run/frames",
        "wave_hand/clip2.MKV",
        "wave_hand/clip10.mp4",
    ]
    assert data.labels.tolist() == [0, 1, 1] and data.labels.dtype == np.int64
    assert data.splits.tolist() == ["", "", ""]
    assert len(set(data.groups.tolist())) == 3 and "" not in data.groups
    assert data.features is None
    assert datasets.load(str(root)).classes == data.classes
    assert datasets.load(data) is data


def test_split_folders(tmp_path: Path) -> None:
    data = datasets.load(tree(tmp_path, *SPLIT))
    assert data.classes == ("jump", "run", "sit", "wave_hand")
    assert data.counts == {"jump": 2, "run": 1, "sit": 1, "wave_hand": 1}
    assert [len(data.select(split)) for split in ("train", "base", "val", "test", "novel", "all")] == [3, 3, 1, 1, 1, 5]
    novel = data.select("novel")
    assert (novel.classes, novel.labels.tolist(), novel.splits.tolist()) == (("wave_hand",), [0], ["test"])
    assert novel.paths == (tmp_path / "novel/wave_hand/1.avi",)


def test_folders_that_only_sometimes_bear_names_of_splits_are_classes(tmp_path: Path) -> None:
    assert datasets.load(tree(tmp_path, "test/1.mp4", "run/1.mp4")).classes == ("run", "test")


def test_subset_keeps_the_order_asked_for_and_the_order_of_classes(tmp_path: Path) -> None:
    data = datasets.load(tree(tmp_path, *SPLIT))
    part = data.subset([4, 0, 2])
    assert (part.classes, part.labels.tolist()) == (("jump", "sit", "wave_hand"), [1, 2, 0])
    assert [part.classes[label] for label in part.labels] == [data.classes[data.labels[i]] for i in (4, 0, 2)]
    assert part.paths == (data.paths[4], data.paths[0], data.paths[2])
    assert part.groups.tolist() == data.groups[[4, 0, 2]].tolist()


def test_classes_by_name(tmp_path: Path) -> None:
    data = datasets.load(tree(tmp_path, *SPLIT))
    part = data.only(["sit", "jump"])
    assert (part.classes, len(part)) == (("jump", "sit"), 3)
    with pytest.raises(DataError, match=r"has no class 'wavehand': did you mean 'wave_hand'\?$"):
        data.only(["sit", "wavehand"])
    with pytest.raises(DataError, match=r"has no class 'zzz': it has jump, run, sit, wave_hand$"):
        data.only(["zzz"])


def test_splits_by_name(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown split 'tset': did you mean 'test'\?"):
        datasets.load(tree(tmp_path / "a", *SPLIT)).select("tset")
    with pytest.raises(DataError, match=r"a has no clips in split 'val': it has test, train and all$"):
        datasets.load(tree(tmp_path / "b" / "a", SPLIT[0], SPLIT[4])).select("val")
    with pytest.raises(DataError, match="its clips name no split, use 'all'"):
        datasets.load(tree(tmp_path / "c", "run/1.mp4")).select("train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"expected one folder for each class with its clips inside, found nothing$"),
        (("1.mp4", "2.mp4"), r"expected one folder for each class with its clips inside, found 2 files$"),
        (("run/1.mp4", "jump/.keep"), r"class folder 'jump' holds no clips: .* found nothing$"),
        (("run/1.txt",), r"class folder 'run' holds no clips: .* found 1 file \(\.txt 1: 1\.txt\), which kshot"),
        (
            ("run/deep/1.txt", "sit/1.mp4"),
            r"run/deep: expected JPEG or PNG frames, or videos of one group, in class 'run', found neither$",
        ),
        (
            ("run/deep/down/1.mp4", "sit/1.mp4"),
            r"run/deep/down: class 'run' holds folders in folders in folders: .*a CSV with columns path, label and gr",
        ),
        (("train/1.mp4", "test/2.mp4"), r"expected class folders in test, train, found none$"),
        (
            ("train/run/1.mp4", "test/run/2.mp4", "test/sit/3.mp4"),
            r"label 'run' is in two splits, 'test' \(test/run\) and 'train' \(train/run\): splits are by class, "
            r".*; for `kshot fit` name one of them alone \(/.*/test or /.*/train\), and try the model on the other "
            r"with `kshot predict`$",
        ),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        datasets.load(tree(tmp_path, *files))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    tree(tmp_path, "run/1.mp4", "sit/1.mp4")
    (tmp_path / "sit").chmod(0)
    try:
        with pytest.raises(DataError, match="sit: cannot be read: Permission denied"):
            datasets.load(tmp_path)
    finally:
        (tmp_path / "sit").chmod(0o700)


def test_what_is_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "run/1.mp4", "clips.txt", "clips")
    with pytest.raises(DataError, match=r"^no data at 'moton': .*did you mean 'motion'\?$"):
        datasets.load("moton")
    with_names = r"^no data at 'nowhere': expected a folder .*, an \.npz, or one of motion, hmdb51, .*ssv2-small$"
    with pytest.raises(DataError, match=with_names):
        datasets.load("nowhere")
    with pytest.raises(DataError, match=r"clips\.txt: expected a folder of class folders, .* found a \.txt file$"):
        datasets.load("clips.txt")
    with pytest.raises(DataError, match="found a nameless file"):
        datasets.load("clips")
    with pytest.raises(OptionError, match="a folder takes no row filter"):
        datasets.load(tmp_path, where={"label": "run"})
    with pytest.raises(OptionError, match=r"like 'motion:16', found 'many'"):
        datasets.load("motion:many")
    with pytest.raises(OptionError, match=r"like 'motion:16', found '0'"):
        datasets.load("motion:0")


def test_named_sets_exist_and_make_a_table() -> None:
    """Every line of the registry names a function; `motion` itself is rendered in its own test."""
    from importlib import import_module

    assert "motion" in datasets.DATASETS
    for place in datasets.DATASETS.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))


def test_a_named_set_is_loaded_once_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a/1.mp4", "b/2.mp4")
    (tmp_path / "made-3.csv").write_text("path,label,split\na/1.mp4,a,train\nb/2.mp4,b,test\n")
    (tmp_path / "own_set.py").write_text(
        f"from pathlib import Path\ndef make(clips=3):\n    return Path({str(tmp_path)!r}) / f'made-{{clips}}.csv'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(datasets.DATASETS, "own", "own_set:make")
    for text in ("own", "own:3"):
        data = datasets.load(text)
        assert (data.name, data.classes, data.splits.tolist()) == ("own", ("a", "b"), ["train", "test"])


def test_real_folders(shared: Path) -> None:
    frames = datasets.load(shared / "clips" / "ssv2small-frames")
    assert (len(frames), len(frames.classes)) == (150, 15)
    videos = datasets.load(shared / "clips" / "jhmdb")
    assert (len(videos), len(videos.classes), videos.counts["brush_hair"]) == (420, 21, 20)


def test_rows_of_a_named_set(clips_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_make", lambda name, number, options: clips_csv)
    whole = datasets.load("motion:12")
    assert datasets.load("motion:12?split=test").paths == whole.select("test").paths
    assert set(datasets.load("motion", where={"label": "wave"}).classes) == {"wave"}
    with pytest.raises(OptionError, match="colour"):
        datasets.load("motion?colour=red")


CONTAINERS = (".mts", ".m2ts", ".vob", ".mod", ".divx", ".3g2", ".ogm", ".MTS", ".qt", ".m2t", ".f4v", ".mpe", ".tod")


def test_every_container_that_can_be_decoded_is_a_clip(tmp_path: Path) -> None:
    data = datasets.load(tree(tmp_path, *(f"wave/{i}{suffix}" for i, suffix in enumerate(CONTAINERS)), "bow/1.mp4"))
    assert len(data) == len(CONTAINERS) + 1 and data.notes == ()


def test_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    clips = ("wave/1.mp4", "wave/f/1.jpg", "bow/1.mp4")
    silent = ("wave/.DS_Store", "bow/Thumbs.db", "desktop.ini", "wave/f/.hidden", "wave/._1.mp4", "~$list.xlsx")
    assert datasets.load(tree(tmp_path / "a", *clips, *silent)).notes == ()
    others = ("wave/a.srt", "wave/b.srt", "bow/c", "wave/f/1.bmp", "wave/f/flow.npy", "list.csv", "loose.mp4")
    data = datasets.load(tree(tmp_path / "b", *clips, *silent, *others))
    assert data.notes == (
        "2 files (.csv 1: list.csv; .mp4 1: loose.mp4) beside the class folders passed over",
        "3 files (.srt 2: wave/a.srt, ...; without suffix 1: bow/c) in class folders passed over",
        "2 files (.bmp 1: wave/f/1.bmp; .npy 1: wave/f/flow.npy) in frame folders passed over, not counting 6 "
        "hidden or system files",
    )
    assert data.subset([0]).notes == data.only(["bow"]).notes == data.notes
    split = datasets.load(tree(tmp_path / "c", "train/wave/1.mp4", "test/bow/1.mp4", "test/odd.mp4"))
    assert split.notes == ("1 file (.mp4 1: test/odd.mp4) beside the class folders passed over",)


SYSTEM = (
    "@eaDir", ".AppleDouble", "$RECYCLE.BIN", "lost+found", "__MACOSX", "System Volume Information", "#recycle",
    ".Trash-1000", ".git", "@Recently-Snapshot", "Network Trash Folder", "#snapshot",
)  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("place", ["", "wave/", "train/", "train/wave/"])
def test_a_folder_of_a_system_or_network_drive_is_passed_over_and_counted(
    tmp_path: Path, name: str, place: str
) -> None:
    """Also where its videos were deleted by somebody and lie in its bin."""
    top = "train/" if place.startswith("train") else ""
    tree(tmp_path, f"{top}wave/1.mp4", f"{top}bow/1.mp4", f"{place}{name}/old.mp4")
    data = datasets.load(tmp_path)
    assert len(data) == 2 and data.notes == (f"1 hidden or system folder ({place}{name}) passed over",)
    tree(tmp_path, f"{top}bow/@eaDir/1.mp4/shot.jpg", f"{top}bow/.git/x")
    (note,) = datasets.load(tmp_path).notes
    assert note.endswith(", ...) passed over") and int(note.split()[0]) in (2, 3)


def test_folders_within_class_folders_are_groups_where_only_that_can_be_meant(tmp_path: Path) -> None:
    files = ("wave/anna/2.mp4", "wave/anna/10.mp4", "wave/bo/f/1.jpg", "bow/cleo/1.mp4", "bow/3.mp4")
    data = datasets.load(tree(tmp_path, *files))
    found = [
        (str(path.relative_to(tmp_path)), data.classes[label], group)
        for path, label, group in zip(data.paths, data.labels, data.groups, strict=True)
    ]
    assert found == [
        ("bow/3.mp4", "bow", f"0:{tmp_path / 'bow/3.mp4'}"), ("bow/cleo/1.mp4", "bow", "cleo"),
        ("wave/anna/2.mp4", "wave", "anna"), ("wave/anna/10.mp4", "wave", "anna"), ("wave/bo/f", "wave", "bo"),
    ]  # fmt: skip
    assert data.notes == (
        "3 folders within the class folders (bow/cleo, ...) are taken as groups: what was filmed together",
        "1 of 5 clips name no group: each counts as filmed by itself",
    )
    split = datasets.load(tree(tmp_path / "s", "Train/wave/anna/1.mp4", "val/bow/bo/1.mp4"))
    assert (split.groups.tolist(), split.splits.tolist()) == (["anna", "bo"], ["train", "val"])


OWN = {
    "model": {"config.json": '{"kind": "kshot recognizer"}', "thumbnails/a/0.jpg": ""},
    "run": {"config.json": '{"strategy": {}, "tuning": {}}'},
    "study": {"study.json": "{}", "rows/a/row.json": "{}"},
    "store": {"digests.jsonl": ""},
    "studio project": {"project.json": "{}", "videos/1.mp4": ""},
    "report": {"report.html": "", "plots/a.png": ""},
    "exported model": {"model.json": '{"kind": "kshot export"}'},
}


@pytest.mark.parametrize("kind", OWN)
def test_what_kshot_wrote_among_the_clips_is_no_action(tmp_path: Path, kind: str) -> None:
    tree(tmp_path, "wave/1.mp4", "bow/1.mp4", "bow/config.json")
    for place in ("made", "wave/made"):
        for name, text in OWN[kind].items():
            tree(tmp_path / place, name)
            (tmp_path / place / name).write_text(text)
    data = datasets.load(tmp_path)
    assert data.classes == ("bow", "wave") and len(data) == 2
    told = f"2 folders that kshot wrote ({kind} made, ...) passed over"
    assert data.notes[-1] == told
    found, notes = clips_of(str(tmp_path))
    assert len(found) == 2 and notes[-1] == told


def test_frames_of_another_kind_are_told_what_they_must_be(tmp_path: Path) -> None:
    tree(tmp_path, "bow/1.mp4", "wave/1.webp", "wave/2.webp")
    with pytest.raises(DataError, match=r"folders of JPEG or PNG frames, found 2 files \(\.webp 2: 1\.webp, \.\.\.\)"):
        datasets.load(tmp_path)
    with pytest.raises(
        DataError, match=r"folders of JPEG or PNG frames, .*; 2 files \(\.webp 2: 1\.webp, \.\.\.\) beside the"
    ):
        clips_of(str(tmp_path / "wave"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"or folders with such inside; found none$"):
        clips_of(str(tmp_path / "none"))


def test_nothing_is_written_among_the_clips(tmp_path: Path) -> None:
    tree(tmp_path, "clips/wave/1.mp4", "clips?/x")
    for data in ("clips", "clips?inner=group", tmp_path / "clips"):
        for out in ("clips", "clips/model", "clips/../clips/wave/m"):
            with pytest.raises(
                OptionError, match=r"--out .* lies in .*clips, the folder of the clips: name a folder outside"
            ):
                expect_outside(tmp_path / data, tmp_path / out)
        expect_outside(tmp_path / data, tmp_path / "clips2")
    expect_outside("motion", tmp_path), expect_outside("clips.csv", tmp_path), expect_outside(None, tmp_path)


def test_a_picture_beside_videos_makes_no_clip_of_their_folder(tmp_path: Path) -> None:
    clips = ("bow/f", "bow/bo/1.mp4", "wave/anna/1.mp4", "wave/anna/2.mp4")
    tree(tmp_path, *clips[1:], "wave/anna/cover.jpg", "bow/f/1.jpg", "bow/f/._1.mp4", "bow/f/2.jpg")
    data = datasets.load(tmp_path)
    assert list(data.paths) == [tmp_path / clip for clip in clips]
    assert any("1 file (.jpg 1: wave/anna/cover.jpg) in class folders passed over" in note for note in data.notes)
    found, notes = clips_of(str(tmp_path / "wave/anna"))
    assert found == [str(tmp_path / f"wave/anna/{n}.mp4") for n in (1, 2)]
    assert notes == ["1 file (.jpg 1: cover.jpg) beside the clips passed over"]
    found, notes = clips_of(str(tmp_path))
    assert sorted(found) == sorted(map(str, data.paths)) and "wave/anna/cover.jpg" in notes[0]
    assert clips_of(str(tmp_path / "bow/f")) == ([str(tmp_path / "bow/f")], [])


def test_nested_folders_that_may_mean_two_things_are_read_as_the_user_says(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{one}/{other}/1.mp4" for one in ("wave", "bow") for other in ("anna", "bo")))
    with pytest.raises(DataError) as told:
        datasets.load(tmp_path)
    assert str(told.value) == (
        f"{tmp_path}: 4 folders lie within the class folders, such as bow/anna, and either may be the actions: write "
        f"'{tmp_path}?inner=group' if 'bow' is an action and 'anna' what was filmed together, a person say, or "
        f"'{tmp_path}?inner=label' if 'anna' is the action"
    )
    by_group, by_label = (datasets.load(f"{tmp_path}?inner={inner}") for inner in ("group", "label"))
    assert (by_group.classes, by_group.groups.tolist()) == (("bow", "wave"), ["anna", "bo"] * 2)
    assert (by_label.classes, by_label.groups.tolist()) == (("anna", "bo"), ["bow", "bow", "wave", "wave"])
    assert by_label.notes == (
        "the 4 inner folders (bow/anna, ...) are the actions, the outer ones what was filmed together",
    )
    with pytest.raises(OptionError, match=r"unknown kind of inner folders 'person'.* Known: group, label"):
        datasets.load(f"{tmp_path}?inner=person")
    with pytest.raises(DataError, match=r"1 folder lies within the class folders, such as videos/wave"):
        datasets.load(tree(tmp_path / "one", "videos/wave/1.mp4"))
