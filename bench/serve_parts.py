"""What the rows of serve.py share: peers and their files, servers, and what is measured of any model's folder."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import common
import torch

CACHE = os.path.join(common.ROOT, ".cache/bench")
PEER = os.environ.get("LLAMA_CPP") or os.path.join(CACHE, "llama.cpp/build/bin")
PEERS = {"llama.cpp": PEER, **({"ik_llama.cpp": os.environ["IK_LLAMA_CPP"]} if os.environ.get("IK_LLAMA_CPP") else {})}


def source():
    """The folder of llama.cpp's source, fetched once."""
    folder = os.path.join(CACHE, "llama.cpp")
    if not os.path.isdir(os.path.join(folder, "source")):
        os.makedirs(folder, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "llama-cpp-python", "--no-binary", "llama-cpp-python",
                        "--no-deps", "-d", folder], check=True)
        archive = next(f for f in os.listdir(folder) if f.endswith(".tar.gz"))
        subprocess.run(["tar", "-xzf", os.path.join(folder, archive), "-C", folder], check=True)
        os.rename(os.path.join(folder, archive[:-len(".tar.gz")], "vendor/llama.cpp"), os.path.join(folder, "source"))
    return os.path.join(folder, "source")


def build_peer():
    if all(os.path.exists(os.path.join(PEER, p)) for p in ("llama-bench", "llama-server", "llama-quantize")):
        return
    print("building llama.cpp (some minutes, once)", flush=True)
    build = os.path.join(CACHE, "llama.cpp/build")
    subprocess.run(["cmake", "-S", source(), "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
                    "-DGGML_OPENMP=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
                    "-DBUILD_SHARED_LIBS=OFF"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", build, "--quiet", "llama-bench", "llama-server", "llama-quantize"], check=True)


def tokens(count):
    """A vocabulary of that size: the bytes as GPT-2 spells them, then made-up words."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    spelled = {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}
    return [spelled[b] for b in range(256)] + [f"word{i}" for i in range(256, count)]


def tokenizer(count):
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "pre_tokenizer": letters, "decoder": letters,
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens(count))}, "merges": []}}


def peer_seconds(bench, programs, file, prompt, tokens):
    """Of a prompt of `prompt` tokens, or of each of `tokens`."""
    out = subprocess.run([os.path.join(programs, "llama-bench"), "-m", file, "-t", str(bench.threads), "-p", str(prompt),
                          "-n", str(tokens), "-r", "1", "-o", "json"], check=True, capture_output=True, text=True,
                         env=common.own_environment())
    rate = float(re.search(r'"avg_ts": ([0-9.]+)', out.stdout)[1])  # the fork warns in between
    return prompt / rate if prompt else 1 / rate


def beside(bench, ours, file, what, length, tokens, turns):
    """Seconds of a prompt or of a token, ours and of the fastest peer, its name, and the rate of reading meanwhile."""
    reads = []
    for path in (os.path.join(ours.command[2], "model.safetensors"), file):  # both lie in the system's cache in one way
        forget(path)
        reading_seconds(path)

    def one(budget):
        if what == "decode":
            reads.append(bench.roof("read"))
        return ours.seconds(length, tokens)[what == "decode"]
    amount = (length, 0) if what == "prefill" else (0, tokens - 1)
    peers = {name: lambda budget, programs=programs: peer_seconds(bench, programs, file, *amount) for name, programs in PEERS.items()}
    times = bench.turns(turns, ours=one, **peers)
    fastest = min(PEERS, key=times.get)
    return times["ours"], times[fastest], fastest, statistics.median(reads) if reads else None


def divergence(exact, logits):
    """Mean KL of the distributions, from the exact ones."""
    p, q = (torch.log_softmax(x.double(), -1) for x in (exact, logits))
    return float((p.exp() * (p - q)).sum(-1).mean())


def weights_bytes(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder) if f.endswith(".safetensors"))


def token_bytes(folder):
    """Of the weights that each token is multiplied with: all, but an embedding beside a head of its own."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        tied = json.load(f)["tie_word_embeddings"]
    unused = 0
    for name in [] if tied else [f for f in os.listdir(folder) if f.endswith(".safetensors")]:
        with open(os.path.join(folder, name), "rb") as f:
            tensors = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        unused += sum(t["data_offsets"][1] - t["data_offsets"][0] for n, t in tensors.items() if "embed" in n)
    return weights_bytes(folder) - unused


class Server:
    def __init__(self, command, port):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=common.own_environment())
        end = time.time() + 120
        while True:
            try:
                urllib.request.urlopen(self.url + "/health", timeout=1).read()
                return
            except OSError:
                if time.time() > end or self.process.poll() is not None:
                    sys.exit(f"{command[0]} did not start")
                time.sleep(0.05)

    def complete(self, ids, tokens, **more):
        body = json.dumps({"prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more}).encode()
        request = urllib.request.Request(self.url + "/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()


def own_server(bench, folder, port, *more):
    return Server([bench.wellspring(), "serve", folder, "--port", str(port), *more], port)


def forget(path):
    """Puts a file out of the system's cache."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading_seconds(path):
    begin = time.perf_counter()
    with open(path, "rb", buffering=0) as f:
        while f.read(16 << 20):
            pass
    return time.perf_counter() - begin


def loading_seconds(bench, folder):
    begin = time.perf_counter()
    with own_server(bench, folder, 18083) as ours:
        ours.complete([1], 1)
        return time.perf_counter() - begin


def loading(bench, folder, prefix=""):
    path = os.path.join(folder, "model.safetensors")
    warm, cold = (f"{prefix}start to first token q4, {os.path.getsize(path) / 1e9:.2f} GB, {how}" for how in ("read before", "from the disk"))
    if not bench.wants(warm) and not bench.wants(cold):
        return
    reading_seconds(path)
    times = bench.turns(1 if bench.args.quick else 3, warm=lambda budget: loading_seconds(bench, folder),
                        file=lambda budget: forget(path) or reading_seconds(path),
                        cold=lambda budget: forget(path) or loading_seconds(bench, folder))
    bench.row(warm, "s", times["warm"], ratio=1 / times["warm"], goal=1.0)
    bench.row(cold, "s", times["cold"], times["warm"] + times["file"], "that and reading the file", goal=0.8)


def memory(bench, folder):
    name = "peak memory q4, cache of 0.1 GB filled, beside weights + cache + 5 %"
    if not bench.wants(name):
        return
    with own_server(bench, folder, 18084, "--cache-gb", "0.1") as ours:
        pages = {"cache_pages": 1, "cache_pages_free": 1}
        for i in range(8):
            ours.complete([(k * 7919 + i) % 120000 for k in range(3000 // (i + 1))], 8)
            with urllib.request.urlopen(ours.url + "/metrics") as answer:
                pages = {k: float(v) for k, v in re.findall(r"^wellspring_(cache_pages\w*)\{.*\} (\S+)$", answer.read().decode(), re.M)}
            if pages["cache_pages_free"] <= 0.05 * pages["cache_pages"]:
                break
        else:
            sys.exit(f"the cache was not filled: {pages}")
        with open(f"/proc/{ours.process.pid}/status", encoding="utf-8") as f:
            peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) * 1024 / 1e6
    bound = weights_bytes(folder) / 1e6 + 100
    bench.row(name, "MB", peak, ratio=1.05 * bound / peak, goal=1.0)
