"""Is this machine fit for kshot? A line for each thing that it needs, and what to do where one is amiss.

Every check answers for itself, whatever happens in it: what cannot even be tried is a problem of that line alone.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import kshot
from kshot import system
from kshot.paths import home
from kshot.progress import Progress, quiet

STATES = ("ok", "warning", "problem")
TINY = "e2016795"  # start of its fingerprint; a test compares the two
HUB_ID = "openai/clip-vit-base-patch16"  # asked after with --online; it is not downloaded
ROOM = 2e9  # free bytes below which a warning is due: the activations of a few thousand clips
EXPORT = ("onnx", "onnxscript", "onnxruntime")
CAMERAS = Path("/dev")


@dataclass(frozen=True)
class Check:
    """What one look at a machine found.

    Attributes:
        name: what was looked at.
        state: "ok", "warning" (kshot works, but not as well as it could) or "problem".
        found: what is there.
        advice: what to do; "" for nothing.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def doctor(online: bool = False, progress: Progress = quiet) -> dict[str, Any]:
    """Looks at versions, PyTorch, devices, decoding, weights, disk, extras and camera.

    Args:
        online: whether to ask the hub if it can be reached; without it no socket is opened.
        progress: how to show progress.

    Returns:
        A dictionary with `version`, of kshot; `checks`, each with name, state, found and advice; and how many
        `problems` and `warnings` there are.
    """
    checks = []
    with progress("doctor", len(CHECKS) + 1, "checks") as step:
        for name, check in {**CHECKS, "hub": lambda: _hub(online)}.items():
            step(0, name)
            checks.append(_answered(name, check))
            step()
    return {
        "version": kshot.__version__,
        "checks": [asdict(check) for check in checks],
        **{f"{state}s": sum(check.state == state for check in checks) for state in ("problem", "warning")},
    }


def _answered(name: str, check: Callable[[], tuple[str, ...]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:  # a broken installation can fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Check(name, "problem", reason, "reinstall kshot in a fresh environment: pip install kshot")


def _python() -> tuple[str, ...]:
    return "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, kshot {kshot.__version__}"


def _packages() -> tuple[str, ...]:
    """Whether what kshot requires is installed in a version that it was made for."""
    wrong = {}
    for one in _needed().values():
        found = _version(one.name)
        if found is None or not one.specifier.contains(found, prereleases=True):
            wrong[one.name] = f"{one.name} {found or 'is missing'} (needs {one.specifier})"
    if wrong:
        return "problem", ", ".join(wrong.values()), _install(*wrong)
    return "ok", ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "av", "numpy"))


def _needed() -> dict[str, Any]:
    """Name -> what kshot requires of it."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in metadata.requires("kshot") or ()]
    return {one.name: one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})}


def _install(*names: str, again: bool = False) -> str:
    """The command that brings these packages in versions that kshot was made for, and no newer ones."""
    needed = _needed()
    bounded = " ".join(f'"{name}{needed[name].specifier if name in needed else ""}"' for name in names)
    return f"pip install {'--force-reinstall --no-deps ' if again else ''}{bounded}"


def _threads() -> tuple[str, ...]:
    import torch

    cores = system.cores()
    threads, policy = torch.get_num_threads(), os.environ.get("OMP_WAIT_POLICY", "not set")
    found = f"{_count(threads, 'thread')} on {_count(cores, 'core')}, OMP_WAIT_POLICY {policy}"
    if threads > cores:
        return "warning", found, f"more threads than cores slow each other down: set OMP_NUM_THREADS={cores}"
    if policy.upper() != "PASSIVE":
        return "warning", found, "on a busy machine set OMP_WAIT_POLICY=PASSIVE before Python starts"
    return "ok", found


def _device() -> tuple[str, ...]:
    import torch

    if torch.cuda.is_available():
        cards = []
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            one = torch.ones(8, 8, device=f"cuda:{number}")
            if float((one @ one).sum()) != 512:
                return "problem", f"cuda:{number} {card.name} multiplies wrongly", "use --device cpu"
            cards.append(f"cuda:{number} {card.name} ({card.total_memory / 2**30:.0f} GiB)")
        return "ok", ", ".join(cards)
    if torch.backends.mps.is_available():
        one = torch.ones(8, 8, device="mps")
        if float((one @ one).sum()) != 512:
            return "problem", "mps, Apple's GPU, multiplies wrongly", "use --device cpu"
        return "ok", "mps, Apple's GPU"
    if torch.version.cuda:
        advice = "fine for a CPU; for a GPU, update its driver (nvidia-smi should list it)"
        return "warning", f"cpu only: PyTorch was built for CUDA {torch.version.cuda}, but sees no GPU", advice
    return "ok", "cpu"


def _precision() -> tuple[str, ...]:
    import torch

    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return (
            "ok",
            f"on the GPU --precision {'bfloat16' if fast else 'float16'} saves time; on the CPU stay at float32",
        )
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    if native:
        return "ok", "float32; this CPU also computes bfloat16 by itself, so --precision bfloat16 is worth a try"
    return "ok", "float32: this CPU only emulates bfloat16, which is several times slower"


def _torchvision() -> tuple[str, ...]:
    """A torchvision that does not fit PyTorch breaks imports of transformers; it is tried in a process of its own."""
    if importlib.util.find_spec("torchvision") is None:
        return "ok", "not installed; kshot does not need it"
    tried = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if tried.returncode:
        last = (tried.stderr.strip().splitlines() or ["it crashes"])[-1][:160]
        found = f"{_version('torchvision')} cannot be imported: {last}"
        return (
            "warning",
            found,
            "pip uninstall torchvision, which kshot does not need, or install the one for your torch",
        )
    return "ok", f"{_version('torchvision')}"


def _decoding() -> tuple[str, ...]:
    """Draws a clip that grows brighter, and has a worker process choose and decode frames of it."""
    import numpy as np

    from kshot.errors import VideoError
    from kshot.video.workers import Job, decode

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kshot-doctor-") as folder:
        clip = Path(folder) / "clip.mp4"
        codec = _draw(clip)
        _, taken = next(decode([Job(clip, 4, size=32)], workers=1))
    advice = f"reinstall PyAV: {_install('av', again=True)}"
    if isinstance(taken, VideoError):
        return "problem", str(taken), advice
    frames = taken.frames
    levels = frames.mean((1, 2, 3))
    if frames.shape != (4, 32, 32, 3) or not (np.diff(levels) > 20).all():
        return "problem", f"a clip of 4 shades of grey came out as {levels.round().tolist()}", advice
    return "ok", f"{codec} drawn, and read in a process of its own, in {time.perf_counter() - start:.1f} s"


def _draw(path: Path) -> str:
    """Writes 16 frames from dark to bright; returns the codec's name, H.264 where PyAV can write it."""
    import av
    import numpy as np

    codec, name = ("libx264", "H.264") if "libx264" in av.codecs_available else ("mpeg4", "MPEG-4")
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(16):
            pixels = np.full((48, 64, 3), 16 * level, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())
    return name


def _weights() -> tuple[str, ...]:
    """Whether the bundled backbone is there, whole and unchanged, and computes."""
    import numpy as np
    import torch

    from kshot.backbones import backbone

    start = time.perf_counter()
    tiny = backbone.load("kshot-tiny")
    if not tiny.fingerprint.startswith(TINY):
        found = f"kshot-tiny has fingerprint {tiny.fingerprint[:8]}, expected {TINY}"
        return "problem", found, f"its files were changed: {_install('kshot', again=True)}"
    with torch.inference_mode():
        picture = np.full((1, tiny.size, tiny.size, 3), 127, np.uint8)
        norm = float(tiny(tiny.pixels(picture)).norm())
    if not 0 < norm < 1e6:
        return (
            "problem",
            f"kshot-tiny gives an embedding of length {norm}",
            "try --device cpu and another PyTorch build",
        )
    return "ok", f"kshot-tiny {TINY}, loaded and run in {time.perf_counter() - start:.1f} s"


