"""Writes torch_loss_cases.json: values and gradients of PyTorch's losses, in float64 on random inputs.
Debian's python3-torch: /usr/bin/python3 make_loss_cases.py > torch_loss_cases.json"""

import json

import torch
import torch.nn.functional as F

torch.manual_seed(3)


def random(*shape, scale=1.0):
    return torch.tensor([float(f"{scale * v:.4g}") for v in torch.randn(shape).flatten().tolist()],
                        dtype=torch.float64).view(shape)


def uniform(*shape):
    return torch.tensor([float(f"{v:.4g}") for v in torch.rand(shape).flatten().tolist()], dtype=torch.float64).view(shape)


def probabilities(*shape):
    return torch.softmax(random(*shape), 1)


def classes(n, *shape):
    return torch.randint(0, n, shape)


def signs(*shape):
    return torch.randint(0, 2, shape).double() * 2 - 1


def tensor(x):
    return dict(shape=list(x.shape), values=[float(f"{v:.16g}") for v in x.flatten().tolist()])


def case(op, inputs, differentiable, tensors=None, **options):
    """tensors: options that are tensors. differentiable: how many inputs, from the first, have gradients."""
    found = []
    for reduction in ("none", "mean", "sum"):
        leaves = [x.clone().requires_grad_() if i < differentiable else x for i, x in enumerate(inputs)]
        y = getattr(F, op)(*leaves, reduction=reduction, **(tensors or {}), **options)
        out_grad = random(*y.shape)
        grads = torch.autograd.grad(y, leaves[:differentiable], out_grad)
        found.append(dict(op=op, options=dict(options, reduction=reduction),
                          tensors={k: tensor(v) for k, v in (tensors or {}).items()},
                          inputs=[tensor(x) for x in inputs], output=tensor(y.detach()), out_grad=tensor(out_grad),
                          grads=[tensor(g) for g in grads]))
    return found


weight = torch.tensor([0.5, 2.0, 0.25, 1.5], dtype=torch.float64)
ignored = torch.tensor([2, -100, 0, 3, -100])
cases = [
    *case("cross_entropy", [random(5, 4), classes(4, 5)], 1, dict(weight=weight)),
    *case("cross_entropy", [random(5, 4), ignored], 1, dict(weight=weight), label_smoothing=0.2),
    *case("cross_entropy", [random(2, 4, 3), classes(4, 2, 3)], 1, dict(weight=weight), label_smoothing=0.1),
    *case("cross_entropy", [random(2, 4, 3), classes(4, 2, 3)], 1, dict(weight=weight), ignore_index=1),
    *case("cross_entropy", [random(5, 4), probabilities(5, 4)], 2),
    *case("cross_entropy", [random(5, 4), probabilities(5, 4)], 2, dict(weight=weight), label_smoothing=0.3),
    *case("cross_entropy", [random(2, 4, 3), probabilities(2, 4, 3)], 2, dict(weight=weight)),
    *case("l1_loss", [random(3, 4), random(3, 4)], 2),
    *case("smooth_l1_loss", [random(3, 4, scale=2), random(3, 4)], 2),
    *case("smooth_l1_loss", [random(3, 4), random(3, 4)], 2, beta=0.3),
    *case("smooth_l1_loss", [random(7), random(7)], 2, beta=0.0),
    *case("huber_loss", [random(3, 4, scale=2), random(3, 4)], 2),
    *case("huber_loss", [random(3, 4), random(3, 4)], 2, delta=0.7),
    *case("binary_cross_entropy", [uniform(3, 4), uniform(3, 4)], 1),
    *case("binary_cross_entropy", [uniform(3, 4), classes(2, 3, 4).double()], 1, dict(weight=uniform(4))),
    *case("binary_cross_entropy", [torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-30]).double(),
                                   torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]).double()], 1),
    *case("binary_cross_entropy_with_logits", [random(3, 4, scale=3), uniform(3, 4)], 2),
    *case("binary_cross_entropy_with_logits", [random(3, 4, scale=3), classes(2, 3, 4).double()], 2,
          dict(weight=uniform(3, 1), pos_weight=uniform(4) * 3)),
    *case("binary_cross_entropy_with_logits", [torch.tensor([0.0, 900.0, -900.0, 900.0, -900.0, 25.0]).double(),
                                               torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]).double()], 1),
    *case("kl_div", [random(3, 4), probabilities(3, 4)], 2),
    *case("kl_div", [random(3, 4), torch.tensor([[0, 0.25, 0.75], [1, 0, 0]]).double().repeat(2, 2)[:3, :4]], 1),
    *case("kl_div", [random(3, 4), random(3, 4)], 2, log_target=True),
    *case("hinge_embedding_loss", [random(3, 5), signs(3, 5)], 1),
    *case("hinge_embedding_loss", [random(9), signs(9)], 1, margin=0.4),
    *case("multi_margin_loss", [random(6, 4), classes(4, 6)], 1),
    *case("multi_margin_loss", [random(6, 4), classes(4, 6)], 1, dict(weight=weight), p=2, margin=0.6),
    *case("triplet_margin_loss", [random(5, 3), random(5, 3), random(5, 3)], 3),
    *case("triplet_margin_loss", [random(5, 3), random(5, 3), random(5, 3)], 3, margin=0.5, p=1.0, swap=True),
    *case("triplet_margin_loss", [random(5, 3), random(5, 3), random(5, 3)], 3, p=3.0, eps=1e-3),
    *case("triplet_margin_loss", [torch.ones(2, 3).double(), torch.ones(2, 3).double(), random(2, 3)], 3, margin=3.0),
    *case("cosine_embedding_loss", [random(6, 4), random(6, 4), signs(6)], 2),
    *case("cosine_embedding_loss", [random(6, 4), random(6, 4), signs(6)], 2, margin=0.3),
]

lines = ",\n  ".join(json.dumps(c) for c in cases)
print(f'{{\n "note": "Values and gradients of torch.nn.functional 1.13 in float64 on random inputs",\n'
      f' "cases": [\n  {lines}\n ]\n}}')
