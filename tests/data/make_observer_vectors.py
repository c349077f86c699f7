#!/usr/bin/env python3
"""What observers of torch.ao.quantization choose for streams of batches: writes torch_observer_streams.json beside it.

    python3 tests/data/make_observer_vectors.py

needs torch (written with 1.13) and NumPy. HistogramObserver 1.13 counts between the whole numbers that int() makes of a
range's bounds, drops what lies beyond, and stretches the rest over the range; later versions count between the bounds
themselves, and so does it here (see counting_between_bounds). What 1.13 chooses by itself is beside it. The batches are not stored: batch() makes them from a counter, with float64
operations that give the same bits everywhere, and tests/quant/observer_streams.h does the same in C++.
"""
import builtins
import contextlib
import json
import pathlib

import numpy as np
import torch
from torch.ao.quantization import observer as ao


def uniforms(seed, n):
    """n multiples of 2^-24 in [0, 1): SplitMix64 started at seed * 2^32."""
    with np.errstate(over="ignore"):
        z = (np.uint64(seed) << np.uint64(32)) + np.arange(1, n + 1, dtype=np.uint64)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-24


def batch(kind, seed, n, low, high):
    """n float32 values in [low, high], both of which occur. "bell" is a sum of four uniforms, "peaked" the fifth power of
    one, "tailed" has a few values far out; with "relu_" in front the negative ones are 0."""
    u = uniforms(seed, 4 * n).reshape(4, n)
    t = 2 * u[0] - 1
    shape = kind.removeprefix("relu_")
    if shape == "bell":
        t = (u[0] + u[1] + u[2] + u[3] - 2) / 2
    elif shape == "peaked":
        t = t * t * t * t * t
    elif shape == "tailed":
        t = t * u[1] * u[2] * u[3]
    v = np.where(t < 0, t * -low, t * high)
    if kind.startswith("relu_"):
        v = np.maximum(v, 0)
    v[0], v[1] = low, high
    return v.astype(np.float32)


SPECS = [
    dict(bits=8, signed=False, scheme="affine", reduce_range=False),
    dict(bits=8, signed=True, scheme="affine", reduce_range=False),
    dict(bits=8, signed=True, scheme="symmetric", reduce_range=False),
    dict(bits=8, signed=False, scheme="affine", reduce_range=True),
    dict(bits=4, signed=False, scheme="affine", reduce_range=False),
]
# Kind, and each batch's range. HistogramObserver drops the values that its widened range leaves out by a rounding, so
# these grow by simple factors.
STREAMS = [
    ("bell", 4000, [(-2, 2), (-4, 4), (-6, 6)]),
    ("bell", 60000, [(-4, 4), (-8, 8)]),
    ("relu_bell", 4000, [(0, 4), (0, 8), (0, 12)]),
    ("peaked", 20000, [(-3, 5), (-6, 10)]),
    ("tailed", 20000, [(-4, 4), (-8, 8), (-2, 3)]),
    ("tailed", 100000, [(-8, 8), (-16, 16)]),
    ("relu_tailed", 50000, [(0, 16), (0, 32), (0, 8)]),
    ("tailed", 50000, [(-2, 16), (-4, 32)]),
    ("uniform", 4000, [(-3, 5), (-6, 10)]),
    ("bell", 4000, [(-7, 1)]),
    ("tailed", 60000, [(-5, 5), (-10, 10)]),
    ("relu_tailed", 60000, [(0, 10), (0, 20)]),
    ("tailed", 60000, [(-5, 20)]),
    ("bell", 60000, [(-3, 11), (-6, 22)]),
    ("relu_bell", 60000, [(0, 7), (0, 21)]),
    ("tailed", 60000, [(-13, 13)]),
]
# For HistogramObserver alone: bounds as values have them.
FRACTIONAL_STREAMS = [
    ("relu_bell", 20000, [(0, 4.789)]),
    ("relu_tailed", 60000, [(0, 4.789), (0, 6.13)]),
    ("relu_peaked", 20000, [(0, 0.73)]),
    ("bell", 20000, [(-3.61, 4.27)]),
    ("bell", 60000, [(-1.9, 0.55), (-2.75, 1.31)]),
    ("tailed", 60000, [(-5.37, 2.91)]),
    ("tailed", 60000, [(-0.83, 0.47), (-1.21, 0.95), (-0.4, 0.6)]),
    ("tailed", 60000, [(-17.6, 9.9)]),
    ("peaked", 20000, [(-2.47, 7.83)]),
    ("peaked", 20000, [(-1.59, 1.83), (-2.99, 2.01)]),
    ("uniform", 20000, [(-1.63, 2.71)]),
    ("relu_bell", 60000, [(0, 1.97), (0, 2.55), (0, 1.4)]),
]
SHAPES = [((4, 3, 5), 0), ((4, 3, 5), 1), ((4, 3, 5), -1), ((6, 7), 1), ((6, 7), 0)]


