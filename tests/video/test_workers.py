"""Clips come back in order, whatever happens to the processes that decode them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

import kshot
from kshot.errors import ClipLost, KshotError, OptionError, VideoError
from kshot.video import Taken
from kshot.video.workers import Job, decode

SLOW = 120.0  # seconds that anything may take on a busy machine

SOURCE = str(Path(kshot.__file__).parents[1])

# Put on the path of the workers: clips of these names make the decoder fail as real ones do.
SABOTAGE = """
import os, sys, time, av
real = av.open
def open(name, *args, **kwargs):
    os.write(1, b"noise of a library on standard output\\n")
    if "abort" in name: os.abort()
    if "segfault" in name: os.kill(os.getpid(), 11)
    if "leave" in name: os._exit(3)
    if "sleep" in name: time.sleep(60)
    if "spin" in name:
        while True: pass
    if "killed" in name: os.kill(os.getpid(), 9)
    if "hungry" in name: raise MemoryError
    if "once" in name and not os.path.exists(name.removeprefix("file:") + ".tried"):
        __builtins__["open"](name.removeprefix("file:") + ".tried", "w").close()
        os.kill(os.getpid(), 9)
    if "bug" in name: raise ZeroDivisionError("a fault of ours")
    return real(name, *args, **kwargs)
av.open = open
"""


def make(path: Path, shade: int = 0, count: int = 12) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index in range(count):
            image = np.full((32, 48, 3), (shade * 20 + index * 5) % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make(folder / f"{index}.mp4", index) for index in range(6)]


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(SABOTAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))


def named(clip: Path, folder: Path, *names: str) -> list[Path]:
    """The same clip under other names."""
    paths = [folder / f"{name}.mp4" for name in names]
    for path in paths:
        path.write_bytes(clip.read_bytes())
    return paths


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: object, seconds: float = SLOW) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_children_answer_in_order_and_as_this_process_would(clips: list[Path], workers: int) -> None:
    paths = [*clips[:3], clips[0].with_name("missing.mp4"), *clips[3:]] * 2
    jobs = [Job(path, frames=4, mode="random", seed=(7, i), size=16 + i % 2) for i, path in enumerate(paths)]
    here, there = list(decode(jobs, 0)), list(decode(jobs, workers))
    assert [position for position, _ in there] == list(range(14))
    for (_, one), (_, other) in zip(here, there, strict=True):
        if isinstance(one, VideoError):
            assert isinstance(other, VideoError)
            assert str(other) == str(one)
            assert str(one).endswith("missing.mp4: no such file or folder")
        else:
            assert isinstance(other, Taken) and other.damage == one.damage is None
            np.testing.assert_array_equal(one.frames, other.frames)
            assert other.frames.flags.writeable and other.frames.flags.c_contiguous
    assert sum(isinstance(result, VideoError) for _, result in there) == 2


def test_frames_as_they_are_and_seeds(clips: list[Path]) -> None:
    jobs = [Job(str(clips[0]), 3, "random", seed=(seed,)) for seed in (1, 1, 2, 3, 4)]
    results = [result for _, result in decode(jobs, 1)]
    frames = [result.frames for result in results if isinstance(result, Taken)]
    assert [one.shape for one in frames] == [(3, 32, 48, 3)] * 5
    assert np.array_equal(frames[0], frames[1])
    assert any(not np.array_equal(frames[0], other) for other in frames[2:])


def test_a_decoder_that_crashes_costs_its_clip_only(clips: list[Path], tmp_path: Path, sabotage: None) -> None:
    bad = named(clips[0], tmp_path, "abort", "segfault", "leave", "bug")
    jobs = [Job(path, 2) for pair in zip(bad, clips, strict=False) for path in pair]
    results = [result for _, result in decode(jobs, 2)]
    expected = ["crashed (SIGABRT)", "crashed (SIGSEGV)", "crashed (exit code 3)", "ZeroDivisionError: a fault of ours"]
    for path, result, reason in zip(bad, results[::2], expected, strict=True):
        assert isinstance(result, VideoError)
        assert str(path) in str(result) and reason in str(result)
    assert all(isinstance(result, Taken) for result in results[1::2])


@pytest.mark.slow
def test_a_decoder_that_hangs_costs_its_clip_only(clips: list[Path], tmp_path: Path, sabotage: None) -> None:
    jobs = [Job(path, 2) for path in [clips[0], *named(clips[0], tmp_path, "sleep", "spin"), clips[1], clips[2]]]
    begin = time.monotonic()
    results = [result for _, result in decode(jobs, 2, timeout=3)]
    assert time.monotonic() - begin < 55, "it would sleep for 60"
    assert [isinstance(result, VideoError) for result in results] == [False, True, True, False, False]
    assert str(results[1]).endswith("sleep.mp4: not decoded within 3 seconds, given up")


def test_jobs_are_taken_as_they_are_needed(clips: list[Path]) -> None:
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield Job(clips[0], 2)

    results = decode(jobs(), 2, ahead=3)
    assert taken == 0
    for _ in range(4):
        next(results)
    assert taken == 2 + 3 + 3
    results.close()  # type: ignore[attr-defined]
    assert taken == 8


def test_no_process_is_left_when_the_caller_stops_early(clips: list[Path], tmp_path: Path, sabotage: None) -> None:
    before = set(children_of(os.getpid()))
    (hang,) = named(clips[0], tmp_path, "sleep")
    results = decode([Job(clips[0], 2), *[Job(hang, 2)] * 5], 2)
    next(results)
    assert len(set(children_of(os.getpid())) - before) == 2
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 55, "they would sleep for 60"
    assert set(children_of(os.getpid())) <= before


SCRIPT = """
import sys
from kshot.video.workers import Job, decode
print("once", flush=True)
for position, result in decode([Job(path, 2) for path in sys.argv[1:]], 2, timeout=3):
    print(position, result.frames.shape if hasattr(result, "frames") else result, flush=True)
