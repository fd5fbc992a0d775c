"""Benchmarks made ready: from archives and folders in their real layouts, and from all that can be wrong with them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_archives import write_tar, write_zip

import kshot.datasets as datasets
from clips import draw, write_video
from hmdb import files, name, write_archive, write_folder
from kshot.datasets import archives, prepare
from kshot.datasets.benchmark import SPLITS, Benchmark, digest
from kshot.datasets.hmdb51 import HMDB51
from kshot.datasets.kinetics100 import KINETICS100
from kshot.datasets.prepare import verify
from kshot.datasets.ssv2 import SSV2_SMALL
from kshot.errors import DataError, KshotError, OptionError, StoreError
from rars import write_tool

if TYPE_CHECKING:
    from forks import Command

CLASSES = {"train": ("air drumming", "high kick"), "val": ("hurling (sport)",), "test": ("tap dancing", "unboxing")}
IDS = {
    label: [f"{label[:3].replace(' ', '-')}_aBcD{clip}-{clip}_00000{clip}_00001{clip}" for clip in range(4)]
    for labels in CLASSES.values()
    for label in labels
}
LISTED = {split: [(label, clip) for label in CLASSES[split] for clip in IDS[label]] for split in SPLITS}
KINETICS = replace(
    KINETICS100, name="kinetics", title="Kinetics in small", classes=CLASSES, clips={s: len(LISTED[s]) for s in SPLITS},
    digests={s: digest(LISTED[s]) for s in SPLITS},
)  # fmt: skip
SMALL = {"train": ("wave", "draw_sword"), "val": ("golf",), "test": ("run", "sit")}
MADE = files([label for labels in SMALL.values() for label in labels], 4)
HMDB = replace(
    HMDB51, name="hmdb", title="HMDB in small", classes=SMALL, clips={s: 4 * len(SMALL[s]) for s in SPLITS},
    digests={s: digest((c, f"{c}/{Path(clip).stem}") for c in SMALL[s] for clip in MADE[c]) for s in SPLITS},
    counts=dict.fromkeys(MADE, 4),
)  # fmt: skip
SSV2 = replace(
    SSV2_SMALL, name="ssv2", title="SSv2 in small", classes={s: (SSV2_SMALL.classes[s][0],) for s in SPLITS},
    clips=dict.fromkeys(SPLITS, 5),
    digests={s: digest((SSV2_SMALL.classes[s][0], f"{n}{i}") for i in range(5)) for n, s in enumerate(SPLITS, 1)},
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for each test, and benchmarks in small beside the real ones."""
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "home"))
    small = SimpleNamespace(HMDB=HMDB, KINETICS=KINETICS, SSV2=SSV2)
    monkeypatch.setitem(__import__("sys").modules, "small_benchmarks", small)  # type: ignore[arg-type]
    for bench in (HMDB, KINETICS, SSV2):
        monkeypatch.setitem(datasets.BENCHMARKS, bench.name, f"small_benchmarks:{bench.name.upper()}")
    return tmp_path / "home"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(write_tool(tmp_path / "bin")))


@pytest.fixture
def clip_list(tmp_path: Path) -> Path:
    """The list of the small Kinetics."""
    return write_list(tmp_path / "list.csv", KINETICS, LISTED)


def write_list(path: Path, bench: Benchmark, listed: dict[str, list[tuple[str, str]]]) -> Path:
    with path.open("w", newline="") as file:
        rows = [(clip, label, split) for split in SPLITS for label, clip in listed[split]]
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return path


def kinetics(*labels: str) -> dict[str, bytes]:
    """Files of the small Kinetics and one that it does not have."""
    found = {f"train/{clip}.mp4": clip.encode() * 5 for label in labels or IDS for clip in IDS[label]}
    return found | {"train/somethingEl_000001_000011.mp4": b"of another class"}


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in (folder / "clips").rglob("*") if p.is_file()}


