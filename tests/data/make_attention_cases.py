"""Writes torch_attention_cases.json: PyTorch's attention in float64, weights, results and gradients.
Debian's python3-torch: /usr/bin/python3 make_attention_cases.py > torch_attention_cases.json"""

import json

import torch
from torch import nn

torch.manual_seed(3)


def rounded(x):
    return [float(f"{v:.7g}") for v in x.flatten().tolist()]


def random(*shape):
    return torch.tensor([float(f"{v:.4g}") for v in torch.randn(*shape).flatten().tolist()], dtype=torch.float64).view(shape)


def tensor(x):
    values = x.int().flatten().tolist() if x.dtype == torch.bool else rounded(x)
    return dict(shape=list(x.shape), dtype="bool" if x.dtype == torch.bool else "float64", values=values)


def padding(n, s, as_floats=False):
    lengths = [s - 2 * i % s for i in range(n)]
    hidden = torch.tensor([[j >= length for j in range(s)] for length in lengths])
    return torch.zeros(n, s, dtype=torch.float64).masked_fill(hidden, -1e4) if as_floats else hidden


def causal(l, s):
    return torch.ones(l, s, dtype=torch.bool).triu(1)


def case(module, kind, options, inputs, masks):
    module = module.double().train()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(random(*p.shape) * 0.5 + (1 if p.dim() == 1 and p.numel() else 0) * 0.1)
    inputs = [x.requires_grad_() for x in inputs]
    if kind == "MultiheadAttention":
        q, k, v = inputs if len(inputs) == 3 else inputs * 3
        y = module(q, k, v, **masks)[0]
    else:
        y = module(inputs[0], **masks)
    out_grad = random(*y.shape)
    named = dict(module.named_parameters())
    grads = torch.autograd.grad(y, inputs + list(named.values()), out_grad)
    return dict(kind=kind, options=options, inputs=[tensor(x.detach()) for x in inputs],
                masks={name: tensor(m) for name, m in masks.items()},
                names=list(named), state={name: tensor(p.detach()) for name, p in named.items()},
                output=tensor(y.detach()),
                out_grad=tensor(out_grad), grads=[tensor(g) for g in grads])


def attention(shapes, embed, heads, masks=None, **options):
    return case(nn.MultiheadAttention(embed, heads, **options), "MultiheadAttention",
                dict(options, embed_dim=embed, num_heads=heads), [random(*s) for s in shapes], masks or {})


def layer(shape, d_model, nhead, masks=None, **options):
    return case(nn.TransformerEncoderLayer(d_model, nhead, dropout=0.0, **options), "TransformerEncoderLayer",
                dict(options, d_model=d_model, nhead=nhead), [random(*shape)], masks or {})


def encoder(shape, d_model, nhead, num_layers, norm, masks=None, **options):
    one = nn.TransformerEncoderLayer(d_model, nhead, dropout=0.0, **options)
    final = nn.LayerNorm(d_model) if norm else None
    return case(nn.TransformerEncoder(one, num_layers, final), "TransformerEncoder",
                dict(options, d_model=d_model, nhead=nhead, num_layers=num_layers, norm=norm), [random(*shape)], masks or {})


cases = [
    attention([[2, 3, 4]], 4, 2, batch_first=True),
    attention([[3, 2, 4]], 4, 2),
    attention([[3, 4]], 4, 1, bias=False),
    attention([[2, 3, 4], [2, 5, 4], [2, 5, 4]], 4, 2, batch_first=True),
    attention([[3, 2, 4], [5, 2, 3], [5, 2, 6]], 4, 4, kdim=3, vdim=6),
    attention([[2, 3, 4], [2, 4, 2], [2, 4, 4]], 4, 2, kdim=2, batch_first=True, bias=False),
    attention([[2, 5, 4]], 4, 2, dict(key_padding_mask=padding(2, 5)), batch_first=True),
    attention([[5, 2, 4]], 4, 2, dict(key_padding_mask=padding(2, 5), attn_mask=causal(5, 5))),
    attention([[2, 3, 4]], 4, 2, dict(attn_mask=random(3, 3)), batch_first=True),
    attention([[2, 3, 4]], 4, 2, dict(attn_mask=random(4, 3, 3), key_padding_mask=padding(2, 3)), batch_first=True),
    attention([[2, 3, 4]], 4, 2, dict(attn_mask=causal(3, 3).expand(4, 3, 3), key_padding_mask=padding(2, 3, True)),
              batch_first=True),
    attention([[1, 1, 2]], 2, 1, batch_first=True),
    layer([2, 3, 4], 4, 2, dim_feedforward=6, batch_first=True),
    layer([3, 2, 4], 4, 2, dim_feedforward=5, activation="gelu"),
    layer([2, 3, 4], 4, 1, dim_feedforward=6, batch_first=True, norm_first=True, layer_norm_eps=1e-3),
    layer([2, 3, 4], 4, 2, dict(src_mask=causal(3, 3), src_key_padding_mask=padding(2, 3)), dim_feedforward=6,
          batch_first=True, activation="gelu", norm_first=True),
    encoder([2, 4, 4], 4, 2, 2, False, dim_feedforward=5, batch_first=True),
    encoder([2, 4, 4], 4, 2, 2, True, dict(mask=causal(4, 4), src_key_padding_mask=padding(2, 4)), dim_feedforward=5,
            batch_first=True, norm_first=True),
]

lines = ",\n  ".join(json.dumps(c) for c in cases)
print(f'{{\n "note": "Weights, results and gradients of torch.nn 1.13 in float64 on random inputs",\n'
      f' "cases": [\n  {lines}\n ]\n}}')
