"""Random models of one op or a few, in floats, integers and bools. Each takes a Builder."""
import numpy as np

UNARY = ["Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Log",
         "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan",
         "Tanh", "HardSwish", "IsNaN", "IsInf"]
WITH_ATTRIBUTES = {"Elu": ["alpha"], "Celu": ["alpha"], "LeakyRelu": ["alpha"], "ThresholdedRelu": ["alpha"],
                   "Selu": ["alpha", "gamma"], "HardSigmoid": ["alpha", "beta"], "Shrink": ["lambd", "bias"]}
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow", "Mod"]
COMPARISONS = ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"]
REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp", "ReduceL1",
              "ReduceL2", "ReduceLogSum", "ReduceSumSquare"]


def pads_of(b, kernel, dilations):
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    return [int(b.rng.integers(0, e)) for e in extent + extent]


def window(b, size, dims, dilates=True, most=3):
    """Attributes of a window, and an image that it fits in."""
    kernel = b.sizes(dims, 1, most)
    dilations = b.sizes(dims, 1, 2) if dilates and b.chance() else [1] * dims
    attributes = {"kernel_shape": kernel, "strides": b.sizes(dims, 1, 3)}
    if dilations != [1] * dims:
        attributes["dilations"] = dilations
    style = b.pick("none", "pads", "pads", "auto")
    if style == "pads":
        attributes["pads"] = pads_of(b, kernel, dilations)
    elif style == "auto" and dilations == [1] * dims:
        attributes["auto_pad"] = b.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    return attributes, [size + (k - 1) * d for k, d in zip(kernel, dilations)]


