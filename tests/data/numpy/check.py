"""Reads files with NumPy: python3 check.py EXPECTED.json compares each array with what it should be."""
import json
import sys

import numpy as np

with open(sys.argv[1], encoding="utf-8") as file:
    expected = json.load(file)
archives = {}
for entry in expected:
    loaded = archives.setdefault(entry["file"], np.load(entry["file"], allow_pickle=False))
    array = loaded[entry["name"]] if "name" in entry else loaded
    assert str(array.dtype) == entry["dtype"], (entry, array.dtype)
    assert list(array.shape) == entry["shape"], (entry, array.shape)
    assert array.tobytes().hex() == entry["bytes"], entry
for name, archive in archives.items():
    if name.endswith(".npz"):
        assert archive.files == [entry["name"] for entry in expected if entry["file"] == name], archive.files
print(len(expected), "arrays")
