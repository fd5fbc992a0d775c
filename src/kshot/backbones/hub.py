"""Where a backbone's files lie: a local folder, the bundled one, or the Hugging Face hub (cached copy first)."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kshot import gate
from kshot.backbones import preprocessing
from kshot.errors import CheckpointError, KshotError
from kshot.paths import home

BUNDLED = "kshot-tiny"
ALIASES = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
}
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
BIN = "pytorch_model.bin"


@dataclass(frozen=True)
class Layout:
    """Which files a checkpoint consists of.

    Attributes:
        config: says what the network is.
        weights: as safetensors, all in one file.
        index: of weights in several files.
        bin: the weights as a pickle.
    """

    config: str
    weights: str
    index: str
    bin: str


TRANSFORMERS = Layout("config.json", WEIGHTS, INDEX, BIN)
OPEN_CLIP = Layout("open_clip_config.json", f"open_clip_{WEIGHTS}", f"open_clip_{INDEX}", f"open_clip_{BIN}")
SMALL = (
    "config.json", OPEN_CLIP.config, "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
REMOTE = "hf://"
CONVERTER = "SFconvertbot"
"""The hub's own bot. It offers pickled weights of older repositories as safetensors, in a pull request of its own."""
TIMEOUT = 10.0  # seconds that the hub may take to answer

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")

_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")


def resolve(name: str | Path, allow_bin: bool = False) -> Path:
    """The folder with the files of a backbone, fetched from the hub where it is not on this machine yet.

    Args:
        name: a folder, `kshot-tiny`, a short name such as `ViT-B/16`, or a hub id, `owner/name` or
            `owner/name@revision`. An existing folder wins over a hub id of the same spelling, not over `kshot-tiny`.
        allow_bin: also take weights that exist only as `pytorch_model.bin`. Without it, those of a repository that has
            no others come from the pull request in which the hub's bot offers them as safetensors, if there is one.

    Raises:
        CheckpointError: nothing there, or the hub cannot be reached or refuses; names the ways out.
    """
    text = remote(name) or str(name)
    if text == BUNDLED:
        bundled = Path(__file__).parents[1] / "weights" / BUNDLED
        if not bundled.is_dir():
            raise CheckpointError(f"the bundled backbone '{BUNDLED}' is not in this installation: reinstall kshot")
        return bundled
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        return folder
    if folder.is_file() or (remote(name) is None and folder.suffix.lower() in (*PICKLES, ".safetensors")):
        raise CheckpointError(_of_file(folder))
    repository, _, revision = ALIASES.get(text, text).partition("@")
    meant = isinstance(name, Path) and remote(name) is None  # for a folder, and nothing else
    if meant or folder.is_absolute() or text[:1] in ".~" or not _ID.fullmatch(repository):
        raise CheckpointError(
            f"no backbone folder at '{text}': give a folder in transformers format, a hub id such as "
            f"{ALIASES['ViT-B/16']}, or the bundled '{BUNDLED}'"
        )
    revision = revision or "main"
    there = _cached(repository, revision, allow_bin)
    if there is None and revision == "main" and (note := _note(repository)).is_file():
        there = _cached(repository, note.read_text(errors="replace").strip(), False)
    said = any((there / file).exists() for file in preprocessing.FILES) if there is not None else False
    if there is not None and (said or layout(there) is OPEN_CLIP):
        return there
    try:
        return _fetch(repository, revision, allow_bin)
    except CheckpointError:
        if there is None:
            raise
        return there  # a copy of old, from before transformers 5's file was fetched, or of one that has none


def _of_file(file: Path) -> str:
    """What to do where a file was given for a backbone."""
    found = f"{file} is a file" if file.is_file() else f"there is no {file}"
    start = f"{found}, and a backbone is a folder: config.json beside {WEIGHTS}, as transformers and the hub have it"
    beside = [kind for kind in (TRANSFORMERS, OPEN_CLIP) if (file.parent / kind.config).is_file()]
    if file.is_file() and beside and file.name in {name for kind in beside for name in (kind.weights, kind.bin)}:
        return f"{start}: give its folder, {file.parent}"
    return f"{start}: {ways_out([file.name])}"


def ways_out(names: Iterable[str]) -> str:
    """What to do with weights that have no configuration beside them, by the names of their files.

    >>> ways_out(["ViT-B-16.pt"])
    "OpenAI's ViT-B-16.pt is the backbone ViT-B/16"
    """
    names = list(names)
    openai = {f"{alias.replace('/', '-')}.pt": alias for alias in ALIASES}
    if known := next((name for name in names if name in openai), None):
        return f"OpenAI's {known} is the backbone {openai[known]}"
    if any(name in (OPEN_CLIP.weights, OPEN_CLIP.index, OPEN_CLIP.bin) for name in names):
        return f"open_clip's weights need their {OPEN_CLIP.config} beside them: fetch it from where they came"
    if pickle := next((name for name in names if Path(name).suffix.lower() in PICKLES), None):
        return (
            f"{pickle} is a pickle, which may run code and does not say what network it is: give the hub id of the "
            f"same weights, or load them with their own code and write them by transformers' save_pretrained"
        )
    return "fetch all files of the checkpoint into one folder, or give its hub id"


