"""The trunk in ONNX Runtime: what PyTorch gives at every cut, of the weights that are there, and refused elsewhere."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from checkpoints import CASES, EVERY, frames, write
from kshot import tuning
from kshot.activations.encoding import encode
from kshot.activations.extraction import extract
from kshot.backbones import graphs, runtime
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.lite import Lite, LiteTower, Size
from kshot.errors import OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.training import train
from kshot.recognizer import Recognizer

pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_registry")]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that this file's tests share, so that each graph is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home(kept: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(kept))


@pytest.fixture
def untranslated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph can be made; what is kept can be read."""
    monkeypatch.setattr(graphs, "translate", lambda *_: pytest.fail("a graph was made"))


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def small_lite() -> Lite:
    """The network of `lite` at a small side, with lively norms."""
    torch.manual_seed(0)
    made = Lite(LiteTower(Size(0.25, 0.4, 64, "", "")))
    with torch.no_grad():
        for name, value in made.image.named_buffers():
            if "running" in name:
                value.copy_(0.5 + torch.rand_like(value))
    return made


def agrees(ours: Backbone, x: torch.Tensor, cuts: Any) -> None:
    theirs = copy.deepcopy(ours)
    theirs.set_encoder("torch")
    with torch.inference_mode():
        for cut in cuts:
            assert ours.runtime is not None and ours.runtime.runs(ours.image, x, cut) is (cut > 0)
            found, wanted = ours.encode_to(x, cut), theirs.encode_to(x, cut)
            assert found.dtype == wanted.dtype and found.shape == wanted.shape
            assert distance(found, wanted) <= 1e-5, cut
            assert distance(ours(x, cut), theirs(x)) <= 1e-5, cut


@pytest.mark.parametrize(("kind", "way"), EVERY, ids=lambda one: one.strip() or "-")
def test_every_family_equals_pytorch(kind: str, way: str, tmp_path: Path) -> None:
    write(tmp_path, kind, way)
    if CASES[kind][way].unit > 1:
        with pytest.raises(
            OptionError, match=r"encoder onnx runs networks that see one frame at a time, .* take encoder torch"
        ):
            load(tmp_path, encoder="onnx")
        return
    ours = load(tmp_path, encoder="onnx")
    assert ours.encoder == "onnx"
    every = kind in ("clip", "open_clip") and not way  # a graph takes seconds to make
    agrees(ours, frames(ours), range(ours.depth + 2) if every else (1, ours.depth) if not way else (ours.depth,))


def test_every_cut_of_an_efficientnet_lite_equals_pytorch() -> None:
    ours = small_lite()
    ours.set_encoder("onnx")
    agrees(ours, torch.randn(5, 3, 64, 64), (0, 1, 2, ours.depth, ours.depth + 1))


def test_the_bundled_backbone_answers_alike_for_one_frame_and_for_many() -> None:
    ours = load(encoder="onnx")
    x = torch.randn(9, *ours.input_shape)
    with torch.inference_mode():
        many = ours.encode_to(x, ours.depth)
        for row in (0, 8):
            assert distance(many[row : row + 1], ours.encode_to(x[row : row + 1], ours.depth)) <= 1e-6


