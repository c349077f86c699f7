"""Random quantized models: an op between DequantizeLinear and QuantizeLinear, or one of integers."""
import numpy as np

from float_cases import pads_of

ACTIVATIONS = (np.uint8, np.uint8, np.int8)


def parameters(b, dtype, scale=None):
    """Names of a scale and a zero point for values of about one."""
    scale = float(b.rng.uniform(0.01, 0.05)) if scale is None else scale
    middle = 128 if dtype == np.uint8 else 0
    zero = b.pick(middle, middle + int(b.rng.integers(-60, 60)), 0 if dtype == np.uint8 else -128)
    return b.constant(scale, np.float32), b.constant(zero, dtype)


def dequantized(b, shape=None, x=None):
    """A float value with integers before it."""
    scale, zero = parameters(b, b.pick(*ACTIVATIONS))
    q = b.node("QuantizeLinear", [b.input(shape) if x is None else x, scale, zero])
    return b.node("DequantizeLinear", [q, scale, zero])


def finish(b, y, scale):
    """The value as integers, and these as floats, the output; sometimes behind a clamp or a move."""
    if b.chance(0.4):
        y = b.node("Relu", [y])
    if b.chance(0.2):
        y = b.node("Clip", [y, b.constant(-0.7, np.float32), b.constant(0.9, np.float32)])
    dtype = b.pick(*ACTIVATIONS)
    own_scale, zero = parameters(b, dtype, scale)
    q = b.node("QuantizeLinear", [y, own_scale, zero])
    if b.chance(0.2):
        q = b.node("Clip", [q, b.constant(3, dtype), b.constant(100, dtype)])
    if b.chance(0.2):
        q = b.node("Flatten", [q], axis=1)
    y = b.node("DequantizeLinear", [q, own_scale, zero])
    b.output(y)
    b.step = scale


def weight(b, shape, out_axis):
    """Dequantized weights of int8 or uint8, by tensor or by output channel."""
    dtype = b.pick(np.int8, np.int8, np.uint8)
    info = np.iinfo(dtype)
    q = b.constant(b.rng.integers(info.min, info.max + 1, shape).astype(dtype))
    count = shape[out_axis]
    many = b.chance(0.6)
    scale = (b.rng.uniform(0.002, 0.01, [count] if many else [])).astype(np.float32)
    lows = (info.min + 1, info.max) if dtype == np.uint8 else (-20, 20)
    style = b.pick("none", "zeros", "any") if dtype == np.int8 else "any"
    inputs = [q, b.constant(scale)]
    if style != "none":
        zeros = np.zeros(scale.shape) if style == "zeros" else b.rng.integers(*lows, scale.shape or None)
        inputs.append(b.constant(zeros, dtype))
    return b.node("DequantizeLinear", inputs, **({"axis": out_axis} if many else {})), scale


def bias(b, count, scale):
    """int32 of a scale of its own, or floats."""
    if b.chance(0.3):
        return b.constant(b.values([count]))
    q = b.constant(b.rng.integers(-3000, 3000, [count]), np.int32)
    own = np.broadcast_to(np.float32(scale) * np.float32(b.pick(0.02, 0.05)), [count]).astype(np.float32)
    return b.node("DequantizeLinear", [q, b.constant(own)], axis=0)


