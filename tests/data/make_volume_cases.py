"""Writes torch_volume_cases.json: values and gradients of PyTorch's ops on volumes, in float64 on random inputs.
Debian's python3-torch: /usr/bin/python3 make_volume_cases.py > torch_volume_cases.json"""

import json

import torch
import torch.nn.functional as F

torch.manual_seed(1)


def rounded(x):
    return [float(f"{v:.7g}") for v in x.flatten().tolist()]


def random(*shape):
    return torch.tensor([float(f"{v:.4g}") for v in torch.randn(*shape).flatten().tolist()], dtype=torch.float64).view(shape)


def tensor(x):
    return dict(shape=list(x.shape), values=rounded(x))


def case(op, shapes, args=(), **options):
    inputs = [random(*s).requires_grad_() for s in shapes]
    y = getattr(F, op)(*inputs, *args, **options)
    indices = None
    if isinstance(y, tuple):
        y, indices = y
    out_grad = random(*y.shape)
    grads = torch.autograd.grad(y, inputs, out_grad)
    found = dict(op=op, options=dict(options, args=list(args)), inputs=[tensor(x.detach()) for x in inputs],
                 output=tensor(y.detach()), out_grad=tensor(out_grad), grads=[tensor(g) for g in grads])
    if indices is not None:
        found["indices"] = indices.flatten().tolist()
    return found


def convolution(op, x, weight, out, **options):
    return case(op, [x, weight, [out]], **options)


def conv(x, weight, stride=(1, 1, 1), padding=(0, 0, 0), dilation=(1, 1, 1), groups=1):
    return convolution("conv3d", x, weight, weight[0], stride=stride, padding=padding, dilation=dilation, groups=groups)


def transposed(x, weight, stride=(1, 1, 1), padding=(0, 0, 0), output_padding=(0, 0, 0), dilation=(1, 1, 1), groups=1):
    return convolution("conv_transpose3d", x, weight, weight[1] * groups, stride=stride, padding=padding,
                       output_padding=output_padding, groups=groups, dilation=dilation)


def pool(op, x, kernel, **options):
    return case(op, [x], (kernel,), **options)


cases = [
    conv([2, 2, 3, 4, 4], [3, 2, 2, 3, 3]),
    conv([1, 2, 4, 3, 3], [2, 2, 3, 2, 2], stride=(2, 1, 2), padding=(1, 1, 0)),
    conv([1, 4, 5, 3, 4], [4, 2, 2, 2, 2], stride=(3, 2, 1), padding=(2, 0, 1), dilation=(2, 1, 2), groups=2),
    conv([2, 3, 2, 3, 3], [3, 1, 3, 3, 3], padding=(1, 1, 1), groups=3),
    conv([1, 2, 1, 2, 2], [3, 2, 3, 1, 1], padding=(4, 0, 0), stride=(2, 1, 1)),  # windows that see padding alone
    conv([1, 2, 3, 3, 2], [2, 2, 1, 1, 1], stride=(2, 2, 1)),
    transposed([2, 3, 2, 3, 2], [3, 2, 2, 2, 3]),
    transposed([1, 2, 3, 2, 2], [2, 2, 3, 3, 2], stride=(2, 1, 2), padding=(1, 1, 0), output_padding=(1, 0, 1)),
    transposed([1, 4, 2, 2, 3], [4, 1, 2, 2, 2], stride=(3, 2, 1), dilation=(2, 1, 3), output_padding=(2, 0, 2), groups=2),
    transposed([1, 2, 2, 2, 1], [2, 2, 1, 1, 2], stride=(3, 2, 1), output_padding=(1, 1, 0)),
    transposed([1, 1, 2, 1, 2], [1, 2, 3, 2, 1], dilation=(3, 3, 1), output_padding=(2, 2, 0), padding=(1, 0, 0)),
]
for options in (dict(stride=(2, 2, 2), padding=(0, 0, 0)), dict(stride=(2, 1, 3), padding=(1, 1, 0)),
                dict(stride=(3, 2, 1), padding=(1, 0, 1), ceil_mode=True)):
    for x, kernel in (([2, 1, 5, 4, 3], (2, 2, 2)), ([1, 2, 4, 3, 5], (3, 2, 3))):
        cases.append(pool("max_pool3d", x, kernel, return_indices=True, **options))
        for count_include_pad in (True, False):
            cases.append(pool("avg_pool3d", x, kernel, count_include_pad=count_include_pad, **options))
cases.append(pool("max_pool3d", [1, 1, 6, 5, 7], (2, 2, 3), return_indices=True, stride=(1, 2, 2), dilation=(3, 2, 2),
                  padding=(1, 0, 1)))
cases.append(pool("max_pool3d", [1, 2, 3, 4, 4], (1, 2, 2), return_indices=True, stride=(1, 2, 2)))
cases.append(pool("avg_pool3d", [1, 2, 4, 3, 3], (3, 1, 1), stride=(1, 1, 1), padding=(1, 0, 0)))
for x, size in (([2, 1, 5, 4, 5], (2, 3, 4)), ([1, 3, 3, 4, 2], (1, 1, 1)), ([1, 2, 2, 3, 3], (3, 2, 3))):
    cases.append(pool("adaptive_avg_pool3d", x, size))

lines = ",\n  ".join(json.dumps(c) for c in cases)
print(f'{{\n "note": "Values and gradients of torch.nn.functional 1.13 in float64 on random inputs",\n'
      f' "cases": [\n  {lines}\n ]\n}}')