def elsewhere(name: str) -> str:
    """How a message ends about a backbone that a run or model names and that is not found.

    Args:
        name: as it was given when the run or model was made.
    """
    if name == BUNDLED or name in ALIASES:
        return ""
    relative = not Path(name).expanduser().is_absolute() and remote(name) is None
    seen = f"'{name}', if it was a folder, was seen from where that command ran; " if relative else ""
    return f"; {seen}pass where it lies now with --backbone FOLDER"


def cached(name: str) -> bool:
    """Whether a hub id or a short name is on this machine already, all of it."""
    repository, _, revision = ALIASES.get(name, name).partition("@")
    if not _ID.fullmatch(repository):
        return False
    note = _note(repository)
    revisions = [revision or "main", *([note.read_text(errors="replace").strip()] if note.is_file() else [])]
    return any(_cached(repository, one, True) is not None for one in revisions)


def layout(folder: Path, names: Iterable[str] | None = None) -> Layout:
    """Which files a checkpoint consists of: transformers' where it has both kinds whole.

    A config.json without a `model_type`, as timm writes one, is none of transformers'.

    Args:
        folder: with its configuration.
        names: of all its files, also those that are not fetched yet; None for those that are there.
    """
    there = {path.name for path in folder.iterdir()} if names is None else set(names)
    if OPEN_CLIP.config not in there:
        return TRANSFORMERS
    try:
        values = gate.read_json(folder / TRANSFORMERS.config) if TRANSFORMERS.config in there else {}
    except KshotError:
        return TRANSFORMERS  # whose reader says what is wrong with it
    typed = isinstance(values, dict) and "model_type" in values
    return TRANSFORMERS if typed and there & {WEIGHTS, INDEX, BIN} else OPEN_CLIP


def weight_files(folder: Path, kind: Layout = TRANSFORMERS) -> list[Path]:
    """The safetensors files of a folder, one or many shards, whether or not all of them exist; [] without any.

    Args:
        folder: of a checkpoint.
        kind: its layout.

    Raises:
        CheckpointError: the list of shards cannot be read or points out of the folder.
    """
    if (folder / kind.weights).is_file() or not (folder / kind.index).is_file():
        return [folder / kind.weights] if (folder / kind.weights).is_file() else []
    index = gate.read_json(folder / kind.index, error=CheckpointError)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise CheckpointError(f"{folder / kind.index} is damaged (no weight_map of file names): fetch it again")
    names = sorted(set(shards.values()))
    if any(Path(name).name != name or name in ("", "..") or "\\" in name or "\0" in name for name in names):
        raise CheckpointError(f"{folder / kind.index} names shards outside its folder: fetch it from its maker again")
    return [folder / name for name in names]


def remote(model: str | Path) -> str | None:
    """The repository "owner/name" that "hf://owner/name", or open_clip's "hf-hub:owner/name", stands for, else None.

    >>> remote("hf://me/gym"), remote(Path("hf://me/gym")), remote("models/gym")
    ('me/gym', 'me/gym', None)
    """
    found = re.match(r"(?:hf:[/\\]{1,2}|hf-hub:)(.+)", str(model))  # a Path has lost one of the two slashes
    return found[1].replace("\\", "/") if found else None


def local(model: str | Path) -> Path:
    """The folder of a recognizer's model: the one given, or that of "hf://owner/name[@revision]", cached copy first.

    Raises:
        CheckpointError: see `fetch`.
    """
    repository = remote(model)
    return Path(model).expanduser() if repository is None else fetch(repository)


def fetch(repository: str) -> Path:
    """The folder of a whole repository "owner/name" or "owner/name@revision" of the hub, cached copy first.

    Raises:
        CheckpointError: it is not in the cache and the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = repository.partition("@")
    with _silence():
        try:
            return Path(snapshot_download(name, revision=revision or None, etag_timeout=TIMEOUT))
        except Exception as error:
            raise CheckpointError(
                f"'{name}' is not in the cache and cannot be fetched ({_reason(error)}): connect to the hub and check "
                "the id, or give a local folder"
            ) from None


def push(folder: Path, repository: str, private: bool) -> str:
    """Uploads a folder to the hub.

    Args:
        folder: of a recognizer.
        repository: "owner/name", made where absent.
        private: whether a new repository is hidden from others.

    Returns:
        Its address.

    Raises:
        CheckpointError: the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise CheckpointError(f"expected a repository as owner/name, found '{repository}'")
    with _silence():
        try:
            api = HfApi()
            url = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A kshot recognizer")
        except Exception as error:
            raise CheckpointError(
                f"cannot upload to '{repository}' ({_reason(error)}): connect to the hub, log in with `hf auth login`, "
                "and check that the name is yours"
            ) from None
    return str(url)


