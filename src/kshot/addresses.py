"""What is an address of an object store (s3://, gs://, memory:// ...), and what is a path; `remote` opens addresses.

An address is written as in any other program; where it has become a path, one slash of the two is gone, and it is
known all the same.
"""

from __future__ import annotations

import os
import re

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}([^/].*)", re.DOTALL)  # two letters or more: no drive


def of(path: str | os.PathLike[str]) -> str | None:
    """The address that a path or text is; None for a place in the file system.

    >>> of("s3:/bucket/clip.mp4")
    's3://bucket/clip.mp4'
    """
    text = os.fspath(path)
    found = _ADDRESS.fullmatch(text.replace(os.sep, "/")) if ":/" in text or f":{os.sep}" in text else None
    return f"{found[1]}://{found[2]}" if found and found[1] != "file" else None


def name(path: str | os.PathLike[str]) -> str:
    """What a file is called whatever the current folder is: its address, or its absolute path."""
    return of(path) or os.path.abspath(path)
