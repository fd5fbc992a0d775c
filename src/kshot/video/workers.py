"""Decoding in child processes: in parallel, in order, and out of reach of a decoder that crashes or hangs.

The children run this module, see `kshot.video.children`. It imports neither torch nor anything else that a child has no
use for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from kshot import addresses, remote, video
from kshot.errors import ClipLost, OptionError, VideoError, unknown
from kshot.excerpts import ClipName, Excerpt
from kshot.video.children import Child, Message, Reply, serve
from kshot.video.damage import Damage
from kshot.video.part import keep_open

AHEAD = 32  # clips decoded before they are needed: as many as the encoder takes at once
_CHILD = "kshot.video.workers"
_ABOUT = ("announced", "fps", "seconds", "frames", "failure", "looks")  # what a stream says of itself with each frame


@dataclass(frozen=True)
class Job:
    """One clip to decode: the arguments of `video.take`, with a seed in place of a generator.

    Attributes:
        path: the clip, a whole video or a part of one.
        frames: how many frames.
        mode: "middle" or "random", see `video.choose`.
        seed: of the random choice; any tuple of whole numbers, such as (seed, epoch, clip).
        size: side of the preprocessed square frames; None for frames as they are.
        framing: how they are made square, see `video.preprocess`.
        allow_damaged: whether a clip counts of which much is lost.
    """

    path: ClipName
    frames: int = 8
    mode: str = "middle"
    seed: tuple[int, ...] = (0,)
    size: int | None = None
    framing: video.Framing = video.FRAMINGS["short"]
    allow_damaged: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("middle", "random"):
            raise unknown("frame choice", self.mode, ["middle", "random"])
        if self.frames < 1:
            raise OptionError(f"expected at least 1 frame a clip, found {self.frames}")

    def run(self) -> video.Taken | VideoError:
        """Decode the clip here and now, or say why it cannot be read."""
        return _fetched(self, Job._run)

    def _run(self) -> video.Taken | VideoError:
        rng = np.random.default_rng(self.seed)
        try:
            return video.take(self.path, self.frames, self.mode, rng, self.size, self.framing, self.allow_damaged)
        except VideoError as error:
            return ClipLost(str(error)) if isinstance(error.__cause__, MemoryError) else error


def decode(
    jobs: Iterable[Job], workers: int, timeout: float = 60.0, ahead: int = AHEAD
) -> Generator[tuple[int, video.Taken | VideoError]]:
    """Decode clips, yielding (position, frames or the reason why not) in the order of the jobs.

    A clip that costs a worker its memory is tried once more, alone, before it is given up as `ClipLost`.

    Args:
        jobs: taken as they are needed.
        workers: child processes; 0 decodes in this one, without its protection and without the timeout.
        timeout: seconds for one clip; its worker is then replaced and the clip counts as unreadable.
        ahead: clips that may wait decoded, besides the one in each worker's hands.

    Close it where it may be left early: the processes end then, however often Ctrl-C is pressed.

    Raises:
        OptionError: a negative number of workers.
        KshotError: the workers cannot be started.
    """
    if workers < 0:
        raise OptionError(f"expected 0 workers or more, found {workers}")
    if workers == 0:
        return ((position, job.run()) for position, job in enumerate(jobs))
    return _decode_in_children(jobs, workers, timeout, ahead)


_early: list[tuple[Child, threading.Thread]] = []
"""Processes that were started before there was anything to decode."""


def start_early(timeout: float = 60.0) -> None:
    """Starts a decoding process for the next `decode`, while the caller loads what else it needs.

    Args:
        timeout: of that `decode`, seconds for one clip.
    """
    child = Child(_CHILD, timeout)
    thread = threading.Thread(target=child.start, name="kshot-early", daemon=True)
    thread.start()
    _early.append((child, thread))


def _children(count: int, timeout: float) -> list[Child]:
    """Child processes, the first of them one that was started early."""
    early: list[Child] = []
    while _early and len(early) < count and _early[0][0].timeout == timeout:
        child, thread = _early.pop(0)
        thread.join()
        early.append(child)
    return early + [Child(_CHILD, timeout) for _ in range(count - len(early))]


def _decode_in_children(
    jobs: Iterable[Job], workers: int, timeout: float, ahead: int
) -> Generator[tuple[int, video.Taken | VideoError]]:
    children = _children(workers, timeout)
    idle: SimpleQueue[Child] = SimpleQueue()
    gathering = threading.Lock()
    for child in children:
        idle.put(child)

    def run(job: Job) -> video.Taken | VideoError:
        child = idle.get()
        try:
            result = _fetched(job, partial(_decoded, child))
        finally:
            idle.put(child)
        return alone(job) if isinstance(result, ClipLost) else result

    def alone(job: Job) -> video.Taken | VideoError:
        """Once more, in a fresh process with none beside it."""
        with gathering:
            held = [idle.get() for _ in children]
            try:
                for child in held:
                    child.end()
                return _fetched(job, partial(_decoded, held[0]))
            finally:
                for child in held:
                    idle.put(child)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="kshot-decode")
    waiting: deque[Future[video.Taken | VideoError]] = deque()
    position = 0
    try:
        for job in jobs:
            waiting.append(pool.submit(run, job))
            if len(waiting) >= workers + ahead:
                yield position, waiting.popleft().result()
                position += 1
        while waiting:
            yield position, waiting.popleft().result()
            position += 1
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.stop()
        _surely(pool.shutdown)
        for child in children:
            _surely(child.end)


def _fetched(job: Job, work: Callable[[Job], video.Taken | VideoError]) -> video.Taken | VideoError:
    """Has a job done on the file of its clip, fetched first where that lies at an address, which errors then name."""
    clip = job.path
    place = addresses.of(clip.path if isinstance(clip, Excerpt) else clip)
    if place is None:
        return work(job)
    try:
        with remote.local(place) as path:
            result = work(replace(job, path=replace(clip, path=path) if isinstance(clip, Excerpt) else path))
    except VideoError as error:
        return error
    return type(result)(str(result).replace(str(path), place)) if isinstance(result, VideoError) else result


def _decoded(child: Child, job: Job) -> video.Taken | VideoError:
    """Has a job done by a child; whatever happens to the process costs this clip only."""
    try:
        message, frames = child.request({"do": "clip", **asdict(job), "path": str(job.path)})
    except VideoError as error:
        return error
    assert frames is not None
    return video.Taken(frames, message["damage"] and Damage(**message["damage"]), tuple(message["looks"]))


def _surely(work: Callable[[], Any]) -> None:
    """Does what takes a moment to its end; a Ctrl-C meanwhile comes after it. It must be safe to do again."""
    pressed = None
    while True:
        try:
            work()
            break
        except KeyboardInterrupt as error:
            pressed = error
    if pressed:
        raise pressed


class Stream:
    """`video.Samples` in a child process: the same frames and the same words about them, out of reach of a crash.

    The child is as far ahead as a pipe holds. Whatever ends it, the frames that came before are good.

    Args:
        path: as for `video.Samples`.
        interval: as for `video.Samples`.
        size: as for `video.Samples`.
        timeout: seconds for the next frame; then decoding is given up.
        framing: as for `video.Samples`.

    Attributes:
        path: the file.
        announced: seconds, as the header says before anything is decoded; 0 if it does not.
        fps: frames a second, as the header says.
        seconds: from the start of the first frame to the end of the last one decoded.
        frames: number of frames decoded.
        failure: why not all of the file came out; "" if all did.
        looks: what is unusual about its pictures, see `kshot.video.looks`.
        begins: seconds at which shots begin, see `kshot.video.shots`.
    """

    def __init__(
        self,
        path: ClipName,
        interval: float,
        size: int | None = None,
        timeout: float = 60.0,
        framing: video.Framing = video.FRAMINGS["short"],
    ) -> None:
        video.Grid(interval)  # checks it
        self.path = str(path)
        self.announced = self.fps = self.seconds = 0.0
        self.frames = 0
        self.failure = ""
        self.looks: tuple[str, ...] = ()
        self.begins: list[float] = []
        self._task = {"do": "stream", "path": self.path, "interval": interval, "size": size, "framing": asdict(framing)}
        self._child = Child(_CHILD, timeout)

    def samples(self) -> Generator[tuple[int, np.ndarray]]:
        """Yields (number of the interval, frame), once.

        Raises:
            VideoError: not even one frame can be read.
            KshotError: the child cannot be started.
        """
        try:
            for message, frame in self._child.replies(self._task):
                vars(self).update({name: message[name] for name in _ABOUT})
                self.begins += message["begins"]
                if frame is not None:
                    yield message["interval"], frame
        except VideoError as error:
            if self._child.stopped:
                return
            if not self.frames:
                raise
            self.failure = str(error)
        finally:
            self._child.stop()
            self._child.end()

    def stop(self) -> None:
        """Ends the iteration, also from another thread while one is waiting for a frame."""
        self._child.stop()


def _work(task: Message) -> Iterator[Reply]:
    """The child: the frames of a clip, as `Job` says, or those of a stream one after the other."""
    place, places = task["framing"]["place"], task["framing"]["places"]
    framing = video.Framing(
        **task["framing"] | {"place": place and tuple(place), "places": tuple(tuple(each) for each in places)}
    )
    arguments = {name: value for name, value in task.items() if name != "do"} | {"framing": framing}
    if task["do"] == "stream":
        yield from _stream(video.Samples(**arguments))
        return
    result = Job(**arguments | {"seed": tuple(task["seed"])}).run()
    if isinstance(result, VideoError):
        raise result
    yield {"damage": result.damage and asdict(result.damage), "looks": result.looks}, result.frames


def _stream(samples: video.Samples) -> Iterator[Reply]:
    def about() -> Message:
        return {name: getattr(samples, name) for name in _ABOUT} | {"begins": samples.shots.fresh()}

    for interval, image in samples:
        yield about() | {"interval": interval}, image
    yield about(), None


if __name__ == "__main__":
    keep_open()
    serve(_work)
