"""Store: what is in it is whole, whatever happened to the process or the disk that wrote it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from forks import OBEDIENT
from kshot.activations import shard_list, shards
from kshot.activations.check import verify
from kshot.activations.shards import name_of
from kshot.activations.store import Store, holders
from kshot.errors import DataError, OptionError, StoreError
from kshot.files import write_atomic
from kshot.video.damage import Damage

KEY = {"cut": 3, "backbone": "b", "frames": 2}


def activation(number: int) -> np.ndarray:
    """(2, 3, 4) float16, another for each number."""
    return (number + np.arange(24).reshape(2, 3, 4) / 32).astype(np.float16)


def fill(root: Path, *sessions: range) -> Store:
    """A store with one shard for each session."""
    store = Store(root, KEY, made_with="tiny")
    for session in sessions:
        with store.writing() as writer:
            for number in session:
                writer.add(f"clip-{number}", activation(number))
    return store


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def shard_of(store: Store, clip: str) -> Path:
    """The data file that holds a clip."""
    for manifest in store.folder.glob("shard-*.json"):
        if clip in json.loads(manifest.read_text())["clips"]:
            return manifest.with_suffix(".npy")
    raise AssertionError(f"no shard holds {clip}")


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_gathers_from_several_shards_in_any_order(tmp_path: Path) -> None:
    store = fill(tmp_path, range(3), range(3, 8))
    wanted = [6, 0, 3, 0, 7]
    for reader in (store, Store(tmp_path, KEY)):
        values = reader.gather([f"clip-{i}" for i in wanted])
        assert values.dtype == np.float16
        np.testing.assert_array_equal(values, np.stack([activation(i) for i in wanted]))
        assert len(reader) == 8
        assert "clip-7" in reader and "clip-8" not in reader
    assert len(list(store.folder.glob("shard-*.npy"))) == 2


def test_gathers_a_copy_and_maps_nothing(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2))
    values = store.gather(["clip-0"])
    assert values.base is None and values.flags.writeable
    values[:] = 0
    np.testing.assert_array_equal(store.gather(["clip-0"])[0], activation(0))
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_shard_grows_on_disk_clip_by_clip(tmp_path: Path) -> None:
    store = Store(tmp_path, KEY)
    with store.writing() as writer:
        sizes = []
        for number in range(3):
            writer.add(f"clip-{number}", activation(number))
            (part,) = store.folder.glob("*.tmp")
            sizes.append(part.stat().st_size)
            assert len(Store(tmp_path, KEY)) == 0, "nothing counts before it is complete"
        with pytest.raises(ValueError, match=r"a clip of \(2, 3\) float16 among ones of \(\(2, 3, 4\)"):
            writer.add("clip-3", activation(3)[..., 0])
    assert np.diff(sizes).tolist() == [activation(0).nbytes] * 2
    np.testing.assert_array_equal(np.load(shard_of(store, "clip-1"))[1], activation(1))


@pytest.mark.parametrize("moment", ["pwrite", "fsync", "replace"])
def test_ctrl_c_while_a_shard_is_completed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The first call of a step of the writer does half of its work or all of it, then is interrupted."""
    store, real, pressed = Store(tmp_path, KEY), getattr(os, moment), []

    def press(*arguments: object) -> object:
        done = real(*arguments)
        if not pressed and writer_at_work:
            pressed.append(done)
            raise KeyboardInterrupt
        return done

    writer_at_work = False
    monkeypatch.setattr(shards.os, moment, press)
    with pytest.raises(KeyboardInterrupt), store.writing() as writer:
        for number in range(3):
            writer.add(f"clip-{number}", activation(number))
        writer_at_work = True
        writer.flush()
    assert pressed
    assert store.damaged() == {} and len(store) == 3 and not list(store.folder.glob("*.tmp"))
    np.testing.assert_array_equal(store.gather(["clip-2", "clip-0"]), np.stack([activation(2), activation(0)]))


def test_holds_few_files_open_however_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_list, "OPEN_SHARDS", 2)
    store = fill(tmp_path, *(range(i, i + 1) for i in range(6)))
    for _ in range(2):
        values = store.gather([f"clip-{i}" for i in range(6)])
        np.testing.assert_array_equal(values, np.stack([activation(i) for i in range(6)]))
    held = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert sum(path.startswith(str(store.folder)) for path in held) <= 2


