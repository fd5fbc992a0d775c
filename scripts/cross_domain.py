"""Writes a table with the base and val clips of one data set and the novel clips of another, for a cross-domain study.

python scripts/cross_domain.py motion:40 'clips.csv?dataset=jhmdb' --out cross.csv
kshot study docs/cross-domain.toml --data cross.csv --out studies/cross-domain
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import kshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="where train and val clips come from")
    parser.add_argument("novel", help="where test clips come from")
    parser.add_argument("--out", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()
    base, novel = kshot.load_data(arguments.base), kshot.load_data(arguments.novel)
    test = novel.select("test")
    shared = sorted({*base.classes} & {*test.classes})
    base = base.only(name for name in base.classes if name not in shared)
    parts = [base.select("train"), base.select("val"), test]
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split", "group"])
        for part in parts:
            for path, label, split, group in zip(part.paths, part.labels, part.splits, part.groups, strict=True):
                table.writerow([path.resolve(), part.classes[label], split, f"{part.name}/{group}"])
    counts = ", ".join(f"{len(part)} clips of {len(part.classes)} classes" for part in parts)
    left_out = f"; novel too, so left out of base: {', '.join(shared)}" if shared else ""
    print(f"{arguments.out}: {counts}{left_out}")


if __name__ == "__main__":
    main()
