"""Writes torch_embedding_cases.json: values and gradients of PyTorch's embedding and embedding_bag, in float64 on random
inputs. Debian's python3-torch: /usr/bin/python3 make_embedding_cases.py > torch_embedding_cases.json"""

import json

import torch
import torch.nn.functional as F

torch.manual_seed(2)


def rounded(x):
    return [float(f"{v:.7g}") for v in x.flatten().tolist()]


def random(*shape):
    return torch.tensor([float(f"{v:.4g}") for v in torch.randn(*shape).flatten().tolist()], dtype=torch.float64).view(shape)


def tensor(x):
    return dict(shape=list(x.shape), values=rounded(x) if x.is_floating_point() else x.flatten().tolist())


def embedding(shape, rows, dim, padding_idx):
    index, weight = torch.randint(rows, shape), random(rows, dim).requires_grad_()
    if padding_idx is not None and index.numel():
        index.view(-1)[0] = padding_idx % rows
    y = F.embedding(index, weight, padding_idx=padding_idx)
    out_grad = random(*y.shape)
    grad, = torch.autograd.grad(y, [weight], out_grad)
    return dict(op="embedding", padding_idx=padding_idx, index=tensor(index), weight=tensor(weight.detach()),
                output=tensor(y.detach()), out_grad=tensor(out_grad), grads=[tensor(grad)])


def bag(mode, shape, rows, dim, padding_idx=None, offsets=None, weighted=False):
    index, weight = torch.randint(rows, shape), random(rows, dim).requires_grad_()
    if padding_idx is not None:
        index.view(-1)[-2:] = padding_idx % rows
        index.view(-1)[0] = padding_idx % rows
    scales = random(*shape).requires_grad_() if weighted else None
    y = F.embedding_bag(index, weight, None if offsets is None else torch.tensor(offsets), mode=mode,
                        per_sample_weights=scales, padding_idx=padding_idx)
    out_grad = random(*y.shape)
    grads = torch.autograd.grad(y, [weight] + ([scales] if weighted else []), out_grad)
    found = dict(op="embedding_bag", mode=mode, padding_idx=padding_idx, index=tensor(index),
                 weight=tensor(weight.detach()), output=tensor(y.detach()), out_grad=tensor(out_grad),
                 grads=[tensor(g) for g in grads])
    if offsets is not None:
        found["offsets"] = tensor(torch.tensor(offsets))
    if weighted:
        found["scales"] = tensor(scales.detach())
    return found


cases = [embedding(shape, rows, dim, padding) for shape, rows, dim, padding in
         (([4], 5, 3, None), ([2, 3], 4, 2, 0), ([3, 5], 6, 4, -1), ([1], 3, 1, 2), ([2, 2, 2], 3, 2, 1))]
for mode in ("sum", "mean", "max"):
    for padding_idx in (None, 0, -2):
        cases.append(bag(mode, [3, 4], 6, 3, padding_idx))
        cases.append(bag(mode, [2, 2], 4, 1, padding_idx))  # with padding, the last bag is empty
        cases.append(bag(mode, [7], 6, 5, padding_idx, [0, 2, 2, 6]))
        cases.append(bag(mode, [4], 5, 2, padding_idx, [0, 0, 4]))  # empty first and last
for padding_idx in (None, 1):
    cases.append(bag("sum", [3, 4], 6, 3, padding_idx, weighted=True))
    cases.append(bag("sum", [7], 6, 5, padding_idx, [0, 3, 3, 5], weighted=True))

lines = ",\n  ".join(json.dumps(c) for c in cases)
print(f'{{\n "note": "Values and gradients of torch.nn.functional 1.13 in float64 on random inputs",\n'
      f' "cases": [\n  {lines}\n ]\n}}')
