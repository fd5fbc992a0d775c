"""Writes src/kshot/settings/types.py from the fields of `kshot.settings`.

`tests/test_settings.py` checks that it is current.

python scripts/settings_types.py
"""

from __future__ import annotations

from pathlib import Path

from kshot.settings import FRONTS

FILE = Path(__file__).parents[1] / "src" / "kshot" / "settings" / "types.py"
HEAD = '''\
"""Keyword arguments of public functions, for editors and type checkers.

Written by `python scripts/settings_types.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict
'''


def text() -> str:
    """The whole module."""
    parts = [HEAD]
    for front in FRONTS:
        lines = [
            f"class {front.__name__}Keywords(TypedDict, total=False):",
            f'    """Settings of `{front.function}`; what is left out has its default."""',
        ]
        for name, one in front.fields().items():
            kind = str(one.type)
            optional = f"{kind} | None" if name in front.undecided else kind
            lines += ["", f"    {name}: {optional}", f'    """{one.metadata["help"]}"""']
        parts.append("\n\n" + "\n".join(lines) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
