"""VideoMAE: its pixels, what is refused, and the commands on a backbone that sees clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from checkpoints import frames, write
from clips import draw, write_video
from forks import Command
from kshot import Recognizer, export, load_data, tuning
from kshot.activations.estimation import estimate
from kshot.activations.extraction import extract
from kshot.activations.recipe import Recipe
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.units import UnitBackbone
from kshot.errors import CheckpointError, OptionError, VideoError
from kshot.recognizer import videos
from kshot.recognizer.preparing import backbone_of
from kshot.studio.engine import StudioEngine
from kshot.studio.project import Project
from kshot.video import FRAMINGS, preprocess
from kshot.video.views import describe

pytestmark = pytest.mark.slow

UNIT = 4  # frames, of the checkpoint here


def processor(**changed: Any) -> Any:
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    return VideoMAEImageProcessorPil(
        **{"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, **changed}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videomae")
    write(folder, "videomae", "classifier")
    processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(written: Path) -> Backbone:
    return load(written)


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(written, tmp_path / "videomae")


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm() / b.detach().norm())


# units and pixels


def test_the_unit_is_that_of_the_configuration(loaded: Backbone) -> None:
    assert (loaded.unit, loaded.input_shape) == (UNIT, (UNIT, 3, 32, 32))
    assert (loaded.frames_of(None), loaded.frames_of(8), loaded.rows_of(8)) == (4, 8, 2)
    assert loaded.pixels(np.zeros((8, 32, 32, 3), np.uint8)).shape == (2, UNIT, 3, 32, 32)
    for wrong in (2, 6, 7):
        with pytest.raises(OptionError, match=f"sees clips of 4 frames: expected frames 4 or a mul.* found {wrong}"):
            loaded.frames_of(wrong)
    with pytest.raises(OptionError, match="expected units of frames"):
        loaded(torch.zeros(2, 3, 32, 32))
    assert loaded.notes == (f"backbone '{loaded.name}': its classifier is left out (2 tensors)",)


def test_frame_families_keep_their_frames_and_keys(backbone: Backbone) -> None:
    assert (backbone.unit, backbone.frames_of(None), backbone.frames_of(5), backbone.rows_of(5)) == (1, 8, 5, 5)
    assert backbone.input_shape == (3, backbone.size, backbone.size)
    assert describe("short") == "short side to size (PIL bicubic), centre crop"
    assert describe("short-256") == "short side to 256/224 of size (PIL bicubic), centre crop"
    assert describe("squash-bilinear") == "both sides to size (PIL bilinear), centre crop"
    assert Recipe(backbone.depth).key(backbone) == {
        "cut": backbone.depth, "frames": 8, "sampling": "middle", "size": backbone.size, "view": 0, "format": 1,
        "preprocessing": "short side to size (PIL bicubic), centre crop", "backbone": backbone.fingerprint,
        "dtype": "float16", "precision": "float32", "condensed": True,
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (20, 24)])
def test_squares_and_pixels_are_those_of_its_image_processor(folder: Path, shape: tuple[int, int]) -> None:
    made = processor(image_mean=[0.5, 0.4, 0.3])
    made.save_pretrained(folder)
    ours = load(folder)
    assert (ours.size, ours.resize) == (32, "short-bilinear")
    images = np.random.default_rng(0).integers(0, 256, (UNIT, *shape, 3), dtype=np.uint8)
    expected = torch.as_tensor(np.asarray(made(list(images), return_tensors="pt")["pixel_values"])).float()
    squares = preprocess(images, ours.size, FRAMINGS[ours.resized("short")])
    torch.testing.assert_close(ours.pixels(squares), expected, atol=3e-6, rtol=2e-6)


@pytest.mark.parametrize("name", ["video_preprocessor_config.json", "processor_config.json"])
def test_the_files_of_transformers_5_are_followed_too(folder: Path, name: str) -> None:
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    values = {k: v for k, v in values.items() if "processor" not in k and k != "image_processor_type"}
    values |= {"video_processor_type": "VideoMAEVideoProcessor", "do_sample_frames": False, "image_std": [0.2] * 3}
    (folder / name).write_text(json.dumps({"video_processor": values} if name == "processor_config.json" else values))
    np.testing.assert_allclose(load(folder).std.flatten(), [0.2] * 3, rtol=1e-6)
    (folder / name).write_text(json.dumps(values | {"resample": 3}))
    if name != "processor_config.json":
        with pytest.raises(CheckpointError, match=r"resample is 3, .*bilinear"):
            load(folder)


def test_biases_under_their_published_names(folder: Path, loaded: Backbone) -> None:
    file = folder / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    for now, once in (("query.bias", "q_bias"), ("value.bias", "v_bias")):
        weights = {
            name.replace(f"attention.attention.{now}", f"attention.attention.{once}"): v for name, v in weights.items()
        }
    save_file(weights, file)
    again = load(folder)
    assert again.fingerprint == loaded.fingerprint
    x = frames(loaded, 2)
    assert torch.equal(again(x), loaded(x))


# what fits, what is refused


@pytest.mark.parametrize("method", sorted(tuning.TUNING))
def test_a_tuning_method_fits_or_is_refused_in_one_line(loaded: Backbone, method: str) -> None:
    tuned, x = loaded.copy(), frames(loaded, 2)
    if method not in (UnitBackbone.tunings or ()):
        lack = "text tower that could learn" if method == "coop" else "class token and no tokens of single frames"
        with pytest.raises(OptionError, match=f"'{method}' does not fit .*, which has no {lack}: take partial, "):
            tuning.apply(method, tuned)
        return
    cut = tuning.apply(method, tuned)
    found = tuned.encode_from(tuned.encode_to(x, cut), cut)
    if method != "clip-adapter":
        assert distance(found, loaded(x)) <= 1e-5
    found.square().sum().backward()
    assert any(value.grad is not None and value.grad.any() for value in tuned.parameters())
    assert cut == {"partial": loaded.depth, "clip-adapter": loaded.depth + 1}.get(method, cut)


def says(**changed: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | changed))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (says(num_frames=1), r"num_frames is 1, no whole number of tubelets of 2"),
        (says(num_frames=5), r"num_frames is 5, no whole number of tubelets of 2"),
        (says(num_frames=True), "num_frames is True, expected a number"),
        (says(tubelet_size=4), "patch_embeddings.projection.weight has shape"),
        (says(qv_bias=1), "qv_bias is 1, expected true or false"),
        (says(use_mean_pooling=False), "use_mean_pooling is false, so its classifier reads the first tubelet alone"),
        (says(architectures=["VideoMAEModel"]), "holds 4 tensors that its config.json knows nothing of"),
        (says(architectures=["VideoMAEDecoder"]), "expected one of VideoMAEModel, VideoMAEForVideoClassification, "),
        (says(hidden_act="tanhh"), "names an unknown activation"),
    ],
)
def test_half_and_foreign_checkpoints_are_one_line(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


# the store


def test_a_row_is_a_unit(loaded: Backbone, clips_csv: Path, tmp_path: Path) -> None:
    made = extract(f"{clips_csv}?split=test", loaded, store=tmp_path, workers=0)
    assert made.gather([0, 1]).shape == (2, 1, loaded.image.tokens, loaded.image.width)
    assert made.store is not None and made.store.key["frames"] == UNIT
    two = extract(f"{clips_csv}?split=test", loaded, "embedding", store=tmp_path, workers=0, frames=8)
    assert two.gather([0]).shape == (1, 2, loaded.embed_dim)
    cost = estimate(f"{clips_csv}?split=test", loaded, store=tmp_path, workers=0)
    assert cost.bytes == made.gather([0]).nbytes * cost.clips
    with pytest.raises(OptionError, match="found 6"):
        estimate(f"{clips_csv}?split=test", loaded, store=tmp_path, workers=0, frames=6)


# commands


def test_the_research_commands_work_on_it(command: Command, written: Path, clips_csv: Path, tmp_path: Path) -> None:
    place = ("--backbone", written, "--store", tmp_path / "store", "--json")
    shape = ("--way", 3, "--query", 1)
    code, out, err = command("extract", clips_csv, *place, "--workers", 0)
    assert code == 0 and json.loads(out)["stored_now"] == 112, err
    assert any("its classifier is left out" in note for note in json.loads(out)["notes"])
    for name in ("prototype", "otam", "bimhm", "linear-probe"):
        code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", name)
        assert code == 0 and json.loads(out)["head"] == name and json.loads(out)["options"]["frames"] == UNIT, err
    for name in ("where", "change", "text"):
        code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", name)
        line = {"where": "gives one embedding for 4 frames", "change": "at least 8 frames a clip, found 4"}
        assert code == 2 and line.get(name, "has no text side") in err, err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--episodes", 5, "--head", "change", "--frames", 8)
    assert code == 0, err
    code, out, err = command("evaluate", clips_csv, *place, *shape, "--frames", 7)
    assert code == 2 and "sees clips of 4 frames" in err and err.count("\n") == 1
    code, out, err = command(
        "train", clips_csv, *place, *shape, "--strategy", "meta", "--tuning", "partial", "--steps", 1, "--val-every", 1,
        "--val-episodes", 2, "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["frames"] == UNIT
    code, out, err = command(
        "evaluate", clips_csv, "--adapted", tmp_path / "run", "--store", tmp_path / "store", *shape, "--episodes", 5
    )
    assert code == 0, err


@pytest.fixture(scope="module")
def fitted(written: Path, clips_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = load_data(f"{clips_csv}?split=test")
    labels = [data.classes[label] for label in data.labels]
    store = tmp_path_factory.mktemp("store")
    made = Recognizer(str(written), method="prototype", store=store, reject=False).fit(list(data.paths), labels)
    assert made.frames is None and made.frames_ == UNIT and made.clips_[0].embeddings.shape == (1, 32)
    assert any("its classifier is left out" in note for note in made.report_.notes)
    return made.save(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.12 seconds of one action."""
    rng = np.random.default_rng(0)
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", np.concatenate([draw(0, 14, rng)] * 2))


