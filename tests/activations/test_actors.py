"""Extraction by actors of Ray: the same bytes as without, whoever is killed, and one line for what does not do."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_plan import content

from forks import Command
from kshot.activations import actors
from kshot.activations.extraction import extract
from kshot.activations.planned import Shard
from kshot.backbones.backbone import Backbone
from kshot.datasets import load as load_data
from kshot.errors import CheckpointError, EngineError, KshotError, OptionError
from kshot.progress import quiet
from kshot.settings import Arithmetic

PATIENCE = 120.0  # seconds


# Without Ray


def test_says_how_to_install_ray(command: Command, clips_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "find_spec", lambda name: None)
    assert command("extract", clips_csv, "--engine", "ray") == (
        2, "", "kshot: engine ray needs Ray: pip install 'kshot[ray]', or run `kshot extract --shard i/n` n times\n",
    )  # fmt: skip


class _Found:
    origin = "ray/__init__.py"


def test_an_address_where_nobody_listens_is_one_line(
    command: Command, clips_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "find_spec", lambda name: _Found())
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, and nobody listens
        code, out, told = command("extract", clips_csv, "--engine", "ray", "--address", address)
    assert (code, out, told.count("\n")) == (2, "", 1)
    assert told.startswith(f"kshot: no Ray cluster answers at {address} (") and "ray start --head" in told


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", "head:0", ":6379"])
def test_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "find_spec", lambda name: _Found())
    with pytest.raises(OptionError, match="is not of the form host:port"):
        actors.expect_ray(address)


# With Ray


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Ray of this machine's own with two workers."""
    found = pytest.importorskip("ray", reason="needs kshot[ray]")
    if not hasattr(found, "init"):
        pytest.skip("needs kshot[ray]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KSHOT_TEST_MARK", uuid.uuid4().hex)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found.init(num_cpus=2, include_dashboard=False, object_store_memory=actors.OBJECTS, log_to_driver=False)
        found.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def undisturbed(clips_csv: Path, backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed")
    extract(clips_csv, backbone, "embedding", store, workers=0, engine="local")
    return store


def processes() -> list[int]:
    """Numbers of the processes of our actors."""
    mark, found = f"KSHOT_TEST_MARK={os.environ['KSHOT_TEST_MARK']}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_Actor") and mark in (
                folder / "environ"
            ).read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_two_actors_one_of_them_killed_write_the_same_bytes(
    ray: Any, clips_csv: Path, clip_folder: Path, undisturbed: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill() -> None:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit and not killed:
            if list(tmp_path.glob("*/shard-*.json")) and (alive := processes()):
                os.kill(alive[0], signal.SIGKILL)
                killed.append(alive[0])
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    done = extract(clips_csv, clip_folder, "embedding", tmp_path, engine="ray", actors=2)
    killer.join()
    assert killed and content(tmp_path) == content(undisturbed)
    assert len(done.data) == 112 and done.unreadable == {}
    assert done.gather([0]).shape[0] == 1
    again = extract(clips_csv, clip_folder, "embedding", tmp_path, engine="ray", actors=2)
    assert again.stored_now == 0 and content(tmp_path) == content(undisturbed)


def test_what_an_actor_meets_is_told_as_it_is(ray: Any, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(KshotError, match="store") as told:
        extract(clips_csv, clip_folder, "embedding", tmp_path / "store", engine="ray", actors=1)
    assert "\n" not in str(told.value)
    with pytest.raises(CheckpointError, match="nowhere"):
        crew = actors.Crew(_load, ("nowhere", Arithmetic()), None, 1)
        crew.run(load_data(clips_csv), [Shard("p", "p-0", range(8))], "", OPTIONS, quiet)


OPTIONS: dict[str, Any] = {"workers": 0, "store": None}


def _load(backbone: str, how: Arithmetic, options: Mapping[str, Any]) -> Callable[..., Any]:
    raise CheckpointError(f"no backbone at {Path(backbone).name}")


def _dying(backbone: str, how: Arithmetic, options: Mapping[str, Any]) -> Callable[..., Any]:
    class Done:
        stored_now, unreadable = 1, dict[str, str]()

    def work(data: Any, shards: list[Shard]) -> Any:
        if any(shard.name == "p-1" for shard in shards):
            os.kill(os.getpid(), signal.SIGKILL)
        return Done()

    return work


def test_a_shard_that_costs_one_actor_after_the_other_is_given_up(ray: Any, clips_csv: Path) -> None:
    data = load_data(clips_csv)
    crew = actors.Crew(_dying, ("any", Arithmetic()), None, 2)
    shards = [Shard("p", f"p-{i}", range(i * 8, i * 8 + 8)) for i in range(4)]
    with pytest.raises(
        EngineError, match="3 actors died, one after the other, over the shard that begins with"
    ) as told:
        crew.run(data, shards, "", OPTIONS, quiet)
    assert str(data.paths[8]) in str(told.value)


def test_another_kshot_on_the_cluster_is_refused(
    ray: Any, clips_csv: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(actors, "__version__", "9.9")
        with pytest.raises(EngineError, match=r"of the Ray cluster has kshot .*, this is kshot 9\.9: install the same"):
            extract(clips_csv, clip_folder, "embedding", tmp_path, engine="ray")
    monkeypatch.setattr(actors, "_version", lambda: None)
    with pytest.raises(EngineError, match="of the Ray cluster has no kshot, this is"):
        extract(clips_csv, clip_folder, "embedding", tmp_path, engine="ray")
    assert not list(tmp_path.glob("*/shard-*"))


def test_refuses_a_loaded_backbone_and_a_device_that_there_is_not(
    ray: Any, clips_csv: Path, backbone: Backbone, clip_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="engine ray loads the backbone in each actor: name it"):
        extract(clips_csv, backbone, "embedding", tmp_path, engine="ray")
    with pytest.raises(EngineError, match="the Ray cluster has no GPU"):
        extract(clips_csv, clip_folder, "embedding", tmp_path, engine="ray", device="cuda")


def test_unreadable_clips_are_named_once(ray: Any, clips_csv: Path, clip_folder: Path, tmp_path: Path) -> None:
    from clips import write_table

    (tmp_path / "bad.mp4").write_bytes(b"no video")
    some = load_data(clips_csv).subset(np.arange(1, 8))
    rows = [(str(path), "a", "", "") for path in some.paths] + [("bad.mp4", "b", "", "")]
    table = write_table(tmp_path / "clips.csv", rows)
    for stored in (7, 0):
        done = extract(table, clip_folder, "embedding", tmp_path / "store", engine="ray", actors=1)
        assert (done.stored_now, list(done.unreadable)) == (stored, [str(tmp_path / "bad.mp4")])
