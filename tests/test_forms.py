"""Forms of kshot's own files: what has to be there, of which kind, and that more is let through."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from kshot import gate
from kshot.datasets.forms import PreparedFile
from kshot.errors import CheckpointError, DataError
from kshot.fewshot.forms import RunFile
from kshot.fewshot.result import Result

NAMED = {"name": "partial", "options": {}}
RUN: dict[str, Any] = {
    "backbone": {"name": "tiny", "fingerprint": "ab"},
    "strategy": NAMED,
    "tuning": NAMED,
    "head": NAMED,
    "frames": 8,
    "schedule": {},
    "base_classes": ["a", "b"],
    "val_classes": [],
}
RESULT = {
    "trained_parameters": 3,
    "best_step": 10,
    "steps": 20,
    "val_accuracy": None,
    "training_seconds": 1.5,
    "weights_sha256": "cd",
    "chosen": {},
}
PREPARED: dict[str, Any] = {
    "format": 1,
    "benchmark": "hmdb51",
    "found": 4,
    "expected": {"train": {"a": 2}, "val": {"b": 1}, "test": {"c": 1}},
    "missing": {"train": [], "val": [], "test": ["x"]},
}


def test_a_whole_file_is_handed_on_as_it_is() -> None:
    for value, form in (
        (RUN, RunFile),
        (RUN | {"result": RESULT}, RunFile),
        (PREPARED, PreparedFile),
    ):
        before = copy.deepcopy(value)
        assert gate.typed(value, form, "x.json") is value
        assert value == before, "nothing is filled in or turned into another kind"


def test_further_keys_of_a_newer_version_are_let_through() -> None:
    value = RUN | {"later": {"anything": [1]}}
    assert gate.typed(value, RunFile, "x.json")["later"] == {"anything": [1]}


@pytest.mark.parametrize("key", list(RUN))
def test_every_key_of_a_run_has_to_be_there(key: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^config.json is damaged: it lacks '{key}'$"):
        gate.typed({name: RUN[name] for name in RUN if name != key}, RunFile, "config.json", CheckpointError)


@pytest.mark.parametrize("key", list(PREPARED))
def test_every_key_of_a_prepared_benchmark_has_to_be_there(key: str) -> None:
    with pytest.raises(DataError, match=f"it lacks '{key}'"):
        gate.typed({name: PREPARED[name] for name in PREPARED if name != key}, PreparedFile, "prepared.json")


@pytest.mark.parametrize(
    ("form", "value", "place"),
    [
        (RunFile, RUN | {"frames": "8"}, "frames: "),
        (RunFile, RUN | {"frames": 8.0}, "frames: "),
        (RunFile, RUN | {"frames": True}, "frames: "),
        (RunFile, RUN | {"frames": 0}, "frames: "),
        (RunFile, RUN | {"resize": "long"}, "resize: "),
        (RunFile, RUN | {"head": {"name": "otam"}}, "it lacks 'head.options'"),
        (RunFile, RUN | {"base_classes": ["a", 1]}, "base_classes.1: "),
        (RunFile, RUN | {"result": RESULT | {"training_seconds": float("nan")}}, "result.training_seconds: "),
        (RunFile, RUN | {"result": RESULT | {"steps": -1}}, "result.steps: "),
        (PreparedFile, PREPARED | {"found": -1}, "found: "),
        (PreparedFile, PREPARED | {"found": 2**63}, "found: "),
        (PreparedFile, PREPARED | {"missing": {"test": "x"}}, "missing.test: "),
        (PreparedFile, [], "it should be "),
    ],
)
def test_another_kind_is_refused_by_its_place(form: Any, value: Any, place: str) -> None:
    with pytest.raises(DataError) as error:
        gate.typed(value, form, Path("folder/x.json"))
    text = str(error.value)
    assert text.startswith("folder/x.json is damaged: ") and place in text and "\n" not in text


def test_lists_that_are_left_out_are_empty_and_nobody_elses() -> None:
    one, other = (Result(version="1", episode_accuracy=[0.5]) for _ in range(2))
    one.missing.append("x")
    assert other.missing == [] and other.unreadable == {} and other.per_clip == []
