#!/usr/bin/env python3
"""Makes golden.gguf and golden_gguf.safetensors: what the Python package `gguf` writes and reads.

    make_gguf_golden.py [FOLDER]

golden.gguf has a key of each type and a tensor of each element type with random blocks; golden_gguf.safetensors has, by
the same names, the values that the package decodes, and for `input` the bytes that it encodes. Needs gguf and numpy.
"""
import json
import os
import struct
import sys

import numpy as np

TYPES = ["F32", "F16", "BF16", "F64", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]
# Where f16 scales stand in a block.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0]}
WIDTH = 256


def write_safetensors(path, tensors):
    header, data = {}, b""
    names = {"float32": "F32", "uint8": "U8"}
    for name, value in tensors.items():
        value = np.ascontiguousarray(value)
        header[name] = {"dtype": names[str(value.dtype)], "shape": list(value.shape), "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def random_blocks(gguf, name, rng, rows):
    """A tensor of the type as (bytes or values to write, values as the package decodes them)."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if name in ("F32", "F64", "F16"):
        value = rng.standard_normal((rows, WIDTH)).astype({"F32": np.float32, "F64": np.float64, "F16": np.float16}[name])
        return value, value.astype(np.float32)
    if name == "BF16":
        raw = (rng.standard_normal((rows, WIDTH)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return raw, gguf.dequantize(raw, kind)
    raw = rng.integers(0, 256, (rows, WIDTH // block, size), dtype=np.uint8)
    for at in SCALES[name]:
        raw[:, :, at:at + 2] = rng.standard_normal((rows, WIDTH // block, 1)).astype(np.float16).view(np.uint8)
    raw = raw.reshape(rows, -1)
    return raw, gguf.dequantize(raw, kind)


def make(folder, seed=6, rows=2):
    import gguf

    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(os.path.join(folder, "golden.gguf"), "llama")
    kinds = gguf.GGUFValueType
    for name, value in (("UINT8", 200), ("INT8", -100), ("UINT16", 60000), ("INT16", -30000), ("UINT32", 4000000000), ("INT32", -2000000000),
                        ("FLOAT32", 1e-5), ("UINT64", 2**63 - 1), ("INT64", -(2**63)), ("FLOAT64", 0.1), ("BOOL", True), ("STRING", "naïve 泉")):
        writer.add_key_value("test." + name.lower(), value, kinds[name])
    writer.add_array("test.texts", ["a", "泉水", "", "b c"])
    writer.add_array("test.integers", [1, -2, 3])
    writer.add_array("test.numbers", [0.5, -1e-5])
    writer.add_array("test.booleans", [True, False])
    golden = {}
    for name in TYPES:
        raw, values = random_blocks(gguf, name, rng, rows)
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType[name])
        golden[name] = values
    writer.add_tensor("vector", np.arange(5, dtype=np.float32))
    writer.add_tensor("cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    values = (rng.standard_normal((8, 256)) * rng.choice([1e-4, 0.02, 3], (8, 1))).astype(np.float32)
    values[7, 64:] = 0
    golden["input"] = values
    for name in ("Q8_0", "Q4_0"):
        golden["encoded " + name] = gguf.quantize(values, gguf.GGMLQuantizationType[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_safetensors(os.path.join(folder, "golden_gguf.safetensors"), golden)


if __name__ == "__main__":
    make(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
