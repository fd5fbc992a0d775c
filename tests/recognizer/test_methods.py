"""Every head is a method of the recognizer: it fits, answers, is saved and loaded, or says what it needs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from films import films
from safetensors.torch import load_file, save
from test_fitting import clips as support
from test_recognizer import same

from kshot import Recognizer, heads, seals
from kshot.activations.encoding import tail
from kshot.backbones.backbone import Backbone
from kshot.errors import CheckpointError, KshotError, OptionError
from kshot.recognizer import artefact, classifier
from kshot.recognizer.fitting import fit
from kshot.recognizer.methods import AUTO, METHODS, expect, method

SMALL: dict[str, dict[str, Any]] = {
    "trx": {"width": 24}, "product-trx": {"width": 24}, "clip-fsar": {"heads": 2}, "baseline++": {"epochs": 5},
    "tip-adapter-f": {"epochs": 3}, "clap": {"steps": 20}, "lp++": {"steps": 20},
}  # fmt: skip
SINGLE = [name for name in heads.HEADS if name not in heads.TRANSDUCTIVE]
TRAINED = [name for name in SINGLE if method(name).needs_training]


@pytest.fixture(scope="module")
def run_of(clips_csv: Path, clip_folder: Path, warm_store: Path, tmp_path_factory: pytest.TempPathFactory):
    """run_of(head): a run of `kshot train` that has trained it, made once."""
    from kshot.fewshot.training import train

    made: dict[str, Path] = {}

    def run(head: str) -> Path:
        if head not in made:
            made[head] = tmp_path_factory.mktemp("runs") / "run"
            train(
                clips_csv, made[head], backbone=clip_folder, way=3, query=2, steps=2, val_every=2, val_episodes=5,
                head=head, head_options=SMALL.get(head, {}), store=warm_store,
            )  # fmt: skip
        return made[head]

    return run


def fitted(name: str, backbone: Backbone, run_of: Callable[[str], Path], **options: Any) -> Recognizer:
    run = run_of(name) if name in TRAINED else None
    given = None if run or name in METHODS else SMALL.get(name)
    return Recognizer(backbone, method=name, adapted=run, head_options=given, **options).fit(*films(each=3))


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE)
def test_every_head_is_a_method(name: str, backbone: Backbone, run_of: Callable[[str], Path], tmp_path: Path):
    made = fitted(name, backbone, run_of)
    clips, labels = films(each=3, first=50)
    assert made.method_ == made.report_.method == name and made.classifier_.scorer.head.name == name
    assert made.report_.accuracy is not None and [row.name for row in made.report_.methods] == [name]
    if name not in TRAINED and not method(name).needs_text:  # two steps teach little, a random text tower nothing
        assert made.score(clips, labels) > 0.5
    again = Recognizer.load(made.save(tmp_path / "model", thumbnails=False), backbone)
    same(again, made)
    assert again.classifier_.scorer.options == json.loads(json.dumps(made.classifier_.scorer.options))
    assert f"Method: {name} ({method(name).words})" in (tmp_path / "model" / "README.md").read_text()
    film = np.concatenate(clips[:4])
    assert again.timeline(film, window=0.5).as_json() == made.timeline(film, window=0.5).as_json()
    same(again.partial_fit(*films(each=1, first=30)), made.partial_fit(*films(each=1, first=30)))


@pytest.mark.parametrize("name", SINGLE)
def test_a_method_scores_as_its_head_does(name: str, backbone: Backbone, run_of: Callable[[str], Path]):
    """On the support of the whole fit: the head itself, called as `evaluate` calls it."""
    made = fitted(name, backbone, run_of, frames=4)
    shown = torch.from_numpy(np.stack([clip.embeddings for clip in made.clips_]))
    if method(name).by_change:
        tokens = np.stack([clip.tokens() for clip in made.clips_])
        shown = tail(backbone, tokens, made.learner_.cut, changing=True)
    labels = torch.tensor([made.classes_.tolist().index(clip.label) for clip in made.clips_])
    head, text = made.classifier_.scorer.head, backbone.embed_text(made.classes_.tolist())
    with torch.inference_mode():
        wanted = head(shown[None, ::2], shown[None], labels[None], text[None] if head.needs_text else None)[0]
        found = made.classifier_.scorer(shown[::2])
    torch.testing.assert_close(found.softmax(-1), wanted.softmax(-1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_every_compared_method_is_a_head_or_tunes(name: str, backbone: Backbone, run_of: Callable[[str], Path]):
    made = fitted(name, backbone, run_of)
    assert METHODS[name].head in heads.HEADS and made.tuned_ == METHODS[name].tunes
    assert made.classifier_.scorer.head.name == METHODS[name].head


@pytest.mark.parametrize("name", sorted(heads.TRANSDUCTIVE))
def test_a_transductive_head_is_no_method(name: str, backbone: Backbone):
    with pytest.raises(OptionError, match=f"^head '{name}' is transductive: it scores many queries together, but here"):
        Recognizer(backbone, method=name).fit(["nowhere.mp4", "never.mp4"], ["a", "b"])
    with pytest.raises(OptionError) as caught:
        method("magic")
    assert name not in str(caught.value)


def test_auto_compares_these_the_simplest_first():
    assert list(METHODS) == [
        "prototype", "change", "both", "where", "fusion", "linear-probe", "otam", "partial", "text"
    ]  # fmt: skip
    assert set(TRAINED) == {"trx", "product-trx", "clip-fsar"}


@pytest.mark.parametrize("name", TRAINED)
def test_a_head_that_must_be_trained_says_so_before_a_clip_is_read(name: str, backbone: Backbone, adapted: Path):
    nowhere = (["nowhere.mp4", "never.mp4"], ["a", "b"])
    wanted = f"method '{name}' needs a run that has trained this head, and "
    for run, found in (
        (None, "there is none: make one with `kshot train DATA --out RUN --head "),
        (adapted, "the head of "),
    ):
        with pytest.raises(OptionError) as refused:
            Recognizer(backbone, method=name, adapted=run).fit(*nowhere)
        assert str(refused.value).startswith(wanted + found) and "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match="learns and was never trained"):
        fit(support(text=True), name)


@pytest.mark.parametrize("name", [name for name in SINGLE if method(name).needs_text])
def test_a_head_that_reads_class_names_needs_a_text_tower(name: str):
    with pytest.raises(OptionError, match=f"method '{re.escape(name)}' needs class texts, and there is no") as refused:
        fit(support(), name)
    assert "\n" not in str(refused.value)


def test_options_of_a_head_are_checked_and_kept(backbone: Backbone, tmp_path: Path):
    for name, options, message in (
        ("otam", {"smoth": 1}, "head 'otam' has no option 'smoth'.*did you mean 'smooth'"),
        ("otam", {"smooth": "soft"}, "option 'smooth': it should be a valid number"),
        (AUTO, {"smooth": 1.0}, "method 'auto' takes no head options"),
        ("partial", {"scale": 1.0}, "method 'partial' takes no head options"),
        ("otm", {}, "unknown method 'otm': did you mean 'otam'"),
    ):
        with pytest.raises(OptionError, match=message):
            Recognizer(backbone, method=name, head_options=options).fit(*films(each=2))
    made = Recognizer(backbone, method="otam", head_options={"smooth": 0.05, "shots": "distances"}).fit(*films(each=2))
    plain = Recognizer(backbone, method="otam").fit(*films(each=2))
    clips, _ = films(each=1, first=50)
    assert not np.array_equal(made.predict_proba(clips), plain.predict_proba(clips))
    again = Recognizer.load(made.save(tmp_path / "model"), backbone)
    same(again, made)
    assert again.get_params()["head_options"] == {"smooth": 0.05, "shots": "distances"}
    assert again.classifier_.scorer.head.smooth == 0.05
    expect("nearest", {"scale": 3.0})


def test_a_new_head_is_a_file_and_a_line(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
):
    (tmp_path / "toy_median.py").write_text(
        "from kshot.heads.base import Head\n"
        "from kshot.heads.formulas import pool\n"
        "class Closest(Head):\n"
        "    def __init__(self, sharpness: float = 10.0):\n"
        "        super().__init__()\n"
        "        self.sharpness = sharpness\n"
        "    def prepare(self, clips):\n"
        "        return pool(clips)\n"
        "    def score(self, query, support, labels, text, way):\n"
        "        far = (query[:, :, None, 0] - support[:, None, :, 0]).norm(dim=-1)\n"
        "        own = labels[:, None, None] == __import__('torch').arange(way)[:, None]\n"
        "        return -self.sharpness * far[:, :, None].masked_fill(~own, 9.0).amin(-1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(heads.HEADS, "toy", "toy_median:Closest")
    made = Recognizer(backbone, method="toy", head_options={"sharpness": 20.0}).fit(*films())
    clips, labels = films(each=4, first=50)
    assert made.score(clips, labels) > 0.7 and made.report_.methods[0].name == "toy"
    same(Recognizer.load(made.save(tmp_path / "model"), backbone), made)
    monkeypatch.delitem(heads.HEADS, "toy")
    with pytest.raises(KshotError, match="unknown method 'toy'"):
        Recognizer.load(tmp_path / "model", backbone)
    sys.modules.pop("toy_median")


def test_the_help_lists_what_there_is(command: Any):
    code, text, _ = command("fit", "--help")
    words = set(" ".join(text.replace(",", " ").replace(";", " ").split()).split())
    assert code == 0 and words >= {*SINGLE, AUTO, "partial"} and not words & heads.TRANSDUCTIVE


def test_a_model_that_names_no_variant_answers_as_it_did(backbone: Backbone):
    """Folders of format 3 from before OTAM had variants: frames averaged, softness 0.5."""
    made = Recognizer(backbone, method="otam").fit(*films(each=2))
    about, state = classifier.describe(made.classifier_), made.classifier_.state_dict()
    assert about["options"].pop("variant") == "clip-fsar"
    embeddings = torch.stack([torch.from_numpy(clip.embeddings).float() for clip in made.clips_])
    with torch.inference_mode():
        assert torch.equal(classifier.restore(about, state)(embeddings)[0], made.classifier_(embeddings)[0])


@pytest.mark.parametrize("name", ["text", "prototype", "fusion", "linear-probe", "otam", "partial"])
def test_a_model_folder_of_format_2_still_answers(name: str, backbone: Backbone, tmp_path: Path):
    """As kshot wrote them before: four classes of scorers, each with tensors of its own."""
    made = Recognizer(backbone, method=name, background="wave").fit(*films("clap jump wave bow", each=3))
    folder = made.save(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (weights,) = folder.glob("weights-*")
    tensors, scorer = load_file(weights), made.classifier_.scorer
    new = {key.removeprefix("decider.scorer.fitted."): tensors.pop(key) for key in list(tensors) if ".scorer." in key}
    scale = torch.tensor(float(scorer.options.get("scale", 20.0)))
    if name == "text":
        kind, old = "Cosine", {"vectors": torch.nn.functional.normalize(new["text"][0], dim=-1), "scale": scale}
    elif name == "fusion":
        words = torch.nn.functional.normalize(new["text"][0], dim=-1)
        old = {"text.vectors": words, "text.scale": torch.tensor(scorer.options["text_scale"])}
        kind, old = (
            "Fused",
            old | {"visual.vectors": new["means"][0], "visual.scale": scale, "beta": new["beta"].view(())},
        )
    elif name == "linear-probe":
        kind, old = "Linear", {"weight": new["weight"][0].T.contiguous(), "bias": new["bias"][0, 0]}
    elif name == "otam":
        kind, old = "Aligned", {"sequences": new["sequences"][0]}
    else:
        kind, old = "Cosine", {"vectors": new["means"][0], "scale": scale}
    data = save(
        {key: value.clone() for key, value in tensors.items()} | {f"decider.scorer.{k}": v for k, v in old.items()}
    )
    weights.unlink()
    file = f"weights-{artefact._digest(data)[:12]}.safetensors"
    (folder / file).write_bytes(data)
    config |= {"format": 2, "decider": {"scorer": kind, "background": True}, "files": {file: artefact._digest(data)}}
    del config["arguments"]["head_options"]
    (folder / "config.json").write_text(json.dumps(seals.sealed({k: v for k, v in config.items() if k != "seal"})))
    again, clips = Recognizer.load(folder, backbone), films("clap jump wave bow", each=3, first=50)[0]
    np.testing.assert_allclose(again.predict_proba(clips), made.predict_proba(clips), atol=1e-5)
    assert np.array_equal(again.answer(clips).known, made.answer(clips).known)
    assert again.report_ == made.report_ and again.predict(clips).tolist() == made.predict(clips).tolist()
    same(Recognizer.load(again.save(tmp_path / "new"), backbone), again)
