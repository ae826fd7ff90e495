#!/usr/bin/env python3
"""Serving beside llama.cpp: prompts, tokens, and many streams at once, of one model in 4, 8 and 16 bits.

    python3 bench/serve.py [--build build] [--threads 2] [--quick] [--only decode|kl]

The model is that of generate.py (Qwen2-like 0.5B, random weights). llama.cpp is the newest source in PyPI's
llama-cpp-python, built once in .cache/bench/llama.cpp (LLAMA_CPP names a folder with its programs instead); its file is
made from the same weights. IK_LLAMA_CPP names a folder with the programs of its fork ik_llama.cpp, which then runs beside
with the same files; a row names the faster one, or for prompts the best known rate where neither reaches it. Prompts of 512 tokens; 64 tokens after 16; streams by HTTP, each of 32 tokens after 32.
Agreement: KL of the next token's distribution from bf16's, of ours. Rows "kl" compare it with llama.cpp's on a model that
was trained, and on the files of the other rows (kl.py).

Alone: a request for one token of a model of width 32, whose pass takes some ten microseconds, over a kept connection: all
of it counts as overhead. Loading: from the start of the program to the first token's arrival, which has read all weights;
cold, the file is put out of the system's cache first, beside the time when it is there and that of reading it alone.
Memory: the most that was resident once prompts have filled the cache of keys and values, beside the weights' file and that
cache with 5 % on top. Rows "1B" and "8B" are those of other shapes (serve_shapes.py), run with --only or --shapes.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import common

common.need("torch", "transformers", "safetensors")
import numpy as np  # noqa: E402
import generate  # noqa: E402
import kl  # noqa: E402
import serve_shapes  # noqa: E402
from serve_parts import (CACHE, PEER, Server, beside, build_peer, divergence, loading, memory, own_server, source,  # noqa: E402
                         token_bytes, tokenizer, tokens)
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402

GGUF = os.path.join(CACHE, "qwen2-0.5b-{}.gguf")
QUANTISED = os.path.join(CACHE, "qwen2-0.5b-{}")
KINDS = {"q4": "Q4_0", "q8": "Q8_0", "bf16": "BF16"}
# Tokens a second of a prompt by the best known program on such a machine, which the goals are of where none beside is faster.
KNOWN = {"q4": 458, "q8": 421, "bf16": 392}
GOALS = {"prefill": {"q4": 1.5, "q8": 1.5, "bf16": 1.1}, "decode": {"q4": 1.2, "q8": 1.0, "bf16": 1.0}}


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


def make_tokenizer():
    path = os.path.join(generate.FOLDER, "tokenizer.json")
    if not os.path.exists(path):
        common.write_whole(path, json.dumps(tokenizer(generate.CONFIG["vocab_size"])))


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
        w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16), w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("qwen2"), w.add_token_list(tokens(c["vocab_size"]))
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


def single(bench):
    exact = functools.cache(lambda: generate.Peer("bf16").logits(64))
    for kind in KINDS:
        wanted = [row for row in ((f"prefill {kind}, 512 tokens", "prefill", 512, 1), (f"decode {kind}, 64 tokens after 16", "decode", 16, 65))
                  if bench.wants(row[0])]
        if not wanted:
            continue
        make_peer()
        ours = generate.Ours(bench, "bf16", folder_of(kind))
        agreement = divergence(exact(), ours.logits(64)) if kind != "bf16" else None
        for name, what, length, tokens in wanted:
            seconds, peer, peer_name, read = beside(bench, ours, GGUF.format(KINDS[kind]), what, length, tokens, 1 if bench.args.quick else 5)
            n = length if what == "prefill" else 1
            peer_name += f" {KINDS[kind]}"
            if what == "prefill" and n / peer < KNOWN[kind]:
                print(f"    ({peer_name} beside: {n / peer:.0f} tokens/s)")
                peer, peer_name = n / KNOWN[kind], "best known"
            share = token_bytes(folder_of(kind)) / seconds / read if read else None
            bench.row(name, "tokens/s", n / seconds, n / peer, peer_name, goal=GOALS[what][kind],
                      roof_share=share, or_share=0.95, agreement=agreement, tolerance=None if kind == "bf16" else 1e-3 if kind == "q8" else 1.0)


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
        with own_server(bench, folder_of("q4"), 18080) as ours, peer_server(bench, "q4", 18081, count) as peer:
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
    with own_server(bench, folder_of("q4"), 18082) as ours:
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
            return [(time.perf_counter() - begin) / made] if made == 96 else []  # one that ends early is all prompt
        all_forms = ["free", *FORMS]
        for form in all_forms:
            seconds(form, 0)  # compiles the grammar
        times = {form: [] for form in all_forms}
        for seed in range(3 if bench.args.quick else 15):
            for form in all_forms:
                times[form] += seconds(form, seed)
    for name, form in names.items():
        share = statistics.median(times[form]) / statistics.median(times["free"])
        bench.row(name, "", share, ratio=1.05 / share, goal=1.0)


def main():
    bench = common.Bench("serve", __doc__, lambda parser: parser.add_argument(
        "--shapes", action="store_true", help="the rows of 1B and 8B too (40 GB of disk, 20 of memory, half an hour)"))
    bench.partial = not bench.args.shapes
    if bench.args.only[:2] not in ("kl", "1B", "8B"):
        make_own_files(bench.wellspring())
        for rows in (single, streams, prefix, grammars, overhead):
            rows(bench)
        for rows in (loading, memory):
            rows(bench, folder_of("q4"))
    if not bench.args.only or bench.args.only.startswith("kl"):
        make_own_files(bench.wellspring())
        make_peer()
        kl.rows(bench, PEER, source())
        for kind in ("q8", "q4"):
            kl.timed(bench, source(), kind, generate.FOLDER, folder_of(kind), generate.prompt(256), GGUF.format(KINDS[kind]))
    if bench.args.shapes or bench.args.only[:2] in ("1B", "8B"):
        serve_shapes.rows(bench)
    bench.write()


if __name__ == "__main__":
    main()
