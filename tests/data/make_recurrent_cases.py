"""Writes torch_recurrent_cases.json: states, values and gradients of PyTorch's recurrent layers on random inputs.
Debian's python3-torch: /usr/bin/python3 make_recurrent_cases.py > torch_recurrent_cases.json"""

import json

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.manual_seed(1)

STEPS, N, IN, HIDDEN = 4, 3, 3, 2


def rounded(x):
    return [float(f"{v:.7g}") for v in x.flatten().tolist()]


def random(*shape):
    return torch.tensor([float(f"{v:.4g}") for v in torch.randn(*shape).flatten().tolist()], dtype=torch.float64).view(shape)


def tensor(x):
    return dict(shape=list(x.shape), values=rounded(x.detach()))


def case(kind, lengths=None, has_state=False, **options):
    layer = getattr(torch.nn, kind)(IN, HIDDEN, dtype=torch.float64, **options)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(random(*p.shape) * 0.5)
    batch_first = options.get("batch_first", False)
    x = random(*((N, STEPS) if batch_first else (STEPS, N)), IN).requires_grad_()
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    given = [random(rows, N, HIDDEN).requires_grad_() for _ in range((2 if kind == "LSTM" else 1) if has_state else 0)]
    state = None if not given else tuple(given) if kind == "LSTM" else given[0]
    read = x if lengths is None else pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    y, last = layer(read, state)
    if lengths is not None:
        y = pad_packed_sequence(y, batch_first, total_length=STEPS)[0]
    outputs = [y, *(last if kind == "LSTM" else [last])]
    out_grads = [random(*o.shape) for o in outputs]
    inputs = [x, *given, *layer.parameters()]
    grads = torch.autograd.grad(outputs, inputs, out_grads)
    return dict(kind=kind, options=options, lengths=lengths, x=tensor(x), state=[tensor(s) for s in given],
                parameters={name: tensor(p) for name, p in layer.named_parameters()},
                outputs=[tensor(o) for o in outputs], out_grads=[tensor(g) for g in out_grads],
                grads=[tensor(g) for g in grads])


cases = []
for kind in ("LSTM", "GRU", "RNN"):
    cases += [
        case(kind),
        case(kind, has_state=True, bias=False, batch_first=True),
        case(kind, num_layers=2, bidirectional=True, has_state=True),
        case(kind, lengths=[2, 4, 1], num_layers=2, bidirectional=True, batch_first=True),
        case(kind, lengths=[4, 1, 3], num_layers=3, has_state=True),
    ]
cases.append(case("RNN", nonlinearity="relu", bidirectional=True))

lines = ",\n  ".join(json.dumps(c) for c in cases)
print(f'{{\n "note": "Recurrent layers of torch.nn 1.13 in float64 on random inputs",\n "cases": [\n  {lines}\n ]\n}}')