def conv(b):
    groups = b.pick(1, 1, 2, 4)
    channels, out = groups * int(b.rng.integers(1, 4)), groups * int(b.rng.integers(1, 4))
    kernel = b.sizes(2, 1, 3)
    dilations = b.pick([1, 1], [1, 1], [2, 1])
    image = [int(b.rng.integers(3, 7)) + (k - 1) * d for k, d in zip(kernel, dilations)]
    w, scale = weight(b, [out, channels // groups, *kernel], 0)
    inputs = [dequantized(b, [2, channels, *image]), w]
    if b.chance(0.7):
        inputs.append(bias(b, out, scale))
    attributes = {"auto_pad": "SAME_LOWER"} if b.chance(0.2) and dilations == [1, 1] else {
        "pads": pads_of(b, kernel, dilations)}
    y = b.node("Conv", inputs, group=groups, dilations=dilations, strides=b.sizes(2, 1, 2), **attributes)
    finish(b, y, 0.05)


def product(b):
    k, n = b.sizes(2, 2, 40)
    if b.chance():
        trans = b.chance()
        w, scale = weight(b, [n, k] if trans else [k, n], 0 if trans else 1)
        inputs = [dequantized(b, [4, k]), w] + ([bias(b, n, scale)] if b.chance(0.7) else [])
        y = b.node("Gemm", inputs, transB=int(trans))
    else:
        w, scale = weight(b, [k, n], 1)
        y = b.node("MatMul", [dequantized(b, b.pick([4, k], [2, 3, k])), w])
        if b.chance():
            y = b.node("Add", [y, bias(b, n, scale)])
    finish(b, y, 0.05)


def pair(b):
    op = b.pick("Add", "Mul", "Concat", "Sub", "Div", "Max", "Min")
    shape, other = b.pick(([2, 3, 4], [2, 3, 4]), ([2, 3, 4], [2, 1, 4]), ([2, 3], [2, 3]), ([2, 3, 4, 5], [2, 3, 1, 1]))
    if op == "Concat":
        other = shape
    x, y = dequantized(b, shape), dequantized(b, other)
    if b.chance(0.1) and op != "Div":
        y = x
    if op == "Div":
        y = b.node("Add", [b.node("Abs", [y]), b.constant(0.5, np.float32)])
    finish(b, b.node(op, [x, y], **({"axis": -1} if op == "Concat" else {})), 0.05)


def function(b):
    op = b.pick("Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "HardSigmoid", "Exp", "Neg", "Mul", "AddTo", "Elu", "Pow")
    x = dequantized(b, b.sizes(b.pick(2, 3), 1, 6))
    number = b.constant(np.full(b.pick([], [1], [1, 1]), 0.7), np.float32)
    if op == "Mul":
        y = b.node("Mul", [number, x])
    elif op == "AddTo":
        y = b.node("Sub", [x, number])
    elif op == "Pow":
        y = b.node("Pow", [x, b.constant(2, np.float32)])
    else:
        y = b.node(op, [x])
    finish(b, y, 0.02)


def pool(b):
    op = b.pick("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean")
    x = dequantized(b, [2, 3, *b.sizes(b.pick(1, 2) if op.startswith("Global") else 2, 3, 6)])
    if op == "ReduceMean":
        y = b.node(op, [x], axes=[2, 3], keepdims=int(b.chance()))
    elif op.startswith("Global"):
        y = b.node(op, [x])
    else:
        kernel = b.sizes(2, 1, 3)
        y = b.node(op, [x], kernel_shape=kernel, strides=b.sizes(2, 1, 2), pads=pads_of(b, kernel, [1, 1]),
                   ceil_mode=int(b.chance()), **({"count_include_pad": int(b.chance())} if op == "AveragePool" else {}))
    finish(b, y, 0.03)


def float_product(b):
    """Weights that are no integers, with what ONNX Runtime moves or merges between them and the QuantizeLinear."""
    x = dequantized(b, [2, 4, 5, 5])
    weight = b.constant(b.values([6, 4, 3, 3]) / 4)
    y = b.node("Conv", [x, weight, b.constant(b.values([6]))] if b.chance() else [x, weight])
    style = b.pick("plain", "norm", "pool", "flatten", "add", "mul", "dropout", "transpose", "relu")
    if style == "norm":
        y = b.node("BatchNormalization", [y] + [b.constant(np.abs(b.values([6])) + 0.5) for _ in range(4)])
    elif style == "pool":
        y = b.node("MaxPool", [y], kernel_shape=[2, 2])
    elif style == "flatten":
        y = b.node("Flatten", [y])
    elif style in ("add", "mul"):
        y = b.node(style.capitalize(), [y, b.constant(b.values([6, 1, 1]))])
    elif style == "dropout":
        y = b.node("Dropout", [y, b.constant(0.5, np.float32)])
    elif style == "transpose":
        y = b.node("Transpose", [y], perm=[0, 2, 3, 1])
    elif style == "relu":
        y = b.node("Relu", [y])
    finish(b, y, 0.02)


def moves(b):
    x = dequantized(b, [2, 3, 4, 4])
    op = b.pick("Transpose", "Reshape", "Slice", "Pad", "Reflect", "Resize", "Linear", "Tile", "DepthToSpace", "Gather", "Expand",
                "Split")
    if op == "Transpose":
        y = b.node(op, [x], perm=[0, 2, 3, 1])
    elif op == "Reshape":
        y = b.node(op, [x, b.ints(0, -1)])
    elif op == "Slice":
        y = b.node(op, [x, b.ints(1), b.ints(3), b.ints(-1)])
    elif op == "Pad":
        y = b.node(op, [x, b.ints(0, 0, 1, 0, 0, 0, 0, 2), b.constant(b.pick(0, 0, 0.5), np.float32)])
    elif op == "Resize":
        y = b.node(op, [x, "", b.constant([1, 1, 2, 2], np.float32)], mode="nearest",
                   coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    elif op == "Linear":
        y = b.node("Resize", [x, "", b.constant([1, 1, b.pick(2, 1.5), b.pick(3, 0.5)], np.float32)], mode="linear",
                   coordinate_transformation_mode=b.pick("half_pixel", "asymmetric", "align_corners"))
    elif op == "Reflect":
        y = b.node("Pad", [x, b.ints(0, 0, 1, 0, 0, 0, 0, 2)], mode=b.pick("reflect", "edge"))
    elif op == "Tile":
        y = b.node(op, [x, b.ints(1, 2, 1, 3)])
    elif op == "DepthToSpace":
        y = b.node(op, [b.node("Concat", [x, x, x, x], axis=1)], blocksize=2)
    elif op == "Gather":
        y = b.node(op, [x, b.ints(2, 0, -1)], axis=1)
    elif op == "Expand":
        y = b.node(op, [b.node("Slice", [x, b.ints(1), b.ints(2), b.ints(-1)]), b.ints(1, 1, 1, 5)])
    else:
        y = b.node(op, [x, b.ints(1, 2)], outputs=2, axis=1)[1]
    finish(b, y, 0.03)


def normalization(b):
    x = dequantized(b, [2, 4, 5, 5])
    y = b.node("InstanceNormalization", [x, b.constant(b.values([4])), b.constant(b.values([4]))], epsilon=1e-3)
    finish(b, y, 0.03)


def integer_op(b):
    """QLinear ops, which take and give integers."""
    dtype = b.pick(*ACTIVATIONS)
    (xs, xz), (ys, yz) = parameters(b, dtype), parameters(b, dtype, 0.05)
    x = b.input([2, 3, 4, 4], dtype, b.rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, [2, 3, 4, 4]).astype(dtype))
    ms = "com.microsoft"
    op = b.pick("QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool",
                "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearConv", "QLinearMatMul")
    if op in ("QLinearAdd", "QLinearMul"):
        zs, zz = parameters(b, dtype)
        other = b.input(None, array=b.rng.integers(0, 100, [2, 3, 1, 1]).astype(dtype))
        y = b.node(op, [x, xs, xz, other, zs, zz, ys, yz], domain=ms)
    elif op == "QLinearConcat":
        y = b.node(op, [ys, yz, x, xs, xz, x, xs, xz], domain=ms, axis=1)
    elif op == "QLinearAveragePool":
        y = b.node(op, [x, xs, xz, ys, yz], domain=ms, kernel_shape=[2, 2], pads=[1, 0, 0, 1],
                   count_include_pad=int(b.chance()))
    elif op == "QLinearSoftmax":
        ys, yz = b.constant(1 / 256, np.float32), b.constant(0 if dtype == np.uint8 else -128, dtype)
        b.output(b.node(op, [x, xs, xz, ys, yz], domain=ms, axis=-1, opset=13))
        b.step = 1
        return
    elif op == "QLinearConv":
        w = b.constant(b.rng.integers(-128, 128, [4, 3, 3, 3]), np.int8)
        ws, wz = b.constant(b.rng.uniform(0.002, 0.01, [4]), np.float32), b.constant(np.zeros(4), np.int8)
        inputs = [x, xs, xz, w, ws, wz, ys, yz]
        if b.chance():
            inputs.append(b.constant(b.rng.integers(-9000, 9000, [4]), np.int32))
        y = b.node(op, inputs, pads=[1, 1, 0, 0])
    elif op == "QLinearMatMul":
        w = b.constant(b.rng.integers(0, 255, [4, 5]), np.uint8)
        y = b.node(op, [x, xs, xz, w, b.constant(0.01, np.float32), b.constant(120, np.uint8), ys, yz])
    else:
        y = b.node(op, [x, xs, xz, ys, yz], domain=ms, **({"alpha": 0.2} if op == "QLinearLeakyRelu" else {}))
    b.output(y)
    b.step = 1


CASES = [conv, product, float_product, pair, function, pool, moves, normalization, integer_op]
