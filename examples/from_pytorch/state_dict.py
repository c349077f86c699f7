#!/usr/bin/env python3
"""Saves a PyTorch model's state_dict() for Thimble: python3 state_dict.py FOLDER

writes net.safetensors, net.half.safetensors (the same in float16) and answers.safetensors, which holds an input and what
the model makes of it. Needs torch (written with 1.13). Who has the package safetensors calls its save_file() instead of
save_safetensors().
"""
import json
import pathlib
import struct
import sys

import torch
from torch import nn

DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
          torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64"}


def save_safetensors(path, tensors):
    """The format: the header's length in 8 bytes, the header in JSON, the tensors' bytes."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        dense = tensor.detach().contiguous()
        content = dense.reshape(-1).view(torch.uint8).numpy().tobytes()  # NumPy has no bfloat16
        header[name] = {"dtype": DTYPES[dense.dtype], "shape": list(dense.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Net(nn.Module):
    """Has its twin in net.h: what carries the same names there gets these weights."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.head = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.LayerNorm(16),
                                  nn.Linear(16, 5))

    def forward(self, x):
        h = self.stem(x)
        return self.head(h + self.up(torch.relu(self.norm(self.down(h)))))


def main(folder):
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):  # so that no weight and no running statistic is what it was at first
        optimizer.zero_grad()
        net(torch.randn(16, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    net.eval()
    x = torch.randn(4, 3, 8, 8)
    save_safetensors(folder / "net.safetensors", net.state_dict())
    save_safetensors(folder / "answers.safetensors", {"x": x, "y": net(x)})
    half = {name: t.half() if t.is_floating_point() else t for name, t in net.state_dict().items()}
    save_safetensors(folder / "net.half.safetensors", half)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