def test_manifest_tells_digest_size_and_clips(tmp_path: Path) -> None:
    store = fill(tmp_path, range(5))
    (manifest,) = store.folder.glob("shard-*.json")
    data = manifest.with_suffix(".npy").read_bytes()
    about = json.loads(manifest.read_text())
    assert about["sha256"] == hashlib.sha256(data).hexdigest()
    assert about["bytes"] == len(data)
    assert about["clips"] == [f"clip-{i}" for i in range(5)]
    assert json.loads((store.folder / "key.json").read_text()) == {"key": KEY, "made_with": "tiny"}


def test_another_key_is_another_folder_and_a_miss(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    for name, value in (("cut", 2), ("backbone", "c"), ("frames", 3)):
        other = Store(tmp_path, {**KEY, name: value})
        assert "clip-0" not in other and len(other) == 0
        assert not other.folder.exists(), "nothing is made before something is written"


def test_shards_are_closed_by_size_and_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 3 * activation(0).nbytes)
    store = fill(tmp_path / "size", range(8))
    sizes = sorted(len(json.loads(path.read_text())["clips"]) for path in store.folder.glob("shard-*.json"))
    assert sizes == [2, 3, 3]
    monkeypatch.setattr(shards, "SHARD_SECONDS", 0.0)
    assert len(list(fill(tmp_path / "time", range(4)).folder.glob("shard-*.npy"))) == 4


def test_an_exception_while_writing_keeps_what_was_added(tmp_path: Path) -> None:
    store = Store(tmp_path, KEY)
    with pytest.raises(KeyboardInterrupt), store.writing() as writer:
        writer.add("clip-0", activation(0))
        raise KeyboardInterrupt
    np.testing.assert_array_equal(Store(tmp_path, KEY).gather(["clip-0"])[0], activation(0))


def test_one_writer_at_a_time_across_processes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from kshot.activations.store import Store\n"
        f"with Store(Path({str(tmp_path)!r}), {KEY!r}).writing(): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=r"another kshot is writing to .*; wait for it to end or use another"):
            fill(tmp_path, range(1))
        other.kill()
    assert len(fill(tmp_path, range(1))) == 1, "a killed writer holds nothing up"


def test_a_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2))
    whole = files(store)
    (store.folder / "shard-0123.npy.999.tmp").write_bytes(b"half")
    (store.folder / "shard-0123456789abcdef.npy").write_bytes(b"data whose manifest was never written")
    reader = Store(tmp_path, KEY)
    assert len(reader) == 2 and reader.damaged() == {}
    with reader.writing():
        pass
    assert files(store) == whole


@pytest.mark.parametrize("harm", ["truncate", "flip", "vanish"])
def test_a_damaged_shard_is_named_and_healed_alone(tmp_path: Path, harm: str) -> None:
    store = fill(tmp_path, range(2), range(2, 5), range(5, 6))
    bad = shard_of(store, "clip-3")
    kept = {path: path.stat().st_mtime_ns for path in store.folder.glob("shard-*") if path.stem != bad.stem}
    if harm == "truncate":
        bad.write_bytes(bad.read_bytes()[:-7])
    elif harm == "flip":
        flip(bad)
    else:
        bad.unlink()
    report = verify(tmp_path)
    assert list(report.damaged) == [str(bad)] and report.shards == 3 and not report.healed
    if harm != "flip":  # a flipped bit cannot be seen without hashing; that is what `verify` is for
        with pytest.raises(StoreError, match=f"{bad.name} is damaged .*kshot extract"):
            Store(tmp_path, KEY).gather(["clip-3"])
    checked = Store(tmp_path, KEY, check=True)
    assert [f"clip-{i}" in checked for i in range(6)] == [True, True, False, False, False, True]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert verify(tmp_path).plain() == {
            "store": str(tmp_path), "shards": 2, "digests": 0, "damaged": {}, "unsealed": {}, "healed": False,
        }  # fmt: skip


def test_a_damaged_header_is_an_error_of_one_line(tmp_path: Path) -> None:
    store = fill(tmp_path, range(3))
    bad = shard_of(store, "clip-0")
    for place in range(0, 120, 3):
        data = bytearray(bad.read_bytes())
        data[place] ^= 0x15
        (tmp_path / "spoilt.npy").write_bytes(data)
        shutil.copy(tmp_path / "spoilt.npy", bad)
        assert list(verify(tmp_path).damaged) == [str(bad)]
        try:
            Store(tmp_path, KEY).gather(["clip-2"])
        except StoreError as error:
            assert bad.name in str(error)
        data[place] ^= 0x15
        bad.write_bytes(data)
    assert verify(tmp_path).damaged == {}


