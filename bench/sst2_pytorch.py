#!/usr/bin/env python3
"""The program's models of texts in PyTorch: what `thimble train --dataset sst2` is compared with.

  bench/sst2_pytorch.py MODEL [--epochs 2] [--hidden 128] [--layers 2] [--lr 0.001] [--seeds 5] [--data data/sst2]

MODEL is bow, lstm or transformer. Trains it once for each seed, by the same recipe (Adam, batches of 64, a cosine from
--lr to 0, 5,000 words), and prints its accuracy on dev.tsv and that of its dynamic int8 form, and their means.
"""
import argparse
import collections
import math
import random

import torch
from torch import nn

PADDING, UNKNOWN, FIRST = 0, 1, 2


def read(path):
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").rsplit("\t", 1) for line in file if line.strip()]
    return [(text.split(), int(label)) for text, label in rows]


def vocabulary(examples, most):
    counts = collections.Counter(word for words, _ in examples for word in words)
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))[:most]
    return {word: FIRST + i for i, (word, _) in enumerate(frequent)}


def encode(examples, words):
    return [([words.get(word, UNKNOWN) for word in text] or [PADDING], label) for text, label in examples]


def batch(examples):
    length = max(len(tokens) for tokens, _ in examples)
    tokens = torch.tensor([t + [PADDING] * (length - len(t)) for t, _ in examples])
    return tokens, torch.tensor([label for _, label in examples])


class Bow(nn.Module):
    def __init__(self, words, hidden, layers):
        super().__init__()
        self.bag = nn.EmbeddingBag(words, hidden, mode="sum", padding_idx=PADDING)
        nn.init.uniform_(self.bag.weight, -1 / math.sqrt(words), 1 / math.sqrt(words))
        rest = [part for _ in range(layers - 1) for part in (nn.ReLU(), nn.Linear(hidden, hidden))]
        self.rest = nn.Sequential(*rest, nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, tokens):
        return self.rest(self.bag(tokens))


class LSTM(nn.Module):
    def __init__(self, words, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(words, hidden, padding_idx=PADDING)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.classifier = nn.Linear(hidden, 2)

    def forward(self, tokens):
        lengths = (tokens != PADDING).sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True,
                                                   enforce_sorted=False)
        return self.classifier(self.lstm(packed)[1][0][-1])


class Transformer(nn.Module):
    def __init__(self, words, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(words, hidden, padding_idx=PADDING)
        self.positions = nn.Embedding(513, hidden, padding_idx=0)
        layer = nn.TransformerEncoderLayer(hidden, 4, 2 * hidden, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.classifier = nn.Linear(hidden, 2)

    def forward(self, tokens):
        is_word = (tokens != PADDING).long()
        x = self.embedding(tokens) + self.positions(is_word.cumsum(1) * is_word)
        x = self.encoder(x, src_key_padding_mask=tokens == PADDING)
        weights = is_word.unsqueeze(2).float()
        return self.classifier((x * weights).sum(1) / weights.sum(1).clamp(min=1))


def accuracy(model, examples):
    right = 0
    with torch.no_grad():
        for start in range(0, len(examples), 256):
            tokens, labels = batch(examples[start:start + 256])
            right += (model(tokens).argmax(1) == labels).sum().item()
    return 100 * right / len(examples)


def train(o, seed, train_set, dev_set, words):
    torch.manual_seed(seed)
    random.seed(seed)
    model = {"bow": Bow, "lstm": LSTM, "transformer": Transformer}[o.model](words, o.hidden, o.layers)
    adam = torch.optim.Adam(model.parameters(), o.lr)
    steps = o.epochs * math.ceil(len(train_set) / 64)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    for _ in range(o.epochs):
        model.train()
        random.shuffle(train_set)
        for start in range(0, len(train_set), 64):
            tokens, labels = batch(train_set[start:start + 64])
            adam.zero_grad()
            nn.functional.cross_entropy(model(tokens), labels).backward()
            adam.step()
            schedule.step()
    # In training mode, without dropout: PyTorch 1.13's quick path for encoders cannot read quantized layers.
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0
    integers = torch.ao.quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM})
    return accuracy(model, dev_set), accuracy(integers.train(), dev_set)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["bow", "lstm", "transformer"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", default="data/sst2")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    texts = read(o.data + "/train.tsv")
    words = vocabulary(texts, 5000)
    train_set, dev_set = encode(texts, words), encode(read(o.data + "/dev.tsv"), words)
    results = []
    for seed in range(1, o.seeds + 1):
        results.append(train(o, seed, list(train_set), dev_set, FIRST + len(words)))
        print(f"seed {seed}: {results[-1][0]:.2f} %, int8 {results[-1][1]:.2f} %", flush=True)
    means = [sum(column) / len(results) for column in zip(*results)]
    print(f"{o.model}: mean {means[0]:.2f} %, int8 {means[1]:.2f} %")


if __name__ == "__main__":
    main()
