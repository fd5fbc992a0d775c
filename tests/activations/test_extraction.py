"""Extraction: the numbers of the whole road, resumable, in bounded memory, and honest about what it could not read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clips import draw, write_folder, write_table, write_video
from forks import Forks
from kshot import video
from kshot.activations import extraction
from kshot.activations import shards as shards_module
from kshot.activations.activations import Activations, from_features
from kshot.activations.check import verify
from kshot.activations.encoding import cut_number, embed, tail
from kshot.activations.estimation import estimate
from kshot.activations.extraction import extract
from kshot.activations.task import IDENTITIES
from kshot.backbones.backbone import Backbone, load
from kshot.datasets import Dataset
from kshot.datasets import load as load_data
from kshot.errors import ClipLost, DataError, OptionError, StoreError, VideoError
from kshot.progress import Step
from scenes import scene, write
from tiny import random_clip


@pytest.fixture(scope="module")
def few(clips_csv: Path) -> Dataset:
    """Two clips of each val class, a folder of frames and a video."""
    data = load_data(clips_csv).select("val")
    return data.subset(np.concatenate([np.flatnonzero(data.labels == c)[:2] for c in range(4)]))


def quick(
    data: Dataset | Path, backbone: Backbone, store: Path, cut: str | int = "last", **options: Any
) -> Activations:
    """`extract` without the seconds that child processes take to start."""
    return extract(data, backbone, cut, store, workers=0, **options)


def by_hand(data: Dataset, backbone: Backbone, cut: int, frames: int = 8, condense: bool = True) -> torch.Tensor:
    """(n, frames, ...) activations clip by clip: decode, normalise, run the blocks before the cut."""
    rows = []
    with torch.no_grad():
        for path in data.paths:
            decoded = torch.from_numpy(video.read(path, frames, size=backbone.size))
            x = backbone.encode_to(backbone.pixels(decoded), cut) if cut else decoded
            rows.append(backbone.condense(x) if condense and cut == backbone.depth else x)
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("cut", ["frames", 1, 2, "last", "embedding"])
def test_equals_the_road_by_hand(few: Dataset, backbone: Backbone, tmp_path: Path, cut: str | int, dtype: str) -> None:
    done = quick(few, backbone, tmp_path, cut, dtype=dtype)
    values = done.gather(range(len(few)))
    expected = by_hand(few, backbone, cut_number(backbone, cut)).numpy()
    assert values.shape == expected.shape
    if cut == "frames":
        assert values.dtype == np.uint8
        np.testing.assert_array_equal(values, expected)
    else:
        assert values.dtype == dtype
        exact = 1e-3 if dtype == "float16" else 1e-5
        np.testing.assert_allclose(values.astype(np.float32), expected, rtol=exact, atol=exact)
    assert (done.stored_now, done.cut, done.unreadable) == (8, cut_number(backbone, cut), {})


def test_child_processes_decode_the_same(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    here = quick(few, backbone, tmp_path / "here", "frames")
    there = extract(few, backbone, "frames", tmp_path / "there", workers=2)
    np.testing.assert_array_equal(here.gather(range(8)), there.gather(range(8)))


def test_bare_tokens_where_the_last_block_is_altered(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    condensed = quick(few, backbone, tmp_path, dtype="float32")
    bare = quick(few, backbone, tmp_path, dtype="float32", condense=False)
    assert bare.stored_now == 8, "another key, another folder"
    assert condensed.gather([0]).shape[2] == bare.gather([0]).shape[2] + 1
    np.testing.assert_allclose(bare.gather(range(8)), by_hand(few, backbone, 3, condense=False), rtol=1e-5, atol=1e-5)
    left = [tail(backbone, part.gather(range(8)), 3) for part in (condensed, bare)]
    torch.testing.assert_close(*left, rtol=1e-4, atol=1e-4)


def test_embed_runs_the_rest_of_the_tower(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    with torch.no_grad():
        pixels = backbone.pixels(by_hand(few, backbone, 0).flatten(0, 1))
        expected = backbone(pixels).view(8, 8, -1)
    for cut in ("frames", 2, "last", "embedding"):
        done = quick(few, backbone, tmp_path, cut, dtype="float32")
        torch.testing.assert_close(embed(backbone, done), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(embed(backbone, done, [5, 2]), expected[[5, 2]], rtol=1e-4, atol=1e-4)


def test_ready_made_features_need_no_store() -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    data = Dataset(
        "f", (Path("a"),) * 3, np.array([0, 1, 1]), ("x", "y"), np.array([""] * 3), np.array(list("abc")), values
    )
    ready = from_features(data)
    picked = ready.gather([2, 0])
    np.testing.assert_array_equal(picked, values[[2, 0]])
    picked[:] = 0
    assert values.any(), "a copy"
    assert ready.subset(np.array([1, 2])).data.classes == ("y",)


def test_what_is_stored_is_not_decoded_again(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    """Between two runs the clips' bytes are spoilt behind their sizes and times: decoding them would fail."""
    rows = []
    for number, path in enumerate(few.paths[1::2]):
        rows.append((shutil.copy(path, tmp_path / f"{number}.mp4"), f"class {number}", "", ""))
    table = write_table(tmp_path / "clips.csv", rows)
    first = quick(table, backbone, tmp_path / "store")
    before = first.gather(range(4))
    for path in first.data.paths:
        stamp = path.stat().st_mtime_ns
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, ns=(stamp, stamp))
    again = quick(table, backbone, tmp_path / "store", check=True)
    assert (first.stored_now, again.stored_now, again.unreadable) == (4, 0, {})
    np.testing.assert_array_equal(again.gather(range(4)), before)


