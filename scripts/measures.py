"""Measures of the code: what a change may not make worse, and where it is to get.

    python scripts/measures.py            every figure with its limit and its goal; exits with 1 where a limit is passed
    python scripts/measures.py --path     also names the files that `kshot evaluate --head otam` runs through

A limit is what the code has reached: whoever makes a figure better lowers its limit, too.

A room is a folder or a file directly in src/kshot. A room stands one floor above the highest room that it imports.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "kshot"

FRONTS = {
    "activations.estimation.estimate",
    "activations.extraction.extract",
    "cli.recognizer.fit",
    "cli.recognizer.predict",
    "fewshot.evaluation.evaluate",
    "fewshot.training.train",
    "recognizer.estimator.__init__",
}
"""Public functions and commands whose keyword arguments are the settings themselves."""

GOALS = {
    "largest file, lines": 450,
    "longest function, lines of statements": 60,
    "most parameters of a function": 12,
    "evaluate --head otam runs through, files": 20,
    "evaluate --head otam runs through, lines": 4500,
    "tests / source, lines": 0.9,
    "floors": 10,
    "circles": 0,
    "arrows up": 0,
    "typed arguments, share": 1.0,
}
LIMITS = GOALS | {
    "evaluate --head otam runs through, files": 76,
    "evaluate --head otam runs through, lines": 12_800,
    "tests / source, lines": 0.83,
}
"""What is reached where the goal is not."""

AT_LEAST = {"tests / source, lines", "typed arguments, share"}

LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "paths", "progress", "draws", "system", "interrupt", "terminal", "names", "fonts", "ranks", "excerpts"),
    ("processes", "addresses", "compact"),
    ("gate", "options", "files", "remote", "settings", "seals", "forms", "templates"),
    ("backbones", "video"),
    ("tuning", "heads", "datasets"),
    ("activations",),
    ("fewshot",),
    ("study", "recognizer"),
    ("report", "studio", "export", "doctor", "catalogue", "demo", "verify", "forget"),
    ("cli",),
)
"""Which rooms stand where, from the ground up: imports go downwards, or sideways where no circle comes of it."""

TRACE = """
import json, sys, threading
SOURCE = sys.argv.pop(1)  # of kshot, with a separator behind it
seen = set()
def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & 1 and code.co_filename.startswith(SOURCE):  # no class bodies
        seen.add(code.co_filename)
threading.setprofile(note)
sys.setprofile(note)
from kshot.cli import main
try:
    main(sys.argv[2:])
finally:
    sys.setprofile(None)
    open(sys.argv[1], "w").write(json.dumps(sorted(seen)))
"""


@dataclass(frozen=True)
class Arrow:
    """An import from one module to another, both by their dotted names without the package's."""

    source: str
    target: str


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Dotted name without the package's -> file."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    return module.partition(".")[0]


def arrows(source: Path = SOURCE) -> list[Arrow]:
    """Every import inside the package, also those made late inside functions and for type checkers alone."""
    known = modules(source)
    found = set()
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for target in _imported(node):
                parts = target.split(".")[1:]
                while parts and ".".join(parts) not in known:
                    parts.pop()
                if parts and ".".join(parts) != name:
                    found.add(Arrow(name, ".".join(parts)))
    return sorted(found, key=lambda arrow: (arrow.source, arrow.target))


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "kshot":
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.startswith("kshot."))


def between_rooms(found: list[Arrow]) -> set[tuple[str, str]]:
    """Room -> room. `__main__` is `cli` by another name, and no room."""
    pairs = {(room(arrow.source), room(arrow.target)) for arrow in found}
    return {(source, target) for source, target in pairs if source != target and source not in ("", "__main__")}


def upward(found: list[Arrow]) -> list[Arrow]:
    """Imports from a room to one that stands higher, by `LEVELS`.

    Raises:
        KeyError: a room has no place in `LEVELS`.
    """
    level = {name: number for number, names in enumerate(LEVELS) for name in names}
    level |= {"__main__": len(LEVELS), "": -1}
    return [a for a in found if level[room(a.target)] > level[room(a.source)] and room(a.source)]