def test_a_graph_is_made_once_and_a_damaged_one_again(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = graphs.translate
    monkeypatch.setattr(graphs, "translate", lambda *given: made.append(1) or real(*given))
    monkeypatch.setattr(runtime, "__version__", "of this test")
    x = torch.randn(2, *load(clip_folder).input_shape)

    def encoded() -> torch.Tensor:
        ours = load(clip_folder, encoder="onnx")
        return ours.encode_to(x, 2)

    folder = runtime.home() / "encoders"
    before = {*folder.glob("*")}
    first = encoded()
    (file,) = {*folder.glob("*")} - before
    assert torch.equal(encoded(), first) and len(made) == 1
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    assert torch.equal(encoded(), first) and len(made) == 2
    (again,) = {*folder.glob("*")} - before
    assert again.stem.endswith(hashlib.sha256(again.read_bytes()).hexdigest())


def test_copies_share_graphs_and_other_weights_never_run_an_older_graph(backbone: Backbone) -> None:
    ours = backbone.copy()
    ours.set_encoder("onnx")
    x, cut = torch.randn(2, *ours.input_shape), ours.depth
    with torch.no_grad():
        first = ours.encode_to(x, cut)
        assert ours.copy().runtime is ours.runtime
        ours.image.blocks[0].mlp.fc1.weight.data = ours.image.blocks[0].mlp.fc1.weight.data.clone()
        ours.image.blocks[0].mlp.fc1.weight.mul_(1.5)  # in place: the same address
        changed = ours.encode_to(x, cut)
        assert distance(changed, first) > 1e-3
        assert distance(changed, ours.image.encode_to(x, cut)) <= 1e-5
    assert pickle.loads(pickle.dumps(ours.runtime)).encoder == "onnx"


@pytest.mark.parametrize("method", ["full", "bitfit", "partial", "lora", "clip-adapter"])
def test_what_learns_is_run_by_pytorch_and_only_what_lies_before_it_by_the_graph(
    method: str, backbone: Backbone
) -> None:
    tuned = backbone.copy()
    torch.manual_seed(0)
    cut = tuning.apply(method, tuned, **({"blocks": 1} if method == "lora" else {}))
    with torch.no_grad():
        for value in tuned.parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn_like(value))
    tuned.set_encoder("onnx")
    x = torch.randn(2, *tuned.input_shape)
    assert tuned.runtime is not None
    assert [tuned.runtime.runs(tuned.image, x, at) for at in range(tuned.depth + 2)] == [
        0 < at <= cut for at in range(tuned.depth + 2)
    ]
    with torch.no_grad():
        for at in {cut, tuned.depth + 1} - {0}:
            assert distance(tuned(x, at), tuned.image.encode_from(x, 0)) <= 1e-5


def test_what_does_not_go_together_is_refused_in_one_line(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch, backbone: Backbone
) -> None:
    with pytest.raises(OptionError, match="unknown encoder 'onyx': did you mean 'onnx'"):
        load(clip_folder, encoder="onyx")
    with pytest.raises(OptionError, match="computes in single precision, found precision bfloat16"):
        load(clip_folder, precision="bfloat16", encoder="onnx")
    with pytest.raises(OptionError, match="needs frames, and features:8 are ready-made features"):
        load("features:8", encoder="onnx")
    with monkeypatch.context() as patched:
        patched.setattr(Backbone, "to", lambda self, _: nn.Module.to(self, "meta"))  # as a GPU's weights, elsewhere
        with pytest.raises(OptionError, match="runs on the CPU, found device meta"):
            load(clip_folder, encoder="onnx")
    with monkeypatch.context() as patched:
        patched.setattr(graphs, "NEEDED", ("onnx", "no_such_module"))
        with pytest.raises(OptionError, match=r"encoder onnx needs no_such_module: pip install 'kshot\[onnx\]'"):
            load(clip_folder, encoder="onnx")
    with monkeypatch.context() as patched:
        patched.setattr(graphs, "LARGEST", 1000)
        with pytest.raises(OptionError, match="an ONNX file holds"):
            load(clip_folder, encoder="onnx")
    ours = backbone.copy()
    ours.set_encoder("onnx")
    with pytest.raises(OptionError, match=r"expects frames of shape \(N, 3, "):
        ours.encode_to(torch.randn(1, 3, 7, 7), 1)


def test_a_trunk_that_is_no_graph_or_another_one_is_refused_before_anything_is_stored(
    clips_csv: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "__version__", "of no graph")

    def fails(*_: Any) -> None:
        raise RuntimeError("no such operator\nand a page of reasons")

    monkeypatch.setattr(graphs, "translate", fails)
    with pytest.raises(OptionError, match=r"\(RuntimeError: no such operator\): use encoder torch$"):
        extract(clips_csv, clip_folder, store=tmp_path / "store", encoder="onnx", workers=0)
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "__version__", "of another")
    monkeypatch.setitem(runtime.TOLERANCES, "onnx", -1.0)
    with pytest.raises(OptionError, match=r"differs from PyTorch by .* use encoder torch"):
        extract(clips_csv, clip_folder, store=tmp_path / "store", encoder="onnx", workers=0)
    assert not list((tmp_path / "store").rglob("*.bin"))