"""


def script(tmp_path: Path, *paths: Path) -> subprocess.Popen[str]:
    """A user's script without a main guard."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "script.py").write_text(SCRIPT)
    search = [SOURCE, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "scripts" / "script.py"), *map(str, paths)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        cwd=tmp_path,
    )


def test_a_plain_script_needs_no_main_guard(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('a file of the current folder passed for a module')")
    out, err = script(tmp_path, *clips[:2]).communicate(timeout=SLOW)
    assert (out.splitlines(), err) == (["once", "0 (2, 32, 48, 3)", "1 (2, 32, 48, 3)"], "")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sleep", "spin"])
def test_no_worker_outlives_a_parent_that_was_killed(
    clips: list[Path], tmp_path: Path, sabotage: None, kind: str
) -> None:
    (hang,) = named(clips[0], tmp_path, kind)
    parent = script(tmp_path, clips[0], hang)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "once\n"
    assert parent.stdout.readline().startswith("0 ")
    workers = children_of(parent.pid)
    assert len(workers) == 2
    parent.kill()
    parent.communicate(timeout=SLOW)
    assert wait_for(lambda: not any(alive(pid) for pid in workers))


def test_ctrl_c_ends_the_parent_and_its_workers(clips: list[Path], tmp_path: Path, sabotage: None) -> None:
    (hang,) = named(clips[0], tmp_path, "sleep")
    parent = script(tmp_path, clips[0], hang)
    assert parent.stdout is not None
    parent.stdout.readline(), parent.stdout.readline()
    workers = children_of(parent.pid)
    for pid in (parent.pid, *workers):  # a terminal sends it to the whole group
        with suppress(ProcessLookupError):  # a worker may be gone with its parent by now
            os.kill(pid, signal.SIGINT)
    _, err = parent.communicate(timeout=SLOW)
    assert parent.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt")
    assert not any(alive(pid) for pid in workers)


@pytest.mark.slow
def test_ctrl_c_pressed_thrice_ends_the_command_without_a_traceback(
    clips: list[Path], tmp_path: Path, sabotage: None, clip_folder: Path
) -> None:
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    named(clips[0], folder, "sleep")
    named(clips[1], folder, "sleep too")
    parent = subprocess.Popen(
        [sys.executable, "-m", "kshot.cli", "extract", str(folder.parent), "--backbone", str(clip_folder),
         "--store", str(tmp_path / "store"), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, os.environ["PYTHONPATH"]])},
    )  # fmt: skip
    assert wait_for(lambda: len(children_of(parent.pid)) == 2)
    time.sleep(0.5)
    for _ in range(3):
        with suppress(ProcessLookupError):
            parent.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, err = parent.communicate(timeout=SLOW)
    assert parent.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err and "Exception ignored" not in err and err.startswith("kshot: stopped")


def test_a_clip_lost_to_memory_is_tried_again_alone(clips: list[Path], tmp_path: Path, sabotage: None) -> None:
    """SIGKILL is how a system takes memory back; the second time nothing runs beside the clip."""
    once, killed, hungry = named(clips[0], tmp_path, "once", "killed", "hungry")
    jobs = [Job(path, 2) for path in (clips[1], once, clips[2], killed, hungry, clips[3])]
    results = [result for _, result in decode(jobs, 2)]
    assert [isinstance(result, Taken) for result in results] == [True, True, True, False, False, True]
    assert isinstance(results[3], ClipLost) and "killed (SIGKILL), perhaps for want of memory" in str(results[3])
    assert isinstance(results[4], ClipLost) and str(hungry) in str(results[4])
    assert Path(f"{once}.tried").exists()


def test_workers_killed_while_they_start_cost_nothing(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two die before they say that they are ready."""
    count = tmp_path / "count"
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nwith open({str(count)!r}, 'a') as file: file.write('x')\n"
        f"if os.path.getsize({str(count)!r}) < 3: os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    results = [result for _, result in decode([Job(path, 2) for path in clips[:3]], 1)]
    assert all(isinstance(result, Taken) for result in results)
    assert count.read_text() == "xxx"


def test_workers_that_cannot_start_are_an_error_of_the_run(
    clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'disk on fire\\n'); os._exit(4)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(KshotError, match=r"^decoding workers cannot start: disk on fire$"):
        list(decode([Job(clips[0])], 1))


def test_a_worker_is_light_and_knows_no_torch() -> None:
    """What would make its start slow is not imported; `benchmarks/start.py` has the seconds."""
    heavy = "torch", "transformers", "multiprocessing", "pydantic", "asyncio", "matplotlib", "rich", "typer", "jinja2"
    program = f"import kshot.video.workers, sys\nprint(sorted({set(heavy)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert done.stdout.strip() == "[]"


def test_impossible_jobs_are_refused_before_anything_starts() -> None:
    with pytest.raises(OptionError, match="unknown frame choice 'dense'"):
        Job("a.mp4", mode="dense")
    with pytest.raises(OptionError, match="at least 1 frame"):
        Job("a.mp4", frames=0)
    with pytest.raises(OptionError, match="0 workers or more, found -1"):
        decode([], -1)
