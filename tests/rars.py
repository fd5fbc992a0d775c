"""rar archives for tests: version 4 with stored members, and a tool that unpacks them, for machines without one."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

MARK = b"Rar!\x1a\x07\x00"
TOOL = """\
#!{python} -SE
import json, pathlib, struct, sys

data, at, members = open(sys.argv[-1], "rb").read(), 7, []
if not data.startswith({mark!r}):
    sys.exit("not a rar")
while at < len(data):
    _, kind, flags, size = struct.unpack_from("<HBHH", data, at)
    if kind == 0x7B:
        break
    packed = struct.unpack_from("<L", data, at + 7)[0] if flags & 0x8000 else 0
    if kind == 0x74:
        length, mode = struct.unpack_from("<HL", data, at + 26)
        name = data[at + 32 : at + 32 + length].decode().replace(chr(92), "/")
        members.append((name, data[at + size : at + size + packed], packed, mode))
    at += size + packed
if "lsar" in sys.argv[0]:
    rows = [{{"XADFileName": name, "XADIsLink": int(mode >> 12 == 0o12)}} for name, _, _, mode in members]
    print(json.dumps({{"lsarContents": rows}}))
else:
    folder = pathlib.Path(sys.argv[sys.argv.index("-output-directory") + 1])
    for name, content, size, _ in members:
        if len(content) != size:
            sys.exit(f"{{name}} is cut short")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
"""


def write_rar(path: Path, members: Iterable[tuple[str, bytes]], mode: int = 0o100644) -> Path:
    """A rar of files."""
    blocks = [MARK, _block(0x73, 0, bytes(6))]
    for name, data in members:
        text = name.replace("/", "\\").encode()  # as in every rar
        sizes = struct.pack(
            "<LLBLLBBHL", len(data), len(data), 3, zlib.crc32(data), 0x58210000, 20, 0x30, len(text), mode
        )
        blocks += [_block(0x74, 0x8000, sizes + text), data]
    path.write_bytes(b"".join([*blocks, _block(0x7B, 0x4000, b"")]))
    return path


def write_tool(folder: Path) -> Path:
    """`unar` and `lsar` that know such archives; returns the folder, for PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("unar", "lsar"):
        (folder / name).write_text(TOOL.format(python=sys.executable, mark=MARK))
        (folder / name).chmod(0o755)
    return folder


def _block(kind: int, flags: int, body: bytes) -> bytes:
    rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest
