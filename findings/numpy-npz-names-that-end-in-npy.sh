#!/usr/bin/env bash
# NumPy 1.24.2: an .npz file that holds arrays called "a" and "a.npy" gives the first for both names.
#
# savez() writes the members "a.npy" and "a.npy.npy". The loaded file lists both names, "a" and "a.npy", but looks a name
# up among the members first: "a.npy" is the member of "a". Without a word, going through all names gives the array "a"
# twice and "a.npy" never. If "a.npy" is alone in the file, the same name gives the right array. So a reader of .npz in
# another language that strips one ".npy" from each member is right where NumPy itself is not.
#
# Seen:
#   members ['a.npy', 'a.npy.npy']
#   names   {'a': 1, 'a.npy': 1}           written: {'a': 1, 'a.npy': 2}
#   alone   {'a.npy': 2}
# Fails (status 1) if that changes. Needs apt and Debian 12's Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get download -qq -o APT::Sandbox::User=root python3-numpy=1:1.24.2-1+deb12u1 libblas3 liblapack3 libgfortran5
for file in *.deb; do dpkg -x "$file" root; done
libraries=$(dirname "$(find root -name 'libgfortran.so.5')")
LD_LIBRARY_PATH=$PWD/$libraries:$PWD/$libraries/blas:$PWD/$libraries/lapack
export LD_LIBRARY_PATH PYTHONPATH=$PWD/root/usr/lib/python3/dist-packages

cat >names.py <<'PYTHON'
import zipfile

import numpy

assert numpy.__version__ == "1.24.2", numpy.__version__
written = {"a": 1, "a.npy": 2}


def read(path):
    with numpy.load(path) as file:
        return {name: int(file[name]) for name in file.files}


numpy.savez("both.npz", **written)
numpy.savez("alone.npz", **{"a.npy": 2})
members = zipfile.ZipFile("both.npz").namelist()
print("members", members)
print("names  ", read("both.npz"), "          written:", written)
print("alone  ", read("alone.npz"))
assert members == ["a.npy", "a.npy.npy"]
assert read("both.npz") == {"a": 1, "a.npy": 1}
assert read("alone.npz") == {"a.npy": 2}
PYTHON
/usr/bin/python3 names.py