def conv(b):
    dims = b.pick(1, 2, 2)
    attributes, image = window(b, int(b.rng.integers(3, 7)), dims)
    groups = b.pick(1, 1, 2, 4)
    channels, out = groups * int(b.rng.integers(1, 4)), groups * int(b.rng.integers(1, 4))
    inputs = [b.input([2, channels, *image]), b.constant(b.values([out, channels // groups, *attributes["kernel_shape"]]))]
    if b.chance():
        inputs.append(b.constant(b.values([out])))
    y = b.node("Conv", inputs, group=groups, **attributes)
    b.output(b.node("Relu", [y]) if b.chance() else y)


def conv_transpose(b):
    attributes, image = window(b, int(b.rng.integers(2, 5)), 2)
    attributes.pop("auto_pad", None)
    kernel, dilations = attributes["kernel_shape"], attributes.get("dilations", [1, 1])
    if "pads" in attributes:
        attributes["pads"] = [min(p, (k - 1) * d // 2) for p, k, d in zip(attributes["pads"], kernel * 2, dilations * 2)]
    attributes["output_padding"] = [int(b.rng.integers(0, s)) for s in attributes["strides"]]
    groups = b.pick(1, 2)
    channels, out = groups * 2, int(b.rng.integers(1, 4))
    inputs = [b.input([2, channels, *image]), b.constant(b.values([channels, out, *kernel]))]
    if b.chance():
        inputs.append(b.constant(b.values([out * groups])))
    b.output(b.node("ConvTranspose", inputs, group=groups, **attributes))


def max_pool(b):
    attributes, image = window(b, int(b.rng.integers(3, 7)), b.pick(1, 2, 2))
    attributes["ceil_mode"] = int(b.chance())
    b.output(b.node("MaxPool", [b.input([2, 3, *image])], **attributes))


def average_pool(b):
    b.opset = b.pick(17, 19)
    attributes, image = window(b, int(b.rng.integers(3, 7)), b.pick(1, 2, 2), dilates=b.opset >= 19)
    attributes.update(ceil_mode=int(b.chance()), count_include_pad=int(b.chance()))
    b.output(b.node("AveragePool", [b.input([2, 3, *image])], **attributes))


def lp_pool(b):
    b.opset = b.pick(17, 18)
    attributes, image = window(b, int(b.rng.integers(3, 7)), 2, dilates=b.opset >= 18)
    if b.opset >= 18:
        attributes["ceil_mode"] = int(b.chance())
    b.output(b.node("LpPool", [b.input([2, 3, *image])], p=b.pick(1, 2, 3), **attributes))


def global_pool(b):
    image = b.sizes(b.pick(1, 2), 1, 5)
    b.output(b.node(b.pick("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), [b.input([2, 3, *image])]))


def gemm(b):
    m, k, n = b.sizes(3, 1, 5)
    trans_b = int(b.chance())
    a = b.input([m, k])
    weight = b.constant(b.values([n, k] if trans_b else [k, n]))
    inputs = [a, weight]
    if b.chance(0.7):
        inputs.append(b.constant(b.values(b.pick([n], [1, n], [1], [], [1, 1]))))
    attributes = {"alpha": 0.5} if b.chance(0.3) else {}
    if b.chance(0.3):
        attributes["beta"] = b.pick(0.0, 2.0)
    b.output(b.node("Gemm", inputs, transB=trans_b, **attributes))


def matmul(b):
    m, k, n = b.sizes(3, 1, 5)
    left, right = b.pick(([2, m, k], [k, n]), ([3, m, k], [3, k, n]), ([2, 3, m, k], [3, k, n]), ([m, k], [k]),
                         ([2, 1, m, k], [1, 3, k, n]))
    known = right[0] != left[0] or len(right) < len(left)
    y = b.node("MatMul", [b.input(left), b.constant(b.values(right)) if known else b.input(right)])
    b.output(b.node("Add", [y, b.constant(b.values([n]))]) if known and len(right) > 1 and b.chance() else y)


def batch_norm(b):
    c = int(b.rng.integers(1, 5))
    tensors = [b.constant(b.values([c])) for _ in range(3)] + [b.constant(np.abs(b.values([c])) + 0.1)]
    x = b.input([3, c, *b.sizes(b.pick(0, 1, 2), 1, 4)])
    b.output(b.node("BatchNormalization", [x, *tensors], epsilon=b.pick(1e-5, 0.01)))


def layer_norm(b):
    shape = b.sizes(b.pick(2, 3, 4), 2, 4)
    axis = int(b.rng.integers(1, len(shape)))
    last = shape[axis:]
    inputs = [b.input(shape), b.constant(b.values(last))] + ([b.constant(b.values(last))] if b.chance() else [])
    b.output(b.node("LayerNormalization", inputs, axis=axis - len(shape) if b.chance() else axis,
                    epsilon=b.pick(1e-5, 0.1)))


def other_norms(b):
    c = 2 * int(b.rng.integers(1, 4))
    op = b.pick("InstanceNormalization", "GroupNormalization", "LRN", "LpNormalization", "MeanVarianceNormalization")
    x = b.input([2, c, *b.sizes(2, 2, 4)])
    if op == "InstanceNormalization":
        b.output(b.node(op, [x, b.constant(b.values([c])), b.constant(b.values([c]))], epsilon=0.01))
    elif op == "GroupNormalization":
        b.opset = 21
        b.output(b.node(op, [x, b.constant(b.values([c])), b.constant(b.values([c]))], num_groups=2, epsilon=0.01))
    elif op == "LRN":
        b.output(b.node(op, [x], size=b.pick(1, 3, 5), alpha=0.1, beta=0.6, bias=1.5))
    elif op == "LpNormalization":
        b.output(b.node(op, [x], axis=b.pick(1, -1, 2), p=b.pick(1, 2)))
    else:
        b.output(b.node(op, [x], axes=[0, 2, 3]))


def unary(b):
    op = b.pick(*UNARY)
    dtype = b.pick(np.float32, np.float32, np.float64)
    if op in ("Acosh", "HardSwish", "Erf", "Softsign", "Asinh", "Atanh", "Cosh", "Sinh", "Acos", "Asin", "Atan", "Tan"):
        dtype = np.float32
    x = b.values([3, 5], dtype)
    if op in ("Acos", "Asin", "Atanh"):
        x = np.clip(x, -0.9, 0.9).astype(dtype)
    if op in ("Acosh",):
        x = np.abs(x) + 1
    if op in ("Log", "Sqrt"):
        x = np.abs(x) + dtype(0.01)
    if op in ("IsNaN", "IsInf"):
        x[0, 0], x[1, 1], x[2, 2] = np.nan, np.inf, -np.inf
    b.output(b.node(op, [b.input(None, array=x)]))


def with_attributes(b):
    op = b.pick(*WITH_ATTRIBUTES)
    attributes = {key: float(np.round(b.rng.random() + 0.05, 3)) for key in WITH_ATTRIBUTES[op] if b.chance(0.7)}
    b.output(b.node(op, [b.input([3, 5])], **attributes))


def newer_activations(b):
    b.opset = 20
    op = b.pick("Mish", "Gelu", "Gelu", "Softmax")
    b.output(b.node(op, [b.input([3, 5])], **({"approximate": b.pick("none", "tanh")} if op == "Gelu" else {})))


def shapes_that_meet(b):
    full = b.sizes(b.pick(2, 3, 4), 1, 4)
    a = [1 if i and b.chance(0.3) else n for i, n in enumerate(full)]
    other = [1 if i == 0 or b.chance(0.4) else n for i, n in enumerate(full)][int(b.rng.integers(0, len(full))):]
    return a, other


def binary(b):
    op = b.pick(*BINARY)
    dtype = b.pick(np.float32, np.float32, np.float64, np.int32, np.int64)
    if op == "PRelu":
        dtype = np.float32
    a, other = shapes_that_meet(b)
    x, y = b.values(a, dtype), b.values(other, dtype)
    attributes = {}
    if np.dtype(dtype).kind == "i" and op in ("Div", "Mod"):
        y[y == 0] = 3
    if np.dtype(dtype).kind == "f" and op == "Mod":
        attributes["fmod"] = 1
    if op == "Mod" and b.chance(0.3):
        attributes["fmod"] = 1
    if op == "Pow":
        x, y = np.abs(x) + dtype(1), np.abs(y)
    inputs = [b.input(None, array=x), b.constant(y)]
    if b.chance() and op != "PRelu":
        inputs.reverse()
        if op in ("Mod", "Div", "Pow"):
            inputs.reverse()
    b.output(b.node(op, inputs, **attributes))


def comparison(b):
    dtype = b.pick(np.float32, np.int64, np.int32)
    a, other = shapes_that_meet(b)
    x, y = b.input(a, dtype), b.constant(b.values(other, dtype))
    condition = b.node(b.pick(*COMPARISONS), [x, y])
    if b.chance(0.3):
        condition = b.node("Not", [condition])
    if b.chance():
        condition = b.node(b.pick("And", "Or", "Xor"), [condition, b.constant(b.values(other, np.bool_))])
    b.output(b.node("Where", [condition, x, y]) if b.chance() else condition)


def bits(b):
    b.opset = 18
    dtype = b.pick(np.uint8, np.int32, np.uint32, np.int64, np.uint64)
    x, y = b.input([3, 4], dtype), b.constant(b.values([4], dtype, 0, 7))
    op = b.pick("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift")
    if op == "BitwiseNot":
        b.output(b.node(op, [x]))
    elif op == "BitShift" and np.dtype(dtype).kind == "u":
        b.output(b.node(op, [x, y], direction=b.pick("LEFT", "RIGHT")))
    else:
        b.output(b.node("BitwiseXor", [x, y]))


def clip(b):
    dtype = b.pick(np.float32, np.float64, np.int32, np.int64, np.uint8)
    low, high = sorted(b.values([2], dtype))
    if b.chance(0.2):
        low, high = high, low
    b.output(b.node("Clip", [b.input([3, 4], dtype), b.constant(low, dtype) if b.chance(0.7) else "",
                             b.constant(high, dtype)]))


def reduction(b):
    b.opset = b.pick(17, 18)
    op = b.pick(*REDUCTIONS)
    dtype = b.pick(np.float32, np.float32, np.float64, np.int32) if op not in REDUCTIONS[5:] else np.float32
    shape = b.sizes(b.pick(2, 3, 4), 1, 4)
    x = b.values(shape, dtype)
    if op == "ReduceLogSum":
        x = np.abs(x) + dtype(1)
    count = int(b.rng.integers(0, len(shape) + 1))
    axes = sorted(b.rng.choice(len(shape), count, replace=False).tolist())
    axes = [axis - len(shape) if b.chance() else axis for axis in axes]
    attributes, inputs = {}, [b.input(None, array=x)]
    if axes and (op == "ReduceSum" or b.opset >= 18):
        inputs.append(b.ints(*axes))
    elif axes:
        attributes["axes"] = axes
    if b.chance(0.7):
        attributes["keepdims"] = int(b.chance())
    b.output(b.node(op, inputs, **attributes))


def along_axis(b):
    shape = b.sizes(b.pick(2, 3), 2, 5)
    axis = int(b.rng.integers(-len(shape), len(shape)))
    op = b.pick("Softmax", "LogSoftmax", "Hardmax", "CumSum", "ArgMax", "ArgMin", "TopK")
    x = b.input(shape)
    if op == "CumSum":
        b.output(b.node(op, [x, b.constant(axis, np.int64)], exclusive=int(b.chance()), reverse=int(b.chance())))
    elif op in ("ArgMax", "ArgMin"):
        b.output(b.node(op, [x], axis=axis, keepdims=int(b.chance()), select_last_index=int(b.chance())))
    elif op == "TopK":
        for y in b.node(op, [x, b.ints(2)], outputs=2, axis=axis, largest=int(b.chance())):
            b.output(y)
    else:
        b.output(b.node(op, [x], axis=axis))


def reshape(b):
    x = b.input([2, 3, 4])
    y = b.node("Reshape", [x, b.ints(*b.pick([-1, 12], [0, -1], [0, 4, 3], [-1, 2, 3], [0, 0, 2, -1], [-1]))])
    b.output(y)


def moving(b):
    shape = b.sizes(b.pick(2, 3, 4), 1, 4)
    rank = len(shape)
    dtype = b.pick(np.float32, np.int64, np.uint8, np.bool_, np.float64)
    op = b.pick("Transpose", "Flatten", "Unsqueeze", "Squeeze", "Expand", "Tile", "Identity", "Shape", "Trilu")
    x = b.input(shape, dtype)
    if op == "Transpose":
        b.output(b.node(op, [x], perm=b.rng.permutation(rank).tolist()))
    elif op == "Flatten":
        b.output(b.node(op, [x], axis=int(b.rng.integers(-rank, rank + 1))))
    elif op == "Unsqueeze":
        b.output(b.node(op, [x, b.ints(*b.pick([0], [-1], [1, -1], [0, 2]))]))
    elif op == "Squeeze":
        y = b.node("Unsqueeze", [x, b.ints(1, -1)])
        b.output(b.node(op, [y, b.ints(*b.pick([1], [-1], [1, -1]))]))
    elif op == "Expand":
        b.output(b.node(op, [x, b.ints(*b.pick([3] + [1] * rank, [1], [2, 1] + [1] * rank))]))
    elif op == "Tile":
        b.output(b.node(op, [x, b.ints(*b.sizes(rank, 0 if b.chance(0.1) else 1, 3))]))
    elif op == "Trilu":
        b.output(b.node(op, [x, b.constant(int(b.rng.integers(-2, 3)), np.int64)], upper=int(b.chance())))
    else:
        b.output(b.node(op, [x]))


def slices(b):
    shape = b.sizes(3, 2, 6)
    axes = sorted(b.rng.choice(3, int(b.rng.integers(1, 4)), replace=False).tolist())
    starts, ends, steps = [], [], []
    for axis in axes:
        step = b.pick(1, 1, 2, -1, -2)
        low, high = b.pick(0, 1, -2, -shape[axis] - 3), b.pick(shape[axis], -1, 2, 1000)
        starts.append(high if step < 0 else low)
        ends.append(low if step < 0 else high)
        steps.append(step)
    axes = [a - 3 if b.chance() else a for a in axes]
    b.output(b.node("Slice", [b.input(shape, b.pick(np.float32, np.int64)), b.ints(*starts), b.ints(*ends), b.ints(*axes),
                              b.ints(*steps)]))


def pad(b):
    b.opset = b.pick(17, 18, 19)
    shape = b.sizes(b.pick(2, 3, 4), 3, 5)
    modes = ["constant", "constant", "reflect", "edge"] + (["wrap"] if b.opset >= 19 else [])
    mode = b.pick(*modes)
    rank = len(shape)
    dtype = b.pick(np.float32, np.float32, np.int64, np.uint8, np.float64)
    low = -1 if mode == "constant" and b.chance() else 0
    pads = b.rng.integers(low, 3, 2 * rank)
    inputs = [b.input(shape, dtype)]
    if b.opset >= 18 and b.chance():
        axes = b.rng.choice(rank, rank - 1, replace=False)
        pads = pads[:2 * len(axes)]
        inputs += [b.ints(*pads), b.constant(3, dtype) if b.chance() else "", b.ints(*axes)]
    else:
        inputs += [b.ints(*pads)] + ([b.constant(3, dtype)] if b.chance() else [])
    b.output(b.node("Pad", inputs, mode=mode))


def joining(b):
    shape = b.sizes(3, 1, 4)
    axis = int(b.rng.integers(-3, 3))
    parts = []
    for _ in range(b.pick(1, 2, 3)):
        own = list(shape)
        own[axis] = int(b.rng.integers(1, 4))
        parts.append(b.input(own))
    if axis % 3 == 0:
        parts.append(b.constant(b.values(shape)))
    b.output(b.node("Concat", parts, axis=axis))


def splitting(b):
    b.opset = b.pick(17, 18)
    axis = b.pick(1, -1, 2)
    size = int(b.rng.integers(3, 8))
    shape = [2, size, size]
    if b.chance():
        sizes = [1, size - 2, 1]
        parts = b.node("Split", [b.input(shape), b.ints(*sizes)], outputs=3, axis=axis)
    elif b.opset >= 18:
        parts = b.node("Split", [b.input(shape)], outputs=3, axis=axis, num_outputs=3)
    else:
        parts = b.node("Split", [b.input([2, 6, 6])], outputs=3, axis=axis)
    for part in parts:
        b.output(part)


def depth(b):
    op = b.pick("DepthToSpace", "SpaceToDepth")
    if op == "DepthToSpace":
        b.output(b.node(op, [b.input([2, 8, 2, 3])], blocksize=2, mode=b.pick("DCR", "CRD")))
    else:
        b.output(b.node(op, [b.input([2, 3, 4, 6])], blocksize=2))


def gathering(b):
    shape = b.sizes(3, 2, 5)
    axis = int(b.rng.integers(-3, 3))
    size = shape[axis]
    index_type = b.pick(np.int64, np.int32)
    op = b.pick("Gather", "Embedding", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "OneHot")
    if op == "Gather":
        axis = axis if axis % 3 else 1
        index = b.rng.integers(-shape[axis], shape[axis], b.pick([], [3], [2, 2])).astype(index_type)
        b.output(b.node(op, [b.input(shape), b.constant(index)], axis=axis))
    elif op == "Embedding":
        table = b.constant(b.values([7, 4]))
        b.output(b.node("Gather", [table, b.input(None, array=b.rng.integers(0, 7, [3, 5]).astype(index_type))], axis=0))
    elif op == "GatherElements":
        index = b.rng.integers(0 if axis in (0, -3) else -size, size if axis not in (0, -3) else 1, shape)
        b.output(b.node(op, [b.input(shape), b.input(None, array=index.astype(index_type))], axis=axis))
    elif op == "GatherND":
        batch = b.pick(0, 1)
        index = b.constant([[0, 1], [0, -1]], np.int64) if batch == 0 else b.input(
            None, array=np.zeros([shape[0], 2, 1], np.int64) + 1)
        b.output(b.node(op, [b.input(shape), index], batch_dims=batch))
    elif op == "ScatterElements":
        index = np.argsort(b.rng.random(shape), axis=axis).astype(index_type)  # each once
        if axis in (0, -3):
            axis, index = 1, np.argsort(b.rng.random(shape), axis=1).astype(index_type)
        attributes = {"reduction": "add"} if b.chance(0.3) else {}
        b.output(b.node(op, [b.input(shape), b.input(None, array=index), b.input(shape)], axis=axis, **attributes))
    elif op == "ScatterND":
        b.output(b.node(op, [b.input(shape), b.constant([[0, 1], [0, 0]], np.int64), b.constant(b.values([2, shape[2]]))]))
    else:
        index = b.input(None, array=b.rng.integers(-3, 5, [3, 2]).astype(np.int64))
        b.output(b.node(op, [index, b.ints(4), b.constant(b.values([2]))], axis=b.pick(-1, 0, 1)))


def resize(b):
    mode = b.pick("nearest", "linear", "cubic")
    attributes = {"mode": mode, "coordinate_transformation_mode": b.pick(
        "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")}
    if mode == "nearest":
        attributes["nearest_mode"] = b.pick("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    if mode == "cubic":
        attributes.update(cubic_coeff_a=b.pick(-0.5, -0.75), exclude_outside=int(b.chance()))
    size = b.sizes(2, 3, 6)
    x = b.input([2, 3, *size])
    if b.chance():
        scales = [1, 1, b.pick(2.0, 1.5, 0.7, 3.0), b.pick(2.0, 1.3, 0.5)]
        b.output(b.node("Resize", [x, "", b.constant(scales, np.float32)], **attributes))
    else:
        b.output(b.node("Resize", [x, "", "", b.ints(2, 3, *b.sizes(2, 2, 9))], **attributes))


def einsum(b):
    equation, a, other = b.pick(("bij,bjk->bik", [2, 3, 4], [2, 4, 5]), ("bi,ij->bj", [2, 3], [3, 4]),
                                ("bhqd,bhkd->bhqk", [2, 2, 3, 4], [2, 2, 5, 4]), ("ij,kj->ik", [3, 4], [2, 4]))
    is_batch = equation.split(",")[1][0] == equation[0]
    b.output(b.node("Einsum", [b.input(a), b.input(other) if is_batch else b.constant(b.values(other))], equation=equation))


def cast(b):
    kinds = {np.float32: 1, np.uint8: 2, np.int8: 3, np.int32: 6, np.int64: 7, np.bool_: 9, np.float64: 11}
    source, target = b.pick(*kinds), b.pick(*kinds)
    x = b.values([3, 4], source, 0, 100)
    if np.dtype(source).kind == "f":
        x = np.abs(x) * 10
    b.output(b.node("Cast", [b.input(None, array=x)], to=kinds[target]))


def gathered_pieces(b):
    """A small network: what follows each other."""
    x = b.input([2, 3, 8, 8])
    y = b.node("Conv", [x, b.constant(b.values([4, 3, 3, 3])), b.constant(b.values([4]))], pads=[1, 1, 1, 1])
    y = b.node("BatchNormalization", [y] + [b.constant(np.abs(b.values([4])) + 0.5) for _ in range(4)])
    gate = b.node("Sigmoid", [b.node("GlobalAveragePool", [y])])
    y = b.node(b.pick("Relu", "HardSwish", "Tanh"), [b.node("Mul", [y, gate])])
    y = b.node("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Flatten", [y], axis=1)
    y = b.node("Gemm", [y, b.constant(b.values([5, 64]) / 8), b.constant(b.values([5]))], transB=1)
    b.output(b.node("Softmax", [y], axis=-1))


CASES = [conv, conv_transpose, max_pool, average_pool, lp_pool, global_pool, gemm, matmul, batch_norm, layer_norm,
         other_norms, unary, with_attributes, newer_activations, binary, comparison, bits, clip, reduction, along_axis,
         reshape, moving, slices, pad, joining, splitting, depth, gathering, resize, einsum, cast, gathered_pieces]