def test_a_damaged_manifest_is_named_and_healed(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2), range(2, 4))
    manifest = shard_of(store, "clip-0").with_suffix(".json")
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(StoreError, match=f"manifest .*{manifest.name} is damaged .*kshot extract"):
        Store(tmp_path, KEY)
    assert list(verify(tmp_path).damaged) == [str(manifest.with_suffix(".npy"))]
    assert len(Store(tmp_path, KEY, check=True)) == 2


def test_an_altered_manifest_is_found(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2))
    manifest = shard_of(store, "clip-0").with_suffix(".json")
    manifest.write_text(manifest.read_text().replace("clip-0", "clip-9"))
    assert "manifest was altered" in verify(tmp_path).damaged[str(manifest.with_suffix(".npy"))]
    with pytest.raises(StoreError, match=f"manifest .*{manifest.name} is damaged .*its manifest was altered"):
        Store(tmp_path, KEY)


def test_two_clips_swapped_in_a_manifest_are_not_read(tmp_path: Path) -> None:
    """What one clip's label would be trained with another's activations for."""
    store = fill(tmp_path, range(4))
    manifest = shard_of(store, "clip-0").with_suffix(".json")
    about = json.loads(manifest.read_text())
    about["clips"][0], about["clips"][1] = about["clips"][1], about["clips"][0]
    manifest.write_text(json.dumps(about))
    with pytest.raises(StoreError, match="the name of a shard is the hash of its manifest"):
        store.refresh()
    assert len(Store(tmp_path, KEY, check=True)) == 0, "the next extract writes its clips again"


def test_a_damaged_key_is_named_and_written_again(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2))
    keyfile = store.folder / "key.json"
    keyfile.write_text('{"key": {"cu')
    with pytest.raises(StoreError, match=r"key\.json is damaged; run `kshot extract` again"):
        Store(tmp_path, KEY)
    assert list(verify(tmp_path).damaged) == [str(keyfile)]
    assert holders(tmp_path) == []
    assert len(Store(tmp_path, KEY, made_with="tiny", check=True)) == 2
    assert json.loads(keyfile.read_text())["key"] == KEY
    assert holders(tmp_path) == ["tiny"]


def test_a_renamed_folder_is_never_a_hit(tmp_path: Path) -> None:
    store, other = fill(tmp_path, range(2)), Store(tmp_path, {**KEY, "cut": 1})
    store.folder.rename(other.folder)
    for check in (False, True):
        with pytest.raises(StoreError, match="belongs to another key"):
            Store(tmp_path, other.key, check=check)


def test_verify_heals_when_told_and_refuses_what_is_no_store(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2), range(2, 4))
    bad = shard_of(store, "clip-0")
    flip(bad)
    assert verify(tmp_path, heal=True).healed
    assert not bad.exists() and not bad.with_suffix(".json").exists()
    assert len(Store(tmp_path, KEY)) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is not a kshot store: expected <key>/key\.json"):
        verify(tmp_path / "empty")


def test_a_reader_of_long_standing_never_reads_a_shard_written_since(tmp_path: Path) -> None:
    reader = fill(tmp_path, range(2))
    shard_of(reader, "clip-0").write_bytes(b"spoilt")
    reader = Store(tmp_path, KEY)  # knows the manifest, has not opened the data yet
    healed = Store(tmp_path, KEY, check=True)
    with healed.writing() as writer:
        writer.add("clip-8", activation(8))
        writer.add("clip-9", activation(9))
    with pytest.raises(StoreError, match="is damaged"):
        reader.gather(["clip-0"])


