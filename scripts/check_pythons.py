"""What differs between Pythons but PyTorch, tried beside the newest packages that kshot allows.

    python scripts/check_pythons.py 3.12 3.13

PyPI's PyTorch is gigabytes for some of them, so kshot is installed without what needs it: a clip of each container is
decoded, the tests of decoding run, the commands answer, and the studio's page opens. Each Python named must be there,
on the path or with pyenv. Nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "safetensors", "huggingface_hub", "peft", "matplotlib"}
ALSO = ("packaging", "pytest")
TESTS = (
    "tests/video/test_containers.py",
    "tests/video/test_video.py",
    "tests/video/test_workers.py",
    "tests/test_gate.py",
    "tests/test_templates.py",
)

PAGE = """
import sys, urllib.request
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
page = browser.open(sys.argv[1], timeout=20).read().decode()
assert "<html" in page, page[:500]
"""


def main(versions: list[str]) -> int:
    start = time.monotonic()
    missing = [version for version in versions if interpreter(version) is None]
    for version in missing:
        print(f"MISSING: there is no Python {version} on the path or with pyenv: it was NOT checked", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="kshot-pythons-") as place:
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, ROOT)
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda version: check(version, Path(place)), set(versions) - set(missing))
            print(*found, sep="\n", flush=True)
    print(f"{len(versions) - len(missing)} of {len(versions)} Pythons checked in {time.monotonic() - start:.0f} s")
    return bool(missing)


def interpreter(version: str) -> str | None:
    """Path of a Python of that version, such as "3.12"; None where there is none."""
    for path in candidates(version):
        told = subprocess.run([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
        if told.stdout.decode().strip() == version:
            return path
    return None


def candidates(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True))


def check(version: str, place: Path) -> str:
    """What was found, in a line. Raises CalledProcessError or AssertionError if something does not work."""
    environment = place / version
    run(str(interpreter(version)), "-m", "venv", environment)
    python = environment / "bin" / "python"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    light = [line for line in declared if line.partition(">")[0] not in HEAVY]
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, *light, *ALSO)
    run(*pip, "--no-deps", *place.glob("kshot-*.whl"))
    assert "Commands" in run(environment / "bin" / "kshot", "--help")
    assert run(python, "-m", "kshot", "--version").startswith("kshot ")
    quiet = ("-o", "addopts=-q", "-p", "no:cacheprovider", "-k", "not transformers and not ctrl_c_pressed_thrice")
    told = run(python, "-m", "pytest", *quiet, *TESTS, cwd=ROOT)
    page(python, place / f"project-{version}")
    versions = run(python, "-c", "import av, numpy; print('PyAV', av.__version__, 'NumPy', numpy.__version__)").strip()
    return f"Python {version}, {versions}: {told.strip().splitlines()[-1]}; commands and the studio's page answer"


def page(python: Path, project: Path) -> None:
    """Opens the studio's page as its own address tells."""
    command = [str(python), "-m", "kshot", "serve", "--project", str(project), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=alone()) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            run(python, "-c", PAGE, address)
        finally:
            server.send_signal(signal.SIGTERM)


def run(*command: object, cwd: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=alone())
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-6000:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return done.stdout


def alone() -> dict[str, str]:
    """The environment, without what leads to another kshot."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["3.12", "3.13"]))
