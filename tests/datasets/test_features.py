"""Ready-made features: what is read, and what is refused with a reason."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kshot import datasets, gate, settings
from kshot.datasets import features as features_module
from kshot.errors import DataError, OptionError


def arrays(**changes: Any) -> dict[str, Any]:
    """Four clips of three frames with five channels; a change of None leaves an array out."""
    features = np.arange(60, dtype=np.float16).reshape(4, 3, 5)
    whole = {"features": features, "label": np.array(["run", "sit", "run", "wave"])} | changes
    return {name: array for name, array in whole.items() if array is not None}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "net.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_all_columns(tmp_path: Path) -> None:
    data = datasets.load(
        write(
            tmp_path,
            split=np.array(["train", "val", "train", "novel"]),
            group=np.array(["a", "a", "", "b"]),
            path=np.array(["x/1.mp4", "x/2.mp4", "3.mp4", "4.mp4"]),
            other=np.array([object()] * 4),  # not ours: neither read nor unpickled
        )
    )
    assert (data.name, data.classes, data.labels.tolist()) == ("net", ("run", "sit", "wave"), [0, 1, 0, 2])
    assert data.splits.tolist() == ["train", "val", "train", "test"]
    assert data.groups[[0, 1, 3]].tolist() == ["a", "a", "b"] and data.groups[2] not in ("", "a", "b")
    assert data.paths[0] == tmp_path / "x/1.mp4"
    assert data.features is not None and data.features.dtype == np.float16
    novel = data.select("test")
    assert novel.features is not None
    np.testing.assert_array_equal(novel.features, np.arange(45, 60).reshape(1, 3, 5))


def test_two_arrays_suffice(tmp_path: Path) -> None:
    for label in (np.array([3, 1, 3, 10]), np.array([b"3", b"1", b"3", b"10"])):
        data = datasets.load(write(tmp_path, label=label, features=np.ones((4, 1, 2), np.float32)))
        assert (data.classes, data.labels.tolist()) == (("1", "10", "3"), [2, 0, 2, 1])
        assert len(set(data.groups.tolist())) == 4
        assert len(set(data.paths)) == 4


def test_filter(tmp_path: Path) -> None:
    path = write(tmp_path, view=np.array([1, 2, 1, 2]))
    data = datasets.load(f"{path}?view=1")
    assert (len(data), data.classes) == (2, ("run",))
    with pytest.raises(DataError, match=r"net\.npz: no clip has view = '9'$"):
        datasets.load(path, where={"view": "9"})
    with pytest.raises(OptionError, match=r"net\.npz: no array 'veiw' to filter by, found features, label, view$"):
        datasets.load(path, where={"veiw": "1"})


def not_finite() -> np.ndarray:
    features = np.ones((4, 3, 5), np.float32)
    features[2, 1, 0], features[3, 0, 0] = np.nan, np.inf
    return features


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, r"no array 'features', found label$"),
        ({"label": None}, r"no array 'label', found features; `kshot data features import` takes labels from a CSV$"),
        ({"features": np.ones((4, 5))}, r"expected features of shape \(clips, frames, channels\), found \(4, 5\)$"),
        ({"features": np.ones((4, 0, 5))}, r"expected features of shape .*, found \(4, 0, 5\)$"),
        ({"features": np.ones((4, 3, 5), int)}, r"expected floating point features, found int64$"),
        ({"features": not_finite()}, r"features of 2 clips are not finite, the first is clip 2$"),
        ({"label": np.array(["run"])}, r"expected one label a clip, shape \(4,\), found \(1,\)$"),
        ({"label": np.ones((4, 2), int)}, r"expected one label a clip, shape \(4,\), found \(4, 2\)$"),
        ({"label": np.ones(4)}, r"expected 'label' as text or whole numbers, found float64$"),
        ({"label": np.array([b"\xff"] * 4)}, r"'label' is not UTF-8 text"),
        ({"label": np.array(["a", "", "b", "c"])}, r"clip 1 has no label$"),
        ({"label": np.array([1, "a", 2, 3], object)}, r"holds pickled objects, which could run code"),
        ({"split": np.array(["train", "x", "train", "val"])}, r"clip 1: unknown split 'x'"),
        ({"split": np.array(["train", "val", "test", "val"])}, r"label 'run' is in two splits, 'train' \(clip 0\)"),
        ({"features": np.ones((0, 3, 5)), "label": np.array([], str)}, r"net holds no clips$"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        datasets.load(write(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = write(tmp_path, label=np.array([Trap()] * 4, object))
    with pytest.raises(DataError, match="pickled objects"):
        datasets.load(path)
    path.write_bytes(__import__("pickle").dumps(Trap()))
    with pytest.raises(DataError, match=r"net\.npz: "):
        datasets.load(path)
    assert not (tmp_path / "sprung").exists()


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"hello", b"PK\x03\x04 not really", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"^net\.npz: ") as caught:
            datasets.load(path)
        assert "\n" not in str(caught.value)
    with path.open("wb") as file:
        np.save(file, np.ones((4, 3, 5)))
    with pytest.raises(DataError, match=r"net\.npz: expected an \.npz of named arrays, found a single array$"):
        datasets.load(path)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(np.arange(60, dtype=np.float16).tobytes())
    data[at + 7] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"net\.npz: not a readable \.npz file \(Bad CRC-32"):
        datasets.load(path)


def test_real_features(shared: Path) -> None:
    data = datasets.load(shared / "features" / "jhmdb_mobilenetv2.npz")
    assert data.features is not None and data.features.shape == (420, 8, 1280)
    assert [len(data.select(split).classes) for split in ("train", "val", "test")] == [12, 4, 5]
    table = datasets.load(f"{shared / 'clips' / 'clips.csv'}?dataset=jhmdb")
    assert data.labels.tolist() == table.labels.tolist()
    assert data.groups.tolist() == table.groups.tolist()


def test_arrays_that_are_not_used_are_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((4, 2, 3))
    np.savez(tmp_path / "f.npz", features=values, label=list("aabb"), mask=values, subject=list("pqpq"))
    assert datasets.load(tmp_path / "f.npz").notes == ("2 arrays of f.npz not used: mask, subject",)
    assert datasets.load(f"{tmp_path / 'f.npz'}?subject=p").notes == ("1 array of f.npz not used: mask",)


# ---- limits --------------------------------------------------------------------------------------------------------


def told(path: Path) -> str:
    """The message of a file that is refused."""
    with pytest.raises(DataError) as caught:
        datasets.load(path)
    return str(caught.value)


def test_an_array_may_be_as_large_as_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)  # features of 120 bytes
    monkeypatch.setattr(features_module, "ARRAY_BYTES", 120)
    assert len(datasets.load(path)) == 4
    monkeypatch.setattr(features_module, "ARRAY_BYTES", 119)
    assert told(path) == "net.npz: array 'features' has 120 bytes: expected at most 119"


def test_an_array_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    path, whole = tmp_path / "net.npz", arrays()
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in whole.items():
            text = io.BytesIO()
            np.save(text, array)
            data = text.getvalue()
            archive.writestr(f"{name}.npy", data[:-20] if name == "features" else data)
    assert told(path) == "net.npz: array 'features' is cut off: 100 of 120 bytes are there"


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_of_every_version_of_the_format_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays().items():
            text = io.BytesIO()
            np.lib.format.write_array(text, array, version)
            archive.writestr(f"{name}.npy", text.getvalue())
    data = datasets.load(path)
    assert data.features is not None and data.features.ravel().tolist() == list(range(60))


def test_a_bomb_is_known_by_how_much_comes_out_of_how_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.npz"
    np.savez_compressed(path, features=np.zeros((4, 8, 4096), np.float32), label=list("aabb"))
    with zipfile.ZipFile(path) as archive:
        packed = archive.getinfo("features.npy").compress_size
    size = 4 * 8 * 4096 * 4
    assert len(datasets.load(path)) == 4, "small arrays may be much alike"
    monkeypatch.setattr(features_module, "ROOM", size)
    assert len(datasets.load(path)) == 4
    monkeypatch.setattr(features_module, "ROOM", size - 1)
    assert told(path) == (
        f"net.npz: array 'features' would unpack {packed:,} bytes to {size:,}: no real features are that much alike; "
        f"save them with numpy.savez"
    )
    monkeypatch.setattr(features_module, "PACKED", size // packed + 1)
    assert len(datasets.load(path)) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_values_are_checked_in_every_chunk_of_clips(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "CHUNK", 2)
    rng = np.random.default_rng(count)
    for value in (np.nan, np.inf, -np.inf):
        for bad in range(count):
            values = rng.normal(size=(count, 3, 5)).astype(np.float32)
            values[bad, rng.integers(3), rng.integers(5)] = value
            values[-1, 0, 0] = value
            number = len({bad, count - 1})
            with pytest.raises(DataError, match=rf"features of {number} clips are not finite, the first is row {bad}$"):
                features_module.checked(Path("f.npz"), values, lambda index: f"row {index}")
    fine = rng.normal(size=(count, 3, 5))
    assert np.shares_memory(features_module.checked(Path("f.npz"), fine), fine), "no copy where none is needed"


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f2", "f8"])
def test_features_come_in_the_byte_order_of_this_machine(dtype: str) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for given in (values, np.asfortranarray(values)):
        found = features_module.checked(Path("f.npz"), given)
        assert found.dtype.isnative and found.flags.c_contiguous and found.dtype.itemsize == values.dtype.itemsize
        np.testing.assert_array_equal(found, values)


def test_frames_a_clip_have_their_limit() -> None:
    most = settings.bounds("frames")[1]
    assert features_module.checked(Path("f.npz"), np.zeros((1, most, 1), np.float16)).shape == (1, most, 1)
    with pytest.raises(DataError) as caught:
        features_module.checked(Path("f.npz"), np.zeros((1, most + 1, 1), np.float16))
    assert str(caught.value) == f"f.npz: expected at most {most:,} frames a clip, found {most + 1:,}"


def test_clips_that_a_benchmark_lacks_are_kept_by_split(tmp_path: Path) -> None:
    lacking = np.array(["train\tx/1", "test\ty\tz", "train\tx/2"])
    data = datasets.load(write(tmp_path, missing=lacking))
    assert data.missing == {"train": ("x/1", "x/2"), "test": ("y\tz",)}
    assert data.missing_from("base") == ["x/1", "x/2"] and datasets.load(write(tmp_path)).missing == {}
    assert [path.name for path in data.paths] == ["clip-0", "clip-1", "clip-2", "clip-3"]


def test_all_conditions_have_to_hold_and_features_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, view=np.array([1, 2, 1, 2]), side=np.array(list("llrr")))
    assert datasets.load(path, where={"view": "1", "side": "r"}).paths == (tmp_path / "clip-2",)
    with pytest.raises(DataError, match=r"^net\.npz: no clip has view = '3' and side = 'l'$"):
        datasets.load(path, where={"view": "3", "side": "l"})
    with pytest.raises(OptionError, match=r"no array 'features' to filter by, found features, label, view, side$"):
        datasets.load(path, where={"features": "1"})


def test_texts_have_their_limit_and_lose_their_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, label=np.array([" a", "a ", "b", " b "]))
    assert datasets.load(path).classes == ("a", "b")
    size = np.array([" a", "a ", "b", " b "]).nbytes
    monkeypatch.setattr(gate, "TEXT_BYTES", size)
    assert len(datasets.load(path)) == 4
    monkeypatch.setattr(gate, "TEXT_BYTES", size - 1)
    assert told(path) == f"net.npz: 'label' has {size} bytes: expected at most {size - 1}"


def test_import_does_not_write_over_what_it_reads(command, tmp_path: Path) -> None:
    source, listed = tmp_path / "f.npz", tmp_path / "l.csv"
    np.savez(source, features=np.zeros((4, 3, 8), np.float32), other=np.arange(3))
    listed.write_text("path,label\na,x\nb,x\nc,y\nd,y\n")
    before = source.read_bytes()
    code, _, error = command("data", "features", "import", source, "--clips", listed, "--out", source)
    assert code == 2 and f"--out {source} is the file to read: name another" in error and source.read_bytes() == before
