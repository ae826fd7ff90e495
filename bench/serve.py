#!/usr/bin/env python3
"""Serving beside llama.cpp: prompts, tokens, and many streams at once, of one model in 4, 8 and 16 bits.

    python3 bench/serve.py [--build build] [--threads 2] [--quick] [--only decode|kl]

The model is that of generate.py (Qwen2-like 0.5B, random weights). llama.cpp is the newest source in PyPI's
llama-cpp-python, built once in .cache/bench/llama.cpp (LLAMA_CPP names a folder with its programs instead); its file is
made from the same weights. Prompts of 512 tokens; 64 tokens after 16; streams by HTTP, each of 32 tokens after 32.
Agreement: KL of the next token's distribution from bf16's, of ours. Rows "kl" compare it with llama.cpp's on a model that
was trained (kl.py).

Alone: a request for one token of a model of width 32, whose pass takes some ten microseconds, over a kept connection: all
of it counts as overhead. Loading: from the start of the program to the first token's arrival, which has read all weights;
cold, the file is put out of the system's cache first, beside the time when it is there and that of reading it alone.
Memory: the most that was resident once prompts have filled the cache of keys and values, beside the weights' file and that
cache with 5 % on top.
"""

import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request

import common

common.need("torch", "transformers", "safetensors")
import numpy as np  # noqa: E402
import generate  # noqa: E402
import kl  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402

CACHE = os.path.join(common.ROOT, ".cache/bench")
PEER = os.environ.get("LLAMA_CPP") or os.path.join(CACHE, "llama.cpp/build/bin")
GGUF = os.path.join(CACHE, "qwen2-0.5b-{}.gguf")
QUANTISED = os.path.join(CACHE, "qwen2-0.5b-{}")
KINDS = {"q4": "Q4_0", "q8": "Q8_0", "bf16": "BF16"}
GOALS = {"prefill": {"q4": 1.5, "q8": 1.5, "bf16": 1.1}, "decode": {"q4": 1.2, "q8": 1.0, "bf16": 1.0}}


def source():
    """The folder of llama.cpp's source, fetched once."""
    folder = os.path.join(CACHE, "llama.cpp")
    if not os.path.isdir(os.path.join(folder, "source")):
        os.makedirs(folder, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "llama-cpp-python", "--no-binary", "llama-cpp-python",
                        "--no-deps", "-d", folder], check=True)
        archive = next(f for f in os.listdir(folder) if f.endswith(".tar.gz"))
        with tarfile.open(os.path.join(folder, archive)) as tar:
            tar.extractall(folder, filter="data")
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


