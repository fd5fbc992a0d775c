"""`kshot data prepare` and `verify` of HMDB51's layout: 6,766 files of a few bytes in 51 classes.

    python benchmarks/prepare.py [--rounds 3] [--json]

Once from an unpacked folder, where files stay, and once from an archive of 51 archives, where they are written. The
goal is 60 seconds for both steps together on 2 CPU cores. Real archives add the time to read and write 2 GB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

from kshot import datasets
from kshot.datasets.benchmark import digest
from kshot.datasets.hmdb51 import COUNTS, HMDB51
from kshot.datasets.prepare import prepare, verify

NAMES = {
    label: [f"Some_video_{n // 5}_{label}_f_cm_np1_fr_med_{n % 5}.avi" for n in range(count)]
    for counts in COUNTS.values()
    for label, count in counts.items()
}
LAYOUT = replace(
    HMDB51,
    name="layout",
    digests={
        split: digest((label, f"{label}/{name[:-4]}") for label in counts for name in NAMES[label])
        for split, counts in COUNTS.items()
    },
)
"""HMDB51 with made-up titles, since its own names are not in this repository."""


def write_folder(folder: Path) -> Path:
    for label, names in NAMES.items():
        (folder / label).mkdir(parents=True)
        for name in names:
            (folder / label / name).write_bytes(name.encode())
    return folder


def write_archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as outer:
        for label, names in NAMES.items():
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w") as archive:
                for name in names:
                    archive.writestr(f"{label}/{name}", name)
            outer.writestr(f"{label}.zip", inner.getvalue())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    datasets.BENCHMARKS["layout"] = f"{__name__}:LAYOUT"
    rows = []
    for form, write in (("folder", write_folder), ("archive of 51 archives", write_archive)):
        prepared, verified = [], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["KSHOT_HOME"] = f"{folder}/home"
                source = write(Path(folder) / "source")
                begin = time.perf_counter()
                assert prepare("layout", source).found == 6766
                middle = time.perf_counter()
                splits = verify("layout").splits.values()
                prepared.append(middle - begin)
                verified.append(time.perf_counter() - middle)
                assert sum(row.clips_found for row in splits) == 6766
        rows.append({"form": form, "prepare": statistics.median(prepared), "verify": statistics.median(verified)})
    if options.json:
        print(json.dumps(rows))
        return
    print("| from | prepare, s | verify, s | goal, both |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['form']} | {row['prepare']:.2f} | {row['verify']:.2f} | <= 60 s |")


if __name__ == "__main__":
    main()
