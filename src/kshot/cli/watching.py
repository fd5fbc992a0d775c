"""`kshot watch`: what a camera sees now."""

from __future__ import annotations

import json
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from kshot.cli import early
from kshot.cli.app import app
from kshot.cli.common import DEVICE, MODEL, MOVED, THRESHOLD, importing
from kshot.errors import VideoError
from kshot.progress import clock
from kshot.terminal import console, harmless, percent

if TYPE_CHECKING:
    from rich.text import Text

    from kshot.recognizer.stream.watch import Sighting, Watch

LINES = "print one JSON object on stdout for each frame and segment, and a summary"
REMEMBERED = 1000  # latencies that are summed up
BAR = 14  # characters of a full score


@app.command()
def watch(
    model: MODEL,
    camera: Annotated[str, typer.Option(help="number or name of the camera")] = "0",
    file: Annotated[Path | None, typer.Option(help="play a video at its own speed in place of a camera")] = None,
    window: Annotated[
        float | None, typer.Option(help="seconds of a window; as long as a trained clip by default")
    ] = None,
    shortest: Annotated[float | None, typer.Option(help="seconds a label must last; 3/4 window by default")] = None,
    threshold: THRESHOLD = None,
    backbone: MOVED = None,
    device: DEVICE = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help=LINES)] = False,
) -> None:
    """Name what a camera sees, live. Ctrl-C ends it with a summary.

    Example: kshot watch models/gym --camera 0
    """
    from kshot.recognizer.thresholds import read_thresholds

    early.expect_arithmetic(device)
    limits = read_thresholds(threshold or [])
    early.expect_model(model)
    early.expect_file(file, VideoError)
    with importing():
        from kshot.recognizer import Recognizer
        from kshot.recognizer.stream.watch import watch as run

    watching = run(Recognizer.load(model, backbone, device), camera, file, window, shortest=shortest, threshold=limits)
    teller = _Lines() if as_json else _Screen(watching.settings.window) if sys.stdout.isatty() else _Words()
    latencies: deque[float] = deque(maxlen=REMEMBERED)
    last: Sighting | None = None
    try:
        with _ended_by_ctrl_c(watching), teller:
            for last in watching:
                if last.latency is not None:
                    latencies.append(last.latency * 1000)
                teller.tell(last)
    finally:
        if last is not None:
            teller.sum_up(Summary.of(last, sorted(latencies)))


@contextmanager
def _ended_by_ctrl_c(watching: Watch) -> Iterator[None]:
    """The first Ctrl-C lets the frame in hand be answered; a second one means it."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        watching.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Summary:
    """What a watch came to, in the end.

    Attributes:
        seconds: since the beginning.
        frames: how many were encoded.
        skipped: how many made way for newer ones.
        latency_ms: from the arrival of a frame to its answer, the median of the last `REMEMBERED`, in milliseconds.
        latency_ms_95: within which 95 % of them were answered.
        answered: whether a window was ever full.
    """

    seconds: float
    frames: int
    skipped: int
    latency_ms: float
    latency_ms_95: float
    answered: bool

    @classmethod
    def of(cls, last: Sighting, latencies: list[float]) -> Summary:
        """The summary after the last sighting, with latencies in milliseconds, ascending."""
        middle = round(latencies[len(latencies) // 2], 1) if latencies else 0.0
        most = round(latencies[len(latencies) * 95 // 100], 1) if latencies else 0.0
        return cls(round(last.seconds, 3), last.frames, last.skipped, middle, most, last.about is not None)


def _milliseconds(sighting: Sighting) -> float:
    return 1000 * (sighting.latency or 0.0)


class _Words:
    """A line for each segment, once it is certain; the summary goes to stderr."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, sighting: Sighting) -> None:
        for segment in sighting.answer.segments:
            score = "" if segment.score is None else percent(segment.score)
            self.line(f"{clock(segment.start):>8} {clock(segment.end):>8}  {segment.label}  {score}".rstrip())

    def line(self, text: str) -> None:
        print(text, flush=True)

    def sum_up(self, summary: Summary) -> None:
        text = (
            f"{summary.frames} frames in {clock(summary.seconds)}, {summary.skipped} skipped; from frame to "
            f"answer {summary.latency_ms:.0f} ms, 95 % within {summary.latency_ms_95:.0f} ms"
        )
        if not summary.answered:
            text += "; that is less than a window, so there is no answer: `kshot predict` answers short clips"
        print(text, file=sys.stderr)


class _Screen(_Words):
    """Segments as lines, and below them what is seen now."""

    def __init__(self, window: float) -> None:
        from rich.live import Live
        from rich.text import Text

        self.window, self.text = window, Text
        self.live = Live(console=console(), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def line(self, text: str) -> None:
        self.live.console.print(text)

    def tell(self, sighting: Sighting) -> None:
        super().tell(sighting)
        self.live.update(self._now(sighting), refresh=True)

    def _now(self, sighting: Sighting) -> Text:
        if sighting.about is None:
            return self.text(f"{clock(sighting.seconds):>8}  the first window of {self.window:.1f} s fills", "dim")
        known = sighting.label != "unknown"
        full = round(BAR * sighting.score) if known else 0
        label = f"{harmless(sighting.label):<24} "
        now = self.text(f"{clock(sighting.about):>8}  ").append(label, "bold" if known else "dim")
        now.append("█" * full, "blue").append("░" * (BAR - full), "dim").append(
            f" {percent(sighting.score):>5}" * known
        )
        skipped = f", {sighting.skipped} skipped" if sighting.skipped else ""
        return now.append(f"   {_milliseconds(sighting):.0f} ms{skipped}", "dim")


class _Lines(_Words):
    """JSON objects: what is seen with each frame, segments once they are certain, in the end a summary."""

    def tell(self, sighting: Sighting) -> None:
        if sighting.about is not None:
            now = {"seconds": round(sighting.about, 3), "label": sighting.label, "score": round(sighting.score, 4)}
            self.line(json.dumps(now | {"latency_ms": round(_milliseconds(sighting), 1), "skipped": sighting.skipped}))
        for segment in sighting.answer.segments:
            self.line(json.dumps({"segment": segment.plain()}))

    def sum_up(self, summary: Summary) -> None:
        self.line(json.dumps({"summary": asdict(summary)}))
