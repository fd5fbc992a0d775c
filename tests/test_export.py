"""Export: the graph answers as PyTorch does, serves any number of clips, and needs neither kshot nor torch."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch

import kshot
import scenes
from checkpoints import CASES, write
from clips import SPLITS, draw, write_video
from kshot import heads, tuning, video
from kshot.backbones.backbone import Backbone, NoText, load
from kshot.backbones.graphs import compare, trace, translate
from kshot.backbones.lite import Lite, LiteTower, Size
from kshot.errors import KshotError, OptionError, StoreError
from kshot.export import SQUARES, TOLERANCE, Exported, Whole, export
from kshot.recognizer import Recognizer
from kshot.recognizer.classifier import Classifier, Scorer
from kshot.recognizer.methods import METHODS
from kshot.video import FRAMINGS
from scenes import STILL

if TYPE_CHECKING:
    from forks import Command

EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_predict.py"
FRAMES = 4
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_registry")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wide clips of three actions, two of each, at two sizes."""
    folder, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(5)
    paths = []
    for number in range(3):
        for clip in range(2):
            pictures = draw(number, sum(SPLITS.values()), rng, frames=11 + clip)
            wide = np.concatenate([pictures, pictures[:, :, : 16 + 8 * clip]], 2).repeat(2, 1).repeat(2, 2)
            paths.append(write_video(folder / f"{'abc'[number]}{clip}.mp4", wide))
    return paths


@pytest.fixture(scope="module")
def taught(clips: list[Path], adapted: Path, clip_folder: Path) -> Recognizer:
    """Taught on a partially tuned backbone, which runs its last block the short way; it rejects some clips."""
    made = Recognizer(backbone=clip_folder, adapted=adapted, frames=FRAMES).fit(clips, [path.name[0] for path in clips])
    assert made.learner_.backbone is not None and made.learner_.backbone.image.exact
    return made


@pytest.fixture(scope="module")
def exported(taught: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    folder = tmp_path_factory.mktemp("model") / "onnx"
    return folder, export(taught, folder)


def test_the_graph_agrees_with_pytorch_for_any_number_of_clips(
    taught: Recognizer, exported: tuple[Path, Exported], clips: list[Path]
) -> None:
    import onnxruntime

    folder, report = exported
    assert report["difference"] <= TOLERANCE and report["bytes"] == (folder / "model.onnx").stat().st_size
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    backbone = taught.learner_.backbone
    assert backbone is not None
    rng = np.random.default_rng(0)
    for count in (1, 2, 7):
        frames = rng.integers(0, 256, (count * FRAMES, backbone.size, backbone.size, 3), dtype=np.uint8)
        states = taught.states(frames)
        wanted = taught.decide(states.reshape(count, FRAMES, *states.shape[1:]))
        pixels = backbone.pixels(frames).unflatten(0, (count, FRAMES)).numpy()
        proba, known = session.run(["proba", "known"], {"pixels": pixels})
        np.testing.assert_allclose(proba, wanted.proba, atol=TOLERANCE)
        np.testing.assert_allclose(known, wanted.known, atol=TOLERANCE)


def test_exporting_changes_nothing(taught: Recognizer, exported: tuple[Path, Exported]) -> None:
    backbone = taught.learner_.backbone
    assert backbone is not None and backbone.image.exact and not backbone.image.plain
    assert not any(value.requires_grad and value.grad is not None for value in backbone.parameters())


def test_the_example_needs_neither_kshot_nor_torch_and_gives_the_same_labels(
    taught: Recognizer, exported: tuple[Path, Exported], clips: list[Path]
) -> None:
    folder, _ = exported
    script = f"""
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        assert name.split(".")[0] not in ("kshot", "torch", "transformers"), name
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, {str(EXAMPLE.parent)!r})
from pathlib import Path
from onnx_predict import predict
for clip in sys.argv[2:]:
    print(predict(Path(sys.argv[1]), clip))
"""
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), *map(str, clips)],
        capture_output=True, text=True, env=alone, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert [label for label, _ in answers] == taught.predict(clips).tolist()
    proba = np.array([[shares[str(label)] for label in taught.classes_] for _, shares in answers])
    np.testing.assert_allclose(proba, taught.predict_proba(clips), atol=2 * TOLERANCE)  # printed with 4 decimals


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("times", [None, STILL, [*range(0, 72, 2)], [0, *range(5, 40)]])
def test_the_example_chooses_the_frames_that_kshot_chooses(tmp_path: Path, name: str, times: list[int] | None) -> None:
    """By the time at which they are on show, where the rate is variable."""
    sys.path.insert(0, str(EXAMPLE.parent))
    try:
        from onnx_predict import middles
    finally:
        sys.path.pop(0)
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = scenes.write(tmp_path / name, scenes.scene(36), codec, times=times)
    whole = scenes.everything(path)
    for frames in (1, 4, 8, 50):
        with av.open(str(path)) as clip:
            found = middles(clip, [frame.pts for frame in clip.decode(video=0)], frames)
        np.testing.assert_array_equal(whole[found], video.read(path, frames))


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 60


