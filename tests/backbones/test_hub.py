"""Fetching from a hub that runs here: a local server speaks its API, the client runs in processes of its own, because
huggingface_hub reads its environment when it is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoints import write
from hubs import Hub, serving
from kshot.backbones import hub
from kshot.backbones.backbone import load
from kshot.errors import CheckpointError
from tiny import random_clip

pytestmark = pytest.mark.slow

WAYS_OUT = "or give a local folder in transformers format, or use the bundled 'kshot-tiny'"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = random_clip(tmp_path_factory.mktemp("remote"))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[Hub]:
    with serving(files) as running:
        yield running


RESOLVE = "print(hub.resolve(sys.argv[1], allow_bin=len(sys.argv) > 2))"


def client(server: Hub, cache: Path, *arguments: str, code: str = RESOLVE) -> tuple[str, str]:
    """(stdout, error message) of a process of its own that runs `code`; anything else on stderr fails the test."""
    prelude = "import sys\nfrom kshot.backbones import hub\nfrom kshot.errors import KshotError\n"
    guarded = f"{prelude}try:\n    {code}\nexcept KshotError as error:\n    sys.exit(str(error))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(cache),
        "KSHOT_HOME": str(cache / "kshot"),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", guarded, *arguments], capture_output=True, text=True, timeout=300, env=environment
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == done.returncode, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_a_hub_id_loads_and_loads_again_without_the_hub(server: Hub, tmp_path: Path) -> None:
    from kshot.backbones import backbone

    code = "from kshot.backbones import backbone; print(backbone.load(sys.argv[1]).fingerprint)"
    fingerprint, error = client(server, tmp_path, "someone/clip", code=code)
    assert (len(fingerprint), error) == (64, "")
    asked = [request for request in server.requests if request.startswith("GET /someone")]
    assert sorted(Path(request).name for request in asked) == sorted(server.files)  # no README, no other framework
    assert asked[-1].endswith("model.safetensors")

    server.requests.clear()
    server.status = 500
    folder, error = client(server, tmp_path, "someone/clip")
    assert error == ""
    assert backbone.load(folder).fingerprint == fingerprint
    assert server.requests == []


def test_a_file_that_broke_off_is_fetched_again(server: Hub, tmp_path: Path) -> None:
    server.cut = "model.safetensors"
    out, error = client(server, tmp_path, "someone/clip")
    assert (out, error.endswith(WAYS_OUT)) == ("", True)
    server.cut = None
    folder, error = client(server, tmp_path, "someone/clip")
    assert error == ""
    assert (Path(folder) / "model.safetensors").read_bytes() == server.files["model.safetensors"]


def test_shards_that_are_not_all_there_are_not_taken_for_whole(server: Hub, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    server.files["model.safetensors.index.json"] = json.dumps(index).encode()
    server.files["model-1.safetensors"] = server.files.pop("model.safetensors")
    _, error = client(server, tmp_path, "someone/clip")  # the second shard does not exist yet
    assert "cannot be fetched (the hub answered 404" in error
    server.files["model-2.safetensors"] = b"x"
    folder, error = client(server, tmp_path, "someone/clip")
    assert error == ""
    assert {"model-1.safetensors", "model-2.safetensors", "tokenizer.json"} <= {f.name for f in Path(folder).iterdir()}


@pytest.mark.parametrize(
    "status, name, reason",
    [
        (0, "someone/else", "the hub answered 404: no such repository or revision"),
        (401, "someone/clip", "the hub answered 401: no such repository, or it asks for a login"),
        (403, "someone/clip", "the hub answered 403: no such repository, or it asks for a login"),
        (503, "someone/clip", "the hub answered 503"),
    ],
)
def test_a_hub_that_refuses_is_one_line_with_the_ways_out(
    server: Hub, tmp_path: Path, status: int, name: str, reason: str
) -> None:
    server.status = status
    start = time.monotonic()
    out, error = client(server, tmp_path, name)
    assert out == ""
    assert error.startswith(f"the weights of '{name}' are neither a folder here nor in the cache and cannot be fetched")
    assert f"({reason}" in error
    assert error.endswith(WAYS_OUT)
    assert time.monotonic() - start < 100


def test_a_hub_that_is_gone_or_never_answers_is_noticed_soon(server: Hub, tmp_path: Path) -> None:
    server.silent = True
    start = time.monotonic()
    out, error = client(server, tmp_path, "someone/clip", code=f"hub.TIMEOUT = 0.3; {RESOLVE}")
    assert (out, error.endswith(WAYS_OUT)) == ("", True)
    assert "timed out" in error

    server.server_close()
    out, error = client(server, tmp_path, "someone/clip")
    assert (out, error.endswith(WAYS_OUT)) == ("", True)
    assert "refused" in error
    assert time.monotonic() - start < 200


def test_a_hub_that_has_only_pickles_is_refused_until_allowed(server: Hub, tmp_path: Path) -> None:
    server.files["pytorch_model.bin"] = server.files.pop("model.safetensors")
    _, error = client(server, tmp_path, "someone/clip")
    assert "'someone/clip' offers its weights only as pytorch_model.bin, a pickle: expected model.safetensors" in error
    assert not any(request.startswith("GET /someone") for request in server.requests)
    folder, error = client(server, tmp_path, "someone/clip", "allow")
    assert error == ""
    assert (Path(folder) / "pytorch_model.bin").is_file()


def test_weights_that_only_the_hubs_own_bot_offers_as_safetensors_come_from_there(server: Hub, tmp_path: Path) -> None:
    whole = dict(server.files)
    server.files["pytorch_model.bin"] = server.files.pop("model.safetensors")
    server.offers[3] = ("somebody", "open", whole | {"model.safetensors": b"theirs"})
    server.offers[5] = ("SFconvertbot", "closed", whole | {"model.safetensors": b"withdrawn"})
    server.offers[6] = ("SFconvertbot", "open", dict(server.files))  # changes something else
    _, error = client(server, tmp_path, "someone/clip")
    assert "offers its weights only as pytorch_model.bin" in error
    server.offers[7] = ("SFconvertbot", "open", whole)
    server.open = False
    _, error = client(server, tmp_path, "someone/clip")
    assert "offers its weights only as pytorch_model.bin" in error
    server.open = True
    folder, error = client(server, tmp_path, "someone/clip")
    assert error == ""
    assert (Path(folder) / "model.safetensors").read_bytes() == whole["model.safetensors"]
    assert {"config.json", "tokenizer.json"} <= {file.name for file in Path(folder).iterdir()}
    assert not any("pytorch_model.bin" in request for request in server.requests)

    server.requests.clear()
    server.status = 500
    assert client(server, tmp_path, "someone/clip") == (folder, "")  # and later without the hub
    assert server.requests == []
    _, error = client(server, tmp_path, "someone/clip@refs/pr/3")  # what was asked for by name is not replaced
    assert error.endswith(WAYS_OUT)


@pytest.mark.parametrize("timm", [False, True])
def test_a_repository_in_open_clips_layout_loads_and_loads_again_without_the_hub(
    server: Hub, tmp_path: Path, timm: bool
) -> None:
    write(tmp_path / "made", "open_clip", "ResNet")
    server.files = {file.name: file.read_bytes() for file in (tmp_path / "made").iterdir()}
    wanted = set(server.files) | ({"config.json"} if timm else set())
    server.files["README.md"] = b"no"
    if timm:  # whose own files lie beside
        server.files |= {"config.json": b'{"architecture": "resnet50_clip"}', "model.safetensors": b"timm's"}
    code = "from kshot.backbones import backbone; print(backbone.load(sys.argv[1]).fingerprint)"
    found, error = client(server, tmp_path, "someone/clip", code=code)
    assert (len(found), error) == (64, "")
    asked = {Path(request).name for request in server.requests if request.startswith("GET /someone")}
    assert asked == wanted
    server.requests.clear()
    server.status = 500
    assert client(server, tmp_path, "someone/clip", code=code) == (found, "")
    assert server.requests == []


def test_a_pickle_in_open_clips_layout_is_refused_until_allowed(server: Hub, tmp_path: Path) -> None:
    server.files = {"open_clip_config.json": b"{}", "open_clip_pytorch_model.bin": b"x"}
    _, error = client(server, tmp_path, "someone/clip")
    assert "only as open_clip_pytorch_model.bin, a pickle: expected open_clip_model.safetensors" in error
    folder, error = client(server, tmp_path, "someone/clip", "allow")
    assert error == "" and (Path(folder) / "open_clip_pytorch_model.bin").is_file()


def test_a_repository_that_is_no_clip_is_refused_before_any_download(server: Hub, tmp_path: Path) -> None:
    del server.files["model.safetensors"]
    assert "the repository has no model.safetensors" in client(server, tmp_path, "someone/clip")[1]
    del server.files["config.json"]
    assert "the repository has no config.json" in client(server, tmp_path, "someone/clip")[1]
    assert not any(request.startswith("GET /someone") for request in server.requests)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nowhere-at-all", "a/b/c", "", "two words"])
def test_names_that_can_only_be_folders_never_reach_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_fetch", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match=r"no backbone folder at '.*give a folder .* a hub id .* 'kshot-tiny'"):
        hub.resolve(name)
    with pytest.raises(CheckpointError, match="no backbone folder"):
        hub.resolve(Path("nowhere"))


def test_folders_come_first_and_short_names_stand_for_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        hub, "_cached", lambda repository, revision, _: asked.append((repository, revision)) or tmp_path
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "clip").mkdir(parents=True)
    assert hub.resolve("someone/clip") == Path("someone/clip")
    assert hub.resolve("ViT-B/16") == hub.resolve("someone/else@refs/pr/1") == tmp_path
    assert asked == [("openai/clip-vit-base-patch16", "main"), ("someone/else", "refs/pr/1")]


def test_a_copy_from_before_processor_config_was_fetched_is_completed(server: Hub, tmp_path: Path) -> None:
    said = json.loads(server.files.pop("preprocessor_config.json"))
    mean = "from kshot.backbones import backbone; print(backbone.load(sys.argv[1]).mean.flatten().tolist())"
    client(server, tmp_path, "someone/clip")  # as an older kshot left it: without the file
    server.files["processor_config.json"] = json.dumps({"image_processor": said | {"image_mean": [0.5] * 3}}).encode()
    server.status = 500
    out, error = client(server, tmp_path, "someone/clip", code=mean)
    assert (error, out.startswith("[0.48")) == ("", True)  # no hub: what is there has to do
    server.status = 0
    assert client(server, tmp_path, "someone/clip", code=mean) == ("[0.5, 0.5, 0.5]", "")
    server.requests.clear()
    assert client(server, tmp_path, "someone/clip", code=mean) == ("[0.5, 0.5, 0.5]", "")
    assert server.requests == []


def test_the_address_of_a_hub_survives_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "_cached", lambda repository, *_: asked.append(repository) or tmp_path)
    monkeypatch.setattr(hub, "_fetch", lambda *_: tmp_path)
    monkeypatch.setattr(hub, "fetch", lambda repository: asked.append(repository) or tmp_path)
    for name in ("hf://me/gym", Path("hf://me/gym")):
        assert hub.resolve(name) == hub.local(name) == tmp_path
    assert asked == ["me/gym"] * 4
    assert hub.local("models/gym") == Path("models/gym")


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        (["ViT-B-16.pt"], "ViT-B-16.pt", "is a file, .*: OpenAI's ViT-B-16.pt is the backbone ViT-B/16"),
        ([], "ViT-L-14.pt", "there is no ViT-L-14.pt, .*: OpenAI's ViT-L-14.pt is the backbone ViT-L/14"),
        (["epoch_32.pt"], "epoch_32.pt", "epoch_32.pt is a pickle, .*: give the hub id of the same weights"),
        (["pytorch_model.bin", "config.json"], "pytorch_model.bin", r"give its folder, \."),
        (["model.safetensors", "config.json"], "model.safetensors", r"give its folder, \."),
        (["open_clip_model.safetensors", "open_clip_config.json"], "open_clip_model.safetensors", "give its folder, "),
        (["open_clip_model.safetensors"], "open_clip_model.safetensors", "need their open_clip_config.json beside"),
        (["open_clip_pytorch_model.bin"], "open_clip_pytorch_model.bin", "need their open_clip_config.json beside"),
        (["other.safetensors"], "other.safetensors", "fetch all files of the checkpoint into one folder, or"),
    ],
)  # fmt: skip
def test_a_file_for_a_backbone_is_told_its_way(
    files: list[str], given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_fetch", lambda *_: pytest.fail("asked the hub"))
    for name in files:
        (tmp_path / name).write_bytes(b"{}")
    for source in (given, Path(given)):
        with pytest.raises(CheckpointError, match=message) as told:
            hub.resolve(source)
        assert "a backbone is a folder: config.json beside model.safetensors" in str(told.value)


@pytest.mark.parametrize("name", ["ViT-B-32.pt", "open_clip_model.safetensors"])
def test_a_folder_of_weights_without_a_configuration_is_told_its_way(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError) as told:
        load(tmp_path)
    assert str(told.value).endswith(f"format; {hub.ways_out([name])}")


def test_open_clips_own_spelling_of_a_hub_id_is_read() -> None:
    assert hub.remote("hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K") == "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"


def test_a_name_that_was_a_relative_folder_is_called_so() -> None:
    assert hub.elsewhere("kshot-tiny") == hub.elsewhere("ViT-B/16") == ""
    assert hub.elsewhere("/models/clip") == "; pass where it lies now with --backbone FOLDER"
    for name in ("clip", "models/clip", "../clip"):
        assert hub.elsewhere(name) == (
            f"; '{name}', if it was a folder, was seen from where that command ran; pass where it lies now with "
            f"--backbone FOLDER"
        )
