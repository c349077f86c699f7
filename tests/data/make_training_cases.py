"""Writes torch_training_cases.json: steps of PyTorch's optimizers, values of its learning-rate schedules, clipped
gradients. Debian's python3-torch: /usr/bin/python3 make_training_cases.py > torch_training_cases.json"""

import json
import math

import torch
from torch.optim import lr_scheduler

torch.manual_seed(5)
STEPS = 6


def numbers(x):
    return [float(f"{v:.9g}") for v in x.flatten().tolist()]


start = torch.randn(7)
gradients = [torch.randn(7) * (1 + i) for i in range(STEPS)]
gradients[2][3] = 0
for g in gradients:
    g[6] = 0  # an element that never gets a gradient


class Lion:
    """The algorithm of Chen et al. 2023, figure 1 (PyTorch has none), in float64."""

    def __init__(self, params, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
        self.param = params[0]
        self.p, self.m = self.param.detach().double(), torch.zeros(7).double()
        self.lr, self.beta1, self.beta2, self.weight_decay = lr, beta1, beta2, weight_decay

    def step(self):
        g = self.param.grad.double()
        update = torch.sign(self.beta1 * self.m + (1 - self.beta1) * g) + self.weight_decay * self.p
        self.p = self.p - self.lr * update
        self.m = self.beta2 * self.m + (1 - self.beta2) * g
        self.param.data = self.p.float()


class NAdam:
    """As in PyTorch since 2.0, in float64. 1.13 takes the step's own momentum twice where it looks at the next one's
    (twice=True, which agrees with it; see the assertion below)."""

    def __init__(self, params, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, momentum_decay=4e-3, twice=False):
        self.param = params[0]
        self.p = self.param.detach().double()
        self.m, self.v = torch.zeros(7).double(), torch.zeros(7).double()
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.weight_decay, self.momentum_decay, self.twice = weight_decay, momentum_decay, twice
        self.t, self.product = 0, 1.0

    def momentum(self, t):
        return self.beta1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def step(self):
        self.t += 1
        g = self.param.grad.double() + self.weight_decay * self.p
        mu, following = self.momentum(self.t), self.momentum(self.t + 1)
        self.product *= mu
        product = self.product * following * (mu if self.twice else 1)
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        denominator = (self.v / (1 - self.beta2 ** self.t)).sqrt() + self.eps
        self.p = self.p - self.lr * (1 - mu) / (1 - self.product) * g / denominator
        self.p = self.p - self.lr * following / (1 - product) * self.m / denominator
        self.param.data = self.p.float()


OWN = dict(Lion=Lion, NAdam=NAdam)


def optimizer(name, **options):
    p = start.clone().requires_grad_()
    given = dict(options)
    if name not in OWN and "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))
    made = (OWN[name] if name in OWN else getattr(torch.optim, name))([p], **given)
    values = []
    for g in gradients:
        p.grad = g.clone()
        made.step()
        values.append(numbers(p.detach()))
    return dict(name=name, options=options, values=values)


def values_of(make):
    p = start.clone().requires_grad_()
    made = make([p])
    for g in gradients:
        p.grad = g.clone()
        made.step()
    return p.detach()


ours = values_of(lambda p: NAdam(p, lr=0.1, beta1=0.8, beta2=0.95, weight_decay=0.1, momentum_decay=0.1, twice=True))
theirs = values_of(lambda p: torch.optim.NAdam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.1, momentum_decay=0.1))
assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6) or torch.__version__ >= "2"

optimizers = [
    optimizer("Adam", lr=0.1, amsgrad=True),
    optimizer("Adam", lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.1, amsgrad=True),
    optimizer("AdamW", lr=0.1, beta1=0.8, beta2=0.5, weight_decay=0.1, amsgrad=True),
    optimizer("RMSprop"),
    optimizer("RMSprop", lr=0.05, alpha=0.9, eps=1e-3, weight_decay=0.1),
    optimizer("RMSprop", lr=0.05, alpha=0.9, momentum=0.8),
    optimizer("RMSprop", lr=0.05, alpha=0.9, eps=1e-2, centered=True),
    optimizer("RMSprop", lr=0.05, alpha=0.8, eps=1e-2, momentum=0.5, weight_decay=0.2, centered=True),
    optimizer("Adagrad"),
    optimizer("Adagrad", lr=0.3, lr_decay=0.2, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-3),
    optimizer("NAdam"),
    optimizer("NAdam", lr=0.1, beta1=0.8, beta2=0.95, weight_decay=0.1, momentum_decay=0.1),
    optimizer("Lion"),
    optimizer("Lion", lr=0.03, beta1=0.7, beta2=0.8, weight_decay=0.5),
]


