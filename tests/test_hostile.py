"""Files that are torn, edited or made to harm: every kind that kshot reads, mutated field by field.

Whatever comes of it, it is a KshotError of one line that names the file, or everything is still fine; never another
exception. Mutated JSON gets a new seal, as somebody who wants to get past it would give it one.
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import studies
from kshot import Recognizer, datasets, gate, seals, settings
from kshot.activations.check import verify as verify_store
from kshot.activations.digests import Digests
from kshot.activations.shards import name_of
from kshot.activations.store import Store, holders
from kshot.backbones.backbone import Backbone
from kshot.datasets import prepare
from kshot.errors import CheckpointError, DataError, KshotError, OptionError, StoreError
from kshot.fewshot import fit, runs
from kshot.report.comparison import compared
from kshot.study import file as study_file
from kshot.study import grid
from kshot.study.file import Row, Study, planned
from kshot.study.summary import load_study
from kshot.study.tables import as_csv, as_markdown
from kshot.verify import verify

NESTED: Any = []
for _ in range(200):
    NESTED = [NESTED]
ODD = (
    None,
    True,
    -1,
    0,
    1e30,
    2**70,
    "",
    "x" * 10,
    [],
    {},
    [None],
    {"x": NESTED},
    math.nan,
    "../../etc/passwd",
    "\ud800",
)
DEEP = "[" * 100_000 + "]" * 100_000


def films(each: int = 2) -> tuple[list[np.ndarray], list[str]]:
    draw = np.random.default_rng(0)
    labels = [label for label in ("clap", "wave") for _ in range(each)]
    return [draw.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8) for _ in labels], labels


def mutants(value: Any, skip: tuple[str, ...] = (), thin: int = 1) -> Iterator[tuple[str, Any]]:
    """Every field of a JSON value replaced by each of ODD, and taken away; of a list the first entry stands for all.

    thin: how many fields share the values, where each use takes long.
    """

    def places(part: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if path:
            yield path
        inner = (
            list(part.items())
            if isinstance(part, dict)
            else list(enumerate(part))[:1]
            if isinstance(part, list)
            else []
        )
        for key, each in inner:
            if key not in skip:
                yield from places(each, (*path, key))

    for number, path in enumerate(places(value, ())):
        for odd in (*ODD, ...)[number % thin :: thin]:
            changed = json.loads(json.dumps(value))
            at = changed
            for key in path[:-1]:
                at = at[key]
            if odd is ...:
                del at[path[-1]]
            else:
                at[path[-1]] = odd
            yield f"{'.'.join(map(str, path))} = {str(odd)[:20]}", changed


def torn(data: bytes) -> Iterator[tuple[str, bytes]]:
    """A text file cut off, of another encoding, and of anything but what it should be."""
    for share in (0, 1, len(data) // 3, len(data) - 2):
        yield f"cut to {share}", data[:share]
    yield "UTF-16", data.decode().encode("utf-16")
    yield "Latin-1", "é".encode("latin-1") + data
    for text in (DEEP, '{"a":' * 100_000, "null", "3", '"text"', "[1]", "{}", "9" * 5000):
        yield text[:8], text.encode()


def survives(what: str, named: str, act: Callable[[], object]) -> None:
    try:
        act()
    except KshotError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000, what
        assert named in str(error), f"{what}: {error}"
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}")


def attack(path: Path, act: Callable[[], object], named: str = "", skip: tuple[str, ...] = (), thin: int = 1) -> None:
    """Runs `act` on every mutant of a JSON file, which is as it was afterwards."""
    before = path.read_bytes()
    for what, changed in mutants(json.loads(before), (*skip, "seal"), thin):
        path.write_text(json.dumps(seals.sealed(changed) if "seal" in changed else changed))
        survives(f"{path.name}: {what}", named or path.name, act)
    for what, data in torn(before):
        path.write_bytes(data)
        survives(f"{path.name}: {what}", named or path.name, act)
    path.write_bytes(before)
    act()


@pytest.mark.slow
def test_a_run(adapted: Path, backbone: Backbone, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapted, tmp_path / "run"))

    def use() -> None:
        run = runs.read_run(folder)
        assert run.frames and run.resize and run.seen
        if run.config["tuning"] != whole["tuning"] or run.config["head"] != whole["head"]:
            runs.learner(run, backbone, None, None, settings.Arithmetic())
        runs.read_config(folder)

    whole = json.loads((folder / "config.json").read_text())
    attack(folder / "config.json", use, "run", skip=("machine", "schedule", "val_episodes"))
    attack(
        folder / "config.json", lambda: verify(folder), "run", skip=tuple(set(whole) - {"files", "result", "format"})
    )


def test_a_model(backbone: Backbone, tmp_path: Path) -> None:
    clips, labels = films(each=2)
    folder = (
        Recognizer(backbone, method="prototype", frames=2).fit(clips, labels).save(tmp_path / "model", thumbnails=False)
    )
    path = folder / "config.json"

    def use() -> None:
        model = Recognizer.load(folder, backbone)
        assert model.answer([clips[0]]).proba.shape == (1, len(model.classes_))

    attack(path, use, "model", skip=("report", "arguments"), thin=3)
    before = json.loads(path.read_text())
    for what, changed in mutants(before["arguments"], thin=2):
        path.write_text(json.dumps(seals.sealed(before | {"arguments": changed})))
        survives(what, "", lambda: Recognizer.load(folder, backbone))
    path.write_text(json.dumps(before))
    weights, _ = fit.load_tensors(next(folder.glob("weights-*")))
    for name in weights:
        for odd in (torch.full_like(weights[name], math.nan), weights[name].flatten()[:0], weights[name][None], None):
            made = weights | {name: odd}
            _seal_weights(folder, before, {key: value for key, value in made.items() if value is not None})
            survives(f"{name} {odd}", "model", use)


def _seal_weights(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    fit.save_tensors(folder / "weights-other.safetensors", tensors)
    files = {"weights-other.safetensors": seals.sha256(folder / "weights-other.safetensors")}
    (folder / "config.json").write_text(json.dumps(seals.sealed(config | {"files": files})))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "C:\\secret", "..\\secret", "a/../../secret", "link"])
def test_names_of_a_folder_stay_in_it(name: str, backbone: Backbone, adapted: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    model = Recognizer(backbone, method="prototype").fit(*films(each=2)).save(tmp_path / "model", thumbnails=False)
    (model / "link").symlink_to(tmp_path / "secret")
    config = json.loads((model / "config.json").read_text())
    mark = seals.sha256(tmp_path / "secret")
    for change in ({"files": config["files"] | {name: mark}}, {"adapted": name}):
        (model / "config.json").write_text(json.dumps(seals.sealed(config | change)))
        with pytest.raises(CheckpointError, match=r"outside of it|a link out of its folder"):
            Recognizer.load(model, backbone)
    run = Path(shutil.copytree(adapted, tmp_path / "run"))
    (run / "link").symlink_to(tmp_path / "secret")
    about = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(seals.sealed(about | {"files": {name: mark}})))
    assert len(verify(run)["damaged"]) == 1


def test_a_link_inside_the_folder_and_into_the_hubs_cache_is_fine(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert gate.inside(tmp_path, "b").read_text() == "x"
    snapshot = tmp_path / "models--x" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--x" / "blobs").mkdir()
    (tmp_path / "models--x" / "blobs" / "abc").write_text("y")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert gate.inside(snapshot, "config.json").read_text() == "y"


def test_a_store(tmp_path: Path) -> None:
    key = {"cut": 3}
    store = Store(tmp_path, key)
    with store.writing() as writer:
        for i in range(3):
            writer.add(f"clip-{i}", np.full((2, 4), i, np.float16))
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"video")
    Digests(tmp_path / "digests.jsonl").of([clip])
    with store.writing():
        store.note_unreadable({"clip-9": "no video"})

    def use() -> None:
        store = Store(tmp_path, key)
        store.unreadable()
        store.gather([name for name in ("clip-0", "clip-1") if name in store] or ["clip-0"])

    def look() -> None:
        verify_store(tmp_path)
        holders(tmp_path)
        assert set(Digests(tmp_path / "digests.jsonl").of([clip])) == {seals.sha256(clip)}

    for name in ("key.json", "unreadable.json"):
        attack(store.folder / name, use, "key")
        attack(store.folder / name, look, "not a kshot store")
    attack(tmp_path / "digests.jsonl", look)
    (manifest,) = store.folder.glob("shard-*.json")
    attack(manifest, use, "manifest")
    about = json.loads(manifest.read_text())
    array = manifest.with_suffix(".npy").read_bytes()
    manifest.unlink()
    for what, changed in mutants(about):
        text = json.dumps(changed).encode()
        path = manifest.with_name(f"{name_of(text)}.json")
        path.write_bytes(text)
        path.with_suffix(".npy").write_bytes(array)
        survives(
            what,
            str(tmp_path),
            lambda: Store(tmp_path, key).gather(["clip-0"]) if "clip-0" in Store(tmp_path, key) else 0,
        )
        survives(what, str(tmp_path), look)
        path.unlink()
        path.with_suffix(".npy").unlink()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 2), ">f4"), np.zeros((3, 2), np.longdouble), np.asfortranarray(np.zeros((3, 2), np.float16)),
        np.zeros((3, 2), "U2"), np.zeros((), np.float16), np.zeros((0, 2), np.float16), np.zeros((3, 2), complex),
        np.zeros((2, 2), np.float16), np.array([None] * 3),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)  # fmt: skip
def test_an_odd_shard(array: np.ndarray, tmp_path: Path) -> None:
    store = Store(tmp_path, {"cut": 3})
    with store.writing() as writer:
        for i in range(3):
            writer.add(f"clip-{i}", np.zeros(2, np.float16))
    (shard,) = store.folder.glob("*.npy")
    np.save(shard, array)
    with pytest.raises(StoreError, match=f"{shard.name} is damaged"):
        Store(tmp_path, {"cut": 3}).gather(["clip-0"])


@pytest.mark.slow
def test_a_study(tmp_path: Path) -> None:
    plan = Study(
        "t", (Row("a"), Row("b", strategy="meta")), data=("d",), backbone=("s",), episodes=20, seeds=(0,), baseline="a"
    )
    studies.write(tmp_path, plan, lambda row, data, shot: 0.5)
    report = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(seals.sealed(report)))

    def use() -> None:
        found = load_study(tmp_path)
        as_markdown(found)
        as_csv(found)
        for one in compared(found, tmp_path):
            if shots := one.shots:
                one.ranked(shots[-1])
            assert one.versions is not None and one.unreadable is not None and one.missing is not None
            for name in one.names:
                one.per_clip(name)

    attack(tmp_path / "study.json", use, skip=("machine", "confusion"), thin=8)
    where = tmp_path / report["rows"][0]["folder"] / "1-shot.json"
    attack(where, lambda: load_study(tmp_path).rows[0].result(tmp_path, 1), skip=("machine", "cost", "confusion"))
    row = {**report["rows"][0]}
    (where.parent / "row.json").write_text(json.dumps(seals.sealed(row, where.parent, ["1-shot.json"])))
    own = {key: row[key] for key in ("data", "backbone", "seed", "name")}
    attack(where.parent / "row.json", lambda: grid._recorded(where.parent / "row.json", own), skip=("results",))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return "nan" if value != value else json.dumps(value)


def test_a_study_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    plan = {
        "title": "t", "data": ["motion"], "backbone": ["kshot-tiny"], "shots": [1], "seeds": [0], "way": 5, "query": 5,
        "episodes": 10, "frames": 8, "resize": "short", "split": "test", "baseline": "a", "shared_group": True,
        "center": False, "prompts": ["a {}"], "train": {"steps": 3}, "search": {"lr": [0.1]}, "protocol": "kshot",
        "row": [{
            "name": "a", "strategy": "meta", "tuning": "lora", "layers": "proj", "head": "prototype",
            "strategy_options": {"loss": "both"}, "tuning_options": {"rank": 2}, "head_options": {"scale": 1.0},
            "train": {"steps": 2}, "search": {"lr": [0.1]}, "episodes": 5, "train_shot": 1,
        }],
    }  # fmt: skip
    for what, changed in mutants(plan, thin=5):
        text = "\n".join(f"{key} = {_toml(value)}" for key, value in changed.items())
        if "null" in text or "\\ud800" in text:
            continue  # there is no such value in TOML
        path.write_text(text)
        survives(what, path.name, lambda: study_file.read_study(path))
    for what, data in torn(b'title = "t"\n[[row]]\nname = "a"\n'):
        path.write_bytes(data)
        survives(what, path.name, lambda: study_file.read_study(path))
    for rows in ("[[1, 2]]", '["a"]', "3", '{name = "a"}'):
        path.write_text(f"row = {rows}\n")
        with pytest.raises(OptionError, match=r"study\.toml"):
            study_file.read_study(path)


def test_limits_of_studies_are_named(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    many = ", ".join(f"'{i}'" for i in range(100))
    for text, limit in (
        (f"[[row]]\nname='a'\ntuning=[{many}]\nlayers=[{many}]\nhead=[{many}]", "rows must be at most 1,000"),
        (f"seeds=[{', '.join(map(str, range(2000)))}]\n[[row]]\nname='a'", "seeds must be at most 1,000"),
        (f"seeds=[{2**63}]\n[[row]]\nname='a'", "seed must be at most 9,223,372,036,854,775,807"),
        ("episodes=100000000\n[[row]]\nname='a'", "episodes must be at most 10,000,000"),
        ("frames=100000\n[[row]]\nname='a'", "frames must be at most 1,024"),
        ("way=100000\n[[row]]\nname='a'", "way must be at most 10,000"),
        (f"[[row]]\nname='a'\nsearch={{lr=[{'1.0,' * 50}], steps=[{'1,' * 50}]}}", "searched must be at most 1,000"),
    ):
        path.write_text(text)
        with pytest.raises(OptionError, match=limit):
            study_file.read_study(path)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7", None])
def test_odd_seeds_are_refused_by_name(seed: Any, clips_csv: Path, backbone: Backbone, tmp_path: Path) -> None:
    from kshot.fewshot.evaluation import evaluate
    from kshot.fewshot.training import train

    for act in (
        lambda: evaluate(clips_csv, backbone, seed=seed, split="all"),
        lambda: train(clips_csv, tmp_path / "run", backbone=backbone, seed=seed),
        lambda: Recognizer(backbone, seed=seed).fit(*films(each=2)),
        lambda: planned("quick", seeds=(seed,)),
    ):
        with pytest.raises(OptionError, match="seed"):
            act()
    assert not (tmp_path / "run").exists()


def _npz(path: Path, **arrays: Any) -> Path:
    good = {"features": np.ones((4, 2, 3), np.float32), "label": np.array(list("aabb"))}
    np.savez(path, **good | arrays)
    return path


def test_odd_arrays(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    ones = np.ones((4, 2, 3))
    for what, values in {
        "longdouble": ones.astype(np.longdouble), "complex": ones.astype(complex), "object": ones.astype(object),
        "nan": ones * math.nan, "flat": np.ones(4), "many frames": np.ones((4, 2000, 1), np.float32),
        "none": np.ones((0, 2, 3)), "text": np.full((4, 2, 3), "x"), "structured": np.zeros((4, 2, 3), "f4,f4"),
    }.items():  # fmt: skip
        with pytest.raises(KshotError):
            datasets.load(_npz(path, features=values))
        survives(what, "features", lambda: datasets.load(path))
    for labels in (
        np.array([1.5] * 4),
        np.array([None] * 4),
        np.array([b"\xff"] * 4),
        np.array(["a"]),
        np.zeros(4, "M8[s]"),
    ):
        with pytest.raises(DataError, match="features"):
            datasets.load(_npz(path, label=labels))
    broken = np.array([0xDC00 << 8] * 4, np.uint32).view("U1")
    survives("no characters", "features", lambda: datasets.load(_npz(path, label=broken)))
    whole = _npz(path).read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place])
        survives(f"cut to {place}", "features", lambda: datasets.load(path))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        survives(f"flipped at {place}", "features", lambda: datasets.load(path))


def test_another_byte_order_and_layout_are_the_same_features(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    plain = datasets.load(_npz(tmp_path / "plain.npz", features=values))
    for odd in (values.astype(">f4"), np.asfortranarray(values)):
        found = datasets.load(_npz(tmp_path / "odd.npz", features=odd)).features
        assert found is not None and found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, values)
        torch.from_numpy(found)
        data = datasets.load(tmp_path / "odd.npz")
        assert runs.features_fingerprint(data) == runs.features_fingerprint(plain)


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    """80 MB of zeros in 80 kB; and a header that promises a petabyte."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape, size in (("features", (20_000, 10, 100), 80 << 20), ("label", (20_000,), 80_000)):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "<f4" if name == "features" else "<U1", "fortran_order": False, "shape": shape}
                )
                for _ in range(size >> 20 or 1):
                    file.write(bytes(min(size, 1 << 20)))
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"would unpack .* bytes to 80,000,000: no real features"):
        datasets.load(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("features.npy", "w") as file:
        about = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 1000, 1000)}
        np.lib.format.write_array_header_1_0(file, about)
    with pytest.raises(DataError, match="'features' has 4,000,000,000,000,000 bytes: expected at most"):
        datasets.load(path)