def circles(pairs: set[tuple[str, str]]) -> list[list[str]]:
    """Sets of nodes that reach each other, of two or more (Tarjan's algorithm)."""
    edges: dict[str, list[str]] = {}
    for source, target in sorted(pairs):
        edges.setdefault(source, []).append(target)
        edges.setdefault(target, [])
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in edges[node]:
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in edges:
        if node not in order:
            visit(node)
    return found


def floors(pairs: set[tuple[str, str]]) -> int:
    """How many floors the rooms stand on; nothing for a house with circles."""
    below: dict[str, set[str]] = {}
    for source, target in pairs:
        below.setdefault(source, set()).add(target)
        below.setdefault(target, set())
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((of(other) for other in below[name]), default=0)
        return height[name]

    return max(map(of, below), default=0)


def functions(source: Path = SOURCE) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, path in modules(source).items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def statement_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [one for one in every if one is not None and one.arg not in ("self", "cls")]


def evaluation_path(folder: Path) -> list[Path]:
    """Files of which a function runs in `kshot evaluate --head otam` on drawn clips whose activations are stored."""
    sys.path.insert(0, str(ROOT / "tests"))
    from clips import write_clips

    asked = ["evaluate", str(write_clips(folder)), "--head", "otam", "--episodes", "20", "--way", "2"]
    asked += ["--store", str(folder / "store")]
    seen: list[str] = []
    for _ in range(2):  # once to store, once more to follow
        command = [sys.executable, "-c", TRACE, f"{SOURCE}{os.sep}", str(folder / "seen.json"), *asked]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seen = json.loads((folder / "seen.json").read_text())
    return [Path(name) for name in seen]


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def read() -> dict[str, tuple[float, str]]:
    """Figure -> value, and where it stands: all that can be read without running anything."""
    files = {name: lines(file) for name, file in modules().items()}
    largest = max(files, key=lambda name: files[name])
    every = list(functions())
    longest, node = max(every, key=lambda pair: statement_lines(pair[1]))
    widest, wide = max((pair for pair in every if pair[0] not in FRONTS), key=lambda pair: len(parameters(pair[1])))
    arguments = [argument for _, function in every for argument in parameters(function)]
    typed = sum(argument.annotation is not None for argument in arguments) / len(arguments)
    found = arrows()
    pairs = between_rooms(found)
    knots = [*circles(pairs), *circles({(a.source, a.target) for a in found if a.source})]
    tests = sum(map(lines, (ROOT / "tests").rglob("*.py")))
    return {
        "largest file, lines": (files[largest], largest),
        "longest function, lines of statements": (statement_lines(node), longest),
        "most parameters of a function": (len(parameters(wide)), widest),
        "tests / source, lines": (round(tests / sum(files.values()), 3), ""),
        "floors": (0 if circles(pairs) else floors(pairs), ""),
        "circles": (len(knots), "; ".join(", ".join(knot) for knot in knots)),
        "arrows up": (len(upward(found)), "; ".join(f"{a.source} -> {a.target}" for a in upward(found))),
        "typed arguments, share": (round(typed, 4), ""),
    }


def worse(name: str, value: float) -> bool:
    """Whether a figure passes its limit."""
    return value < LIMITS[name] if name in AT_LEAST else value > LIMITS[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", action="store_true", help="name the files that an evaluation runs through")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        road = evaluation_path(Path(folder))
    if asked.path:
        for file in road:
            print(f"{lines(file):5}  {file.relative_to(SOURCE)}")
    found = read()
    found["evaluate --head otam runs through, files"] = (len(road), "")
    found["evaluate --head otam runs through, lines"] = (sum(map(lines, road)), "")
    print(f"{'':42} {'now':>8}    {'limit':>8} {'goal':>8}")
    for name, (value, place) in found.items():
        sign = ">=" if name in AT_LEAST else "<="
        print(f"{name:42} {value:>8,} {sign} {LIMITS[name]:>8,} {GOALS[name]:>8,}  {place}")
    if past := [name for name, (value, _) in found.items() if worse(name, value)]:
        sys.exit("worse than allowed: " + "; ".join(past))


if __name__ == "__main__":
    main()
