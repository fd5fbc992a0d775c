"""Texts in place of class names: the file, ensembles of templates, means, phases, and what results say of them."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clips import WORDS
from kshot.backbones import backbone as backbones
from kshot.backbones.backbone import Backbone
from kshot.backbones.ensembles import ENSEMBLES
from kshot.backbones.prompts import expect_prompts
from kshot.backbones.texts import Wording
from kshot.datasets.texts import read_texts
from kshot.errors import DataError, OptionError
from kshot.fewshot.evaluation import evaluate
from kshot.fewshot.result import read_result
from kshot.fewshot.training import train
from kshot.heads import get_head
from kshot.recognizer import Recognizer

TEXTS = {
    word: (f"the {word} a", f"{word} of", f"{word} the {word}") if number % 2 else (f"{word} a", f"of {word}")
    for number, word in enumerate(WORDS)
}
Write = Callable[[dict[str, tuple[str, ...]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of texts."""

    def make(texts: dict[str, tuple[str, ...]]) -> Path:
        path = tmp_path / "texts.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("label", "text"))
            rows.writerows((label, text) for label, own in texts.items() for text in own)
        return path

    return make


def test_ensembles_are_the_published_ones() -> None:
    assert {name: len(set(templates)) for name, templates in ENSEMBLES.items()} == {
        "clip": 28, "clip-ucf101": 48, "clip-imagenet": 80,
    }  # fmt: skip
    assert all(one.count("{}") == 1 for templates in ENSEMBLES.values() for one in templates)
    assert ENSEMBLES["clip"][::7] == ("a photo of {}.", "a video of {}.", "a example of {}.", "a demonstration of {}.")
    assert ENSEMBLES["clip"][13] == "a video of a person practicing {}."
    assert ENSEMBLES["clip-ucf101"][7] == "a demonstration of the person {}."
    assert ENSEMBLES["clip-ucf101"][-3] == "a video of the person practicing {}."
    assert expect_prompts(["clip", "a {}"]) == [*ENSEMBLES["clip"], "a {}"]


def test_an_ensemble_is_the_mean_of_its_unit_vectors() -> None:
    tiny = backbones.load("kshot-tiny")
    names = ["wave", "sit_down"]
    each = torch.stack([tiny.embed_text(names, one) for one in ENSEMBLES["clip"]])
    torch.testing.assert_close(tiny.embed_text(names, "clip"), F.normalize(each.mean(0), dim=-1), atol=1e-5, rtol=0)


