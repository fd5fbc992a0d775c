"""The model card of people who call their actions and files what they like."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kshot.recognizer.card import card
from odd_names import HOSTILE, READER, shown

CONFIG: dict[str, Any] = {
    "kshot": "0.1.0", "method": "prototype", "threshold": 0.5, "adapted": None,
    "backbone": {"name": "kshot-tiny", "fingerprint": "f" * 64}, "classes": ["a", "b", "c"], "clips": [{}] * 9,
    "arguments": {"background": None, "frames": 8, "seed": 0},
    "report": {
        "accuracy": {"value": 0.9, "low": 0.5, "high": 1.0, "how": "9 clips"},
        "classes": [{"label": label, "clips": 3, "accuracy": 0.5, "advice": ""} for label in "abc"],
        "confusions": [], "notes": [], "suspects": [],
        "unknown": {"auroc": None, "how": ""},
    },
}  # fmt: skip


def config(name: str) -> dict[str, Any]:
    """A model in which everything that people name has this name."""
    made = copy.deepcopy(CONFIG)
    report = made["report"]
    made["classes"][0] = name
    report["classes"][0] |= {"label": name, "advice": f"it is taken for {name}"}
    report["confusions"] = [{"label": name, "count": 1, "of": 3, "taken_for": name}]
    report["notes"] = [f"Clips are needed most for: {name}."]
    report["suspects"] = [
        {"clip": f"x/{name}.mp4", "label": name, "other": f"{name}.mp4", "looks_like": name, "reason": reason}
        for reason in ("duplicate", "label")
    ]
    return made


@pytest.mark.parametrize("name", HOSTILE)
def test_names_change_nothing_but_the_words(name: str) -> None:
    pictures = ["000.jpg", "002.jpg"]
    tokens, plain = (READER.parse(card(config(one), pictures)) for one in (name, "wave"))
    assert [(t.type, t.tag, t.level) for t in tokens] == [(t.type, t.tag, t.level) for t in plain]
    spans = [span for token in tokens for span in token.children or []]
    assert [span.attrs["src"] for span in spans if span.type == "image"] == [f"thumbnails/{p}" for p in pictures]
    assert {span.type for span in spans} <= {
        "text", "text_special", "softbreak", "strong_open", "strong_close", "code_inline", "image",
    }  # fmt: skip
    first = tokens[next(i for i, token in enumerate(tokens) if token.type == "td_open") + 1]
    assert shown(first.children or []) == " ".join(name.splitlines()).strip()


def test_a_backbones_name_is_code_and_nothing_else() -> None:
    made = config("wave") | {"backbone": {"name": "me/`x`\n<b>", "fingerprint": "f" * 64}}
    spans = [span for token in READER.parse(card(made, [])) for span in token.children or []]
    assert "me/`x` <b>" in [span.content for span in spans if span.type == "code_inline"]


def test_without_pictures_the_table_has_no_column_for_them() -> None:
    assert "| wave | 3 | 50 % |\n" in card(config("wave"), []) and "thumbnails" not in card(config("wave"), [])