def test_the_note_tells_all_that_the_graph_does_not(taught: Recognizer, exported: tuple[Path, Exported]) -> None:
    note = json.loads((exported[0] / "model.json").read_text("utf-8"))
    backbone = taught.learner_.backbone
    assert backbone is not None
    assert (
        note["resize"] == SQUARES["short"]
        and set(SQUARES) == set(FRAMINGS) - {"squash-256", "squash-257"}
        and note["filter"] == "bicubic"
    )
    assert note["short_side"] == backbone.size
    assert note["labels"] == ["a", "b", "c"] and note["frames"] == FRAMES and note["size"] == backbone.size
    assert note["threshold"] == (None if np.isinf(taught.threshold_) else taught.threshold_)
    assert len(note["mean"]) == len(note["std"]) == 3 and note["backbone"]["fingerprint"] == backbone.fingerprint


@pytest.mark.parametrize("method", METHODS)
def test_the_head_of_every_method_can_be_translated(
    method: str, clips: list[Path], clip_folder: Path, tmp_path: Path
) -> None:
    """Head and encoder by themselves, which takes a fraction of the time of a whole export."""
    made = Recognizer(backbone=clip_folder, method=method, frames=FRAMES).fit(clips, [path.name[0] for path in clips])
    backbone = made.learner_.backbone
    assert backbone is not None and made.report_.method == method
    changing = made.classifier_.scorer.head.by_change
    whole = Whole(backbone, made.classifier_, changing)
    frames = np.concatenate([video.read(path, FRAMES, size=backbone.size) for path in clips])
    pixels = backbone.pixels(frames).unflatten(0, (len(clips), FRAMES))
    with torch.no_grad():
        embeddings = whole.backbone.encode_from(pixels.flatten(0, 1), 0, FRAMES, changing=changing)
        embeddings = embeddings.view(len(clips), FRAMES, -1)
        traced = trace(whole, pixels).module()(pixels[:1])
        np.testing.assert_allclose(traced[0], made.predict_proba(clips[:1]), atol=1e-5)
    embeddings[1] = embeddings[1, :1] * (1 + 1e-6 * torch.rand_like(embeddings[1]))  # stands still, but for rounding
    program = translate(whole.classifier, embeddings, ("embeddings",), ("proba", "known"))
    program.save(tmp_path / "head.onnx")
    assert compare(whole.classifier, tmp_path / "head.onnx", embeddings) <= TOLERANCE


@pytest.mark.parametrize("family", ["clip", "lite", "dinov2_with_registers", "siglip"])
def test_a_model_that_weighs_places_is_one_graph(family: str, backbone: Backbone, tmp_path: Path) -> None:
    """From pixels to answers, weights of places included."""
    torch.manual_seed(0)
    if family in CASES and family != "clip":
        write(tmp_path, family, "another side" if family.startswith("dinov2") else "")
        made = load(tmp_path)
    else:
        made = backbone if family == "clip" else Lite(LiteTower(Size(0.25, 0.3, 64, "", "")), NoText())  # type: ignore[arg-type]
    pixels = torch.randn(3, FRAMES, 3, made.size, made.size)
    pixels[1] = pixels[1, :1]  # stands still
    whole = Whole(made, Means(), changing=True)
    translate(whole, pixels, ("pixels",), ("one", "other")).save(tmp_path / "model.onnx")
    assert compare(whole, tmp_path / "model.onnx", pixels) <= TOLERANCE
    with torch.no_grad():
        wanted = made.encode_from(pixels.flatten(0, 1), 0, FRAMES, changing=True).view(3, FRAMES, -1).mean(1)
        torch.testing.assert_close(whole(pixels)[0], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in heads.HEADS), ("fusion", {"phases": True})])
