"""Prints what kshot depends on at its lowest allowed version, for `pip install`: `av>=17.1,<20` becomes `av==17.1`.

PyTorch is left out: its lowest version is a download of gigabytes. The development tools stay as they are.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
TOOLS = {"ruff", "mypy", "playwright"}


def lowest() -> list[str]:
    extras = PROJECT["optional-dependencies"]
    pinned = []
    for line in [*PROJECT["dependencies"], *extras["export"], *extras["dev"]]:
        found = re.fullmatch(r"([\w-]+)>=([\w.]+),<[\w.]+", line)
        if found and found[1] not in TOOLS | {"torch"}:
            pinned.append(f"{found[1]}=={found[2]}")
    return pinned


if __name__ == "__main__":
    print(" ".join(lowest()))