def around(out: Path) -> list[str]:
    """What there is of a set that could not be made."""
    return sorted(path.name for path in out.parent.glob(f"{out.name}*")) if out.parent.exists() else []


def counts(name: str) -> dict[str, tuple[int, int]]:
    return {split: (row.classes_found, row.clips_found) for split, row in verify(name).splits.items()}


# What is right


def test_a_rar_of_rars_becomes_a_data_set(tmp_path: Path, tool: None, home: Path) -> None:
    report = prepare.prepare("hmdb", write_archive(tmp_path / "hmdb51_org.rar", MADE))
    folder = home / "data" / "hmdb"
    assert (report.folder, report.new, report.found) == (folder, True, 20)
    assert sorted(path.name for path in folder.iterdir()) == [
        "clips", "clips-published.csv", "clips-spelled.csv", "clips.csv", "prepared.json",
    ]  # fmt: skip
    assert content(folder) == {f"clips/{c}/{clip}": data for c, clips in MADE.items() for clip, data in clips.items()}
    data = datasets.load("hmdb")
    assert data.name == "hmdb" and data.classes == ("draw sword", "golf", "run", "sit", "wave")
    assert data.missing == {} and data.counts == dict.fromkeys(data.classes, 4)
    assert set(data.select("test").classes) == {"run", "sit"} and set(data.select("val").classes) == {"golf"}
    assert len(set(data.groups.tolist())) == 2, "two source videos, whatever the class"
    assert datasets.load("hmdb:readable").name == "hmdb"
    published = datasets.load("hmdb:published")
    assert published.name == "hmdb:published" and published.classes[0] == "draw_sword"
    assert [path.name for path in published.paths] == [path.name for path in data.paths]
    assert datasets.load("hmdb:spelled").classes[:2] == ("draw_sword", "golf")
    assert counts("hmdb") == {"train": (2, 8), "val": (1, 4), "test": (2, 8)} and around(folder) == ["hmdb"]


