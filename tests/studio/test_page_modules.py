"""The page's scripts are modules without a build step: what one imports is there, is served, and leads in no circle."""

from __future__ import annotations

import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import kshot
from kshot.studio.routes.page import FOLDER, PAGE

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import measures  # noqa: E402

SCRIPTS = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir() if file.name.endswith(".js")}
IMPORT = re.compile(r'^import \{ ([^}]+) \} from "\./([\w.]+)";$', re.M)


def imports(name: str) -> dict[str, list[str]]:
    """File -> the names that a script imports from it."""
    return {file: names.split(", ") for names, file in IMPORT.findall(SCRIPTS[name])}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_what_a_script_imports_is_there_and_used(name: str) -> None:
    text = SCRIPTS[name]
    assert text.count("import ") == len(IMPORT.findall(text)), "an import of another form"
    body = IMPORT.sub("", text).replace("...", " ")
    for file, names in imports(name).items():
        assert f"/{file}" in PAGE
        for one in map(re.escape, names):
            exported = rf"^export (?:async )?(?:function|const|let) {one}(?![\w$])"
            assert re.search(exported, SCRIPTS[file], re.M), f"{file} exports no {one}"
            assert re.search(rf"(?<![\w$.-]){one}(?![\w$])", body), f"{one} is unused"


def test_every_script_is_loaded_once_and_in_no_circle() -> None:
    pairs = {(name, file) for name in SCRIPTS for file in imports(name)}
    assert measures.circles(pairs) == []
    assert {file for _, file in pairs} | {"app.js"} == set(SCRIPTS)
    assert (FOLDER / "index.html").read_text("utf-8").count("<script") == 1


def test_the_scripts_are_small() -> None:
    assert {name: len(text.splitlines()) for name, text in SCRIPTS.items() if len(text.splitlines()) > 200} == {}


def test_a_wheel_brings_the_whole_page() -> None:
    """What the packager copies is said once, in pyproject.toml."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"][
        "kshot"
    ]
    package = Path(kshot.__file__).parent
    files = [file.relative_to(package).as_posix() for file in (package / "studio" / "page").iterdir()]
    assert len(files) > 10
    assert [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)] == []