def test_a_recognizer_sees_windows(fitted: Path, clips_csv: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clip = Recognizer.load(fitted), load_data(clips_csv).paths[0]
    taken = next(videos.frames_of([clip], model.frames_, model.size, 60.0, False, model.framing))
    assert not isinstance(taken, VideoError)
    proba = model.decide(model.states(taken.frames)[None]).proba
    np.testing.assert_allclose(proba, model.answer([clip]).proba, rtol=1e-5)
    backbone, seen = backbone_of(model.learner_), []
    encode = backbone.image.encode_from
    monkeypatch.setattr(backbone.image, "encode_from", lambda x, cut: seen.append(len(x)) or encode(x, cut))
    for stride in (None, 2):
        seen.clear()
        made = model.timeline(film, window=0.16, stride=stride)
        assert made.settings.stride == (stride or UNIT // 4)
        # Each window once for each of its lengths, of which there are two or three.
        assert 8 < len(made.times) < sum(seen) <= 3 * (len(made.times) + 2)
    with pytest.raises(OptionError, match="stride of 1 to 4 frames"):
        model.timeline(film, stride=5)


def test_methods_that_compare_frames_are_refused(written: Path, clips_csv: Path) -> None:
    data = load_data(f"{clips_csv}?split=test")
    labels = [data.classes[label] for label in data.labels]
    for name, said in (("change", "one for 4 frames: expected at least 8"), ("where", "expected at least 8 frames")):
        with pytest.raises(OptionError, match=said):
            Recognizer(str(written), method=name).fit(list(data.paths), labels)


def test_the_other_commands_work_on_it(
    command: Command, written: Path, fitted: Path, clips_csv: Path, film: Path, tmp_path: Path
) -> None:
    some = f"{clips_csv}?split=test"
    code, _, err = command(
        "fit",
        some,
        "--backbone",
        written,
        "--store",
        tmp_path / "s",
        "--out",
        tmp_path / "model",
        "--method",
        "partial",
    )
    assert code == 0, err
    for args in (("predict", tmp_path / "model", film), ("predict", fitted, film, "--timeline"),
                 ("watch", fitted, "--file", film, "--window", 0.4)):  # fmt: skip
        code, out, err = command(*args, "--json")
        assert code == 0 and json.loads(out.splitlines()[0]), err
    code, _, err = command("fit", some, "--backbone", written, "--out", tmp_path / "no", "--frames", 6)
    assert code == 2 and "sees clips of 4 frames" in err and not (tmp_path / "no").exists()


def test_an_export_takes_whole_clips(fitted: Path, tmp_path: Path) -> None:
    done = export.export(fitted, out=tmp_path / "graph")
    assert done.difference <= export.TOLERANCE
    note = json.loads((tmp_path / "graph" / "model.json").read_text())
    assert (note["frames"], note["resize"], note["filter"]) == (
        UNIT, "short side to `size`, PIL bilinear, then the centre", "bilinear",
    )  # fmt: skip


def test_a_study_and_its_forecast_take_each_backbones_own_frames(
    command: Command, written: Path, clip_folder: Path, clips_csv: Path, tmp_path: Path
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        'title = "t"\nway = 3\nquery = 1\nshots = [1]\nepisodes = 5\n[[row]]\nname = "a"\nstrategy = "frozen"\n'
        '[[row]]\nname = "b"\nstrategy = "meta"\ntuning = "partial"\ntrain = {steps = 1, val_episodes = 2}\n'
    )
    given = ("study", file, "--data", clips_csv, "--backbone", written, "--backbone", clip_folder, "--json")
    given += ("--out", tmp_path / "study")
    code, out, err = command(*given, "--dry-run")
    assert code == 0 and not any("error" in row for part in json.loads(out)["parts"] for row in part["rows"]), err
    tokens, width = load(written).image.tokens, load(written).image.width
    (stored,) = [one for one in json.loads(out)["parts"][0]["stores"] if one["cut"] == load(written).depth]
    assert stored["bytes"] == stored["clips"] * tokens * width * 2
    code, out, err = command(*given, "--store", tmp_path / "store")
    assert code == 0, err
    found = sorted(json.loads(f.read_text())["options"]["frames"] for f in (tmp_path / "study").rglob("1-shot.json"))
    assert found == [UNIT, UNIT, 8, 8]
    assert json.loads((tmp_path / "study" / "settings.json").read_text())["frames"] == 8  # as before


def test_the_studio_works_on_it(written: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with closing(Project(tmp_path / "project", {"backbone": str(written), "method": "prototype"})) as project:
        engine = StudioEngine(project, lambda: None)
        for number, word in enumerate(("clap", "wave")):
            label = engine.project.add_label(word).id
            for _ in range(2):
                id, place = project.place(".mp4")
                write_video(place, draw(number, 3, rng))
                engine.receive(id, place, place.name, "file", label)
        engine.train()
        assert engine._training is not None
        engine._training.join()
        training = project.state.training
        assert training is not None and not training.error, training
