"""Whether a recognizer is shown to be better than chance, and what to do first where it is not."""

from __future__ import annotations

from dataclasses import replace

from kshot.backbones.better import better
from kshot.backbones.hub import BUNDLED
from kshot.recognizer.advice import RISING
from kshot.recognizer.report import Accuracy, Report, Share
from kshot.terminal import percent


def beside_chance(report: Report, backbone: str, drawn: bool = False, adapted: bool = False) -> Report:
    """The report with its backbone, the chance level and, where it is not shown to be passed, what to do first.

    That clips look mislabelled is left out then: where actions are not told apart, it is noise. Near-duplicates stay.

    Args:
        report: of a fit.
        backbone: name of the backbone.
        drawn: whether all clips are drawn, which is what `kshot-tiny` knows.
        adapted: whether the backbone comes from a run of `kshot train`.
    """
    chance = 1 / len(report.classes)
    found = _found(report, backbone, chance)
    about = replace(report, backbone=backbone, chance=round(chance, 4))
    if not found:
        return about
    kept = [one for one in report.suspects if one.reason == "duplicate"]
    return replace(about, warning=f"{found}: {_next(backbone, drawn, adapted)}.", suspects=kept)


def _found(report: Report, backbone: str, chance: float) -> str:
    """What speaks against it: the interval holds chance, or clips did not help; "" for nothing."""
    if report.accuracy is None:
        return ""
    shares: list[Accuracy | Share | None] = [report.accuracy, report.accuracy.balanced]
    for share in shares:
        if share is not None and share.low <= chance:
            return (
                f"It is not shown that backbone {backbone} can tell these actions apart ({percent(share.value)} "
                f"expected, 95 % interval {percent(share.low)} to {percent(share.high)}, chance {percent(chance)})"
            )
    first, last = (report.curve[0], report.curve[-1]) if report.curve else (None, None)
    if first is None or last is None or last.clips == first.clips:
        return ""
    if last.accuracy - first.accuracy < RISING and last.accuracy < (1 + chance) / 2:
        return (
            f"More clips did not help backbone {backbone} to tell these actions apart ({percent(first.accuracy)} "
            f"right with {first.clips} an action to learn from, {percent(last.accuracy)} with {last.clips}, chance "
            f"{percent(chance)})"
        )
    return ""


def _next(backbone: str, drawn: bool, adapted: bool) -> str:
    """What to try, the most promising first."""
    name = "" if drawn and backbone == BUNDLED else better(backbone)
    if not name:
        return "take more or other clips, or actions that look less alike"
    knows = " and knows real video" if backbone == BUNDLED else ""
    how = "adapt a better backbone by `kshot train`" if adapted else "take a better backbone"
    return f"{how} ({name}{knows}), then more or other clips"