def _lite() -> tuple[str, ...]:
    """Whether the default of real video is there, unchanged, and computes; with its licence and its maker's words."""
    import numpy as np
    import torch

    from kshot.backbones import backbone
    from kshot.backbones.lite import package
    from kshot.errors import CheckpointError

    start, name = time.perf_counter(), package("lite")
    try:
        lite = backbone.load("lite")
    except CheckpointError as error:
        return "problem", str(error), _install(name, again="damaged" in str(error))
    with torch.inference_mode():
        norm = float(lite(lite.pixels(np.full((1, lite.size, lite.size, 3), 127, np.uint8))).norm())
    if not 0 < norm < 1e6:
        return "problem", f"lite gives an embedding of length {norm}", "try --device cpu and another PyTorch build"
    return (
        "ok",
        f"{name} {_version(name)}, loaded and run in {time.perf_counter() - start:.1f} s; licence: {_licence(name)}; "
        "its maker calls the conversion from Google's weights not thoroughly tested",
    )


def _licence(name: str) -> str:
    """The licence that a package's metadata names, and the one whose text it brings."""
    about = metadata.metadata(name)
    fields = [field for field in ("License-Expression", "License") if field in about]
    named = about[fields[0]] if fields else "UNKNOWN"
    texts = [file for file in metadata.files(name) or () if file.name.upper().startswith("LICENSE")]
    text = " ".join(texts[0].read_text().split()) if texts else ""
    brought = "Apache-2.0" if "Apache License, Version 2.0" in text else f"{text[:60]}..." if text else "none"
    return f"{brought} by its LICENSE, {'none' if named == 'UNKNOWN' else named} in its metadata"


def _cache() -> tuple[str, ...]:
    place = home()
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"kshot")
    except OSError as error:
        found = f"{place} cannot be written ({error.strerror})"
        return "problem", found, "set KSHOT_HOME to a folder of your own, or give --store"
    free = shutil.disk_usage(there).free
    found = f"{place}, {free / 1e9:.0f} GB free"
    if free < ROOM:
        return "warning", found, "make room, or set KSHOT_HOME to a larger disk: ask `kshot extract --dry-run` how much"
    return "ok", found


def _export() -> tuple[str, ...]:
    missing = [name for name in EXPORT if importlib.util.find_spec(name) is None]
    if missing:
        needing = "only `kshot export` and `--encoder onnx` need them"
        return "ok", f"without {', '.join(missing)}; {needing}: pip install 'kshot[export]'"
    return "ok", ", ".join(f"{name} {_version(name)}" for name in EXPORT)


def _camera() -> tuple[str, ...]:
    if platform.system() != "Linux":
        return "ok", f"not looked for on {platform.system()}; only `kshot watch --camera` needs one"
    found = sorted(path for path in CAMERAS.glob("video*") if path.name[5:].isdigit())
    if not found:
        return "ok", "none; only `kshot watch --camera` needs one"
    closed = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        advice = "add yourself to the group video: sudo usermod -aG video $USER, then log in again"
        return "warning", f"{', '.join(map(str, closed))} may not be opened", advice
    return "ok", ", ".join(map(str, found))


def _hub(online: bool) -> tuple[str, ...]:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "ok", "HF_HUB_OFFLINE is set: backbones come from folders and the hub's cache"
    if not online:
        return "ok", "not asked; --online asks"
    from huggingface_hub import HfApi

    from kshot.backbones.hub import TIMEOUT

    start = time.perf_counter()
    try:
        HfApi().model_info(HUB_ID, timeout=TIMEOUT)
    except Exception as error:  # the network can fail in as many ways as its libraries have exceptions
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        advice = "kshot-tiny and local folders work without it; check the connection and HTTPS_PROXY"
        return "warning", f"cannot be reached: {reason}", advice
    return "ok", f"answers in {time.perf_counter() - start:.1f} s"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


CHECKS: dict[str, Callable[[], tuple[str, ...]]] = {
    "Python": _python,
    "packages": _packages,
    "threads": _threads,
    "device": _device,
    "precision": _precision,
    "torchvision": _torchvision,
    "decoding": _decoding,
    "weights": _weights,
    "lite": _lite,
    "cache": _cache,
    "export": _export,
    "camera": _camera,
}