WRITER = """
import os, sys, numpy as np
from pathlib import Path
from kshot.activations import shards, store
shards.SHARD_BYTES = 1 << 14
for line in sys.stdin:
    child = os.fork()
    if not child:
        with store.Store(Path(sys.argv[1]), {"cut": 3}).writing() as writer:
            for number in range(10**6):
                writer.add(f"{line.strip()}-{number}", np.full((4, 512), number % 2000, np.float16))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_opens_and_every_shard_is_whole(tmp_path: Path) -> None:
    """One process forks the writers, so that each starts at once and dies at another moment of its work.

    Half of them die soon, most of these before they have written anything; the others are left until a shard is there,
    however long a busy machine takes for it.
    """
    moments = random.Random(0)
    shards = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        for turn in range(40):
            print(turn, file=parent.stdin, flush=True)
            child = int(parent.stdout.readline())
            deadline = time.monotonic() + 120
            while turn % 2 and len(list(tmp_path.rglob("shard-*.json"))) == shards and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(moments.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            store = Store(tmp_path, {"cut": 3})
            assert store.damaged() == {}
            manifests = list(store.folder.glob("shard-*.json"))
            assert len(manifests) >= shards, "what was stored stays"
            shards = len(manifests)
            clips = [clip for path in manifests for clip in json.loads(path.read_text())["clips"]]
            if clips:
                found = store.gather(clips)[:, 0, 0]
                assert found.tolist() == [int(clip.partition("-")[2]) % 2000 for clip in clips]
        parent.stdin.close()
    assert shards >= 20
    with store.writing():
        pass
    assert {path.suffix for path in store.folder.iterdir()} <= {".json", ".npy", ""}
    assert len(list(store.folder.glob("*.npy"))) == shards


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_full_disk_is_one_line_and_the_store_stays_valid(tmp_path: Path) -> None:
    """The kernel refuses to write beyond 40 kB in one file: the third shard does not fit."""
    script = """
import resource, sys, numpy as np
from pathlib import Path
from kshot.activations import shards, store
from kshot.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
shards.SHARD_SECONDS = 0
try:
    with store.Store(Path(sys.argv[1]), {"cut": 3}).writing() as writer:
        for number, size in enumerate((8_000, 8_000, 80_000)):
            writer.add(f"clip-{number}", np.full(size, number, np.uint8))
except StoreError as error:
    print(error)
"""
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "cannot write to" in done.stdout and "File too large" in done.stdout and "GB free" in done.stdout
    assert "what was written before stays valid" in done.stdout
    store = Store(tmp_path, {"cut": 3})
    assert store.damaged() == {} and len(store) == 2
    assert store.gather(["clip-1"]).tolist() == [[1] * 8_000]
    assert len(list(store.folder.iterdir())) == 2 * 2 + 1, "no temporary file, no data without manifest"


def test_data_whose_manifest_does_not_fit_is_removed(tmp_path: Path) -> None:
    """The data of the second shard is small enough, its manifest with long names is not."""
    script = """
import resource, sys, numpy as np
from pathlib import Path
from kshot.activations import store
from kshot.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
try:
    for name in ("clip-0", "a long name " * 500):
        with store.Store(Path(sys.argv[1]), {"cut": 3}).writing() as writer:
            writer.add(name, np.full(100, 7, np.uint8))
except StoreError as error:
    print(error)