def test_a_prepared_benchmark(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,label,split,group,bytes\nclips/a.avi,a,test,,3\n")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.avi").write_bytes(b"abc")
    expected = {"train": {"b": 0}, "val": {"c": 0}, "test": {"a": 1}}
    about = {
        "format": 1,
        "benchmark": "hmdb51",
        "found": 1,
        "expected": expected,
        "missing": {"train": ["x"], "val": [], "test": []},
    }
    sealed = seals.sealed(about, tmp_path, ["clips.csv"])
    (tmp_path / "prepared.json").write_text(json.dumps(sealed))
    attack(tmp_path / "prepared.json", lambda: prepare.verify(str(tmp_path)), str(tmp_path))
    attack(tmp_path / "prepared.json", lambda: prepare.missing_beside(tmp_path / "clips.csv"), str(tmp_path))
    attack(tmp_path / "prepared.json", lambda: verify(tmp_path), str(tmp_path))
    (tmp_path / "clips.csv").write_text("path,label,split,group,bytes\nclips/a.avi,b,test,,3\n")
    assert "sha256" in verify(tmp_path)["damaged"][str(tmp_path / "clips.csv")]


def test_a_checkpoint(adapted: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit.save_tensors(path, {"weight.a": torch.ones(2)}, {"fit": "{}"})
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place])
        survives(f"cut to {place}", path.name, lambda: fit.load_tensors(path))
    good = {"step": 1, "best_step": 0, "best_val": None, "seconds": 1.0, "stale": 0, "history": []}
    for what, changed in mutants(good):
        about = json.dumps(changed)
        survives(what, path.name, partial(fit._about, path, {"fit": about}))


def test_every_limit_is_kept() -> None:
    whole = {
        name for front in settings.FRONTS for name, one in front.fields().items() if one.type in ("int", "int | None")
    }
    assert {"seed", "frames", "steps", "episodes", "val_episodes"} <= whole
    for name in (*whole, *settings.COUNTS):
        least, most = settings.bounds(name)
        settings.expect(**{name: least})
        settings.expect(**{name: most})
        for odd in (least - 1, most + 1, 2.0, True, "1", *([] if name == "frames" else [None]), 10**5000):
            with pytest.raises(OptionError, match=f"^{name} must be "):
                settings.expect(**{name: odd})  # type: ignore[arg-type]