def test_all_of_hmdb51_in_a_folder(shared: Path, tmp_path: Path, home: Path) -> None:
    """6,766 files with the published names: nothing is copied, and every count is the published one."""
    for split in SPLITS:
        with (shared / "splits" / f"hmdb51_{split}.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                path = tmp_path / "hmdb51" / row["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    report = prepare.prepare("hmdb51", tmp_path / "hmdb51")
    assert report.found == 6766 and report.missing == {"train": [], "val": [], "test": []}
    assert counts("hmdb51") == {"train": (31, 4280), "val": (10, 1194), "test": (10, 1292)}
    data = datasets.load("hmdb51")
    assert len(data) == 6766 and len(data.select("novel").classes) == 10 and not (home / "data/hmdb51/clips").exists()


def test_real_clips_under_their_own_names(shared: Path, home: Path) -> None:
    report = prepare.prepare("hmdb51", shared / "clips" / "jhmdb", allow_missing=True)
    assert report.file["notes"] == ["1 file, no video, passed over: .md 1"]
    assert report.found == 420 and counts("hmdb51") == {"train": (12, 240), "val": (4, 80), "test": (5, 100)}
    assert report.missing["test"][0] == "fencing: 116 of 116 clips"
    assert datasets.load("hmdb51").missing_from("test")[:2] == ["fencing: 116 of 116 clips", "kick: 130 of 130 clips"]


@pytest.mark.parametrize("form", ["tar.gz", "zip", "folder", "nested"])
def test_a_set_by_its_list_takes_what_the_list_names(form: str, clip_list: Path, tmp_path: Path, home: Path) -> None:
    """Kinetics as parts of clips in tars, as a zip, unpacked into class folders, and as tars in a zip."""
    source = tmp_path / "source"
    source.mkdir()
    halves = [kinetics("air drumming", "unboxing"), kinetics("high kick", "hurling (sport)", "tap dancing")]
    if form == "tar.gz":
        for number, half in enumerate(halves):
            write_tar(source / f"part_{number}.tar.gz", half)
    elif form == "zip":
        write_zip(source / "all.zip", kinetics())
    elif form == "nested":
        tars = {f"p{n}/part.tgz": write_tar(tmp_path / "x.tgz", half).read_bytes() for n, half in enumerate(halves)}
        write_zip(source / "all.zip", tars)
    else:
        for label, ids in IDS.items():
            (source / label.replace(" ", "_")).mkdir()
            for clip in ids:
                (source / label.replace(" ", "_") / f"{clip[:11]}.mkv").write_bytes(clip.encode() * 5)
    prepare.prepare("kinetics", source, clip_list=[clip_list])
    data = datasets.load("kinetics")
    assert data.classes == tuple(sorted(IDS)) and data.counts == dict.fromkeys(IDS, 4)
    assert [path.read_bytes()[:25].decode() for path in data.paths] == [
        clip for split in SPLITS for clip in sorted(clip for _, clip in LISTED[split])
    ]
    assert len(set(data.groups.tolist())) == 20
    unpacked = content(home / "data" / "kinetics")
    assert len(unpacked) == (0 if form == "folder" else 20), "what the list does not name is not written"
    assert counts("kinetics") == {"train": (2, 8), "val": (1, 4), "test": (2, 8)}
    with pytest.raises(OptionError, match="unknown class text of kinetics 'published': Known: readable"):
        datasets.load("kinetics:published")


@pytest.mark.parametrize("zipped", [False, True])
def test_parts_of_one_archive(zipped: bool, tmp_path: Path) -> None:
    """Something-Something: an archive cut into parts, as they are or each in a zip of its own."""
    listed = {s: [(SSV2.classes[s][0], f"{n}{i}") for i in range(5)] for n, s in enumerate(SPLITS, 1)}
    videos = {f"20bn-something-something-v2/{n}{i}.webm": bytes([n, i]) * 700 for n in (1, 2, 3, 4) for i in range(5)}
    whole = write_tar(tmp_path / "whole.tgz", videos).read_bytes()
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        part, stem = whole[number * 200 : (number + 1) * 200 if number < 2 else None], "20bn-something-something-v2"
        if zipped:
            write_zip(source / f"{stem}-{number:02d}.zip", {f"{stem}-{number:02d}": part})
        else:
            (source / f"{stem}-{number:02d}").write_bytes(part)
    files = [write_list(tmp_path / "list.csv", SSV2, listed)]
    report = prepare.prepare("ssv2", source, clip_list=files)
    assert report.found == 15 and len(content(report.folder)) == 15
    assert datasets.load("ssv2:published").classes[0].count("[something") == 1
    shutil.rmtree(report.folder)
    next(source.glob("*-01*")).unlink()
    with pytest.raises(
        DataError, match="20bn-something-something-v2-02: the part 20bn-something-something-v2-01 before"
    ):
        prepare.prepare("ssv2", source, clip_list=files)
    assert around(report.folder) == []


def test_another_folder_is_found_by_the_name(tmp_path: Path, home: Path) -> None:
    source, out = write_folder(tmp_path / "source", MADE), tmp_path / "disk" / "hmdb"
    assert prepare.prepare("hmdb", source, out).folder == out
    assert (home / "data" / "hmdb").resolve() == out and len(datasets.load("hmdb")) == 20
    again = prepare.prepare("hmdb", source, out)
    assert (again.new, again.folder) == (False, out)
    assert verify(str(out)).benchmark == "hmdb" and len(datasets.load(out / "clips.csv")) == 20
    shutil.rmtree(out)
    with pytest.raises(DataError, match=r"hmdb is not prepared on this machine: get hmdb51_org\.rar from https"):
        datasets.load("hmdb")
    assert prepare.prepare("hmdb", source).new and not (home / "data" / "hmdb").is_symlink()


# Missing clips


def test_missing_clips_need_leave_and_are_named_ever_after(
    clip_list: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_tar(tmp_path / "part_0.tgz", kinetics("air drumming", "high kick", "hurling (sport)", "tap dancing"))
    rest = {f"{clip}.mp4": clip.encode() * 5 for clip in IDS["unboxing"][1:]}
    second = write_tar(tmp_path / "part_1.tgz", rest)
    told = rf"Kinetics in small: 4 of 20 clips are missing from {first}: unb_aBcD0-0_000000_000010; .* and 1 more: give"
    with pytest.raises(DataError, match=told + r".*--allow-missing.*kept in .*kinetics\.partial\)"):
        prepare.prepare("kinetics", first, clip_list=[clip_list])
    assert around(home / "data" / "kinetics") == ["kinetics.partial"]
    with pytest.raises(DataError, match="is not prepared"):
        datasets.load("kinetics")
    opened = []
    unpack = archives.unpack
    monkeypatch.setattr(archives, "unpack", lambda path, *a, **k: opened.append(path) or unpack(path, *a, **k))
    report = prepare.prepare("kinetics", [first, second], clip_list=[clip_list], allow_missing=True)
    assert opened == [second], "what was unpacked is not unpacked again"
    lacking = IDS["unboxing"][:1]
    assert report.missing == {"train": [], "val": [], "test": lacking} and report.found == 19
    assert around(home / "data" / "kinetics") == ["kinetics"] and len(content(home / "data" / "kinetics")) == 19
    data = datasets.load("kinetics")
    assert data.select("test").missing_from("test") == data.missing_from("all") == lacking
    assert datasets.load(home / "data" / "kinetics" / "clips.csv").missing_from("novel") == lacking
    assert verify("kinetics").missing["test"] == lacking and counts("kinetics")["test"] == (2, 7)


def test_results_name_what_is_missing(tmp_path: Path, clip_folder: Path) -> None:
    """In a result, in a run's settings, and in what the command prints."""
    rng = np.random.default_rng(0)
    made = {label: dict.fromkeys(list(MADE[label])[:3], b"") for label in MADE}
    source = write_folder(tmp_path / "source", made)
    for number, label in enumerate(made):
        for clip in made[label]:
            write_video(source / label / clip, draw(number, 5, rng))
    prepare.prepare("hmdb", source, allow_missing=True)
    from kshot import evaluate, train

    result = evaluate("hmdb", clip_folder, way=2, query=1, episodes=5, out=tmp_path / "result.json")
    assert result.missing == ["run: 1 of 4 clips", "sit: 1 of 4 clips"]
    assert json.loads((tmp_path / "result.json").read_text())["missing"] == result.missing
    assert evaluate("hmdb", clip_folder, way=2, query=1, episodes=5, split="all").missing[0] == "wave: 1 of 4 clips"
    run = train("hmdb", tmp_path / "run", backbone=clip_folder, way=2, query=1, steps=1, select="none")
    base = ["wave: 1 of 4 clips", "draw_sword: 1 of 4 clips", "golf: 1 of 4 clips"]
    assert json.loads((run.run / "config.json").read_text())["result"]["missing"] == base
    assert run.report()["missing"] == tuple(base)
    adapted = evaluate("hmdb", adapted=run.run, way=2, query=1, episodes=5, backbone=clip_folder)
    assert adapted.missing == result.missing + base, "nor does it forget what the run was trained without"


def test_so_do_studies_and_features(tmp_path: Path, clip_folder: Path, command: Command) -> None:
    rng = np.random.default_rng(0)
    made = {label: dict.fromkeys(list(MADE[label])[:3], b"") for label in MADE}
    source = write_folder(tmp_path / "source", made)
    for number, label in enumerate(made):
        for clip in made[label]:
            write_video(source / label / clip, draw(number, 5, rng))
    prepare.prepare("hmdb", source, allow_missing=True)
    lacking = ["run: 1 of 4 clips", "sit: 1 of 4 clips"]
    (tmp_path / "own.toml").write_text(
        f'data = "hmdb"\nbackbone = "{clip_folder}"\nshots = [1]\nway = 2\nquery = 1\nepisodes = 4\n'
        '[[row]]\nname = "frozen"\n'
    )
    code, out, _ = command("study", tmp_path / "own.toml", "--out", tmp_path / "study")
    told = "This copy of hmdb lacks clips of the published split: run: 1 of 4 clips; sit: 1 of 4 clips."
    assert code == 0 and told in out
    assert told in (tmp_path / "study" / "table.md").read_text()
    report = json.loads((tmp_path / "study" / "study.json").read_text())
    assert report["rows"][0]["missing"] == lacking and report["summary"][0]["missing"] == 2
    for path in (tmp_path / "study" / "rows").rglob("*.json"):
        assert json.loads(path.read_text())["missing"] == lacking, path
    assert json.loads(command("extract", "hmdb", "--backbone", clip_folder, "--json")[1])["missing"][-2:] == lacking

    features = tmp_path / "hmdb.npz"
    code, _, error = command("data", "features", "export", "hmdb", "--backbone", clip_folder, "--out", features)
    assert code == 0 and "lacks clips of the published split" in error
    code, out, _ = command("evaluate", "--features", features, "--way", 2, "--query", 1, "--episodes", 4, "--json")
    assert json.loads(out)["missing"] == lacking
    np.save(tmp_path / "mine.npy", np.ones((15, 2, 4), np.float32))
    table = prepare.place("hmdb") / "clips.csv"
    code, out, _ = command(
        "data", "features", "import", tmp_path / "mine.npy", "--clips", table, "--out", tmp_path / "mine.npz", "--json"
    )
    assert code == 0 and len(json.loads(out)["missing"]) == 5
    assert datasets.load(tmp_path / "mine.npz").missing_from("test") == lacking


# A stop in the middle


def test_a_stop_keeps_whole_archives_and_nothing_else(
    clip_list: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, work = tmp_path / "source", home / "data" / "kinetics.partial"
    source.mkdir()
    for number, label in enumerate(IDS):
        write_tar(source / f"part_{number}.tgz", kinetics(label))
    opened, unpack = [], archives.unpack

    def stopped(path: Path, take: Callable[..., Path | None], *rest: object, **options: object) -> list[Path]:
        opened.append(path.name)
        if len(opened) == 3:
            take_one = lambda name, size: take(name, size) if len(content(work)) < 10 else interrupt()  # noqa: E731
            return unpack(path, take_one, *rest, **options)  # type: ignore[arg-type]
        return unpack(path, take, *rest, **options)  # type: ignore[arg-type]

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "unpack", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare("kinetics", source, clip_list=[clip_list])
    assert len(content(work)) == 8 and not (home / "data" / "kinetics").exists()
    (work / "clips" / "torn.mp4.tmp").write_bytes(b"what a kill left")
    (work / "unpacking").mkdir()
    prepare.prepare("kinetics", source, clip_list=[clip_list])
    assert opened == ["part_0.tgz", "part_1.tgz", "part_2.tgz", "part_2.tgz", "part_3.tgz", "part_4.tgz"]
    assert len(content(home / "data" / "kinetics")) == 20 and not work.exists()


def test_two_at_once(clip_list: Path, tmp_path: Path, home: Path) -> None:
    with prepare._working(home / "data" / "hmdb"), pytest.raises(DataError, match="another process is preparing it"):
        prepare.prepare("hmdb", write_folder(tmp_path / "source", MADE))


def test_a_full_disk_leaves_nothing(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source = write_tar(tmp_path / "source.tgz", {f"{c}/{clip}": d for c in MADE for clip, d in MADE[c].items()})
    monkeypatch.setattr("kshot.datasets.archives.os.replace", full)
    with pytest.raises(StoreError, match=r"cannot write to .*: No space left on device"):
        prepare.prepare("hmdb", source)
    assert around(home / "data" / "hmdb") == []


# What is wrong


def spoilt(change: Callable[[dict[str, dict[str, bytes]]], None]) -> dict[str, dict[str, bytes]]:
    made = {label: dict(clips) for label, clips in MADE.items()}
    change(made)
    return made


@pytest.mark.parametrize(("change", "why"), [
    (lambda m: m["golf"].update({name("wave", 0): b"x"}), r"golf/Holiday.*: its folder says 'golf', but its name"),
    (lambda m: m["golf"].update({name("golf", 9): b"x"}), r"class 'golf' has 5 clips, the published set 4"),
    (lambda m: m["golf"].update({"New" + name("golf", 9): m["golf"].popitem()[1]}), r"split val .* but other names"),
    (lambda m: m.pop("golf"), r"4 of 20 clips are missing from .*: golf: 4 of 4 clips: give all archives, or"),
    (lambda m: (m.clear(), m.update(other={"a.avi": b""})), r"no clip of HMDB in small in it, found other/a.avi"),
    (lambda m: m.clear(), r"no clip of HMDB in small in it, found no video at all: expected hmdb51_org.rar"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["folder", "tgz"])
def test_a_copy_that_is_not_the_published_one(  # type: ignore[no-untyped-def]
    form: str, change, why: str, tmp_path: Path, home: Path
) -> None:
    made = spoilt(change)
    if form == "folder":
        source = write_folder(tmp_path / "source", made)
        source.mkdir(exist_ok=True)
    else:
        source = write_tar(tmp_path / "source.tgz", {f"{c}/{clip}": d for c in made for clip, d in made[c].items()})
    with pytest.raises(DataError, match=why):
        prepare.prepare("hmdb", source)
    kept = ["hmdb.partial"] if "missing" in why and form == "tgz" else []
    assert around(home / "data" / "hmdb") == kept and not (home / "data" / "hmdb").exists()


def test_two_copies_are_not_mixed(tmp_path: Path, home: Path) -> None:
    other = {label: {clip: data + b"!" for clip, data in clips.items()} for label, clips in MADE.items()}
    one, two = write_folder(tmp_path / "one", MADE), write_folder(tmp_path / "two", other)
    with pytest.raises(DataError, match=r"clip 'draw_sword/.*' was found before with 108 bytes, here it has 109: two"):
        prepare.prepare("hmdb", [one, two])
    assert around(home / "data" / "hmdb") == []
    assert prepare.prepare("hmdb", [one, one]).found == 20, "the same copy twice does no harm"


def test_a_folder_that_says_another_class_than_the_list(clip_list: Path, tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "source" / "tap_dancing"
    folder.mkdir(parents=True)
    (folder / f"{IDS['unboxing'][0]}.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"unb_.*mp4: its folder says 'tap dancing', but the list says 'unboxing'"):
        prepare.prepare("kinetics", tmp_path / "source", clip_list=[clip_list])
    assert around(home / "data" / "kinetics") == []


def test_another_cut_of_the_same_video_is_not_the_clip(clip_list: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / f"{IDS['unboxing'][0][:11]}_000500_000510.mp4").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"no clip of Kinetics in small in it, found source/unb_aBcD0-0_000500_000510\.mp4"
    ):
        prepare.prepare("kinetics", folder, clip_list=[clip_list])


def test_an_archive_that_leads_outside(tmp_path: Path, home: Path) -> None:
    good = {f"{c}/{clip}": d for c in MADE for clip, d in MADE[c].items()}
    source = write_tar(tmp_path / "evil.tgz", good | {f"../../{name('run', 8)}": b"x"})
    with pytest.raises(DataError, match=r"evil\.tgz: refused, nothing of it was kept: member '\.\./\.\./Holiday"):
        prepare.prepare("hmdb", source)
    assert around(home / "data" / "hmdb") == [] and sorted(p.name for p in tmp_path.iterdir()) == ["evil.tgz"]


def test_a_damaged_rar_inside(tmp_path: Path, tool: None, home: Path) -> None:
    path = write_archive(tmp_path / "hmdb51_org.rar", MADE)
    data = path.read_bytes()
    at = data.index(MADE["run"][name("run", 3)])
    path.write_bytes(data[: at - 20])
    with pytest.raises(DataError, match=r"hmdb51_org\.rar: damaged or cut short \(unar: run\.rar is cut short\)"):
        prepare.prepare("hmdb", path)
    assert around(home / "data" / "hmdb") == []


def test_archives_all_the_way_down(tmp_path: Path, home: Path) -> None:
    data = write_zip(tmp_path / "0.zip", {"a.txt": b"x"}).read_bytes()
    for _ in range(4):
        data = write_zip(tmp_path / "in.zip", {"in.zip": data}).read_bytes()
    with pytest.raises(DataError, match="archives inside archives, more than 3 deep: refused"):
        prepare.prepare("hmdb", tmp_path / "in.zip")
    assert around(home / "data" / "hmdb") == []


def test_arguments_that_do_not_go_together(clip_list: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    write_folder(full, MADE)
    for arguments, why in (
        ({"name": "hmdb", "source": []}, "nothing to prepare hmdb from"),
        ({"name": "hmdb", "source": tmp_path / "gone.rar"}, "gone.rar: no such file or folder"),
        ({"name": "hmdb", "source": full, "out": full}, "full exists and is no prepared hmdb: name another"),
        ({"name": "kinetics", "source": full}, "needs its list of clips: give its files with --list, or --dow"),
        ({"name": "kinetics", "source": full, "clip_list": [clip_list], "download": True}, "either --list or --dow"),
        ({"name": "hmdb", "source": full, "download": True}, "HMDB in small needs no list"),
        ({"name": "motion", "source": full}, "unknown benchmark 'motion'"),
    ):  # fmt: skip
        with pytest.raises(KshotError, match=why):
            prepare.prepare(**arguments)
    prepare.prepare("hmdb", full, tmp_path / "out")
    with pytest.raises(OptionError, match="holds hmdb: name another folder"):
        prepare.prepare("kinetics", full, tmp_path / "out", [clip_list])


# Verifying


def test_files_that_were_lost_since(tmp_path: Path, home: Path, command: Command) -> None:
    source = write_folder(tmp_path / "source", MADE)
    prepare.prepare("hmdb", source)
    code, out, err = command("data", "verify", "hmdb")
    assert (code, err) == (0, "") and out.splitlines()[1:] == [
        "  train  2 of 2 classes, 8 of 8 clips", "  val    1 of 1 classes, 4 of 4 clips",
        "  test   2 of 2 classes, 8 of 8 clips",
    ]  # fmt: skip
    (source / "run" / name("run", 0)).unlink()
    (source / "golf" / name("golf", 1)).write_bytes(b"short")
    code, out, _ = command("data", "verify", "hmdb", "--json")
    lost = json.loads(out)["lost"]
    assert code == 2 and sorted(Path(path).name for path in lost) == [name("golf", 1), name("run", 0)]
    assert set(lost.values()) == {"No such file or directory", "has 5 bytes, had 54"}
    _, out, _ = command("data", "verify", "hmdb")
    assert "test   2 of 2 classes, 7 of 8 clips" in out and "lost since: " in out
    with pytest.raises(
        DataError, match=r"1 of 20 clips are missing: .*; `kshot data verify hmdb` lists what was lost .* "
    ):
        datasets.load("hmdb")


def test_a_damaged_record(tmp_path: Path, home: Path) -> None:
    folder = prepare.prepare("hmdb", write_folder(tmp_path / "source", MADE)).folder
    (folder / "clips.csv").write_text("path\n")
    with pytest.raises(DataError, match=r"clips.csv is damaged .*: remove .*hmdb and prepare it again"):
        verify("hmdb")
    (folder / "prepared.json").write_text('{"format": 7}')
    for act in (lambda: verify("hmdb"), lambda: datasets.load("hmdb")):
        with pytest.raises(DataError, match=r"prepared.json is damaged \(format 7, expected 1\): remove"):
            act()


# Commands


def test_commands(tmp_path: Path, home: Path, command: Command, clip_list: Path) -> None:
    code, out, _ = command("data", "list")
    assert code == 0 and "hmdb51: HMDB51, not prepared" in out and "test 24 classes 2,857 clips" in out
    source = write_folder(tmp_path / "source", {c: MADE[c] for c in MADE if c != "sit"})
    code, out, err = command("data", "prepare", "hmdb", "--from", source)
    assert (code, out) == (2, "") and err.startswith("kshot: HMDB in small: 4 of 20 clips are missing from")
    assert len(err.splitlines()) == 1
    code, out, _ = command("data", "prepare", "hmdb", "--from", source, "--allow-missing")
    assert (code, out) == (0, f"hmdb: 16 of 20 clips in {home / 'data/hmdb'}\nnext: kshot data verify hmdb\n")
    code, out, _ = command("data", "prepare", "hmdb", "--from", source)
    assert (code, out) == (0, f"hmdb is ready in {home / 'data/hmdb'}; remove that folder to prepare it anew\n")
    code, out, _ = command("data", "verify", "hmdb")
    assert code == 0 and "test   1 of 2 classes, 4 of 8 clips\n  missing: sit: 4 of 4 clips\n" in out
    listed = {row["name"]: row for row in json.loads(command("data", "list", "--json")[1])["benchmarks"]}
    assert (listed["hmdb"]["prepared"], listed["hmdb"]["missing"]) == (str(home / "data/hmdb"), 1)
    archive = write_tar(tmp_path / "k.tgz", kinetics())
    code, out, _ = command("data", "prepare", "kinetics", "--from", archive, "--list", clip_list, "--json")
    assert code == 0 and json.loads(out)["found"] == 20
    code, _, err = command("data", "verify", "hmbd")
    assert code == 2 and "unknown benchmark 'hmbd': did you mean 'hmdb" in err
    code, _, err = command("evaluate", "ucf101")
    assert code == 2 and "ucf101 is not prepared on this machine: get UCF101.rar from https://www.crcv.ucf.edu" in err


def test_what_belongs_to_no_list_is_counted(shared: Path, tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "given"
    (folder / "wave").mkdir(parents=True)
    real = next((shared / "clips" / "jhmdb" / "wave").iterdir())
    for path in (folder / "wave" / real.name, folder / "mine.mp4", folder / "a.txt", folder / "b.txt", folder / ".c"):
        path.write_bytes(real.read_bytes())
    assert prepare.prepare("hmdb51", folder, allow_missing=True).file["notes"] == [
        "1 video, none of HMDB51's, passed over: given/mine.mp4",
        "2 files, no videos, passed over: .txt 2",
    ]


@pytest.mark.parametrize("zipped", [False, True])
def test_what_systems_leave_behind_is_no_clip(zipped: bool, tmp_path: Path, home: Path) -> None:
    """A bin of a network drive with older copies, and what macOS packs beside every file."""
    source = write_folder(tmp_path / "hmdb", MADE)
    first = next(path for path in sorted(source.rglob("*.avi")))
    inside = first.relative_to(source)
    for other in ("#recycle" / inside, "__MACOSX" / inside, inside.with_name(f"._{inside.name}")):
        (source / other).parent.mkdir(parents=True, exist_ok=True)
        (source / other).write_bytes(b"something else")
    if zipped:
        packed = shutil.make_archive(str(tmp_path / "packed"), "zip", source)
        source = Path(packed)
    report = prepare.prepare("hmdb", [source]).report()
    assert report["found"] == sum(HMDB.clips.values()) and report["notes"] == []
