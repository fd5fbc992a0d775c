"""One page about a study: what was compared, what came out, at which cost, and how to repeat it.

    DIR/report.html        self-contained: style, figures and filmstrips are inside; no script, nothing is fetched
    DIR/plots/<name>.svg   every figure by itself, and as .png

Reads what `kshot study` wrote and nothing else, but for the filmstrips, which need the clips. Nothing imports this
package but the command line and the demo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kshot.files import disk, locked, write_atomic
from kshot.progress import Progress, quiet
from kshot.study.summary import load_study


def report(folder: str | Path, out: str | Path | None = None, progress: Progress = quiet) -> dict[str, Any]:
    """Writes the page and the plots of a study.

    Args:
        folder: what `kshot study --out` named.
        out: folder to write to; the study's own by default.
        progress: how to show progress.

    Returns:
        A dictionary with `page`, the path of report.html; `plots`, the paths of the figures; and `notes`, what could
        not be shown, and why.

    Raises:
        DataError: no finished study in `folder`.
        OptionError: `out` is a file.
        StoreError: the page cannot be written.
    """
    study = load_study(folder)  # before what draws is imported
    from kshot import fonts
    from kshot.report import filmstrips, page, pictures
    from kshot.report.comparison import compared

    parts: list[page.Part] = []
    comparisons = compared(study, Path(folder))
    with progress("report", len(comparisons), "comparisons") as step:
        for number, comparison in enumerate(comparisons, 1):
            step(0, comparison.title)
            prefix = f"{number}-" if len(comparisons) > 1 else ""
            parts.append(page.Part(comparison, pictures.draw(comparison, prefix), filmstrips.reel(comparison)))
            step()
    drawn = [picture for part in parts for picture in part.pictures]
    plots = {f"{p.name}.{kind}": data for p in drawn for kind, data in (("svg", p.svg), ("png", p.png))}
    missing = "".join(picture.missing for picture in drawn)
    html = page.compose(study, parts)
    place = Path(out or folder)
    with locked(place), disk(place):
        (place / "plots").mkdir(exist_ok=True)
        for name, data in plots.items():
            write_atomic(place / "plots" / name, data)
        write_atomic(place / "report.html", html.encode("utf-8"))
    return {
        "page": str(place / "report.html"),
        "plots": [str(place / "plots" / name) for name in plots],
        "notes": [note for part in parts for note in part.comparison.lost + part.reel.notes]
        + [fonts.advice(missing)] * bool(missing),
    }
