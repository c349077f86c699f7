"""Writes torch_small_layer_cases.json: values and gradients of PyTorch's small layers, in float64 on random inputs.
Debian's python3-torch: /usr/bin/python3 make_small_layer_cases.py > torch_small_layer_cases.json"""

import json

import torch
from torch import nn

torch.manual_seed(7)


def random(shape):
    return torch.tensor([float(f"{v:.4g}") for v in torch.randn(shape).flatten().tolist()],
                        dtype=torch.float64).view(shape)


def tensor(x):
    return dict(shape=list(x.shape), values=[float(f"{v:.16g}") for v in x.flatten().tolist()])


class RMSNorm(nn.Module):
    """As PyTorch has it since 2.4: torch.nn.functional.rms_norm."""

    def __init__(self, shape, eps=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.dims, self.eps = tuple(range(-len(shape), 0)), eps

    def forward(self, x):
        eps = torch.finfo(torch.float32).eps if self.eps is None else self.eps
        return x * torch.rsqrt(x.pow(2).mean(self.dims, keepdim=True) + eps) * self.weight


def case(name, layer, shape, **options):
    layer = layer.double()
    for p in layer.parameters():
        p.data = random(p.shape)
    x = random(shape).requires_grad_()
    y = layer(x)
    out_grad = random(y.shape)
    grads = torch.autograd.grad(y, [x, *layer.parameters()], out_grad)
    return dict(layer=name, options=options, parameters=[tensor(p.detach()) for p in layer.parameters()],
                input=tensor(x.detach()), output=tensor(y.detach()), out_grad=tensor(out_grad),
                grads=[tensor(g) for g in grads])


cases = [
    case("PReLU", nn.PReLU(), [2, 3, 4], num_parameters=1),
    case("PReLU", nn.PReLU(3), [2, 3, 4], num_parameters=3),
    case("ELU", nn.ELU(0.7), [3, 5], alpha=0.7),
    case("SELU", nn.SELU(), [3, 5]),
    case("CELU", nn.CELU(2.0), [3, 5], alpha=2.0),  # whose inverse is exact: PyTorch has it in float32
    case("Softplus", nn.Softplus(2, 1.5), [3, 5], beta=2.0, threshold=1.5),
    case("Softsign", nn.Softsign(), [3, 5]),
    case("Mish", nn.Mish(), [3, 5]),
    case("Hardtanh", nn.Hardtanh(-0.5, 0.8), [3, 5], min_val=-0.5, max_val=0.8),
    case("GLU", nn.GLU(), [2, 3, 6], axis=-1),
    case("GLU", nn.GLU(1), [2, 4, 3], axis=1),
    case("LogSoftmax", nn.LogSoftmax(1), [2, 4, 3], axis=1),
    case("Identity", nn.Identity(), [2, 3]),
    case("InstanceNorm1d", nn.InstanceNorm1d(3), [2, 3, 5], affine=False, eps=1e-5),
    case("InstanceNorm2d", nn.InstanceNorm2d(3, affine=True, eps=0.1), [2, 3, 3, 4], affine=True, eps=0.1),
    case("InstanceNorm3d", nn.InstanceNorm3d(2, affine=True), [2, 2, 2, 3, 2], affine=True, eps=1e-5),
    case("RMSNorm", RMSNorm([5]), [3, 5], normalized_shape=[5]),
    case("RMSNorm", RMSNorm([3, 2], 0.01), [2, 3, 2], normalized_shape=[3, 2], eps=0.01),
]


def batch_norm(**options):
    """Three batches in training, one in evaluation: outputs, and statistics at the end."""
    layer = nn.BatchNorm2d(3, **options)
    batches = [random([4, 3, 2, 2]).float() * (i + 1) + i for i in range(4)]
    outputs = []
    for i, x in enumerate(batches):
        layer.train(i < 3)
        outputs.append(layer(x).detach())
    state = {k: tensor(v) for k, v in layer.state_dict().items() if k.startswith("running")}
    return dict(options=options, batches=[tensor(x) for x in batches], outputs=[tensor(y) for y in outputs], state=state)


norms = [batch_norm(momentum=None), batch_norm(momentum=0.3), batch_norm(track_running_stats=False),
         batch_norm(track_running_stats=False, affine=False)]

lines = ",\n  ".join(json.dumps(c) for c in cases)
norm_lines = ",\n  ".join(json.dumps(c) for c in norms)
print(f'{{\n "note": "Values and gradients of torch.nn 1.13 in float64 on random inputs; batch_norm in float32",\n'
      f' "cases": [\n  {lines}\n ],\n "batch_norm": [\n  {norm_lines}\n ]\n}}')