def schedule(name, make, steps=40, base=2.0, **options):
    """Factors: rates divided by the base."""
    made = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    scheduler = make(made)
    factors = []
    for _ in range(steps):
        factors.append(made.param_groups[0]["lr"] / base)
        made.step()
        scheduler.step()
    return dict(name=name, options=options, factors=[float(f"{f:.15g}") for f in factors])


def one_cycle(total, **options):
    return schedule("one_cycle", lambda o: lr_scheduler.OneCycleLR(o, max_lr=2.0, total_steps=total, cycle_momentum=False,
                                                                   **options), steps=total - 1, total=total, **options)


schedules = [
    schedule("multi_step", lambda o: lr_scheduler.MultiStepLR(o, [3, 8, 8, 20], 0.3), milestones=[20, 8, 3, 8], gamma=0.3),
    schedule("exponential", lambda o: lr_scheduler.ExponentialLR(o, 0.9), gamma=0.9),
    schedule("linear", lambda o: lr_scheduler.LinearLR(o, 0.25, 0.75, 12), first=0.25, last=0.75, total=12),
    schedule("cosine_warm_restarts", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, 1, 0.2), period=7, factor=1,
             least=0.1),
    schedule("cosine_warm_restarts", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2, 0), period=4, factor=2,
             least=0.0),
    schedule("cosine_warm_restarts", lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 3, 0), period=1, factor=3,
             least=0.0),
    one_cycle(30),
    one_cycle(17, pct_start=0.45, div_factor=10.0, final_div_factor=100.0),
    one_cycle(5, pct_start=0.1),
]

metrics = [5, 4, 4.0003, 3.9999, 4.1, 4.2, 4.3, 3.0, 3.1, 3.2, math.nan, 3.3, 3.4, 2.9998, 2.9996, 3, 3, 3, 3, 3, 2, 2, 2,
           2, 2, 2, 2, 2]


def plateau(**options):
    made = torch.optim.SGD([dict(params=[torch.zeros(1, requires_grad=True)], lr=1.0),
                            dict(params=[torch.zeros(1, requires_grad=True)], lr=0.01)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(made, **options)
    rates = []
    for m in metrics:
        scheduler.step(-m if options.get("mode") == "max" else m)
        rates.append([g["lr"] for g in made.param_groups])
    return dict(options=options, rates=rates)


plateaus = [
    plateau(patience=2),
    plateau(patience=1, factor=0.5, cooldown=2, min_lr=0.004),
    plateau(patience=0, factor=0.3, mode="max", threshold=0.3, threshold_mode="abs"),
    plateau(patience=1, factor=0.1, mode="max", threshold=0.02, eps=1e-4),
]


def clipped(max_norm, norm_type):
    gs = [torch.randn(5), torch.randn(3, 2) * 2]
    parameters = [torch.zeros_like(g).requires_grad_() for g in gs]
    for p, g in zip(parameters, gs):
        p.grad = g.clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    return dict(max_norm=max_norm, norm_type=str(norm_type), norm=float(norm), gradients=[numbers(g) for g in gs],
                clipped=[numbers(p.grad) for p in parameters])


clips = [clipped(1.5, 1.0), clipped(1.5, 2.0), clipped(1.5, 3.0), clipped(0.75, math.inf), clipped(100.0, 1.0)]

print(json.dumps(dict(note="torch.optim 1.13 in float32; Lion and NAdam by their formulas", start=numbers(start),
                      gradients=[numbers(g) for g in gradients], optimizers=optimizers, schedules=schedules,
                      metrics=[None if math.isnan(m) else m for m in metrics], plateaus=plateaus, clips=clips), indent=1))
