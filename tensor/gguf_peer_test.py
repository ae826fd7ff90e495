#!/usr/bin/env python3
"""Compares live with the Python package `gguf`, both ways: blocks that it makes are decoded by us to the same values, and
a file that we write is read by it.

    tensor/gguf_peer_test.py [BUILD]

Runs under a Python with `gguf`: this one, or the one that WELLSPRING_PEERS names; else it is left out (status 77:
`Gguf.GoldenFile` compares with the golden files all the same). The C++ half is `Gguf.FileOfTheEnvironment`.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def read_safetensors(path):
    import numpy as np

    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        data = f.read()
    return {name: np.frombuffer(data[e["data_offsets"][0]:e["data_offsets"][1]], np.float32).reshape(e["shape"])
            for name, e in header.items() if name != "__metadata__" and e["dtype"] == "F32"}


def check(build):
    import gguf
    import numpy as np

    sys.path.insert(0, os.path.join(HERE, "testdata"))
    import make_gguf_golden

    results = []

    def report(what, good, detail=""):
        results.append(bool(good))
        print(("ok   " if good else "FAIL ") + what + (f": {detail}" if detail else ""), flush=True)

    def ours(path):
        run = subprocess.run([f"{build}/tests/tensor_test", "--gtest_filter=Gguf.FileOfTheEnvironment"], cwd=ROOT, capture_output=True, text=True,
                             env=dict(os.environ, WELLSPRING_GGUF=path))
        return run.returncode == 0, run.stdout[-800:] + run.stderr[-800:]

    with tempfile.TemporaryDirectory() as top:
        for seed in range(3):
            folder = f"{top}/{seed}"
            os.makedirs(folder)
            make_gguf_golden.make(folder, seed=100 + seed, rows=16)
            good, said = ours(f"{folder}/golden.gguf")
            report(f"we read what the package writes, seed {seed}", good, "" if good else said)
            if not good:
                continue
            wanted = read_safetensors(f"{folder}/golden_gguf.safetensors")
            got = read_safetensors(f"{folder}/golden.gguf.safetensors")
            for name in make_gguf_golden.TYPES:
                worst = np.abs(got[name] - wanted[name]).max() / np.abs(wanted[name]).max()
                report(f"{name} is decoded alike", worst < 1e-6, f"{worst:.1e} of the greatest value")
        good, said = ours(f"{top}/ours.gguf")
        report("we write a file", good, "" if good else said)
        if good:
            reader = gguf.GGUFReader(f"{top}/ours.gguf")
            value = {name: field.contents() for name, field in reader.fields.items()}
            report("the package reads our keys", value["a.u32"] == 7 and value["a.u64"] == 1 << 40 and value["a.boolean"] is True and
                   value["a.texts"] == ["x", "", "泉"] and value["a.i32s"] == [-1, 2] and value["a.f32s"] == [0.5] and abs(value["a.f32"] - 1e-6) < 1e-12)
            tensors = {t.name: t for t in reader.tensors}
            exact = np.array(tensors["m.f32"].data, np.float32).reshape(-1)
            report("the package reads our shapes", list(tensors["m.f32"].shape) == [128, 2, 2] and list(tensors["m.q4_k"].shape) == [256, 2])
            for name, most in (("m.q8_0", 0.01), ("m.q4_k", 0.09)):
                back = gguf.dequantize(tensors[name].data, tensors[name].tensor_type).reshape(-1)
                error = np.linalg.norm(back - exact) / np.linalg.norm(exact)
                report(f"the package decodes our {name}", error < most, f"{error:.4f}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.path.insert(0, os.path.join(ROOT, "tools"))
    import peers
    peers.need(["gguf"], "compared with the golden files only", "pip install gguf")
    sys.exit(check(peers.build()))