def test_a_clip_that_changed_is_decoded_again(backbone: Backbone, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clip = write_video(tmp_path / "clip.mp4", draw(0, 14, rng))
    table = write_table(tmp_path / "clips.csv", [("clip.mp4", "a", "", "")])
    before = quick(table, backbone, tmp_path / "store").gather([0])
    write_video(clip, draw(7, 14, rng))
    after = quick(table, backbone, tmp_path / "store")
    assert after.stored_now == 1
    assert np.abs(after.gather([0]).astype(np.float32) - before).max() > 0.1


def test_killed_and_resumed_loses_nothing_and_decodes_only_the_rest(
    forks: Forks, clips_csv: Path, backbone: Backbone, clip_folder: Path, tmp_path: Path
) -> None:
    """SIGKILL in another process, once six clips of 32 were written, each as a shard of its own."""
    script = """
import os, signal, sys, time
from contextlib import contextmanager
from pathlib import Path
from kshot.activations import extraction; from kshot.activations import shards
from kshot.datasets import load
shards.SHARD_SECONDS, extraction.FRAMES_PER_BATCH = 0, 8
@contextmanager
def deadly(title, total, unit):
    done = []
    def step(count=1, note=""):
        done.append(count)
        if len(done) == 6:
            while len([*Path(sys.argv[3]).glob("*/shard-*.json")]) < 6:  # the writer may be a few clips behind
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
    yield step
extraction.extract(load(sys.argv[1]).select("val"), sys.argv[2], "last", sys.argv[3], workers=0, progress=deadly)
"""
    arguments = (clips_csv, clip_folder, tmp_path / "killed")
    done = forks(script, *arguments)
    assert done.returncode == -9
    whole = verify(tmp_path / "killed")
    assert whole.shards == 6 and whole.damaged == {}
    data = load_data(clips_csv).select("val")
    resumed = quick(data, backbone, tmp_path / "killed")
    assert resumed.stored_now == len(data) - 6
    straight = quick(data, backbone, tmp_path / "straight")
    np.testing.assert_allclose(resumed.gather(range(32)), straight.gather(range(32)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_ctrl_c_keeps_what_was_encoded(
    few: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: str
) -> None:
    monkeypatch.setattr(extraction, "FRAMES_PER_BATCH", 8)

    @contextmanager
    def press(title: str, total: float, unit: str) -> Iterator[Step]:
        done: list[float] = []

        def step(count: float = 1, note: str = "") -> None:
            done.append(count)
            if len(done) == 3:
                raise KeyboardInterrupt

        yield step

    with pytest.raises(KeyboardInterrupt):
        quick(few, backbone, tmp_path, progress=press, identity=identity)
    assert quick(few, backbone, tmp_path, identity=identity).stored_now == 5


def test_equal_bytes_are_stored_once(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        shutil.copy(few.paths[1 if name != "three.mp4" else 3], tmp_path / name)
    rows = [("one.mp4", "a", "", ""), ("two.mp4", "b", "", ""), ("three.mp4", "b", "", "")]
    done = quick(write_table(tmp_path / "clips.csv", rows), backbone, tmp_path / "store")
    assert done.stored_now == 2 and len(done.data) == 3
    values = done.gather(range(3))
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_unreadable_clips_are_reported_and_the_run_goes_on(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    rows = [(str(path), f"class {i // 2}", "", "") for i, path in enumerate(few.paths)]
    for name, content in (("text.mp4", b"no video"), ("copy.mp4", b"no video"), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        rows.insert(3, (name, "class 1", "", ""))
    done = extract(write_table(tmp_path / "clips.csv", rows), backbone, store=tmp_path / "store", workers=1)
    assert done.stored_now == 8 and len(done.data) == 8
    assert {Path(path).name for path in done.unreadable} == {"text.mp4", "copy.mp4", "empty.mp4"}
    for path, reason in done.unreadable.items():
        assert reason.startswith(path) and len(reason) > len(path) + 5 and "\n" not in reason
    assert [str(path) for path in done.data.paths] == [str(path) for path in few.paths]
    report = done.report()
    assert report["clips"] == 8 and report["stored_now"] == 8 and len(report["unreadable"]) == 3
    assert json.loads(json.dumps(report)) == report
    again = quick(tmp_path / "clips.csv", backbone, tmp_path / "store")
    assert again.stored_now == 0 and again.unreadable.keys() == done.unreadable.keys()


def test_no_readable_clip_at_all_is_an_error(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video")
    table = write_table(tmp_path / "clips.csv", [("text.mp4", "a", "", "")])
    with pytest.raises(DataError, match=r"no clip of clips could be read; the first reason: .*text\.mp4: "):
        quick(table, backbone, tmp_path / "store")


def test_everything_that_changes_a_number_is_a_miss(
    few: Dataset, backbone: Backbone, clip_folder: Path, tmp_path: Path
) -> None:
    other = load(random_clip(tmp_path / "other", seed=9))
    half = load(clip_folder, precision="bfloat16")
    makes: list[Activations] = [
        quick(few, backbone, tmp_path / "store"),
        quick(few, other, tmp_path / "store"),
        quick(few, half, tmp_path / "store"),
        quick(few, backbone, tmp_path / "store", frames=4),
        quick(few, backbone, tmp_path / "store", dtype="float32"),
        quick(few, backbone, tmp_path / "store", cut=2),
    ]
    assert [made.stored_now for made in makes] == [8] * 6
    assert len({made.store.folder for made in makes if made.store}) == 6
    assert quick(few, backbone, tmp_path / "store").stored_now == 0


def test_frames_serve_every_backbone_of_their_size(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    assert quick(few, backbone, tmp_path / "store", "frames").stored_now == 8
    same = load(random_clip(tmp_path / "same", seed=9))
    larger = load(random_clip(tmp_path / "larger", size=40))
    assert quick(few, same, tmp_path / "store", "frames").stored_now == 0
    assert quick(few, larger, tmp_path / "store", "frames").stored_now == 8


def test_stored_only_reads_the_store_and_never_a_video(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    paths = [shutil.copy(path, tmp_path / f"{i}.mp4") for i, path in enumerate(few.paths[1::2])]
    table = write_table(tmp_path / "clips.csv", [(p, "a", "", "") for p in paths])
    data = load_data(table)
    with pytest.raises(StoreError, match=r"lacks 4 of 4 clips .*it holds activations of: nothing\); run `kshot extrac"):
        quick(data, backbone, tmp_path / "store", stored_only=True)
    assert not (tmp_path / "store").exists()
    before = quick(data, backbone, tmp_path / "store").gather(range(4))
    for path in paths:
        Path(path).unlink()
    np.testing.assert_array_equal(quick(data, backbone, tmp_path / "store", stored_only=True).gather(range(4)), before)
    other = load(random_clip(tmp_path / "other", seed=9))
    with pytest.raises(StoreError, match=f"lacks 4 of 4 clips for backbone .*other .*activations of: {backbone.name}"):
        quick(data, other, tmp_path / "store", stored_only=True)


def test_stored_only_leaves_out_what_was_found_unreadable(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    paths = [Path(shutil.copy(path, tmp_path / f"{i}.mp4")) for i, path in enumerate(few.paths[1:6:2])]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "copy.mp4").write_bytes(b"no video")
    rows = [(p.name, "a", "", "") for p in [*paths, tmp_path / "bad.mp4", tmp_path / "copy.mp4"]]
    data = load_data(write_table(tmp_path / "clips.csv", rows))
    first = quick(data, backbone, tmp_path / "store")
    assert len(first.unreadable) == 2
    for path in (*paths, tmp_path / "bad.mp4"):
        path.unlink()
    again = quick(data, backbone, tmp_path / "store", stored_only=True)
    assert (again.unreadable, again.digests, again.stored_now) == (first.unreadable, first.digests, 0)
    with pytest.raises(StoreError, match="lacks 4 of 5 clips"):  # at another cut nothing was tried yet
        quick(data, backbone, tmp_path / "store", "embedding", stored_only=True)
    (note,) = (tmp_path / "store").glob("*/unreadable.json")
    note.write_text("{torn")
    with pytest.raises(StoreError, match="lacks 1 of 5 clips"):
        quick(data, backbone, tmp_path / "store", stored_only=True)
    assert verify(tmp_path / "store").damaged == {}


def test_checking_rewrites_a_damaged_shard_only(
    few: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "SHARD_SECONDS", 0.0)
    first = quick(few, backbone, tmp_path)
    assert first.store is not None
    before = first.gather(range(8))
    shards = sorted(first.store.folder.glob("shard-*.npy"))
    assert len(shards) == 8
    data = bytearray(shards[3].read_bytes())
    data[-1] ^= 1
    shards[3].write_bytes(data)
    kept = {path: path.stat().st_mtime_ns for path in first.store.folder.glob("shard-*") if path.stem != shards[3].stem}
    again = quick(few, backbone, tmp_path, check=True)
    assert again.stored_now == 1
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    np.testing.assert_allclose(again.gather(range(8)), before, rtol=1e-3, atol=1e-3)
    assert verify(tmp_path).damaged == {}


def test_activations_too_large_for_half_precision_are_an_error(
    few: Dataset, backbone: Backbone, tmp_path: Path
) -> None:
    loud = backbone.copy()
    loud.image.pre.weight.data = loud.image.pre.weight.data * 1e5
    loud.fingerprint = "loud"
    with pytest.raises(StoreError, match="activations of this backbone at cut 2 exceed float16: use dtype float32"):
        quick(few, loud, tmp_path, 2)
    assert quick(few, loud, tmp_path, 2, dtype="float32").stored_now == 8


def test_estimate_measures_and_stores_nothing(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    cost = estimate(few, backbone, store=tmp_path)
    assert not list(tmp_path.glob("*/*"))
    assert (cost.clips, cost.stored, cost.measured_on, cost.unreadable) == (8, 0, 6, {})
    assert cost.seconds >= 0 and cost.seconds_decode > 0 and cost.seconds_encode > 0
    done = quick(few, backbone, tmp_path)
    assert cost.bytes == cost.bytes_to_write == done.gather(range(8)).nbytes
    after = estimate(few, backbone, store=tmp_path)
    assert (after.stored, after.bytes, after.bytes_to_write, after.seconds) == (8, cost.bytes, 0, 0)


def test_estimate_names_unreadable_clips(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video")
    cost = estimate(
        write_table(tmp_path / "clips.csv", [("text.mp4", "a", "", "")]), backbone, store=tmp_path / "store"
    )
    assert list(cost.unreadable) == [str(tmp_path / "text.mp4")]
    assert (cost.bytes, cost.seconds_encode) == (0, 0)


def test_cuts_by_name_and_number(backbone: Backbone) -> None:
    cuts = ("frames", "last", "embedding", 0, "2", 4)
    assert [cut_number(backbone, cut) for cut in cuts] == [0, 3, 4, 0, 2, 4]
    for wrong in ("first", -1, "5", 5, "1.5"):
        with pytest.raises(OptionError, match=f"cut '{wrong}' does not exist: expected last, frames, embedding or 0"):
            cut_number(backbone, wrong)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cut": "first"}, "cut 'first' does not exist"),
        ({"dtype": "int4"}, "dtype 'int4' is not known: expected one of float16, float32, int8, float8"),
        ({"frames": 0}, "frames must be at least 1, found 0"),
        ({"workers": -1}, "expected 0 workers or more"),
        ({"timeout": 0.0}, "a timeout above 0, found None and 0 seconds"),
    ],
)
def test_refuses_before_anything_is_written(
    few: Dataset, backbone: Backbone, tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(OptionError, match=text):
        extract(few, backbone, **{"store": tmp_path, **options})
    assert list(tmp_path.iterdir()) == []


def test_refuses_ready_made_features(backbone: Backbone, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=np.ones((2, 2, 3), np.float32), label=np.array(["a", "b"]))
    with pytest.raises(DataError, match="holds ready-made features; there is nothing to extract"):
        quick(tmp_path / "f.npz", backbone, tmp_path / "store")


MEMORY = """
import ctypes, resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from kshot.activations import extraction; from kshot.activations import shards
from kshot.backbones.backbone import load
from kshot.datasets import build
shards.SHARD_BYTES = 1 << 20
libc = ctypes.CDLL(None)
if hasattr(libc, "mallopt"):
    libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
root, backbone, rng = Path(sys.argv[1]), load(sys.argv[2]), np.random.default_rng(0)
for count in (100, 600):
    paths = [root / f"{count}-{number}" for number in range(count)]
    for path in paths:
        path.mkdir()
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(path / "0.png")
    data = build("many", paths, ["a"] * count, [""] * count, [""] * count)
    done = extraction.extract(data, backbone, 1, root / "store", frames=8, dtype="float32", workers=0)
    written = sum(path.stat().st_size for path in (root / "store").rglob("*.npy"))
    print(done.stored_now, written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_clips(forks: Forks, tmp_path: Path) -> None:
    """600 clips after 100 in one process: what they store is a good part of its size, and its peak stays.

    Arrays go back to the system when they are freed, so that what is measured is what is held. By itself glibc keeps
    some, in a heap whose holes are a matter of luck: encoder and writer allocate and free in turn.
    """
    clip = random_clip(tmp_path / "clip", width=64, depth=1, size=64, patch=8)
    done = forks(MEMORY, tmp_path, clip)
    assert done.returncode == 0, done.stderr
    few, many = ([int(value) for value in line.split()] for line in done.stdout.splitlines())
    assert (few[0], many[0]) == (100, 600)
    assert many[1] - few[1] > 0.12 * few[2], "too little to see a leak by"
    assert many[2] < 1.05 * few[2]


def cut_off(path: Path, share: float) -> Path:
    """A clip that lost its end: an AVI of single pictures, so that the rest decodes."""
    write(path, scene(40), codec="mjpeg")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_damaged_clips_are_left_out_unless_allowed_and_named_ever_after(
    few: Dataset, backbone: Backbone, tmp_path: Path
) -> None:
    for name, share in (("slightly.avi", 0.96), ("badly.avi", 0.5)):
        cut_off(tmp_path / name, share)
    write(tmp_path / "whole.avi", scene(40), codec="mjpeg")
    rows = [(name, "a", "", "") for name in ("slightly.avi", "badly.avi", "whole.avi")]
    table, where = write_table(tmp_path / "clips.csv", rows), tmp_path / "store"
    done = quick(table, backbone, where)
    (badly,) = done.unreadable.values()
    assert "badly.avi: damaged, 50% of it is there: the file has" in badly and done.stored_now == 2
    (slightly,) = done.losses()
    assert slightly["clip"].endswith("slightly.avi") and 0.9 < slightly["kept"] < 0.97
    assert "bytes that its headers promise" in slightly["reason"]
    again = quick(table, backbone, where)
    assert (again.stored_now, again.losses(), again.unreadable) == (0, [slightly], done.unreadable)
    kept = quick(table, backbone, where, allow_damaged=True)
    assert kept.stored_now == 1 and kept.unreadable == {}
    assert [Path(one["clip"]).name for one in kept.losses()] == ["slightly.avi", "badly.avi"]
    assert kept.report()["damaged"] == kept.losses() == quick(table, backbone, where).losses()
    without = quick(table, backbone, where, stored_only=True)
    assert without.losses() == kept.losses()
    assert [Path(one["clip"]).name for one in without.subset(np.array([1, 2])).losses()] == ["badly.avi"]


def test_a_clip_lost_to_memory_is_reported_but_not_held_against_it(
    few: Dataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(jobs: Any, *_: Any) -> Generator[tuple[int, Any]]:
        for position, job in enumerate(jobs):
            lost = ClipLost(f"{job.path}: killed"), VideoError(f"{job.path}: bad")
            yield position, lost[position] if position < 2 else job.run()

    monkeypatch.setattr(extraction, "decode", starved)
    done = quick(few, backbone, tmp_path)
    assert len(done.unreadable) == 2 and done.stored_now == 6 and done.store is not None
    assert [reason.endswith(": bad") for reason in done.store.unreadable().values()] == [True]
    monkeypatch.undo()
    assert quick(few, backbone, tmp_path).unreadable == {}


def test_other_files_in_frame_folders_are_named(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    clip = write_folder(tmp_path / "clip", draw(0, 14, np.random.default_rng(0)))
    (clip / "flow.npy").write_bytes(b"x")
    table = write_table(tmp_path / "clips.csv", [("clip", "a", "", "")])
    done = quick(table, backbone, tmp_path / "store")
    assert done.report()["passed_over"] == {str(clip): ["flow.npy"]}
    assert quick(table, backbone, tmp_path / "store").passed_over == done.passed_over
