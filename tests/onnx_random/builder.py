"""A model under construction, with random attributes."""
import numpy as np
import onnx
from onnx import helper, numpy_helper

IR_VERSIONS = {13: 7, 14: 7, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 25: 13}


class Builder:
    """rng: numpy.random.Generator. Inputs have a batch in front, which the file leaves free."""

    def __init__(self, rng, opset=17):
        self.rng, self.opset = rng, opset
        self.nodes, self.inputs, self.constants, self.outputs = [], {}, {}, []

    def pick(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, share=0.5):
        return self.rng.random() < share

    def sizes(self, count, low, high):
        return [int(n) for n in self.rng.integers(low, high + 1, count)]

    def values(self, shape, dtype=np.float32, low=-4, high=5):
        if np.dtype(dtype).kind == "f":
            return self.rng.normal(size=shape).astype(dtype)
        if dtype == np.bool_:
            return self.rng.random(shape) < 0.5
        return self.rng.integers(max(low, np.iinfo(dtype).min), high, shape).astype(dtype)

    def input(self, shape, dtype=np.float32, array=None):
        name = "x%d" % len(self.inputs)
        self.inputs[name] = np.asarray(self.values(shape, dtype) if array is None else array)
        return name

    def constant(self, array, dtype=None):
        name = "c%d" % len(self.constants)
        self.constants[name] = np.asarray(array, dtype)
        return name

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def node(self, op, inputs, outputs=1, domain="", **attributes):
        names = ["v%d_%d" % (len(self.nodes), i) for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def output(self, name):
        self.outputs.append(name)

    def model(self):
        to_onnx = onnx.mapping.NP_TYPE_TO_TENSOR_TYPE
        inputs = [helper.make_tensor_value_info(name, to_onnx[a.dtype], ["n", *a.shape[1:]] if a.ndim else [])
                  for name, a in self.inputs.items()]
        constants = [numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "random", inputs, [], constants)
        for name in self.outputs:
            graph.output.add().name = name  # of whatever type it is
        return helper.make_model(graph, ir_version=IR_VERSIONS[self.opset], opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)])
