"""The frames of a clip at a steady rate, one after the other, however long it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import OptionError, VideoError
from kshot.excerpts import ClipName
from kshot.video import container
from kshot.video.fields import seen
from kshot.video.frames import FRAMINGS, INSTANT, Framing, preprocess
from kshot.video.opening import in_one_line
from kshot.video.shots import Shots

if TYPE_CHECKING:
    from kshot.video.container import File
    from kshot.video.frame_folder import Folder


class Grid:
    """Which frames of a stream are on show in the middle of each interval of time: the choice of "middle", without end.

    Interval k lasts from k to k + 1 times `interval` seconds. A clip that is exactly `frames` intervals long gives the
    frames that `choose` takes from it.

    Args:
        interval: seconds, above 0.

    Attributes:
        interval: as given.
        next: number of the interval whose frame comes next.

    Raises:
        OptionError: no such interval.
    """

    def __init__(self, interval: float) -> None:
        if not 0 < interval < math.inf:
            raise OptionError(f"expected an interval above 0 seconds, found {interval:g}")
        self.interval = interval
        self.next = 0
        self._held: Any = None

    def add(self, seconds: float, frame: Any) -> tuple[int, Any] | None:
        """Takes the next frame and when it appears, in ascending order. What it replaces comes back as (interval,
        frame) if it was on show in the middle of an interval: the first of them, where there are several."""
        due = self.end(seconds)
        self._held = frame
        return due

    def end(self, seconds: float) -> tuple[int, Any] | None:
        """As `add`, where the stream ends."""
        due = None
        if self._held is not None and (self.next + 0.5) * self.interval < seconds - INSTANT:
            due = self.next, self._held
            self.next = self.count(seconds)
        return due

    def count(self, seconds: float) -> int:
        """How many intervals have their middle before that time."""
        return math.ceil(seconds / self.interval - 0.5 - INSTANT / self.interval)


class Samples:
    """The frames of a clip at a steady rate, see `Grid`: iterating gives (number of the interval, frame).

    Every frame is decoded once and none is kept; only those that come out are turned into whole pictures. Damage ends
    the iteration, and `failure` says so, unless not a single frame was there before it.

    Args:
        path: a video file or a folder of frames.
        interval: seconds between two frames.
        size: side of the preprocessed frames, see `preprocess`; None for frames as they are.
        framing: how they are made square.

    Attributes:
        grid: which frames come out.
        announced: seconds, as the header says before anything is decoded; 0 if it does not.
        fps: frames a second, as the header says.
        seconds: from the start of the first frame to the end of the last one decoded.
        frames: number of frames decoded.
        failure: why not all of the file came out; "" if all did.
        looks: what is unusual about its pictures, see `kshot.video.looks`.
        shots: where shots begin.

    Raises:
        VideoError: while iterating, if not even one frame can be read.
    """

    def __init__(
        self,
        path: ClipName,
        interval: float,
        size: int | None = None,
        framing: Framing = FRAMINGS["short"],
    ) -> None:
        self.path, self.size, self.framing = path, size, framing
        self.grid = Grid(interval)
        self.announced = self.fps = self.seconds = 0.0
        self.frames = 0
        self.failure = ""
        self.looks: tuple[str, ...] = ()
        self.shots = Shots()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        try:
            yield from self._frames()
        except VideoError as error:
            if not self.frames:
                raise
            self.failure = str(error)
        self.shots.end()

    def _frames(self) -> Iterator[tuple[int, np.ndarray]]:
        with in_one_line(self.path), closing(seen(self.path, self.framing.deinterlace)) as clip:
            self.announced, self.fps = clip.announced()
            for seconds, frame in clip.stream():
                if self.grid.count(seconds) - self.grid.next > container.MAX_FRAMES:  # a film may be longer
                    raise VideoError(
                        f"no frame is shown for {seconds - self.seconds:,.0f} seconds: its times are wrong"
                    )
                due = self.grid.add(seconds, frame)
                self.frames += 1
                self.seconds = seconds + 1 / self.fps
                self.looks = clip.looks()
                if (grey := clip.grey(frame)) is not None:
                    self.shots.add(seconds, grey)
                if due:
                    yield due[0], self._image(clip, due[1])
            if not self.frames:
                raise VideoError(clip.failure or "no frame could be decoded")
            due = self.grid.end(self.seconds)
            if due:
                yield due[0], self._image(clip, due[1])
            if clip.failure:
                raise VideoError(clip.failure)
            if cut := clip.cut():
                raise VideoError(cut.reason)
            if self.seconds < (least := 0.9 * self.announced - 1):
                from kshot.video.sounds import heard  # seldom asked

                if heard(self.path) >= least:
                    return
                raise VideoError(f"the file ends early, its header announces {self.announced:.1f} seconds")

    def _image(self, clip: File | Folder, frame: Any) -> np.ndarray:
        image = clip.image(frame)
        return image if self.size is None else preprocess(image[None], self.size, self.framing)[0]
