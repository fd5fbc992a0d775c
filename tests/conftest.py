"""Shared fixtures: the optional real data beside the repository, and a home that no test shares with the user."""

from __future__ import annotations

import functools
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from forks import Command, Forks
    from kshot.activations.activations import Activations
    from kshot.backbones.backbone import Backbone

# Threads that wait without spinning: on a busy machine spinning ones slow small steps many times over. Before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell hands "ignore Ctrl-C" down to what it runs in the background, and so to the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take longest begin first, so that no core waits for them at the end.
LONG = {"test_readme.py", "test_reproduce.py", "test_studio_page.py", "test_studio_care.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real clips, features and split lists that lies beside the repository in CI; skips where absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the shared data folder is not beside the repository")
    return SHARED / "data"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private KSHOT_HOME, so that tests neither read nor leave anything in the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "kshot-home"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("KSHOT_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, in transformers format."""
    from tiny import random_clip

    return random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def clips_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """112 small labelled clips of 14 classes with splits and groups; see `clips.py`."""
    from clips import write_clips

    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def warm_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store folder that tests share, so that the clips are decoded once for each cut; for reading and adding."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def backbone(clip_folder: Path) -> Iterator[Backbone]:
    """The tiny CLIP, loaded and frozen. Tests work on copies of it, or the last of them is told."""
    import torch

    from kshot.backbones.backbone import load

    made = load(clip_folder)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    yield made
    changed = [name for name, value in made.state_dict().items() if not torch.equal(before[name], value)]
    assert not changed, "a test has changed the backbone that all share"


@pytest.fixture(scope="session")
def base(clips_csv: Path, warm_store: Path, backbone: Backbone) -> Activations:
    """Tokens entering the last block, of the clips of the base classes."""
    from kshot.activations.extraction import extract
    from kshot.datasets import load

    return extract(load(clips_csv).select("train"), backbone, "last", warm_store)


@pytest.fixture(scope="session")
def one_registry() -> Iterator[None]:
    """PyTorch's exporter lists the operators of ONNX once and not for each graph, which takes a second each time."""
    registration = pytest.importorskip("torch.onnx._internal.exporter._registration")
    kind = getattr(registration, "ONNXRegistry", None)
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(kind, "from_torchlib"):  # else this PyTorch has it elsewhere
            patch.setattr(kind, "from_torchlib", staticmethod(functools.cache(kind.from_torchlib)))
        yield


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 of this machine's own with one bucket."""
    server_module = pytest.importorskip("moto.server", reason="needs kshot[cluster-test]")
    s3fs = pytest.importorskip("s3fs", reason="needs kshot[cloud]")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        system = s3fs.S3FileSystem()
        name = f"clips-{port}"  # servers of one process have all buckets in common
        system.mkdir(name)
        yield name
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command line in this process: arguments in, exit code, stdout and stderr out.

    However slow the machine is, no work is long enough to be shown.
    """
    from kshot import progress
    from kshot.cli import main

    for limit in ("SOONEST", "LATEST"):
        monkeypatch.setattr(progress, limit, math.inf)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def adapted(tmp_path_factory: pytest.TempPathFactory, clips_csv: Path, warm_store: Path, clip_folder: Path) -> Path:
    """A finished run folder of meta-learning on the small clips. Tests that spoil it work on a copy."""
    from kshot.fewshot.training import train

    folder = tmp_path_factory.mktemp("adapted") / "run"
    train(
        clips_csv, folder, backbone=clip_folder, way=3, query=2, steps=8, lr=3e-3, val_every=4, val_episodes=30,
        store=warm_store,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs scripts in processes of their own that start at once; see `forks.py`."""
    from forks import Forks

    with Forks(tmp_path_factory.mktemp("forks")) as made:
        yield made