def arguments(spec, per_channel):
    granularity = "per_channel" if per_channel else "per_tensor"
    given = dict(
        dtype=torch.qint8 if spec["signed"] else torch.quint8,
        qscheme=getattr(torch, f"{granularity}_{spec['scheme']}"),
        reduce_range=spec["reduce_range"],
    )
    half, all_ = 2 ** (spec["bits"] - 1), 2 ** spec["bits"]
    if spec["scheme"] == "symmetric":  # one integer fewer, so that the range is symmetric
        given.update(quant_min=-half + 1, quant_max=half - 1)
    elif spec["bits"] < 8:
        given.update(quant_min=-half if spec["signed"] else 0, quant_max=half - 1 if spec["signed"] else all_ - 1)
    return given


def observed(observer, batches):
    for x in batches:
        observer(torch.from_numpy(x))
    scale, zero_point = observer.calculate_qparams()
    return observer, dict(scale=scale.tolist(), zero_point=zero_point.tolist())


def minmax_case(name, cls, spec, axis, shape, stream, seed):
    kind, _, ranges = stream
    n = int(np.prod(shape))
    batches = [batch(kind, seed + i, n, *r).reshape(shape) for i, r in enumerate(ranges)]
    given = arguments(spec, axis is not None)
    if axis is not None:
        given["ch_axis"] = axis % len(shape)
    observer, case = observed(cls(**given), batches)
    case.update(observer=name, spec=spec, axis=axis, shape=list(shape), kind=kind, seed=seed, ranges=ranges)
    case.update(min=observer.min_val.reshape(-1).tolist(), max=observer.max_val.reshape(-1).tolist())
    return case


@contextlib.contextmanager
def counting_between_bounds():
    ao.int = lambda value: value.item() if isinstance(value, torch.Tensor) else builtins.int(value)
    yield
    del ao.int


def clipping(observer):
    low, high = observer._non_linear_param_search()
    return np.array([float(low), float(high)])


def histogram_case(spec, stream, seed):
    """With "spread", how much torch's own choice changes if the number of bins is not 2048: its search stops where the
    error grows for the first time, and for some data noise decides where that is."""
    kind, n, ranges = stream
    batches = [batch(kind, seed + i, n, *r) for i, r in enumerate(ranges)]
    between_whole_numbers = clipping(observed(ao.HistogramObserver(**arguments(spec, False)), batches)[0])
    with counting_between_bounds():
        observer, case = observed(ao.HistogramObserver(**arguments(spec, False)), batches)
        assert abs(float(observer.histogram.sum()) - n * len(ranges)) <= len(ranges), "HistogramObserver lost values"
        chosen = clipping(observer)
        others = [clipping(observed(ao.HistogramObserver(bins=bins, **arguments(spec, False)), batches)[0])
                  for bins in (1536, 1792, 2304, 2560, 3072, 4096)]
    case.update(observer="histogram", spec=spec, axis=None, shape=[n], kind=kind, seed=seed, ranges=ranges)
    case.update(min=[chosen[0]], max=[chosen[1]], spread=max(float(np.abs(other - chosen).max()) for other in others),
                between_whole_numbers=between_whole_numbers.tolist())
    return case


def cases():
    seed = 0
    for stream in STREAMS:
        for spec in SPECS:
            seed += 10
            for name, cls in (("minmax", ao.MinMaxObserver), ("moving-average", ao.MovingAverageMinMaxObserver)):
                yield minmax_case(name, cls, spec, None, (60,), stream, seed)
    for i, (shape, axis) in enumerate(SHAPES):
        for spec in SPECS:
            seed += 10
            for name, cls in (("minmax", ao.PerChannelMinMaxObserver),
                              ("moving-average", ao.MovingAveragePerChannelMinMaxObserver)):
                yield minmax_case(name, cls, spec, axis, shape, STREAMS[i], seed)
    # Of fewer bits, or a reduced range, HistogramObserver 1.13 takes no notice in its search.
    for stream in STREAMS + FRACTIONAL_STREAMS:
        for spec in SPECS[:2]:
            seed += 10
            yield histogram_case(spec, stream, seed)


def main():
    lines = ",\n  ".join(json.dumps(case) for case in cases())
    note = "Made by make_observer_vectors.py with torch " + torch.__version__
    path = pathlib.Path(__file__).parent / "torch_observer_streams.json"
    path.write_text(f'{{\n "note": {json.dumps(note)},\n "cases": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
