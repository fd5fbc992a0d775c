"""The model folder: answers the same after loading, is whole or refused, and tells people what they should know."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from films import films, write
from test_recognizer import same

from kshot import Recognizer
from kshot.backbones import hub
from kshot.backbones.backbone import Backbone
from kshot.errors import CheckpointError, OptionError, StoreError
from kshot.recognizer.artefact import FORMAT
from kshot.recognizer.card import card
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.report import Report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def taught(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    clips, labels = films()
    paths = write(tmp_path_factory.mktemp("films"), clips)
    return Recognizer(backbone).fit(paths, labels, [f"group of {path}" for path in paths])


@pytest.fixture(scope="module")
def kept(taught: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught.save(tmp_path_factory.mktemp("kept") / "model")


@pytest.fixture
def model(kept: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(kept, tmp_path / "model"))


@pytest.mark.parametrize("method", ["text", "prototype", "fusion", "linear-probe", "otam", "partial"])
def test_every_method_answers_bit_for_bit_the_same(method: str, backbone: Backbone, tmp_path: Path):
    made = Recognizer(backbone, method=method).fit(*films(each=3))
    again = Recognizer.load(made.save(tmp_path / "model"), backbone)
    same(again, made)
    assert again.report_ == made.report_ == Report.of_plain(json.loads(json.dumps(made.report_.plain())))
    assert again.tuned_ == (method == "partial")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Where fine-tuning is compared to the bit: two threads may add in another order the second time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_loaded_model_goes_on_learning(taught: Recognizer, kept: Path, backbone: Backbone):
    clips, labels = films(each=2, first=20)
    grown = copy.copy(taught).partial_fit(clips, labels)
    same(Recognizer.load(kept, backbone).partial_fit(clips, labels), grown)
    same(Recognizer.load(kept, backbone).forget("jump"), copy.copy(taught).forget("jump"))


def test_clips_whose_files_are_gone_still_count(backbone: Backbone, tmp_path: Path):
    clips, labels = films()
    made = Recognizer(backbone, method="prototype").fit(write(tmp_path / "films", clips), labels)
    made.save(tmp_path / "model")
    shutil.rmtree(tmp_path / "films")
    again = Recognizer.load(tmp_path / "model", backbone).forget("jump")
    same(again, made.forget("jump"))
    again.set_params(method="auto").partial_fit(*films(each=1, first=30))
    assert "partial" not in [row["name"] for row in again.report_["methods"]]
    assert any("no longer what they were" in note for note in again.report_["notes"])


@pytest.mark.parametrize("name", ["config.json", "weights"])
def test_a_flipped_bit_is_seen(name: str, model: Path, backbone: Backbone):
    (file,) = model.glob(f"{name}*")
    whole = file.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 25).astype(int):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1
        file.write_bytes(spoiled)
        with pytest.raises(CheckpointError) as told:
            Recognizer.load(model, backbone)
        assert "\n" not in str(told.value) and str(model) in str(told.value)
    file.write_bytes(whole)
    Recognizer.load(model, backbone)


def test_what_is_no_whole_model_is_refused(model: Path, backbone: Backbone, tmp_path: Path):
    def refused(message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            Recognizer.load(model, backbone)

    text = (model / "config.json").read_text()
    (model / "config.json").write_text(text.replace(f'"format": {FORMAT}', '"format": 99'))
    refused("has format 99, written by kshot .*: use the kshot that wrote it")
    (model / "config.json").write_text('{"kind": "something else", "format": 1}')
    refused("is not a model of `kshot fit`")
    (model / "config.json").write_text("{}")
    refused("is not a model of `kshot fit`")
    (model / "config.json").write_text("[1]")
    refused("is not a model of `kshot fit`")
    (model / "config.json").write_text(text)
    next(model.glob("weights*")).unlink()
    refused("has lost its weights-")
    (model / "config.json").unlink()
    refused("is not a model folder")
    with pytest.raises(CheckpointError, match="is not a model folder"):
        Recognizer.load(tmp_path / "nowhere")


def test_another_backbone_is_refused(model: Path, tmp_path: Path):
    from tiny import random_clip

    with pytest.raises(CheckpointError, match=r"was trained on backbone .* pass that one with --backbone"):
        Recognizer.load(model, random_clip(tmp_path / "other", seed=5))


def test_saving_over_a_model_replaces_it_and_over_anything_else_is_refused(
    taught: Recognizer, model: Path, backbone: Backbone, tmp_path: Path
):
    other = Recognizer(backbone, method="prototype").fit(*films("clap bow", each=2))
    other.save(model, thumbnails=False)
    assert Recognizer.load(model, backbone).classes_.tolist() == ["bow", "clap"]
    assert sorted(path.name.split("-")[0] for path in model.iterdir()) == ["README.md", "config.json", "weights"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OptionError, match="holds something else than a model"):
        taught.save(tmp_path / "mine")
    with pytest.raises(OptionError, match="is a file"):
        taught.save(tmp_path / "mine" / "thesis.txt")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("there", ["a model", "an empty folder", "nothing"])
@pytest.mark.parametrize("last", ["weights", "README.md", "config.json"])
def test_a_save_that_fails_leaves_what_was_there(
    taught: Recognizer, kept: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str,
    last: str,
) -> None:  # fmt: skip
    """The disk is full at that file: the old model answers as before, and nothing is in the way of another try."""
    from kshot.recognizer import artefact

    model, write_atomic = tmp_path / "place" / "model", artefact.write_atomic
    if there == "a model":
        shutil.copytree(kept, model)
    elif there == "an empty folder":
        model.mkdir(parents=True)

    def full(path: Path, data: bytes) -> None:
        if path.name.startswith(last):
            raise OSError(28, "No space left on device")
        write_atomic(path, data)

    before = {str(path) for path in tmp_path.rglob("*")}
    other = copy.copy(taught).forget("jump")
    monkeypatch.setattr(artefact, "write_atomic", full)
    with pytest.raises(StoreError, match=r"No space left on device.*run the same command again"):
        other.save(model)
    monkeypatch.undo()
    assert {str(path) for path in tmp_path.rglob("*")} - {str(model.parent)} == before - {str(model.parent)}
    if there == "a model":
        same(Recognizer.load(model, backbone), taught)
    same(Recognizer.load(other.save(model), backbone), other)


def test_an_adapted_model_takes_its_run_along(adapted: Path, backbone: Backbone, tmp_path: Path):
    run = Path(shutil.copytree(adapted, tmp_path / "run"))
    made = Recognizer(backbone, adapted=run, method="prototype").fit(*films(each=2))
    made.save(tmp_path / "model")
    with pytest.raises(OptionError, match="was trained with deinterlace False, found True: give both the same"):
        Recognizer(backbone, adapted=run, method="prototype", deinterlace=True).fit(*films(each=2))
    shutil.rmtree(run)
    again = Recognizer.load(tmp_path / "model", backbone)
    same(again, made)
    same(
        again.forget("jump"), Recognizer(backbone, adapted=adapted, method="prototype").fit(*films("clap wave", each=2))
    )
    (weights,) = (tmp_path / "model").glob("adapted-*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(CheckpointError, match=r"weights.safetensors is damaged"):
        Recognizer.load(tmp_path / "model", backbone)


def test_the_card_tells_people_what_they_should_know(kept: Path, taught: Recognizer):
    card = (kept / "README.md").read_text()
    told = taught.report_["accuracy"]
    for part in (
        "# A recognizer of 3 actions", "12 clips", f"**{100 * told['value']:.0f} %**", "| clap | 4 |",
        "thumbnails/000.jpg", "must not be used for", "Recognizer.load(", "Fingerprint", "licence",
    ):  # fmt: skip
        assert part in card, part
    assert len(list((kept / "thumbnails").glob("*.jpg"))) == 3
    assert not list(kept.rglob("*.pkl")) and not list(kept.rglob("*.pt"))
    assert str(kept.parent) not in card and str(Path(taught.clips_[0].name).parent) not in card


def test_the_card_shows_the_trade_and_equal_classes_and_knows_older_reports(model: Path):
    config = json.loads((model / "config.json").read_text())
    told, trade = config["report"]["unknown"], config["report"]["unknown"]["trade"]
    text = card(config, [])
    assert text.count("\n| 0.") + text.count("\n| -0.") == len(trade) > 1
    assert f"by {told['clips']} clips" in text and "Where all actions are equally frequent: " in text
    assert "20 % of videos that show none" in text and "one of those as bad as refusing" in text
    older = config["report"]
    for name in ("caught", "costs", "clips", "trade"):
        del older["unknown"][name]
    for name in ("balanced", "left_out", "gained"):
        del older["accuracy"][name]
    text = card(config, [])
    assert "What other thresholds" not in text and "equally frequent" not in text and "AUROC" in text


def test_a_model_keeps_what_unknown_was_weighed_by(backbone: Backbone, tmp_path: Path):
    costs = {"cost": 3.0, "share": 0.4}
    made = Recognizer(backbone, method="prototype", reject=costs).fit(*films(each=3))
    again = Recognizer.load(made.save(tmp_path / "model", thumbnails=False), backbone)
    assert again.reject == costs and again.report_.unknown.costs == ErrorCosts(**costs, most=0.1)
    assert again.partial_fit(*films(each=1, first=9)).report_.unknown.costs.cost == 3


def test_pushing_takes_no_folder_names_along(taught: Recognizer, backbone: Backbone, tmp_path: Path, monkeypatch):
    import huggingface_hub

    class Hub:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
            assert private and exist_ok
            return f"https://hub/{name}"

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, tmp_path / "hub")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert taught.push_to_hub("me/gym") == "https://hub/me/gym"
    assert not (tmp_path / "hub" / "thumbnails").exists()
    place = str(Path(taught.clips_[0].name).parent)
    assert all(place not in file.read_text("utf-8") for file in (tmp_path / "hub").glob("*.[jm]*"))
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, revision, etag_timeout: str(tmp_path / "hub")
    )
    same(Recognizer.load("hf://me/gym", backbone), taught)
    with pytest.raises(CheckpointError, match="expected a repository as owner/name, found 'gym'"):
        taught.push_to_hub("gym")


def test_a_hub_out_of_reach_is_one_line(taught: Recognizer, monkeypatch):
    import huggingface_hub

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host\nTraceback ...")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    with pytest.raises(
        CheckpointError, match=r"^'me/gym' is not in the cache and cannot be fetched \(no route to host\)"
    ):
        Recognizer.load("hf://me/gym")
    with pytest.raises(CheckpointError, match=r"^cannot upload to 'me/gym' \(no route to host\)"):
        taught.push_to_hub("me/gym")
    assert hub.TIMEOUT <= 10
