"""Which data sets there are by name: one line each."""

from __future__ import annotations

DATASETS: dict[str, str] = {
    "motion": "kshot.datasets.motion:cached",
}
"""Name -> function that makes its CSV, once, and returns the path."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "motion": ("camera",),
}
"""Name -> arguments of that function that follow a ?, as in `motion?camera=fixed`; any other name there is a column."""

BENCHMARKS: dict[str, str] = {
    "hmdb51": "kshot.datasets.hmdb51:HMDB51",
    "ucf101": "kshot.datasets.ucf101:UCF101",
    "kinetics100": "kshot.datasets.kinetics100:KINETICS100",
    "kinetics100-clipfsar": "kshot.datasets.kinetics100:KINETICS100_CLIPFSAR",
    "ssv2-full": "kshot.datasets.ssv2:SSV2_FULL",
    "ssv2-small": "kshot.datasets.ssv2:SSV2_SMALL",
}
"""Name -> benchmark of the field, which is prepared from what its owners hand out."""
