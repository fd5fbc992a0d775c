"""The model card: what a person should know before using a model. Written as the README.md of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kshot.backbones.hub import ALIASES, BUNDLED
from kshot.recognizer.advice import scope, together
from kshot.recognizer.methods import method
from kshot.templates import render
from kshot.terminal import percent


def card(config: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """Markdown of a model's card, with the header that the Hugging Face hub reads.

    Args:
        config: what `config.json` holds.
        pictures: names of the files in thumbnails/, each the number of its class with a suffix.

    Returns:
        The text, in which labels, names of clips and sentences about them stand as they are, whatever they hold.
    """
    from kshot.backbones import lite

    arguments, backbone = config["arguments"], config["backbone"]
    return render(
        "kshot.recognizer",
        "card.md",
        {"percent": percent, "short": _short},
        report=config["report"],
        classes=config["classes"],
        clips=len(config["clips"]),
        version=config["kshot"],
        threshold=config["threshold"],
        background=arguments["background"],
        pictures={int(name.split(".")[0]): name for name in pictures},
        backbone=backbone,
        bundled=BUNDLED,
        lite={name: lite.package(name) for name in lite.SIZES},
        openai=backbone["name"] in {*ALIASES, *ALIASES.values()},
        method=config["method"],
        words=method(config["method"]).words,
        advice=together([(row["label"], row["advice"]) for row in config["report"]["classes"]]),
        scope=scope([(row["label"], row["accuracy"]) for row in config["report"]["classes"]]),
        frames=arguments["frames"],
        seed=arguments["seed"],
        adapted=config["adapted"],
    )


def _short(name: str) -> str:
    """A path's last folder and file, which tell a clip as well as all of it."""
    return "/".join(Path(name).parts[-2:])
