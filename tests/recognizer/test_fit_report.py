"""What to expect, as types: the JSON that older programs read, and back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from test_fitting import clips as support

from kshot import Recognizer
from kshot.errors import CheckpointError, OptionError
from kshot.recognizer import artefact, report
from kshot.recognizer.costs import ErrorCosts
from kshot.recognizer.fitting import fit
from kshot.recognizer.record import Record
from kshot.recognizer.report import Report

KEYS = {
    "": "method methods accuracy classes confusions suspects curve unknown notes unreadable damaged backbone "
    "chance warning",
    "accuracy": "value low high clips how balanced left_out gained",
    "unknown": "auroc fpr95 threshold refused caught costs clips trade how odds",
    "classes": "label clips accuracy advice",
    "confusions": "label taken_for count of",
    "methods": "name accuracy low high",
    "curve": "clips accuracy",
}


@pytest.fixture(scope="module")
def found() -> Report:
    return fit(support(spread=2.5, text=True), reject={"cost": 2.0}).report


def test_the_json_has_the_keys_that_it_always_had(found: Report):
    plain = json.loads(json.dumps(found.plain()))
    for name, keys in KEYS.items():
        part = plain[name] if name else plain
        for one in part if isinstance(part, list) else [part]:
            assert list(one) == keys.split(), name
    assert list(plain["accuracy"]["balanced"]) == ["value", "low", "high"]
    assert plain["unknown"]["costs"] == {"cost": 2.0, "share": 0.2, "most": 0.1}
    assert list(plain["unknown"]["trade"][0]) == ["threshold", "refused", "caught"]


def test_why_is_there_only_without_an_accuracy():
    lone = fit(support(each=1)).report
    assert list(lone.plain())[2:4] == ["accuracy", "why"] and lone.accuracy is None
    assert Report.of_plain(json.loads(json.dumps(lone.plain()))) == lone


def test_a_report_is_read_back_as_it_was(found: Report):
    assert Report.of_plain(json.loads(json.dumps(found.plain()))) == found
    assert isinstance(found.unknown.costs, ErrorCosts) and found.confusions[0].count >= 1


def test_fields_are_read_like_the_json_too(found: Report):
    assert found["accuracy"]["value"] == found.accuracy.value  # type: ignore[union-attr]
    assert found["classes"][0]["label"] == found.classes[0].label
    with pytest.raises(KeyError, match="plain"):
        found["plain"]


def test_a_report_of_an_older_version_is_read(found: Report):
    plain = json.loads(json.dumps(found.plain()))
    for name in ("caught", "costs", "clips", "trade"):
        del plain["unknown"][name]
    for name in ("balanced", "left_out", "gained"):
        del plain["accuracy"][name]
    del plain["damaged"]
    older = Report.of_plain(plain)
    assert older.accuracy is not None and older.accuracy.balanced is None and older.accuracy.gained == 0
    assert older.unknown.costs is None and older.unknown.trade == [] and older.damaged == []
    assert older.methods == found.methods and older.unknown.auroc == found.unknown.auroc


@pytest.mark.parametrize("kind", [one for one in vars(report).values() if isinstance(one, type) and is_dataclass(one)])
def test_every_field_is_described(kind: type[Record]):
    text = (kind.__doc__ or "").partition("Attributes:")[2]
    described = [line.partition(":")[0].strip() for line in text.splitlines() if line.startswith("    " * 2)]
    assert [name for name in described if " " not in name] == [field.name for field in fields(kind)]  # type: ignore[arg-type]


@pytest.mark.parametrize("reject", [{"cost": -1}, {"share": 1.0}, {"most": "all"}, {"price": 1}])
def test_costs_that_there_cannot_be(reject: dict[str, Any]):
    with pytest.raises(OptionError) as refused:
        ErrorCosts.of(reject)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("version", [1, artefact.FORMAT + 1, "9", None])
def test_a_model_of_another_version_is_refused_in_one_line(version: object, tmp_path: Path):
    config = {"kind": artefact.KIND, "format": version, "kshot": "9.9", "anything": {"new": [1]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError,
        match=r"has format .*written by kshot .9.9.;.* reads format 2 or 3: use the kshot that wrote it",
    ) as refused:
        Recognizer.load(tmp_path)
    assert "\n" not in str(refused.value)