def test_stores_are_apart_and_results_say_by_what_they_were_made(
    clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    parts = [extract(clips_csv, clip_folder, store=store, encoder=name, workers=0) for name in ("torch", "onnx")]
    one, other = (part.store for part in parts)
    assert one is not None and other is not None
    assert other.key == {**one.key, "encoder": "onnx"} and "encoder" not in one.key
    values = [torch.from_numpy(part.gather(range(len(part.data)))).float() for part in parts]
    assert distance(*values) <= 1e-3  # float16 in the store
    shape: dict[str, Any] = {"store": store, "way": 2, "query": 2, "episodes": 50, "encoder": "onnx"}
    result = evaluate(clips_csv, clip_folder, split="all", **shape)
    assert result.cost is not None and result.cost.encoder == "onnx"


def test_a_training_says_by_what_it_was_encoded_and_is_not_resumed_by_another(
    clips_csv: Path, clip_folder: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"steps": 2, "way": 2, "query": 2, "select": "none", "store": tmp_path / "store"}
    train(clips_csv, out=tmp_path / "run", backbone=clip_folder, encoder="onnx", **given)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["backbone"]["encoder"] == "onnx"
    with pytest.raises(OptionError, match="backbone"):
        train(clips_csv, out=tmp_path / "run", backbone=clip_folder, resume=True, **given)


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
def test_matrix_products_in_8_bits_stay_near(kind: str, tmp_path: Path) -> None:
    write(tmp_path, kind)
    ours, theirs = load(tmp_path, encoder="onnx-int8"), load(tmp_path)
    x = frames(ours)
    with torch.inference_mode():
        found, wanted = ours(x, ours.depth), theirs(x)
        assert 1e-5 < distance(ours.encode_to(x, ours.depth), theirs.encode_to(x, ours.depth)) <= 0.1
    assert torch.nn.functional.cosine_similarity(found, wanted).min() >= 0.99


def test_convolutions_in_8_bits_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "open_clip", "ResNet")
    with pytest.raises(OptionError, match=r"onnx-int8 does not fit backbone .*: convolutions .*: take onnx$"):
        load(tmp_path, encoder="onnx-int8")
    with pytest.raises(OptionError, match=r"onnx-int8 does not fit backbone 'memory': convolutions .*: take onnx$"):
        small_lite().set_encoder("onnx-int8")


@pytest.mark.parametrize("method", ["prototype", "partial", "change", "where"])
def test_a_recognizer_keeps_its_encoder(
    method: str, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    clips = [draw.integers(0, 256, (6, 40, 40, 3), dtype=np.uint8) // (1 + number % 2) for number in range(6)]
    fitted = Recognizer(clip_folder, method=method, frames=4, encoder="onnx").fit(clips, ["a", "b"] * 3)
    again = Recognizer.load(fitted.save(tmp_path / "model"))
    assert again.encoder == "onnx" and again.get_params()["encoder"] == "onnx"
    backbone = again.learner_.backbone
    assert backbone is not None and backbone.encoder == "onnx"
    seen: list[int] = []
    real = runtime.Runtime.encode_to
    monkeypatch.setattr(runtime.Runtime, "encode_to", lambda self, *given: seen.append(given[2]) or real(self, *given))
    proba = again.predict_proba(clips)
    assert seen and set(seen) == {again.learner_.cut}
    torch.testing.assert_close(torch.from_numpy(proba), torch.from_numpy(fitted.predict_proba(clips)))
    backbone.set_encoder("torch")
    assert np.abs(again.predict_proba(clips) - proba).max() <= 1e-4


def test_a_model_of_pytorch_is_written_as_before(clip_folder: Path, tmp_path: Path) -> None:
    clips = [np.full((6, 40, 40, 3), 40 * number, np.uint8) for number in range(4)]
    fitted = Recognizer(clip_folder, method="prototype", frames=4).fit(clips, ["a", "b"] * 2)
    arguments = json.loads((fitted.save(tmp_path / "model") / "config.json").read_text())["arguments"]
    assert "encoder" not in arguments
    assert Recognizer.load(tmp_path / "model").encoder == "torch"


def test_frames_are_nobodys_and_go_through_no_graph(clip_folder: Path, untranslated: None) -> None:
    ours = load(clip_folder, encoder="onnx")
    clips = np.zeros((1, 2, ours.size, ours.size, 3), np.uint8)
    assert encode(ours, 0, clips, "float16") is clips