def test_descriptions_are_averaged_or_kept_apart(backbone: Backbone) -> None:
    names, own = ["wave", "jump"], {"wave": ("a wave", "wave the arms", "arms"), "jump": ("jump up", "jump")}
    each = [backbone.embed_text(own[name], "{}") for name in names]
    means = F.normalize(torch.stack([vectors.mean(0) for vectors in each]), dim=-1)
    torch.testing.assert_close(backbone.embed_text(names, Wording(descriptions=own)), means, atol=1e-5, rtol=0)
    phases = backbone.embed_text(names, Wording(descriptions=own, phases=True))
    torch.testing.assert_close(phases[0], each[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(phases[1], each[1][[0, 0, 1]], atol=1e-5, rtol=0)  # as many as the most has
    within = backbone.embed_text(names, Wording(("a {}", "{} of"), own))
    every = [backbone.embed_text([f"a {text}", f"{text} of"], "{}") for text in own["jump"]]
    torch.testing.assert_close(within[1], F.normalize(torch.cat(every).mean(0), dim=0), atol=1e-5, rtol=0)


def test_equal_texts_are_refused_with_their_number_but_not_another_order_of_phases(backbone: Backbone) -> None:
    turned = {"wave": ("a arms", "of arms"), "jump": ("of arms", "a arms")}
    with pytest.raises(DataError, match=r"classes 'wave' and 'jump' are one text .*\('a arms'\): give them texts that"):
        backbone.embed_text([*turned], Wording(descriptions=turned))
    assert backbone.embed_text([*turned], Wording(descriptions=turned, phases=True)).shape == (2, 2, 16)
    with pytest.raises(DataError, match=r"'Wave' and 'wave' are one text .*, and 2 more pairs of classes too: rename"):
        backbone.text_notes(["Wave", "jump", "wave", "Jump", "JUMP"])


def test_a_text_that_is_too_long_is_told(backbone: Backbone) -> None:
    own = {"wave": ("a wave", "jump " * 40), "jump": ("jump",)}
    [note] = backbone.text_notes([*own], Wording(descriptions=own))
    assert note.startswith("prompt '{}': 1 of 3 class texts are longer than the 22 tokens") and "of 'wave'" in note
    with pytest.raises(OptionError, match="leaves no room for text 'a wave' of class 'wave'"):
        backbone.embed_text([*own], Wording("word " * 20 + "{}", own))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'label' in the header, found nothing: expected label,text"),
        ("label,words\na,b\n", "no column 'text' in the header, found 'label', 'words'"),
        ("label,text,text\na,b,c\n", "more than one column 'text'"),
        ("label,text\n", "holds no class texts"),
        ("label,text\nwave,\n", "line 2: the text of class 'wave' is empty"),
        ("label,text\n,hello\n", "line 2 has no label"),
        ("label,text\nwave,a b\njump,c\nwave,a  b\n", "line 4: class 'wave' has this text in the row before already"),
        ("label,text\nwave,a\nWave,b\n", r"labels 'wave' \(texts.csv: line 2\) and 'Wave' .* look alike"),
        ("label,text\nwave,a\u200bb\n", r"line 2: text 'a\\u200bb' holds U\+200B"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_texts(path)


def test_a_file_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(
        "label;text;who\r\nwave; lifts  the arm ;me\r\njump;bends;\r\n;;\r\nwave;waves, twice;\r\n".encode("utf-16")
    )
    found = read_texts(path)
    assert dict(found.of) == {"wave": ("lifts the arm", "waves, twice"), "jump": ("bends",)}
    assert found.notes == ("1 column of texts.csv not used: who", "1 empty row of texts.csv passed over")
    assert found.record() == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def walked(costs: list[list[float]], smooth: float) -> float:
    """OTAM's cost along rows, written out as the paper's recurrence, with a column of zeros on either side."""
    rows, columns = len(costs), len(costs[0]) + 2
    padded = [[0.0, *row, 0.0] for row in costs]

    def least(*values: float) -> float:
        return -smooth * math.log(sum(math.exp(-value / smooth) for value in values))

    table = [[0.0] * columns for _ in range(rows)]
    for column in range(1, columns):
        table[0][column] = padded[0][column] + table[0][column - 1]
    for row in range(1, rows):
        for column in range(1, columns):
            before = [table[row - 1][column - 1], table[row][column - 1]]
            before += [table[row - 1][column]] if column in (1, columns - 1) else []
            table[row][column] = padded[row][column] + least(*before)
    return table[-1][-1]


def test_phases_are_aligned_in_order() -> None:
    draw = torch.Generator().manual_seed(0)
    query, text = torch.randn(1, 2, 4, 5, generator=draw), torch.randn(1, 3, 3, 5, generator=draw)
    support, labels = torch.randn(1, 3, 4, 5, generator=draw), torch.tensor([[0, 1, 2]])
    scores = get_head("text", scale=1.0, phases=True)(query, support, labels, text)
    for q in range(2):
        for c in range(3):
            far = 1 - F.cosine_similarity(query[0, q][:, None], text[0, c][None], dim=-1)
            both = walked(far.tolist(), 0.1) + walked(far.T.tolist(), 0.1)
            assert float(scores[0, q, c]) == pytest.approx(1 - both / 7, abs=1e-5)
    plain = get_head("text")(query[:, :, :1], support[:, :, :1], labels, text[:, :, 0])
    one = get_head("text", phases=True)(query[:, :, :1], support[:, :, :1], labels, text[:, :, :1])
    torch.testing.assert_close(plain, one, atol=1e-3, rtol=0)  # one frame, one phase: their cosine
    forth = torch.eye(5)[None, None, :3]
    both_ways = torch.stack([forth[:, 0], forth[:, 0].flip(1)], 1)
    scores = get_head("text", phases=True)(forth, both_ways, torch.tensor([[0, 1]]), both_ways)
    assert float(scores[0, 0, 0] - scores[0, 0, 1]) > 20  # the same phases backwards are another action
    with pytest.raises(OptionError, match=r"text \(E, way, K, D\)"):
        get_head("text", phases=True)(query, support, labels, text[:, :, 0])


def test_fusion_takes_phases_for_its_text(backbone: Backbone) -> None:
    draw = torch.Generator().manual_seed(1)
    query, text = torch.randn(1, 2, 4, 5, generator=draw), torch.randn(1, 3, 3, 5, generator=draw)
    support, labels = torch.randn(1, 6, 4, 5, generator=draw), torch.tensor([[0, 1, 2, 0, 1, 2]])
    words = get_head("text", phases=True)(query, support, labels, text).log_softmax(-1)
    clips = get_head("prototype")(query, support, labels).log_softmax(-1)
    found = get_head("fusion", beta=0.3, phases=True)(query, support, labels, text)
    torch.testing.assert_close(found, 0.3 * words + 0.7 * clips, atol=1e-4, rtol=1e-4)
    for beta in ("earned", "loo"):
        assert get_head("fusion", beta=beta, phases=True)(query, support, labels, text).isfinite().all()


SHAPE: dict[str, Any] = {"way": 3, "shot": 2, "query": 2, "episodes": 30}


def test_an_evaluation_reads_the_file_and_says_which(
    backbone: Backbone, clips_csv: Path, warm_store: Path, write: Write, tmp_path: Path
) -> None:
    path = write(TEXTS)
    shared: dict[str, Any] = {**SHAPE, "store": warm_store, "texts": path}
    plain = evaluate(clips_csv, backbone, head="text", **{**shared, "texts": None})
    own = evaluate(clips_csv, backbone, head="text", **shared)
    assert (own.episode_accuracy != plain.episode_accuracy).any()
    assert own.options.prompts == ["{}"] and plain.options.texts is None and "texts" not in plain.summary()["options"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert own.summary()["options"]["texts"] == {"file": str(path), "sha256": digest}
    phases = evaluate(clips_csv, backbone, head="text", head_options={"phases": True}, **shared)
    assert (phases.episode_accuracy != own.episode_accuracy).any()
    [note] = evaluate(clips_csv, backbone, **shared).notes
    assert note == f"{path} is not used: head 'prototype' reads no class texts"
    with pytest.raises(OptionError, match="aligns the phases of each class with the frames: give them as a CSV"):
        evaluate(clips_csv, backbone, head="text", head_options={"phases": True}, **{**shared, "texts": None})
    result = evaluate(clips_csv, backbone, head="fusion", out=tmp_path / "fusion.json", **shared)
    assert result.text_alone is not None and result.text_alone.accuracy == own.accuracy
    assert result.text_alone.ci95 == own.ci95
    assert read_result(tmp_path / "fusion.json").text_alone == result.text_alone
    assert own.text_alone is None and "text_alone" not in own.summary()
    assert "text_alone" not in evaluate(clips_csv, backbone, store=warm_store, **SHAPE).summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": None}, r"has no text of class 'of': add a row for each"),
        ({"of": None, "off": ("x",)}, r"has no text of class 'of' \(the nearest is 'off'\): add"),
        ({"of": None, "the": None, "a": None, "up": None}, r"no text of 4 classes: 'a', 'of', 'the' and 1 more: add"),
        ({"wavy": ("x",)}, r"describes class 'wavy' \(the nearest is 'wave'\), which the data do not have"),
        ({"of": ("x", "y", "x")}, r"has a text twice of class 'of': remove one of them, or take the texts as phases"),
    ],
)
def test_a_file_that_does_not_fit_the_classes_is_refused(
    backbone: Backbone, clips_csv: Path, write: Write, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write({label: texts for label, texts in (TEXTS | change).items() if texts})
    with pytest.raises(DataError, match=message):
        evaluate(clips_csv, backbone, head="text", texts=path, store=tmp_path / "none", **SHAPE)
    assert not (tmp_path / "none").exists()


def test_a_training_keeps_which_file_it_read_and_notices_another(
    backbone: Backbone, clips_csv: Path, warm_store: Path, write: Write, tmp_path: Path
) -> None:
    path, run = write({word: TEXTS[word] for word in WORDS[:10]}), tmp_path / "run"  # test classes are not needed
    shared: dict[str, Any] = {
        "backbone": backbone, "store": warm_store, "way": 3, "query": 2, "steps": 1, "val_episodes": 2, "texts": path,
        "strategy": "finetune", "strategy_options": {"classifier": "text"}, "head": "text",
        "head_options": {"phases": True},
    }  # fmt: skip
    train(clips_csv, run, **shared)
    config = json.loads((run / "config.json").read_text())
    assert config["texts"] == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert config["prompts"] == ["{}"]
    train(clips_csv, run, resume=True, **shared)
    write(TEXTS)
    with pytest.raises(OptionError, match=r"started with other settings: texts\.sha256 was \w+, now \w+; repeat"):
        train(clips_csv, run, resume=True, **shared)
    result = evaluate(clips_csv, backbone, run, texts=path, store=warm_store, **SHAPE)
    assert result.notes == [f"{path} has changed since the training of {run}, which read it, too"]
    with pytest.raises(OptionError, match="aligns the phases of each class"):
        evaluate(clips_csv, backbone, run, store=warm_store, **SHAPE)
    names = evaluate(clips_csv, backbone, run, head="fusion", store=warm_store, **SHAPE)
    assert names.notes == [f"run {run} was trained with the texts of {path}; here class names stand for them"]
    write({word: TEXTS[word] for word in WORDS[:9]})
    with pytest.raises(DataError, match=f"no text of class '{WORDS[9]}'"):
        train(clips_csv, tmp_path / "other", **shared)
    assert not (tmp_path / "other").exists()


def test_the_command_line_takes_both(
    clip_folder: Path, clips_csv: Path, warm_store: Path, write: Write, command: Any
) -> None:
    shape = ("--way", 3, "--query", 2, "--episodes", 5, "--store", warm_store, "--backbone", clip_folder, "--json")
    code, out, _ = command(
        "evaluate", clips_csv, "--head", "fusion", "--texts", write(TEXTS), "--prompts", "a {}", *shape
    )
    found = json.loads(out)
    assert code == 0 and found["options"]["prompts"] == ["a {}"] and 0 <= found["text_alone"]["accuracy"] <= 100
    code, out, err = command("evaluate", clips_csv, "--head", "text", "--prompts", "clp", *shape)
    assert (code, out) == (2, "") and re.search(r"got 'clp'; .* an ensemble: clip, clip-ucf101, clip-imagenet", err)
    code, out, err = command("evaluate", clips_csv, "--head", "text", "--texts", clips_csv, *shape)
    assert (code, out) == (2, "") and "no column 'text' in the header" in err


def test_a_study_says_what_texts_alone_do_and_notices_another_file(
    clip_folder: Path, clips_csv: Path, warm_store: Path, write: Write, tmp_path: Path, command: Any
) -> None:
    plan = tmp_path / "plan.toml"
    rows = ('name = "clips"', 'name = "both"\nhead = "fusion"', 'name = "words"\nhead = "text"')
    plan.write_text(
        "way = 3\nquery = 2\nshots = [1, 2]\nepisodes = 20\n" + "".join(f"[[row]]\n{row}\n" for row in rows)
    )
    asked = ("study", plan, "--out", tmp_path / "out", "--data", clips_csv, "--backbone", clip_folder)
    code, out, err = command(*asked, "--texts", write(TEXTS), "--store", warm_store, "--json")
    assert code == 0, err
    found = json.loads(out)
    lines = {(line["name"], line["shot"]): line for line in found["summary"]}
    for shot in (1, 2):
        assert lines["both", shot]["text_alone"] == pytest.approx(lines["words", shot]["accuracy"], abs=1e-3)
        assert "text_alone" not in lines["clips", shot] and "text_alone" not in lines["words", shot]
    said = f"both {lines['both', 1]['text_alone']:.1f} % at 1-shot, {lines['both', 2]['text_alone']:.1f} % at 2-shot."
    assert said in (tmp_path / "out" / "table.md").read_text()
    code, out, _ = command(*asked, "--texts", tmp_path / "texts.csv", "--store", warm_store)
    assert code == 0 and said in " ".join(out.split())
    code, _, _ = command("report", tmp_path / "out")
    assert (
        code == 0 and f"text alone {lines['both', 1]['text_alone']:.1f}" in (tmp_path / "out/report.html").read_text()
    )
    write(TEXTS | {"of": ("of",)})
    for texts in (("--texts", tmp_path / "texts.csv"), ()):
        code, _, err = command(*asked, *texts, "--store", warm_store)
        assert code == 2 and "holds a study with other settings (texts differ)" in err


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [("text", None), ("fusion", {"phases": True}), ("auto", None)])
def test_a_recognizer_keeps_the_texts(
    backbone: Backbone, clips_csv: Path, write: Write, tmp_path: Path, method: str, options: dict[str, Any] | None
) -> None:
    own = {word: TEXTS[word] for word in ("clap", "wave", "jump")}
    clips = [clips_csv.parent / f"{word}-{number}.mp4" for word in own for number in range(1, 4)]
    labels = [word for word in own for _ in range(3)]
    path = write(own)
    made = Recognizer(backbone, method=method, head_options=options, texts=path).fit(clips, labels)
    if method != "auto":
        text = dict(made.classifier_.scorer.fitted.named_buffers())["text"]
        words = Wording(descriptions=own, phases=options is not None)
        torch.testing.assert_close(text[0], backbone.embed_text(sorted(own), words))
    folder = made.save(tmp_path / "model", thumbnails=False)
    kept = json.loads((folder / "config.json").read_text())["arguments"]["texts"]
    assert kept["of"] == {word: list(texts) for word, texts in own.items()} and kept["file"] == str(path)
    path.unlink()
    again = Recognizer.load(folder, backbone)
    assert again.texts_ == made.texts_
    assert (again.predict_proba(clips) == made.predict_proba(clips)).all()
    if method == "text":
        again.forget("jump")  # of which the texts may stay
        with pytest.raises(DataError, match="has no text of class 'open'"):
            again.partial_fit([clips_csv.parent / "open-1.mp4"], ["open"])
        write(own | {"wave": ("wave",)})
        again.set_params(texts=path).partial_fit(clips[:1], labels[:1])
        assert f"{path} has changed since the last training." in again.report_.notes


def test_a_recognizer_refuses_texts_that_do_not_fit(backbone: Backbone, clips_csv: Path, write: Write) -> None:
    clips = [clips_csv.parent / f"{word}-{number}.mp4" for word in ("clap", "wave") for number in (1, 2)]
    labels = ["clap", "clap", "wave", "wave"]
    path = write({"clap": ("clap",), "wave": ("wave",), "wawe": ("x",)})
    with pytest.raises(DataError, match=r"describes class 'wawe' \(the nearest is 'wave'\)"):
        Recognizer(backbone, method="text", texts=path).fit(clips, labels)
    with pytest.raises(OptionError, match="phases are texts in order: give them"):
        Recognizer(backbone, method="text", head_options={"phases": True}).fit(clips, labels)
    write({"clap": ("clap",), "wave": ("wave",)})
    found = Recognizer(backbone, method="prototype", texts=path).fit(clips, labels).report_.notes
    assert f"{path} is not used: method 'prototype' reads no class texts." in found


def test_fit_takes_prompts(clip_folder: Path, clips_csv: Path, tmp_path: Path, command: Any) -> None:
    asked = ("fit", clips_csv, "--backbone", clip_folder, "--method", "text", "--out", tmp_path / "model")
    code, _, err = command(*asked, "--prompt", "a drawing of {}", "--prompt", "{}", "--no-thumbnails")
    assert code == 0, err
    kept = json.loads((tmp_path / "model" / "config.json").read_text())["arguments"]["prompts"]
    assert kept == ["a drawing of {}", "{}"]
