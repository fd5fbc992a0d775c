"""Random numbers as functions of counters: SplitMix64 as published, and a key for each combination."""

from __future__ import annotations

import numpy as np

from kshot.draws import generator, key, mix

WORD = 2**64


def slow_mix(x: int) -> int:
    """SplitMix64's output function in whole numbers, as its authors write it."""
    x = (x + 0x9E3779B97F4A7C15) % WORD
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WORD
    return x ^ (x >> 31)


def slow_key(*counters: int) -> int:
    result = 0
    for counter in counters:
        result = slow_mix(result ^ slow_mix(counter % WORD))
    return result


def test_the_first_numbers_of_the_published_generator() -> None:
    """Of SplitMix64 with seed 1234567, as the reference implementation prints them."""
    state, first = 1234567, []
    for _ in range(3):
        first.append(int(mix(np.array([state], np.uint64))[0]))
        state = (state + 0x9E3779B97F4A7C15) % WORD
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_mixing_is_that_of_whole_numbers() -> None:
    values = [0, 1, 2**31, 2**32 - 1, 2**63, WORD - 1, *(slow_mix(i) for i in range(200))]
    assert mix(np.array(values, np.uint64)).tolist() == [slow_mix(value) for value in values]


def test_no_two_words_are_mixed_to_one() -> None:
    assert len(set(mix(np.arange(100_000, dtype=np.uint64)).tolist())) == 100_000


def test_keys_are_those_of_the_counters_in_order() -> None:
    for counters in ((0,), (1, 2), (2, 1), (0, 0, 5), (17, 3, 2**63 - 1)):
        assert int(key(*counters)) == slow_key(*counters)
    assert len({int(key(*counters)) for counters in ((1, 2), (2, 1), (1, 2, 0), (0, 1, 2), (12,))}) == 5


def test_arrays_of_counters_are_crossed() -> None:
    found = key(3, np.arange(4)[:, None], np.array([7, 9, 11]))
    assert found.shape == (4, 3) and found.dtype == np.uint64
    assert found.tolist() == [[slow_key(3, i, j) for j in (7, 9, 11)] for i in range(4)]


def test_every_bit_of_a_key_is_set_as_often_as_not() -> None:
    bits = np.unpackbits(key(5, np.arange(20_000)).view(np.uint8).reshape(-1, 8), axis=1)
    assert np.abs(bits.mean(0) - 0.5).max() < 0.02


def test_generators_depend_on_all_of_their_counters() -> None:
    first = {counters: generator(*counters).integers(2**62) for counters in ((1,), (2,), (1, 1), (1, 2), (2, 1))}
    assert len(set(first.values())) == len(first)
    assert generator(1, 2).random(5).tolist() == generator(1, 2).random(5).tolist()
