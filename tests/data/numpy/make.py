"""Makes the files beside it, as NumPy writes them: python3 make.py (they were made with NumPy 1.24)."""
import os

import numpy as np

os.chdir(os.path.dirname(os.path.abspath(__file__)))
values = np.arange(6).reshape(2, 3) - 2
for dtype in ["float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
              "uint64", "bool"]:
    np.save(f"{dtype}.npy", values.astype(dtype))
np.save("fortran_order.npy", np.asfortranarray(values.astype("float32")))
np.save("fortran_order_3d.npy", np.asfortranarray(np.arange(24, dtype="int32").reshape(2, 3, 4)))
for dtype in [">f4", ">f8", ">f2", ">i2", ">u2", ">i4", ">u4", ">i8", ">u8"]:
    np.save(f"big_endian_{dtype[1:]}.npy", values.astype(dtype))
np.save("big_endian_fortran_order.npy", np.asfortranarray(values.astype(">i4")))
np.save("scalar.npy", np.float32(2.5))
np.save("one.npy", np.array([7], "int64"))
np.save("empty.npy", np.zeros((3, 0, 2), "int8"))
for major in [1, 2, 3]:
    with open(f"version_{major}.npy", "wb") as file:
        np.lib.format.write_array(file, values.astype("int32"), version=(major, 0))

# What Thimble has no dtype for.
np.save("complex.npy", values.astype("complex64"))
np.save("text.npy", np.array(["text"]))
np.save("record.npy", np.zeros(2, [("x", "f4"), ("y", "i4")]))
np.save("object.npy", np.array([{}]), allow_pickle=True)

arrays = {"weight": values.astype("int8"), "zeros": np.zeros(1000, "float32"), "scale": np.float32(0.5),
          "folder/caf\u00e9": values.astype("int64")}
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)
np.savez("none.npz")
