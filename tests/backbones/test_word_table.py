"""Words of a classifier: equal to the formula done number by number, honest about what the table does not know."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kshot.backbones import lite, words
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.texts import Wording
from kshot.errors import CheckpointError, DataError, OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.settings import PROMPTS

NAMES = ["shoot_bow", "ride a horse", "swim"]


@pytest.fixture(scope="module")
def network() -> Backbone:
    return load("lite")


def vector(text: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The unit mean of a text's pieces, from the table's files."""
    table, _ = words.known()
    pieces = table.tokenizer.encode(text).ids
    rows = [table.values[i].numpy().astype(np.float64) * float(table.scales[i]) for i in pieces]
    mean = np.mean(rows, axis=0)
    return mean / np.linalg.norm(mean)


def test_descriptions_are_averaged_or_kept_apart(network: Backbone) -> None:
    own = {"wave": ("raise a hand", "greet somebody"), "jump": ("leap", "leave the ground", "land")}
    each = [network.embed_text(texts, "{}") for texts in own.values()]
    means = torch.nn.functional.normalize(torch.stack([vectors.mean(0) for vectors in each]), dim=1)
    torch.testing.assert_close(network.embed_text([*own], Wording(descriptions=own)), means, rtol=1e-5, atol=1e-6)
    phases = network.embed_text([*own], Wording(descriptions=own, phases=True))
    torch.testing.assert_close(phases[0], each[0][[0, 0, 1]], rtol=1e-5, atol=1e-6)
    odd = {"wave": ("zumba", "wave")}
    [note] = network.text_notes(["wave"], Wording(descriptions=odd))
    assert note.startswith("1 of 2 class texts have words that the word table does not know: 'zumba' is read as")
    with pytest.raises(DataError, match="knows nothing of text '\N{GRINNING FACE}' of class 'wave': write it in other"):
        network.embed_text(["wave"], Wording(descriptions={"wave": ("\N{GRINNING FACE}",)}))


@pytest.mark.parametrize("prompts", [PROMPTS, ("{}", "a person who tries to {}")])
def test_text_vectors_are_those_of_the_formula(prompts: tuple[str, ...], network: Backbone) -> None:
    weights = torch.load(lite.weights_of("lite"), weights_only=True)
    classifier = weights["_fc.weight"].double().numpy()
    usual = words.usual(weights["_bn1.bias"], weights["_bn1.weight"]).double().numpy()
    usual /= np.linalg.norm(usual)
    classes = np.array([vector(name) for name in (words.FOLDER / "imagenet.txt").read_text("utf-8").splitlines()])
    middle = classes.mean(0)
    found = network.embed_text(NAMES, prompts)
    assert found.shape == (3, 1280)
    for name, row in zip(NAMES, found.double().numpy(), strict=True):
        under = []
        for prompt in ("{}",) if prompts == PROMPTS else prompts:  # the default prompt stands for the name alone
            own = vector(prompt.replace("{}", name.replace("_", " "))) - middle
            likeness = [own @ (one - middle) / math.hypot(*own) / math.hypot(*(one - middle)) for one in classes]
            shares = np.exp(np.array(likeness) / words.SOFTNESS)
            mixed = (shares / shares.sum() - 1 / 1000) @ classifier
            mixed -= (mixed @ usual) * usual
            under.append(mixed / np.linalg.norm(mixed))
        expected = np.mean(under, axis=0)
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=2e-6)


def test_the_usual_embedding_is_the_mean_over_many_draws() -> None:
    shift, scale = torch.tensor([-3.0, 0.0, 2.0, 7.0]), torch.tensor([1.0, -2.0, 0.0, 3.0])
    draws = torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.nn.functional.relu6(draws * scale + shift).mean(0)
    torch.testing.assert_close(words.usual(shift, scale).double(), expected, atol=0.02, rtol=0)


def test_names_of_imagenet_classes_find_their_own_classifier(network: Backbone) -> None:
    """The text vector of a class that ImageNet has lies nearer its own classifier than nearly all others."""
    names = ["bow", "golf ball", "horse cart", "tench"]
    weights = torch.load(lite.weights_of("lite"), weights_only=True)["_fc.weight"]
    near = network.embed_text(names) @ torch.nn.functional.normalize(weights - weights.mean(0), dim=1).T
    for name, row in zip(names, near, strict=True):
        best = row.argsort(descending=True)[:20].tolist()
        listed = (words.FOLDER / "imagenet.txt").read_text("utf-8").splitlines()
        assert any(name in listed[number] for number in best), [listed[number] for number in best]


def test_it_is_the_texts_of_a_backbone_that_cannot_learn(network: Backbone) -> None:
    assert network.has_text
    assert not list(network.text.parameters())
    copied = network.copy()
    torch.testing.assert_close(copied.embed_text(NAMES), network.embed_text(NAMES), rtol=0, atol=0)


def test_unknown_words_are_said_with_their_pieces(network: Backbone) -> None:
    assert network.text_notes(["wave", "climb_stairs"]) == []
    notes = network.text_notes(["pullup", "wave", "zumba"])
    assert notes == [
        "2 of 3 class names have words that the word table does not know: 'pullup' is read as pull + ##up; 'zumba' is "
        "read as zu + ##mba"
    ]
    assert network.text_notes(["wave \N{GRINNING FACE}"]) == [
        "1 of 1 class names have words that the word table does not know: 'wave \N{GRINNING FACE}' is read as wave"
    ]
    assert network.text_notes(["zumba", "zouk", "kizomba", "capoeira"])[0].endswith(", and 1 more")


def test_names_that_cannot_be_told_apart_are_refused(network: Backbone) -> None:
    with pytest.raises(DataError, match="'sit down' and 'down_sit' are one text to this backbone"):
        network.embed_text(["sit down", "down_sit"])
    with pytest.raises(DataError, match="the word table knows nothing of the class name '\N{GRINNING FACE}': rename"):
        network.text_notes(["wave", "\N{GRINNING FACE}"])
    with pytest.raises(OptionError, match="no class names to embed"):
        network.embed_text([])
    with pytest.raises(OptionError, match=r"a prompt needs \{\}"):
        network.embed_text(NAMES, ["a person"])


def test_a_damaged_table_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: Backbone) -> None:
    monkeypatch.setattr(words, "FOLDER", tmp_path)
    words.known.cache_clear()
    try:
        with pytest.raises(CheckpointError, match=r"table\.safetensors is damaged or missing: install kshot again"):
            network.embed_text(NAMES)
    finally:
        words.known.cache_clear()


@pytest.mark.parametrize("head", ["text", "fusion", "tip-adapter"])
def test_heads_with_class_names_work_with_lite(
    head: str, clips_csv: Path, tmp_path_factory: pytest.TempPathFactory, network: Backbone
) -> None:
    store = tmp_path_factory.getbasetemp() / "words-store"
    result = evaluate(clips_csv, network, head=head, way=3, query=1, episodes=10, frames=1, store=store)
    assert result.backbone == "lite" and 0 <= result.accuracy <= 100
