#!/usr/bin/env python3
"""Training beside PyTorch: tokens/s, peak memory and the losses, from the same weights on the same batches.

    python3 bench/train.py [--threads 2] [--quick] [--only llama] [--steps 3]

The peer is the better of eager and compile, with fused AdamW, autocast for bf16, tcmalloc preloaded where Debian's
libtcmalloc-minimal4 is there. Peak memory is the most that each process held (VmHWM): of PyTorch's side with Python
and its libraries, of ours with the one copy of the weights that it saves for the peer. All sides live in processes of their own and make their steps in turns. Operations
count 6 per weight of a matrix product, head included, and causal attention at half.
"""

import os
import select
import statistics
import subprocess
import sys
import tempfile
import time

import common

# name: what it is called, batch, length, least ratio by dtype
MODELS = {
    "llama": ("Llama 34M 8x512", 8, 512, {"f32": 1.15, "bf16": 1.3}),
    "gpt2": ("GPT-2 124M 4x256", 4, 256, {"f32": 1.15, "bf16": 1.15}),
}
PATIENCE = {"eager": 120, "compile": 600}  # seconds for the first step


def batch(n, rows, length, vocab):
    """The tokens of train_bench: ids and targets."""
    import numpy as np
    import torch
    with np.errstate(over="ignore"):
        h = np.arange(n * rows * (length + 1), (n + 1) * rows * (length + 1), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    h ^= h >> np.uint64(29)
    a = (h & np.uint64(0xFFFF)) * (h >> np.uint64(16) & np.uint64(0xFFFF)) >> np.uint64(16)
    ids = torch.from_numpy((a * np.uint64(vocab) >> np.uint64(16)).astype(np.int64).reshape(rows, length + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def torch_model(name, folder):
    """A plain PyTorch model with the weights of a Hugging Face folder."""
    import json
    import torch
    from safetensors import safe_open
    from torch import nn
    from torch.nn import functional as F

    with open(f"{folder}/config.json", encoding="utf-8") as f:
        c = json.load(f)
    gpt2 = name == "gpt2"
    width, layers, heads = (c["n_embd"], c["n_layer"], c["n_head"]) if gpt2 else (
        c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"])
    hidden = 4 * width if gpt2 else c["intermediate_size"]
    w = width // heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            norm = (lambda: nn.LayerNorm(width, c["layer_norm_epsilon"])) if gpt2 else (lambda: nn.RMSNorm(width, c["rms_norm_eps"]))
            self.norm1, self.norm2 = norm(), norm()
            self.qkv, self.out = nn.Linear(width, 3 * width, bias=gpt2), nn.Linear(width, width, bias=gpt2)
            self.up, self.down = nn.Linear(width, hidden * (1 if gpt2 else 2), bias=gpt2), nn.Linear(hidden, width, bias=gpt2)

        def forward(self, x, cos, sin):
            B, T, _ = x.shape
            q, k, v = (y.view(B, T, heads, w).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(width, -1))
            if not gpt2:
                def turn(y):
                    a, b = y.chunk(2, -1)
                    return (y * cos + torch.cat((-b, a), -1) * sin).to(y.dtype)
                q, k = turn(q), turn(k)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(B, T, width))
            y = self.up(self.norm2(x))
            if gpt2:
                y = F.gelu(y, approximate="tanh")
            else:
                gate, up = y.chunk(2, -1)
                y = F.silu(gate) * up
            return x + self.down(y)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(c["vocab_size"], width)
            self.positions = nn.Embedding(c["n_positions"], width) if gpt2 else None
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width, c["layer_norm_epsilon"]) if gpt2 else nn.RMSNorm(width, c["rms_norm_eps"])
            rates = 10000.0 ** (-torch.arange(0, w, 2, dtype=torch.float64) / w)
            angles = torch.outer(torch.arange(1024, dtype=torch.float64), rates).float()
            self.register_buffer("cos", torch.cat((angles.cos(),) * 2, -1), persistent=False)
            self.register_buffer("sin", torch.cat((angles.sin(),) * 2, -1), persistent=False)

        def forward(self, ids, targets):
            T = ids.shape[1]
            x = self.embed(ids)
            if gpt2:
                x = x + self.positions.weight[:T]
            for block in self.blocks:
                x = block(x, self.cos[:T], self.sin[:T])
            logits = F.linear(self.norm(x), self.embed.weight)
            return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.view(-1))

    model = Model()
    with torch.no_grad(), safe_open(f"{folder}/model.safetensors", "pt") as f:
        def put(parameter, *names, transposed=False):
            values = [f.get_tensor(n) for n in names]
            value = torch.cat(values) if len(values) > 1 else values[0]
            parameter.copy_(value.T if transposed else value)

        def both(layer, name):
            put(layer.weight, name + ".weight", transposed=isinstance(layer, nn.Linear))
            put(layer.bias, name + ".bias")

        top = "transformer." if gpt2 else "model."
        put(model.embed.weight, top + ("wte" if gpt2 else "embed_tokens") + ".weight")
        if gpt2:
            put(model.positions.weight, "transformer.wpe.weight")
            both(model.norm, "transformer.ln_f")
        else:
            put(model.norm.weight, "model.norm.weight")
        for i, b in enumerate(model.blocks):
            if gpt2:
                h = f"transformer.h.{i}."
                for layer, at in ((b.norm1, "ln_1"), (b.norm2, "ln_2"), (b.qkv, "attn.c_attn"), (b.out, "attn.c_proj"),
                                  (b.up, "mlp.c_fc"), (b.down, "mlp.c_proj")):
                    both(layer, h + at)
            else:
                h = f"model.layers.{i}."
                put(b.norm1.weight, h + "input_layernorm.weight")
                put(b.norm2.weight, h + "post_attention_layernorm.weight")
                put(b.qkv.weight, *(h + f"self_attn.{x}_proj.weight" for x in "qkv"))
                put(b.out.weight, h + "self_attn.o_proj.weight")
                put(b.up.weight, h + "mlp.gate_proj.weight", h + "mlp.up_proj.weight")
                put(b.down.weight, h + "mlp.down_proj.weight")
    return model, c["vocab_size"]


def peer(name, dtype, mode, folder):
    """The child process: a step for every line, answered with loss and seconds."""
    import torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    _, rows, length, _ = MODELS[name]
    model, vocab = torch_model(name, folder)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=6e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)
    run = torch.compile(model) if mode == "compile" else model
    n = 0
    for _ in sys.stdin:
        begin = time.perf_counter()
        ids, targets = batch(n, rows, length, vocab)
        n += 1
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            loss = run(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"{loss.item():.8f} {time.perf_counter() - begin:.6f}", flush=True)


