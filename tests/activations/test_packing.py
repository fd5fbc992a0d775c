"""Activations in 8 bits, held against one number at a time in plain Python."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kshot.activations.check import verify
from kshot.activations.encoding import embed
from kshot.activations.extraction import extract
from kshot.activations.packing import is_packed, packed, packed_type, stored_bytes, unpacked
from kshot.backbones.backbone import Backbone
from kshot.datasets import Dataset
from kshot.datasets import load as load_data
from kshot.errors import OptionError
from kshot.fewshot import cost
from kshot.fewshot.evaluation import evaluate


def slow_int8(token: list[float]) -> list[float]:
    """The nearest of 255 numbers that lie evenly between plus and minus the largest magnitude."""
    most = max(map(abs, token))
    steps = [most * number / 127 for number in range(-127, 128)]
    return [min(steps, key=lambda step: abs(step - value)) for value in token]


def slow_float8(token: list[float]) -> list[float]:
    """The nearest number of e4m3: four bits of exponent with bias 7, three of mantissa, 448 the largest."""
    found = [m / 8 * 2.0**-6 for m in range(8)]
    found += [(1 + m / 8) * 2.0 ** (e - 7) for e in range(1, 16) for m in range(8) if (e, m) != (15, 7)]
    scale = max(map(abs, token)) / 448
    return [math.copysign(min(found, key=lambda n: abs(n - abs(v) / scale)), v) * scale for v in token]


@pytest.mark.parametrize(("dtype", "slow"), [("int8", slow_int8), ("float8", slow_float8)])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 6), (2, 1, 3, 2, 5)])
def test_each_token_is_the_nearest_that_its_scale_allows(dtype: str, slow, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3
    lead = 2 if len(shape) == 3 else 3
    kept = packed(values, dtype)
    assert kept.shape == shape[:lead] and is_packed(kept.dtype)
    assert kept.nbytes == stored_bytes(shape, dtype) == math.prod(shape) + 4 * math.prod(shape[:lead])
    expected = [slow(token.tolist()) for token in values.flatten(lead).flatten(0, lead - 1)]
    given = unpacked(kept)
    assert given.dtype == np.float32 and given.shape == shape
    np.testing.assert_allclose(given.reshape(len(expected), -1), expected, rtol=1e-5, atol=1e-6)


def test_a_token_has_a_scale_of_its_own_and_nothing_stays_nothing() -> None:
    values = torch.tensor([[[1e-3, -2e-3], [1e4, 3e3], [0.0, 0.0], [1e-38, 0.0]]])
    for dtype in ("int8", "float8"):
        given = torch.from_numpy(unpacked(packed(values, dtype)))
        torch.testing.assert_close(given[0, :2], values[0, :2], rtol=0.07, atol=0)
        assert not given[0, 2:].any() and given.isfinite().all()


def test_half_the_bytes_of_float16() -> None:
    for shape in ((1, 8, 768), (1, 8, 197, 768), (1, 8, 1280)):
        assert stored_bytes(shape, "int8") <= 0.51 * stored_bytes(shape, "float16")
    assert stored_bytes((2, 8, 512), "float32") == 2 * 8 * 512 * 4


def test_other_structured_types_are_not_taken() -> None:
    assert is_packed(packed_type((7, 7), "float8"))
    for other in (np.dtype("f4"), np.dtype([("values", "i1", 3)]), np.dtype([("values", "i2", 3), ("scale", "<f4")]),
                  np.dtype([("values", "i1", 3), ("scale", ">f4")])):  # fmt: skip
        assert not is_packed(other)


@pytest.fixture(scope="module")
def few(clips_csv: Path) -> Dataset:
    data = load_data(clips_csv).select("val")
    return data.subset(np.concatenate([np.flatnonzero(data.labels == c)[:2] for c in range(4)]))


@pytest.mark.parametrize("dtype", ["int8", "float8"])
@pytest.mark.parametrize("cut", [1, "last", "embedding"])
def test_a_store_in_8_bits(few: Dataset, backbone: Backbone, tmp_path: Path, cut: str | int, dtype: str) -> None:
    """The numbers are those of float32, packed; the tail, exact last block included, takes what comes back."""
    exact = extract(few, backbone, cut, tmp_path, dtype="float32", workers=0)
    done = extract(few, backbone, cut, tmp_path, dtype=dtype, workers=0)
    assert done.store is not None and done.store.key["dtype"] == dtype and done.stored_now == 8
    whole = exact.gather(range(8))
    np.testing.assert_array_equal(done.gather(range(8)), unpacked(packed(torch.from_numpy(whole), dtype)))
    assert cost.stored_bytes(done) == stored_bytes(whole.shape, dtype)
    close = torch.nn.functional.cosine_similarity(embed(backbone, done), embed(backbone, exact), -1)
    assert close.min() > (0.999 if dtype == "int8" else 0.99)
    assert verify(tmp_path).damaged == {}


def test_frames_are_whole_numbers_already(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    first = extract(few, backbone, "frames", tmp_path, workers=0)
    again = extract(few, backbone, "frames", tmp_path, dtype="int8", workers=0)
    assert again.stored_now == 0 and again.gather([0]).dtype == first.gather([0]).dtype == np.uint8


def test_an_evaluation_says_how_activations_were_stored(clips_csv: Path, backbone: Backbone, tmp_path: Path) -> None:
    plain, small = (
        evaluate(clips_csv, backbone, split="val", episodes=20, way=3, query=2, store=tmp_path, dtype=dtype)
        for dtype in ("float16", "int8")
    )
    assert (plain.options.dtype, small.options.dtype) == (None, "int8")
    assert small.cost.stored_bytes == plain.cost.stored_bytes * (16 + 4) / 32
    assert abs(small.accuracy - plain.accuracy) < 5


def test_an_unknown_type_is_refused(few: Dataset, backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="dtype 'int4' is not known: expected one of float16, float32, int8, float8"):
        extract(few, backbone, store=tmp_path, dtype="int4")
    with pytest.raises(OptionError, match="unknown dtype 'int7': did you mean 'int8'"):
        evaluate(few, backbone, dtype="int7")
    assert not list(tmp_path.iterdir())
