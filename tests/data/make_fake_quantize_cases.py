"""Writes torch_fake_quantize_cases.json: fake_quantize of PyTorch 1.13 with its gradients, with constant and with learned
scales. Debian's python3-torch: /usr/bin/python3 make_fake_quantize_cases.py > torch_fake_quantize_cases.json"""

import json

import torch

torch.manual_seed(1)


def case(bits, signed, axis):
    x = torch.randn(4, 6) * 2
    channels = 1 if axis is None else x.shape[axis]
    scale = torch.rand(channels) * 0.3 + 0.05
    qmin, qmax = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    zero_point = torch.randint(qmin, qmax + 1, (channels,), dtype=torch.int32)
    if signed and axis is None:
        zero_point = zero_point * 0  # the learnable op truncates zero_point + 0.5, which moves negative ones by 1
    out_grad, factor = torch.randn(4, 6), 0.37
    found = dict(bits=bits, signed=signed, axis=axis, shape=list(x.shape), x=x.flatten().tolist(), scale=scale.tolist(),
                 zero_point=zero_point.tolist(), out_grad=out_grad.flatten().tolist(), grad_factor=factor)
    leaf = x.clone().requires_grad_()
    if axis is None:
        y = torch.fake_quantize_per_tensor_affine(leaf, scale.item(), zero_point.item(), qmin, qmax)
    else:
        y = torch.fake_quantize_per_channel_affine(leaf, scale, zero_point, axis, qmin, qmax)
    y.backward(out_grad)
    found.update(y=y.flatten().tolist(), x_grad=leaf.grad.flatten().tolist())
    leaf, learned = x.clone().requires_grad_(), scale.clone().requires_grad_()
    if axis is None:
        y = torch._fake_quantize_learnable_per_tensor_affine(leaf, learned, zero_point.float(), qmin, qmax, factor)
    else:
        y = torch._fake_quantize_learnable_per_channel_affine(leaf, learned, zero_point.float(), axis, qmin, qmax, factor)
    y.backward(out_grad)
    found.update(learned_x_grad=leaf.grad.flatten().tolist(), scale_grad=learned.grad.flatten().tolist())
    return found


def near_ties(scale):
    """Values next to the middle of two steps, of 8 unsigned bits: here PyTorch, which multiplies by the reciprocal of
    the scale, may round to the other step than a division does."""
    middles = (torch.randint(0, 254, (20,)) + 0.5) * scale
    x = torch.cat([torch.nextafter(middles, torch.zeros(20)), middles, torch.nextafter(middles, middles * 2)])
    y = torch.fake_quantize_per_tensor_affine(x, scale, 0, 0, 255)
    return dict(scale=scale, x=x.tolist(), y=y.tolist())


cases = [case(bits, signed, axis) for bits in (2, 3, 4, 8) for signed in (False, True) for axis in (None, 0, 1)]
scales = torch.tensor([4.8825111389160156, 0.1, 0.0071, 1 / 3]).tolist()
print(json.dumps({"cases": cases, "near_ties": [near_ties(scale) for scale in scales]}))