class Peer:
    """A child process with PyTorch."""

    def __init__(self, name, dtype, mode, folder, threads):
        self.mode = mode
        self.process = subprocess.Popen([sys.executable, os.path.realpath(__file__), "--peer", name, dtype, mode, folder],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, OMP_NUM_THREADS=str(threads)))

    def step(self, patience=120):
        """(loss, seconds), or None when there is no answer in time: the process is then ended."""
        try:
            self.process.stdin.write("step\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        if select.select([self.process.stdout], [], [], patience)[0]:
            answer = self.process.stdout.readline().split()
            if answer:
                return float(answer[0]), float(answer[1])
        self.process.kill()
        return None


def peak_memory(process):
    """Peak resident memory in MB of a process that still runs."""
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def measure(bench, name, dtype, steps):
    title, rows, length, goals = MODELS[name]
    tokens = rows * length
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(bench.args.build, "bench", "train_bench")
        if not os.path.exists(path):
            subprocess.run(["ninja", "-C", bench.args.build, "--quiet", "train_bench"], check=True)
        wrapper = os.path.join(folder, "run")
        with open(wrapper, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\nexec "{path}" {name} {dtype} {rows} {length}\n')
        os.chmod(wrapper, 0o755)
        ours = common.Program(wrapper, bench.threads)
        ours.ask("save", folder)
        flops, gemm = ours.number("flops"), ours.number("gemm")
        sides = {mode: Peer(name, dtype, mode, folder, bench.threads) for mode in bench.args.modes.split(",")}
        losses = {"ours": [], **{mode: [] for mode in sides}}
        seconds = {"ours": [], **{mode: [] for mode in sides}}
        updates, absent, bound = [], [], 0
        for n in range(steps + 1):  # the first one warms up
            loss, time_of, update = map(float, ours.ask("step").split())
            losses["ours"].append(loss)
            if n:
                seconds["ours"].append(time_of)
                updates.append(update)
            time.sleep(common.REST)
            for mode, side in list(sides.items()):
                answer = side.step(PATIENCE[mode] if n == 0 else 120)
                if answer is None:
                    print(f"{title} {dtype}: PyTorch {mode} gave no answer, left out", file=sys.stderr)
                    patience = PATIENCE[mode] if n == 0 else 120
                    absent.append(f"{mode} under {tokens / patience:.2g}: no step within {patience} s")
                    bound = max(bound, tokens / patience)
                    del sides[mode]
                    continue
                losses[mode].append(answer[0])
                if n:
                    seconds[mode].append(answer[1])
                time.sleep(common.REST)
            gemm = max(gemm, ours.number("gemm"))
        memory = {"ours": peak_memory(ours.process), **{mode: peak_memory(side.process) for mode, side in sides.items()}}
        ours.process.stdin.close()
        ours.process.wait()
        for side in sides.values():
            side.process.kill()
            side.process.wait()
    rate = {side: tokens / statistics.median(seconds[side]) for side in ("ours", *sides)}
    share = rate["ours"] * flops / gemm
    print(f"{title} {dtype}: GEMM {gemm / 1e9:.0f} GF/s, update {statistics.median(updates) / statistics.median(seconds['ours']):.1%} "
          f"of a step, losses {losses['ours']}")
    best = max(sides, key=lambda mode: rate[mode], default=None)
    agreement = max(abs(a - b) for a, b in zip(losses["ours"], losses[best])) if best else None
    peer_name = f"torch {', '.join(absent)}" if absent else ""  # then the ratio is a lower bound
    if best:
        peer_name = f"torch {best}, fused AdamW" + (", tcmalloc" if os.path.exists(common.TCMALLOC) else "")
        others = [f"{mode} {rate[mode]:.0f}" for mode in sides if mode != best] + absent
        peer_name += f" ({', '.join(others)})" if others else ""
    bench.row(f"training {title} {dtype}", "tokens/s", rate["ours"], rate.get(best, bound or None), peer_name, goal=goals[dtype],
              agreement=agreement, tolerance=None if agreement is None else 1e-3 if dtype == "f32" else 3e-2,
              roof_share=share)
    bench.row(f"training {title} {dtype}, of the GEMM rate", "share", share, roof_share=share, least_share=0.8)
    least = min(sides, key=lambda mode: memory[mode], default=None)
    bench.row(f"training {title} {dtype}, peak memory", "MB", memory["ours"], memory.get(best), peer_name, goal=1.25)
    if least != best:
        bench.row(f"training {title} {dtype}, peak memory beside the leanest", "MB", memory["ours"], memory[least], f"torch {least}")


def main():
    if len(sys.argv) == 6 and sys.argv[1] == "--peer":
        return peer(*sys.argv[2:])
    common.need("torch", "numpy", "safetensors")

    def arguments(parser):
        parser.add_argument("--steps", type=int, default=3, help="timed steps of each side")
        parser.add_argument("--modes", default="eager,compile", help="of PyTorch")
    bench = common.Bench("train", __doc__, arguments)
    for name, (title, *_) in MODELS.items():
        for dtype in ("f32", "bf16"):
            if bench.wants(f"training {title} {dtype}") or bench.wants(name):
                measure(bench, name, dtype, 1 if bench.args.quick else bench.args.steps)
    bench.write()


main()
