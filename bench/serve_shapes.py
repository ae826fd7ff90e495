"""For serve.py: rows of Llama shapes of 1.2 and 8 billion random weights in 4 bits, beside llama.cpp.

A model is written in bf16 (16 GB for 8B; each layer has the same weights, which no speed sees), made into our 4 bits, and
exported for llama.cpp, whose llama-quantize makes its file; what only served to make the two is removed. Agreement: KL of
the next token's distribution from that of the bf16 weights, of ours, noted in .cache/bench beside the models.
"""

import json
import multiprocessing
import os
import shutil
import subprocess

import common
import generate
import serve_parts as serve
import torch
from safetensors.torch import save_file

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 128256, "rms_norm_eps": 1e-5,
         "rope_theta": 500000.0, "max_position_embeddings": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
         "torch_dtype": "bfloat16", "attention_bias": False, "mlp_bias": False}
CONFIGS = {
    "1B": {**LLAMA, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8B": {**LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False},
}


def write_plain(folder, config):
    """A folder with one file of weights for each layer."""
    os.makedirs(folder, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    parts, index, like = {}, {}, {}
    for name, shape in generate.shapes(config):
        part = name.split(".")[2] if ".layers." in name else "top"
        short = name.split(f".{part}.")[-1] if part != "top" else name
        if short not in like:
            like[short] = (torch.ones(shape, dtype=torch.bfloat16) if "norm" in name else
                           (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16))
        parts.setdefault(part, {})[name] = like[short]
        index[name] = f"model-{part}.safetensors"
    for part, weights in parts.items():
        save_file(weights, os.path.join(folder, f"model-{part}.safetensors"), {"format": "pt"})
    for name, value in (("model.safetensors.index.json", {"weight_map": index}), ("config.json", config)):
        common.write_whole(os.path.join(folder, name), json.dumps(value))
    common.write_whole(os.path.join(folder, "tokenizer.json"), json.dumps(serve.tokenizer(config["vocab_size"])))


def make(bench, size):
    """Our folder and the peer's file of 4 bits, and the KL of ours."""
    ours, theirs, note = (os.path.join(serve.CACHE, f"llama-{size}-{end}") for end in ("q4", "Q4_0.gguf", "q4.kl"))
    if not all(map(os.path.exists, (ours, theirs, note))):
        plain, big = os.path.join(serve.CACHE, f"llama-{size}"), os.path.join(serve.CACHE, f"llama-{size}-BF16.gguf")
        print(f"making the {size} model (once)", flush=True)
        if not os.path.exists(os.path.join(plain, "tokenizer.json")):  # in a process of its own, which gives its memory back
            writer = multiprocessing.get_context("fork").Process(target=write_plain, args=(plain, CONFIGS[size]))
            writer.start()
            writer.join()
        subprocess.run([bench.wellspring(), "quantize", plain, "--to", "q4", "--out", ours], check=True)
        kl = serve.divergence(*(generate.Ours(bench, "bf16", folder).logits(64) for folder in (plain, ours)))
        subprocess.run([bench.wellspring(), "export", plain, "--out", big], check=True)
        shutil.rmtree(plain)
        subprocess.run([os.path.join(serve.PEER, "llama-quantize"), big, theirs, "Q4_0"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        os.remove(big)
        common.write_whole(note, json.dumps(kl))
    with open(note, encoding="utf-8") as f:
        return ours, theirs, json.load(f)


def rows(bench):
    serve.build_peer()
    for size in CONFIGS:
        names = {"prefill": f"{size} prefill q4, 512 tokens", "decode": f"{size} decode q4, 32 tokens after 16"}
        if not bench.args.shapes and not bench.args.only.startswith(size):
            continue
        folder, file, kl = make(bench, size)
        ours = generate.Ours(bench, "bf16", folder)
        for what, length, tokens, goal in (("prefill", 512, 1, 1.2), ("decode", 16, 33, 1.0)):
            if not bench.wants(names[what]):
                continue
            seconds, peer, peer_name, read = serve.beside(bench, ours, file, what, length, tokens, 1 if bench.args.quick else 3)
            n = length if what == "prefill" else 1
            bench.row(names[what], "tokens/s", n / seconds, n / peer, f"{peer_name} Q4_0", goal=goal, or_share=0.95, agreement=kl, tolerance=1.0,
                      roof_share=serve.token_bytes(folder) / seconds / read if read else None)
        serve.loading(bench, folder, f"{size} ")
