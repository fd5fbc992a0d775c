"""Random numbers as pure functions of counters: no state, so the same in every process, chunk and resumed run.

SplitMix64 (Steele et al., OOPSLA 2014) hashes the counters into a key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def mix(x: Keys) -> Keys:
    """SplitMix64's output function, elementwise: a bijection of 64-bit words that passes for random."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def key(*counters: int | NDArray[np.integer]) -> Keys:
    """Hash of several counters, broadcast against each other: one 64-bit random key for each combination."""
    result = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            result = mix(result ^ mix(np.asarray(counter).astype(np.uint64)))
    return result


def generator(*counters: int) -> np.random.Generator:
    """A NumPy generator that depends on the counters alone, for draws that are not episodes."""
    return np.random.Generator(np.random.Philox(int(key(*counters))))