def gguf_names():
    c = generate.CONFIG
    yield "model.embed_tokens.weight", "token_embd.weight"
    yield "model.norm.weight", "output_norm.weight"
    for i in range(c["num_hidden_layers"]):
        for theirs, ours in (("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"),
                             ("attn_output", "self_attn.o_proj"), ("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"),
                             ("ffn_down", "mlp.down_proj"), ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")):
            for part in ("weight", "bias"):
                yield f"model.layers.{i}.{ours}.{part}", f"blk.{i}.{theirs}.{part}"


def tokens():
    """A vocabulary of the model's size: the bytes as GPT-2 spells them, then made-up words."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    spelled = {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}
    return [spelled[b] for b in range(256)] + [f"word{i}" for i in range(256, generate.CONFIG["vocab_size"])]


def make_tokenizer():
    path = os.path.join(generate.FOLDER, "tokenizer.json")
    if not os.path.exists(path):
        common.write_whole(path, json.dumps({
            "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens())}, "merges": []}}))


def make_own_files(wellspring):
    generate.make_model()
    make_tokenizer()
    for kind in ("q4", "q8"):
        if not os.path.exists(os.path.join(QUANTISED.format(kind), "config.json")):
            subprocess.run([wellspring, "quantize", generate.FOLDER, "--to", kind, "--out", QUANTISED.format(kind)], check=True)


@functools.cache
def make_peer():
    """llama.cpp and its files, for the first row that needs them."""
    build_peer()
    bf16 = GGUF.format("BF16")
    if not os.path.exists(bf16):
        sys.path.insert(0, os.path.join(source(), "gguf-py"))
        import gguf
        c = generate.CONFIG
        w = gguf.GGUFWriter(bf16 + ".new", "qwen2")
        w.add_block_count(c["num_hidden_layers"]), w.add_context_length(c["max_position_embeddings"])
        w.add_embedding_length(c["hidden_size"]), w.add_feed_forward_length(c["intermediate_size"])
        w.add_head_count(c["num_attention_heads"]), w.add_head_count_kv(c["num_key_value_heads"])
        w.add_layer_norm_rms_eps(c["rms_norm_eps"]), w.add_rope_freq_base(c["rope_theta"])
        w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16), w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("qwen2"), w.add_token_list(tokens())
        w.add_token_types([gguf.TokenType.NORMAL] * c["vocab_size"]), w.add_token_merges(["\u0120 \u0120"])
        with safe_open(os.path.join(generate.FOLDER, "model.safetensors"), "pt") as f:
            there = set(f.keys())
            for ours, theirs in gguf_names():
                if ours not in there:
                    continue
                t = f.get_tensor(ours)
                if t.dim() == 1:
                    w.add_tensor(theirs, t.float().numpy())
                else:
                    w.add_tensor(theirs, t.contiguous().view(torch.uint8).numpy().reshape(t.shape[0], -1),
                                 raw_dtype=gguf.GGMLQuantizationType.BF16)
        w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
        os.replace(bf16 + ".new", bf16)
    for kind in ("Q4_0", "Q8_0"):
        if not os.path.exists(GGUF.format(kind)):
            subprocess.run([os.path.join(PEER, "llama-quantize"), bf16, GGUF.format(kind) + ".new", kind], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.replace(GGUF.format(kind) + ".new", GGUF.format(kind))


def folder_of(kind):
    return generate.FOLDER if kind == "bf16" else QUANTISED.format(kind)


class Ours(generate.Ours):
    def __init__(self, bench, kind):
        super().__init__(bench, "bf16")
        self.command[2] = folder_of(kind)


def peer_seconds(bench, kind, prompt, tokens):
    """Of a prompt of `prompt` tokens, or of each of `tokens`."""
    out = subprocess.run([os.path.join(PEER, "llama-bench"), "-m", GGUF.format(KINDS[kind]), "-t", str(bench.threads), "-p", str(prompt),
                          "-n", str(tokens), "-r", "1", "-o", "json"], check=True, capture_output=True, text=True,
                         env=common.own_environment())
    rate = json.loads(out.stdout)[0]["avg_ts"]
    return prompt / rate if prompt else 1 / rate


def divergence(exact, logits):
    """Mean KL of the distributions, from the exact ones."""
    p, q = (torch.log_softmax(x.double(), -1) for x in (exact, logits))
    return float((p.exp() * (p - q)).sum(-1).mean())


def single(bench):
    exact = functools.cache(lambda: generate.Peer("bf16").logits(64))
    for kind in KINDS:
        wanted = [row for row in ((f"prefill {kind}, 512 tokens", "prefill", 512, 1), (f"decode {kind}, 64 tokens after 16", "decode", 16, 65))
                  if bench.wants(row[0])]
        if not wanted:
            continue
        make_peer()
        ours = Ours(bench, kind)
        agreement = divergence(exact(), ours.logits(64)) if kind != "bf16" else None
        for name, what, length, tokens in wanted:
            reads = []

            def one(budget, ours=ours, length=length, tokens=tokens, what=what):
                if what == "decode":
                    reads.append(bench.roof("read"))
                return ours.seconds(length, tokens)[what == "decode"]
            times = bench.turns(1 if bench.args.quick else 3, ours=one,
                                peer=lambda budget, what=what: peer_seconds(bench, kind, *((512, 0) if what == "prefill" else (0, 64))))
            n = length if what == "prefill" else 1
            size = sum(os.path.getsize(os.path.join(folder_of(kind), f)) for f in os.listdir(folder_of(kind)) if f.endswith(".safetensors"))
            share = size / times["ours"] / sorted(reads)[len(reads) // 2] if reads else None
            bench.row(name, "tokens/s", n / times["ours"], n / times["peer"], f"llama.cpp {KINDS[kind]}", goal=GOALS[what][kind],
                      roof_share=share, agreement=agreement, tolerance=None if kind == "bf16" else 1e-3 if kind == "q8" else 1.0)


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


def own_server(bench, kind, port):
    return Server([bench.wellspring(), "serve", folder_of(kind), "--port", str(port)], port)


def peer_server(bench, kind, port, streams):
    return Server([os.path.join(PEER, "llama-server"), "-m", GGUF.format(KINDS[kind]), "-t", str(bench.threads), "-np", str(streams),
                   "-c", str(streams * 256), "--port", str(port), "--no-webui"], port)


def together(server, streams, tokens=32):
    """Tokens a second of all."""
    prompts = [[(i * 7919 + s * 104729 + 11) % 150000 for i in range(32)] for s in range(streams)]
    threads = [threading.Thread(target=server.complete, args=(p, tokens)) for p in prompts]
    begin = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return streams * tokens / (time.perf_counter() - begin)


def streams(bench):
    for count in (8, 32):
        name = f"{count} streams at once q4, 32 tokens after 32"
        if not bench.wants(name):
            continue
        make_peer()
        rates = {}
        with own_server(bench, "q4", 18080) as ours, peer_server(bench, "q4", 18081, count) as peer:
            for _ in range(1 if bench.args.quick else 3):
                for side, server in (("ours", ours), ("peer", peer)):
                    rates.setdefault(side, []).append(together(server, count))
        middle = {k: sorted(v)[len(v) // 2] for k, v in rates.items()}
        bench.row(name, "tokens/s", middle["ours"], middle["peer"], "llama-server Q4_0", goal=2.0)


def prefix(bench):
    name = "first token, 2,000 tokens shared with a request before"
    if not bench.wants(name):
        return
    shared = [(i * 7919 + 5) % 150000 for i in range(2000)]
    with own_server(bench, "q4", 18082) as ours:
        ours.complete(shared + [1, 2, 3], 1)
        times = []
        for i in range(5):
            begin = time.perf_counter()
            ours.complete(shared + [7 + i, 8, 9], 1)
            times.append(time.perf_counter() - begin)
    seconds = sorted(times)[len(times) // 2]
    bench.row(name, "ms", 1000 * seconds, ratio=0.03 / seconds, goal=1.0)


def overhead(bench):
    name = "overhead of a request: one token of a tiny model, kept connection"
    if not bench.wants(name):
        return
    sys.path.insert(0, os.path.join(common.ROOT, "cli"))
    os.environ["WELLSPRING_BINARY"] = bench.wellspring()
    import use_model_test
    with tempfile.TemporaryDirectory() as folder:
        # One thread: another one would only be waited for, in so small a pass.
        out = subprocess.run([bench.wellspring(), "bench", "serve", use_model_test.make_model(folder), "--concurrency", "1", "--whole", "--json",
                              "--requests", "500" if bench.args.quick else "5000", "--prompt-tokens", "4", "--output-tokens", "1"],
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             env=common.own_environment(WELLSPRING_THREADS="1"))
    seconds = json.loads(out.stdout)["latency"]["e2e"]["p50"]
    bench.row(name, "ms", 1000 * seconds, ratio=0.0003 / seconds, goal=1.0)


def make_vocabulary():
    """The q4 model with the 151,936 tokens of Qwen2, whose list is a file of llama.cpp's source: a folder."""
    folder = os.path.join(CACHE, "qwen2-0.5b-q4-words")
    if os.path.exists(os.path.join(folder, "tokenizer.json")):
        return folder
    sys.path.insert(0, os.path.join(source(), "gguf-py"))
    from gguf import GGUFReader
    fields = GGUFReader(os.path.join(source(), "models/ggml-vocab-qwen2.gguf")).fields
    texts = {k: [bytes(f.parts[i]).decode() for i in f.data] for k in ("tokens", "merges") for f in [fields["tokenizer.ggml." + k]]}
    kinds = [int(fields["tokenizer.ggml.token_type"].parts[i][0]) for i in fields["tokenizer.ggml.token_type"].data]
    os.makedirs(folder, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        if not os.path.exists(os.path.join(folder, name)):
            os.symlink(os.path.join(folder_of("q4"), name), os.path.join(folder, name))
    added = [{"id": i, "content": t, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
             for i, (t, k) in enumerate(zip(texts["tokens"], kinds)) if k == 3]  # control tokens
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    common.write_whole(os.path.join(folder, "tokenizer.json"), json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None, "pre_tokenizer": letters, "decoder": letters,
        "model": {"type": "BPE", "vocab": {t: i for i, (t, k) in enumerate(zip(texts["tokens"], kinds)) if k == 1}, "merges": texts["merges"]}}))
    return folder


# What a grammar costs: the same number of tokens, drawn alike.
FORMS = {
    "any JSON object": {"response_format": {"type": "json_object"}},
    "a JSON schema": {"json_schema": {"type": "array", "minItems": 40, "items": {
        "type": "object", "properties": {"name": {"type": "string", "minLength": 20}, "n": {"type": "integer"}}, "required": ["name", "n"]}}},
    "a regular expression": {"regex": "([a-z]+ )*"},
}


def grammars(bench):
    names = {f"{form} q4, time of a token over that of free text": form for form in FORMS}
    if not any(map(bench.wants, names)):
        return
    make_own_files(bench.wellspring())
    port = 18085
    with Server([bench.wellspring(), "serve", make_vocabulary(), "--port", str(port)], port) as ours:
        def seconds(form, seed):
            body = {"prompt": "a b c", "max_tokens": 96, "seed": seed, "ignore_eos": True, **FORMS.get(form, {})}
            request = urllib.request.Request(ours.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
            begin = time.perf_counter()
            with urllib.request.urlopen(request) as answer:
                made = json.load(answer)["usage"]["completion_tokens"]
            return (time.perf_counter() - begin) / made
        all_forms = ["free", *FORMS]
        for form in all_forms:
            seconds(form, 0)  # compiles the grammar
        times = {form: [] for form in all_forms}
        for seed in range(3 if bench.args.quick else 9):
            for form in all_forms:
                times[form].append(seconds(form, seed))
    for name, form in names.items():
        share = statistics.median(times[form]) / statistics.median(times["free"])
        bench.row(name, "", share, ratio=1.05 / share, goal=1.0)


def weights_file(kind):
    return os.path.join(folder_of(kind), "model.safetensors")


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


def loading_seconds(bench):
    begin = time.perf_counter()
    with own_server(bench, "q4", 18083) as ours:
        ours.complete([1], 1)
        return time.perf_counter() - begin


def loading(bench):
    path = weights_file("q4")
    size = f"q4, {os.path.getsize(path) / 1e9:.2f} GB"
    warm, cold = f"start to first token {size}, read before", f"start to first token {size}, from the disk"
    if not bench.wants(warm) and not bench.wants(cold):
        return
    reading_seconds(path)
    times = bench.turns(1 if bench.args.quick else 3, warm=lambda budget: loading_seconds(bench),
                        file=lambda budget: forget(path) or reading_seconds(path),
                        cold=lambda budget: forget(path) or loading_seconds(bench))
    bench.row(warm, "s", times["warm"], ratio=1 / times["warm"], goal=1.0)
    bench.row(cold, "s", times["cold"], times["warm"] + times["file"], "that and reading the file", goal=0.8)


def memory(bench):
    name = "peak memory q4, cache of 0.1 GB filled, beside weights + cache + 5 %"
    if not bench.wants(name):
        return
    port = 18084
    with Server([bench.wellspring(), "serve", folder_of("q4"), "--port", str(port), "--cache-gb", "0.1"], port) as ours:
        for i in range(3):
            ours.complete([(k * 7919 + i) % 150000 for k in range(3000)], 8)
        with urllib.request.urlopen(ours.url + "/metrics") as answer:
            pages = {k: float(v) for k, v in re.findall(r"^wellspring_(cache_pages\w*)\{.*\} (\S+)$", answer.read().decode(), re.M)}
        if pages["cache_pages_free"] > 0.05 * pages["cache_pages"]:
            sys.exit(f"the cache was not filled: {pages}")
        with open(f"/proc/{ours.process.pid}/status", encoding="utf-8") as f:
            peak = int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) * 1024 / 1e6
    bound = os.path.getsize(weights_file("q4")) / 1e6 + 100
    bench.row(name, "MB", peak, ratio=1.05 * bound / peak, goal=1.0)


def main():
    bench = common.Bench("serve", __doc__)
    if not bench.args.only.startswith("kl"):
        make_own_files(bench.wellspring())
    for rows in (single, streams, prefix, grammars, overhead, loading, memory):
        rows(bench)
    if not bench.args.only or bench.args.only.startswith("kl"):
        build_peer()
        kl.rows(bench, PEER, source())
    bench.write()


if __name__ == "__main__":
    main()
