#!/usr/bin/env python3
"""Serving beside llama.cpp: prompts, tokens, and many streams at once, of one model in 4, 8 and 16 bits.

    python3 bench/serve.py [--build build] [--threads 2] [--quick] [--only decode|kl]

The model is that of generate.py (Qwen2-like 0.5B, random weights). llama.cpp is the newest source in PyPI's
llama-cpp-python, built once in .cache/bench/llama.cpp (LLAMA_CPP names a folder with its programs instead); its file is
made from the same weights. Prompts of 512 tokens; 64 tokens after 16; streams by HTTP, each of 32 tokens after 32.
Agreement: KL of the next token's distribution from bf16's, of ours. Rows "kl" compare it with llama.cpp's on a model that
was trained (kl.py).
"""

import json
import os
import re
import subprocess
import sys
import tarfile
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


def make_files(wellspring):
    generate.make_model()
    make_tokenizer()
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
    for kind in ("q4", "q8"):
        if not os.path.exists(os.path.join(QUANTISED.format(kind), "config.json")):
            subprocess.run([wellspring, "quantize", generate.FOLDER, "--to", kind, "--out", QUANTISED.format(kind)], check=True)


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


def single(bench, exact):
    weights, multiplied = generate.make_model()
    for kind in KINDS:
        ours = Ours(bench, kind)
        agreement = divergence(exact, ours.logits(64)) if kind != "bf16" else None
        for what, length, tokens in (("prefill", 512, 1), ("decode", 16, 65)):
            name = f"{what} {kind}, {'512 tokens' if what == 'prefill' else '64 tokens after 16'}"
            if not bench.wants(name):
                continue
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


def main():
    bench = common.Bench("serve", __doc__)
    build_peer()
    if not bench.args.only.startswith("kl"):
        make_files(bench.wellspring())
        single(bench, generate.Peer("bf16").logits(64))
        streams(bench)
        prefix(bench)
    kl.rows(bench, PEER, source())
    bench.write()


if __name__ == "__main__":
    main()