"""
    done = python(script, tmp_path)
    assert "File too large" in done.stdout and done.stdout.count("\n") == 1, done.stderr
    store = Store(tmp_path, {"cut": 3})
    assert len(store) == 1 and len(list(store.folder.iterdir())) == 2 + 1


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    script = OBEDIENT + (
        "import sys; from pathlib import Path; from kshot.activations.store import Store\n"
        "from kshot.errors import StoreError\n"
        "try:\n    Store(Path(sys.argv[1]) / 'store', {'cut': 3}).writing().__enter__()\n"
        "except StoreError as error: print(error)"
    )
    done = python(script, tmp_path)
    tmp_path.chmod(0o755)
    assert done.stdout.count("\n") == 1 and "Permission denied" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to .*: Not a directory"):
        fill(tmp_path / "file" / "store", range(1))


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")
    with path.open("rb") as reader:
        write_atomic(path, b"new")
        assert reader.read() == b"old", "who opened it before reads the old content to its end"
    assert path.read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OptionError, match="is a folder: expected the name of a file"):
        write_atomic(tmp_path / "folder", b"data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "folder"]


def rewritten(manifest: Path, **changes: object) -> Path:
    """A shard with another manifest, under the name that belongs to it; a value of None takes a field out."""
    about = {name: value for name, value in (json.loads(manifest.read_text()) | changes).items() if value is not None}
    text = json.dumps(about).encode()
    named = manifest.with_name(f"{name_of(text)}.json")
    manifest.with_suffix(".npy").rename(named.with_suffix(".npy"))
    manifest.unlink()
    named.write_bytes(text)
    return named


def test_frames_chosen_by_time_count_whatever_the_shards_are_called(tmp_path: Path) -> None:
    """Clips that an older kshot stored by number and this one stored anew: the names of shards are hashes, so either
    may be read first. Both orders come about."""
    first = set()
    for number in range(8):
        old = fill(tmp_path / str(number), range(number, number + 2))
        (manifest,) = old.folder.glob("shard-*.json")
        aged = rewritten(manifest, chosen=None)
        with Store(old.root, KEY).writing() as writer:
            writer.add(f"clip-{number}", activation(100))
        shards = sorted(old.folder.glob("shard-*.json"))
        first.add(shards[0] == aged)
        both = Store(old.root, KEY)
        np.testing.assert_array_equal(
            both.gather([f"clip-{number}", f"clip-{number + 1}"]), np.stack([activation(100), activation(number + 1)])
        )
        assert [both.by_number(f"clip-{n}") for n in (number, number + 1)] == [False, True]
    assert first == {True, False}


def test_a_clip_written_anew_is_read_from_the_shard_of_the_last_name(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2), range(1, 3), range(3, 4))
    expected = {}
    for path in sorted(store.folder.glob("shard-*.json")):
        for row, clip in enumerate(json.loads(path.read_text())["clips"]):
            expected[clip] = np.load(path.with_suffix(".npy"))[row]
    assert len(store) == len(expected) == 4
    np.testing.assert_array_equal(store.gather(list(expected)), np.stack(list(expected.values())))


def test_a_shard_of_a_newer_kshot_is_refused_in_one_line_and_kept(tmp_path: Path) -> None:
    store = fill(tmp_path, range(2))
    (manifest,) = store.folder.glob("shard-*.json")
    newer = rewritten(manifest, format=2, bytes="another meaning")
    for use in (
        lambda: Store(tmp_path, KEY),
        lambda: Store(tmp_path, KEY, check=True),
        lambda: verify(tmp_path),
        lambda: verify(tmp_path, heal=True),
    ):
        with pytest.raises(StoreError, match=rf"{newer.name} is of format 2, this kshot reads format 1") as error:
            use()
        assert "\n" not in str(error.value)
    assert newer.exists() and newer.with_suffix(".npy").exists()
    rewritten(newer, format=1, bytes=newer.with_suffix(".npy").stat().st_size)
    assert verify(tmp_path).damaged == {} and len(Store(tmp_path, KEY)) == 2, "the format that it reads may be named"


def test_a_manifest_is_written_as_it_always_was(tmp_path: Path) -> None:
    """Old kshots read new stores: the fields, their order and their spelling."""
    sha256 = hashlib.sha256(next(fill(tmp_path, range(2)).folder.glob("shard-*.npy")).read_bytes()).hexdigest()
    (manifest,) = tmp_path.glob("*/shard-*.json")
    assert (
        manifest.read_text()
        == f'{{"sha256": "{sha256}", "bytes": 224, "clips": ["clip-0", "clip-1"], "chosen": "time"}}'
    )


def test_notes_are_read_back_and_what_is_no_note_is_passed_over(tmp_path: Path) -> None:
    store = fill(tmp_path, range(1))
    with store.writing():
        store.note_losses({"a": Damage(0.98765, "an end", fatal=True)})
        store.note_losses({"b": Damage(1.0, "a hole")})
        store.note_losses({})
        store.note_unreadable({"c": "no video"})
    assert json.loads((store.folder / "damaged.json").read_text()) == {
        "a": {"kept": 0.988, "reason": "an end"},
        "b": {"kept": 1.0, "reason": "a hole"},
    }
    assert store.losses() == {"a": Damage(0.988, "an end"), "b": Damage(1.0, "a hole")}
    assert store.unreadable() == {"c": "no video"}
    odd = {"kept": 0.5}, {"kept": 2, "reason": "x"}, {"kept": "1", "reason": "x"}, {"kept": 1, "reason": 5}, 7, None
    (store.folder / "damaged.json").write_text(json.dumps({str(i): value for i, value in enumerate(odd)}))
    (store.folder / "unreadable.json").write_text(json.dumps({"a": 5, "b": "no video"}))
    assert store.losses() == {} and store.unreadable() == {"b": "no video"}
    for text in ("[]", "{", ""):
        (store.folder / "damaged.json").write_text(text)
        assert store.losses() == {}