def test_every_head_is_a_graph_or_refused(
    name: str, options: dict[str, Any], taught: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With classes of different size, whatever the head must be trained for."""
    torch.manual_seed(0)
    head = heads.get_head(name, **({"dim": 32} if "dim" in heads.options(name) else {}), **options).eval()
    head.trained = True
    clips, labels, text = torch.randn(7, FRAMES, 32), torch.tensor([0, 0, 1, 1, 1, 2, 2]), torch.randn(3, 32)
    words = torch.randn(3, 4, 32) if head.phases else text
    with torch.no_grad():
        near = head.prepare_support(clips, text[labels])[None]
        fitted = head.fit_support(near, labels[None], words[None] if head.needs_text else None, 3)
    whole = Classifier(Scorer(head, {}, fitted, 3), torch.nn.functional.normalize(text, dim=-1), 1.0).eval()
    if head.is_graph:
        translate(whole, clips[:3], ("embeddings",), ("proba", "known")).save(tmp_path / "head.onnx")
        assert compare(whole, tmp_path / "head.onnx", clips[:3]) <= TOLERANCE
        return
    monkeypatch.setattr(taught, "classifier_", whole)
    with pytest.raises(OptionError, match=f"the head {name} of this model is no graph") as refused:
        export(taught, tmp_path / "onnx")
    assert "\n" not in str(refused.value) and not (tmp_path / "onnx" / "model.onnx").exists()


class Means(torch.nn.Module):
    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return embeddings.mean(1), embeddings.amax((1, 2))


@pytest.mark.parametrize("method", ["partial", "lora", "vpt", "st-adapter", "aim", "clip-adapter"])
def test_a_backbone_of_any_tuning_can_be_traced(method: str, backbone: Backbone) -> None:
    tuned = backbone.copy()
    torch.manual_seed(0)
    tuning.apply(method, tuned, **({"frames": FRAMES} if method == "aim" else {}))
    with torch.no_grad():  # most start at zero, which would hide them
        for value in tuned.parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn_like(value))
    whole = Whole(tuned, Means())
    pixels = torch.randn(3, FRAMES, 3, backbone.size, backbone.size)
    traced = trace(whole, pixels).module()
    short = tuned.encode_from(pixels.flatten(0, 1), 0, FRAMES).view(3, FRAMES, -1).mean(1)  # by the short last block
    with torch.no_grad():
        for count in (3, 1):
            found, _ = traced(pixels[:count])
            torch.testing.assert_close(found, short[:count].detach(), atol=1e-5, rtol=1e-5)


def test_what_looks_at_its_support_is_refused(
    taught: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taught.learner_.backbone, "episodic", True)
    with pytest.raises(OptionError, match="support clips"):
        export(taught, tmp_path / "onnx")


class Program:
    """Stands for a translation that takes no time."""

    def save(self, path: Path) -> None:
        path.write_bytes(b"graph")


def test_a_graph_that_answers_differently_is_not_written(
    taught: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.backbones.graphs.translate", lambda *_: Program())
    for wrong in (0.01, float("nan")):
        monkeypatch.setattr("kshot.backbones.graphs.compare", lambda *_, wrong=wrong: wrong)
        with pytest.raises(KshotError, match="differs from PyTorch"):
            export(taught, tmp_path / "onnx")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("kshot.backbones.graphs.compare", lambda *_: 0.0)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        export(taught, tmp_path / "file" / "onnx")


def test_errors_at_the_door(taught: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="unknown format 'onx': did you mean 'onnx'"):
        export(taught, tmp_path, format="onx")
    with pytest.raises(OptionError, match="pass out"):
        export(taught)
    with pytest.raises(OptionError, match="not been fitted"):
        export(kshot.Recognizer(), tmp_path)
    with pytest.raises(KshotError, match="not a model folder"):
        export(tmp_path)
    monkeypatch.setattr("kshot.backbones.graphs.NEEDED", ("onnx", "no_such_module"))
    with pytest.raises(OptionError, match=r"needs no_such_module: pip install 'kshot\[export\]'"):
        export(taught, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_into_the_model_folder(
    taught: Recognizer, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.recognizer.Recognizer.load", lambda folder, backbone=None: taught)
    monkeypatch.setattr("kshot.backbones.graphs.translate", lambda *_: Program())
    monkeypatch.setattr("kshot.backbones.graphs.compare", lambda *_: 2e-7)
    (tmp_path / "config.json").write_text("{}")
    code, out, _ = command("export", tmp_path, "--json")
    assert code == 0 and sorted(path.name for path in (tmp_path / "onnx").iterdir()) == ["model.json", "model.onnx"]
    assert json.loads(out)["files"] == [str(tmp_path / "onnx" / name) for name in ("model.onnx", "model.json")]
    code, out, err = command("export", tmp_path, "--format", "onx")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "Known: onnx" in err
