#!/usr/bin/env python3
"""Generating and reading tokens with a Qwen2-like 0.5B model, beside transformers and the memory's roof.

    python3 bench/generate.py [--build build] [--threads 2] [--quick] [--only bf16]

24 layers, width 896, 14 heads (2 of keys), FFN 4864, vocabulary 151936, tied: 494 M random weights in bf16,
written once to .cache/bench/qwen2-0.5b. Making a token reads every weight once, so the roof of generating is
the rate of reading DRAM, measured in the same run, over the bytes of the weights (the goal is of that share);
the roof of reading a prompt is the rate of multiply-adds. Prompts: 16 tokens before generating, 512 to read.
"""

import json
import os
import subprocess
import tempfile
import time

import common

common.need("torch", "transformers", "safetensors")
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 896,
    "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "vocab_size": 151936, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_sliding_window": False,
}
FOLDER = os.path.join(common.ROOT, ".cache/bench/qwen2-0.5b")
TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def shapes(config=CONFIG):
    """Names and shapes of a model's weights, layer by layer."""
    d, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = d // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (v, d)
    yield "model.norm.weight", (d,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (v, d)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, rows in (("q", d), ("k", kv), ("v", kv)):
            yield f"{layer}self_attn.{name}_proj.weight", (rows, d)
            if config["model_type"] == "qwen2":
                yield f"{layer}self_attn.{name}_proj.bias", (rows,)
        yield f"{layer}self_attn.o_proj.weight", (d, d)
        for name, shape in (("gate", (f, d)), ("up", (f, d)), ("down", (d, f))):
            yield f"{layer}mlp.{name}_proj.weight", shape
        for name in ("input", "post_attention"):
            yield f"{layer}{name}_layernorm.weight", (d,)


def make_model():
    """Returns the numbers of weights, and of those that a token is multiplied by."""
    path = os.path.join(FOLDER, "model.safetensors")
    if not os.path.exists(path):
        os.makedirs(FOLDER, exist_ok=True)
        generator = torch.Generator().manual_seed(1)
        weights = {name: torch.ones(shape, dtype=torch.bfloat16) if "norm" in name else
                   (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16) for name, shape in shapes()}
        with open(os.path.join(FOLDER, "config.json"), "w", encoding="utf-8") as f:
            json.dump(CONFIG, f, indent=1)
        save_file(weights, path + ".new", {"format": "pt"})
        os.replace(path + ".new", path)
    count = lambda least: sum(torch.Size(s).numel() for _, s in shapes() if len(s) >= least)
    return count(1), count(2)


def prompt(n):
    return [(i * 7919 + 11) % 120000 for i in range(n)]


class Ours:
    def __init__(self, bench, dtype, folder=FOLDER):
        self.command = [bench.wellspring(), "generate", folder, "--dtype", dtype, "--greedy"]
        self.environment = common.own_environment(WELLSPRING_THREADS=str(bench.threads))

    def run(self, *words):
        return subprocess.run(self.command + list(words), check=True, stdout=subprocess.PIPE, text=True,
                              env=self.environment).stdout

    def seconds(self, length, tokens):
        """Of reading the prompt, and of each token after the first (which the prompt's logits give)."""
        ids = ",".join(map(str, prompt(length)))
        out = json.loads(self.run("--ids", ids, "--max-tokens", str(tokens), "--json"))
        made = out["tokens"] / out["tokens_per_second"]
        return out["prompt_tokens"] / out["prompt_tokens_per_second"], made / max(out["tokens"] - 1, 1)

    def logits(self, length):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "logits.safetensors")
            self.run("--ids", ",".join(map(str, prompt(length))), "--dump-logits", path)
            return load_file(path)["logits"][0]


class Peer:
    def __init__(self, dtype):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=TYPES[dtype]).eval()

    @torch.no_grad()
    def seconds(self, length, tokens):
        ids = torch.tensor([prompt(length)])
        begin = time.perf_counter()
        out = self.model(ids, use_cache=True, logits_to_keep=1)
        first = time.perf_counter()
        for _ in range(tokens - 1):
            token = out.logits[:, -1:].argmax(-1)
            out = self.model(token, past_key_values=out.past_key_values, use_cache=True)
        return first - begin, (time.perf_counter() - first) / max(tokens - 1, 1)

    @torch.no_grad()
    def logits(self, length):
        return self.model(torch.tensor([prompt(length)])).logits[0].float()


def measure(bench, dtype, exact, weights, multiplied):
    """exact: the peer's f32 logits."""
    making, reading = f"generate: {dtype}, 32 tokens after 16", f"generate: {dtype}, reading 512 tokens"
    if not bench.wants(making) and not bench.wants(reading):
        return
    ours, peer = Ours(bench, dtype), Peer(dtype)
    theirs = common.distance(peer.logits(16), exact)
    agreement = common.distance(ours.logits(16), exact)
    tolerance = 1e-4 if dtype == "f32" else 2 * theirs
    count = 1 if bench.args.quick else 3
    peer.seconds(16, 2)
    for what, length, tokens in ((making, 16, 33), (reading, 512, 1)):
        if not bench.wants(what):
            continue
        is_making = what == making
        # The roof is measured beside each turn: a shared machine's memory is not equally fast all the time.
        rates = []

        def run(side):
            rates.append(bench.roof("read" if is_making else dtype))
            return side.seconds(length, tokens)[is_making]
        times = bench.turns(count, ours=lambda budget: run(ours), peer=lambda budget: run(peer))
        rate = sorted(rates)[len(rates) // 2]
        n = 1 if is_making else length
        roof = rate / (weights * TYPES[dtype].itemsize) if is_making else rate / (2 * multiplied)
        bench.row(what, "tokens/s", n / times["ours"], n / times["peer"], "transformers", roof_share=n / times["ours"] / roof,
                  agreement=agreement, tolerance=tolerance, **({"least_share": 0.85} if is_making else {"goal": 1.0}))


def main():
    bench = common.Bench("generate", __doc__)
    weights, multiplied = make_model()
    exact = Peer("f32").logits(16)
    for dtype in ("bf16", "f32"):
        measure(bench, dtype, exact, weights, multiplied)
    bench.write()


if __name__ == "__main__":
    main()