def _cached(repository: str, revision: str, allow_bin: bool) -> Path | None:
    """The folder of an earlier download, if all of it is there (weights are fetched last)."""
    from huggingface_hub import try_to_load_from_cache

    configs = (try_to_load_from_cache(repository, kind.config, revision=revision) for kind in (TRANSFORMERS, OPEN_CLIP))
    config = next((path for path in configs if isinstance(path, str)), None)
    if config is None:
        return None
    folder = Path(config).parent
    kind = layout(folder)
    files = weight_files(folder, kind) or ([folder / kind.bin] if allow_bin else [])
    return folder if files and all(file.is_file() for file in files) else None


def _fetch(repository: str, revision: str, allow_bin: bool) -> Path:
    """Downloads the few files that are needed, the weights last, and returns their folder in the hub's cache."""
    from huggingface_hub import HfApi, hf_hub_download

    def download(file: str) -> Path:
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=TIMEOUT))

    with _silence():
        try:
            info = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT)
            there = {sibling.rfilename for sibling in info.siblings or ()}
            configs = [kind.config for kind in (TRANSFORMERS, OPEN_CLIP) if kind.config in there]
            if not configs:
                raise _unfetched(repository, "the repository has no config.json")
            kind = TRANSFORMERS
            if OPEN_CLIP.config in there:
                kind = layout([download(name).parent for name in configs][-1], there)
            weights = next(
                (file for file in (kind.weights, kind.index, *([kind.bin] if allow_bin else [])) if file in there), None
            )
            if weights is None and kind.bin in there:
                converted = _converted(repository) if revision == "main" and kind is TRANSFORMERS else None
                if converted is None:
                    raise CheckpointError(
                        f"'{repository}' offers its weights only as {kind.bin}, a pickle: expected {kind.weights}; "
                        f"name a revision that has it ('{repository}@refs/pr/N'), or allow the pickle "
                        "(KSHOT_ALLOW_BIN=1, in Python allow_bin=True), which is then read without running any code"
                    )
                folder = _fetch(repository, converted, False)
                with suppress(OSError):  # then the hub is asked again
                    _note(repository).parent.mkdir(parents=True, exist_ok=True)
                    _note(repository).write_text(converted)
                return folder
            if weights is None:
                raise _unfetched(repository, f"the repository has no {kind.weights}")
            for file in SMALL:
                if file in there:
                    folder = download(file).parent
            last = download(weights)
            if weights == kind.index:
                for shard in weight_files(last.parent, kind):
                    download(shard.name)
        except CheckpointError:
            raise
        except Exception as error:  # the network can fail in as many ways as its libraries have exceptions
            raise _unfetched(repository, _reason(error)) from None
    return folder


def _converted(repository: str) -> str | None:
    """The revision in which the hub's bot, and nobody else, offers the weights as safetensors, if it does."""
    from huggingface_hub import HfApi

    with suppress(Exception):  # a repository may have its pull requests closed to readers
        for request in HfApi().get_repo_discussions(repository, author=CONVERTER, discussion_type="pull_request"):
            if request.author == CONVERTER and request.is_pull_request and request.status != "closed":
                revision = f"refs/pr/{request.num}"
                info = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT)
                if {WEIGHTS, INDEX} & {sibling.rfilename for sibling in info.siblings or ()}:
                    return revision
    return None


def _note(repository: str) -> Path:
    """Where it is written which revision stands in for a repository's main one: for later, without the hub."""
    return home() / "converted" / repository.replace("/", "--")


def _unfetched(repository: str, reason: str) -> CheckpointError:
    near = difflib.get_close_matches(repository, [BUNDLED, *ALIASES], n=1)
    return CheckpointError(
        f"the weights of '{repository}' are neither a folder here nor in the cache and cannot be fetched ({reason}): "
        + (f"did you mean '{near[0]}'? Else " if near else "")
        + "connect to the hub and check the id, or give a local folder in transformers format, or use the bundled "
        f"'{BUNDLED}'"
    )


def _reason(error: Exception) -> str:
    """One short clause for an error of the network."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub answered {status}: no such repository, or it asks for a login"
    if status == 404:
        return "the hub answered 404: no such repository or revision"
    if status is not None:
        return f"the hub answered {status}"
    lines = str(error).strip().splitlines()
    return lines[0][:160].rstrip(". ") if lines else type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps the hub's bars and warnings off the terminal, and puts its settings back."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars, logger = not are_progress_bars_disabled(), logging.getLogger("huggingface_hub")
    level = logger.level
    disable_progress_bars()
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()
