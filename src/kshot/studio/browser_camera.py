"""The camera of the page: its frames come as plain pixels, so nothing is decoded, and go the way of a file's."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from kshot.errors import DataError, OptionError
from kshot.recognizer.stream.contract import Array
from kshot.recognizer.stream.watch import Course
from kshot.recognizer.stream.windows import WindowSettings
from kshot.studio.camera_answer import CameraAnswer
from kshot.studio.state import WIDEST
from kshot.video import Grid, preprocess

if TYPE_CHECKING:
    from kshot.recognizer import Recognizer

SIDES = (112, 336)  # pixels of the shorter side that the page sends, at least and at most
KEPT = 64  # frames of the last window that are kept, at most


class BrowserCamera:
    """One stream of frames from the page's camera, and what is seen in it.

    Args:
        recognizer: the trained model.

    Attributes:
        id: names the stream: frames of an older one are refused.
        classes: names of the actions that the model knows.
        size: pixels of a side of what the backbone sees.
        framing: how a frame becomes that square.
        side: pixels of the shorter side of a frame.
        settings: windows and their distance, the same as for a file.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        backbone = recognizer.learner_.backbone
        assert backbone is not None
        self.id = secrets.token_hex(6)
        self.classes = [str(name) for name in recognizer.classes_]
        self.size, self.framing = backbone.size, recognizer.framing
        self.side = min(max(self.size, SIDES[0]), SIDES[1])
        self.settings = WindowSettings.of(recognizer)
        self._grid = Grid(self.settings.interval)
        self._course = Course(recognizer, self.settings)
        self._recent: deque[tuple[float, Array]] = deque()
        self._latest: tuple[float, tuple[int, ...]] | None = None
        self._mutex = threading.Lock()  # requests come in threads of their own

    def add(self, seconds: float, pixels: bytes, width: int, height: int) -> CameraAnswer:
        """Takes a frame.

        Args:
            seconds: when it was taken.
            pixels: RGB, row by row.
            width: pixels of a row.
            height: number of rows.

        Returns:
            What has become certain.

        Raises:
            OptionError: the pixels do not fit the size.
        """
        if not (0 < width <= WIDEST and 0 < height <= WIDEST) or len(pixels) != 3 * width * height:
            raise OptionError(f"expected {3 * width * height} bytes for {width}x{height} pixels, found {len(pixels)}")
        frame = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        with self._mutex:
            if self._latest and (seconds <= self._latest[0] or frame.shape != self._latest[1]):
                raise OptionError("expected frames of one size in the order of their times: start the camera again")
            self._latest = seconds, frame.shape
            self._keep(seconds, frame)
            due = self._grid.add(seconds, frame)
            seen = due and self._course.add(due[0], preprocess(due[1][None], self.size, self.framing)[0])
            ready = min(1.0, self._course.intervals * self.settings.interval / self.settings.window)
            if not seen or not seen.labels:
                return CameraAnswer(ready)
            return CameraAnswer(
                ready,
                np.round(seen.scores.times, 3).tolist(),
                np.round(seen.scores.proba, 4).tolist(),
                seen.labels,
            )

    def _keep(self, seconds: float, frame: Array) -> None:
        """Keeps the last window, thinned out where frames come faster than anybody needs them."""
        while self._recent and self._recent[0][0] < seconds - self.settings.window - 1e-6:
            self._recent.popleft()
        if not self._recent or seconds - self._recent[-1][0] >= self.settings.window / KEPT:
            self._recent.append((seconds, frame))

    def recent(self) -> tuple[list[Array], float]:
        """The frames of the last window, and how many there are a second. Raises DataError if there are too few."""
        with self._mutex:
            recent = list(self._recent)
        if len(recent) < 3:
            raise DataError("the camera has shown too little so far: a moment")
        times = [seconds for seconds, _ in recent]
        return [frame for _, frame in recent], (len(times) - 1) / (times[-1] - times[0])
