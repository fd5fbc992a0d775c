"""Where kshot keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Folder of kshot's cache: the environment variable KSHOT_HOME, or `~/.cache/kshot`. It may not exist yet."""
    return Path(os.environ.get("KSHOT_HOME") or Path.home() / ".cache" / "kshot")
