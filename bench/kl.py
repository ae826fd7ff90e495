"""For serve.py: how far the answers of quantised weights are from those of the plain ones, beside llama.cpp's.

The judge is a Llama of width 256 that is trained once on the text of the demo's miniature (Debian's documentation, some
minutes, in .cache/bench/kl): random weights would hide what calibration does. KL in nats of the next token's
distribution from that of the bf16 weights computed in f32, over held-out windows. Both sides' weights are dequantised as
they lie in their files and computed with in f32, so that neither's rounding of activations counts; the agreement is KL
of ours as it serves, in bf16 with activations in 8 bits. Beside 4 bits the embedding, which is the head, has 8.5 on both
sides; --pure gives all other matrices of theirs 4.5 bits, as ours have. "imatrix": with the mean squares of the activations of the text that calibrates ours.
"""

import json
import os
import re
import struct
import subprocess
import sys

import common
import numpy as np
import torch
import transformers
from safetensors.torch import load_file

FOLDER = os.path.join(common.ROOT, ".cache/bench/kl")
MODEL = os.path.join(FOLDER, "model")
WINDOW, WINDOWS, CALIBRATION = 256, 12, 64
RUN = """seed: 1
tokenizer: {folder}/tokenizer
data: {{train: [{{path: {folder}/data}}], eval: [{{path: {folder}/data}}]}}
model: {{family: llama, width: 256, layers: 6, heads: 4, kv_heads: 2, ffn: 768, context: 256, tied: true}}
train:
  sequence: 256
  batch: 4
  steps: 2000
  schedule: {{kind: wsd, learning_rate: 0.004, warmup: 40, final_share: 0.05, decay: 0.4}}
  optimizer: {{weight_decay: 0.1, beta2: 0.95}}
  eval_every: 0
"""


def make_model(wellspring):
    """False where the text cannot be had."""
    if os.path.exists(os.path.join(MODEL, "config.json")):
        return True
    demo = os.path.join(common.ROOT, ".cache/demo")
    if subprocess.run([os.path.join(common.ROOT, "tools/demo_corpus.py"), demo + "/corpus", "--cache", demo + "/packages"]).returncode:
        return False
    sources = [f"{demo}/corpus/{s}" for s in ("en/debian-faq", "en/maint-guide", "en/fortunes", "zh/debian-faq-zh-cn",
                                              "zh/maint-guide-zh-cn", "zh/fortunes-zh")]
    run = lambda *words: subprocess.run([wellspring, *words], check=True, stdout=subprocess.DEVNULL)
    print("training the judge (some minutes, once)", flush=True)
    run("data", "clean", *sources, "--eval-share", "0.02", "--out", f"{FOLDER}/text", "--force")
    run("text", "train", f"{FOLDER}/text/train.txt", "--vocab-size", "2048", "--pattern", "llama3", "--special", "<|endoftext|>",
        "--out", f"{FOLDER}/tokenizer")
    run("data", "prepare", *sources, "--eval-share", "0.02", "--tokenizer", f"{FOLDER}/tokenizer", "--out", f"{FOLDER}/data", "--force")
    common.write_whole(f"{FOLDER}/run.yaml", RUN.format(folder=FOLDER))
    run("train", f"{FOLDER}/run.yaml", "--out", f"{FOLDER}/run")
    run("export", f"{FOLDER}/run", "--dtype", "bf16", "--out", MODEL)
    return True


def windows(path, count):
    import tokenizers
    with open(path, encoding="utf-8") as f:
        ids = tokenizers.Tokenizer.from_file(f"{MODEL}/tokenizer.json").encode(f.read()).ids
    return [ids[i * WINDOW:(i + 1) * WINDOW] for i in range(min(count, len(ids) // WINDOW))]


def held_out():
    return [w for language in ("en", "zh") for w in windows(f"{FOLDER}/text/eval-{language}.txt", WINDOWS)]


class Judge:
    """A plain model and what it says for each window."""

    def __init__(self, folder, windows):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.plain = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        self.windows = windows
        self.exact = self.logits()

    @torch.no_grad()
    def logits(self):
        return list(self.model(torch.tensor(self.windows)).logits)

    def away(self, logits):
        """Mean KL from the plain weights' distributions, and its standard error over windows."""
        each = []
        for exact, other in zip(self.exact, logits):
            p, q = (torch.log_softmax(x.double(), -1) for x in (exact, other))
            each.append(float((p.exp() * (p - q)).sum(-1).mean()))
        return float(np.mean(each)), float(np.std(each) / len(each) ** 0.5)

    def perplexity(self):
        nats = [torch.nn.functional.cross_entropy(x[:-1], torch.tensor(w[1:])).item() for x, w in zip(self.exact, self.windows)]
        return float(np.exp(np.mean(nats)))

    def with_weights(self, weights):
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(weights.get(name, self.plain[name]))
        return self.away(self.logits())

    @torch.no_grad()
    def mean_squares(self, texts):
        """Of what each matrix is multiplied with, by the matrix' name."""
        sums, handles = {}, []
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                handles.append(module.register_forward_pre_hook(lambda m, x, name=name: sums.__setitem__(
                    name, (x[0] ** 2).sum((0, 1)))))
        self.model(torch.tensor(texts))
        for h in handles:
            h.remove()
        return {name: s.numpy() / (len(texts) * WINDOW) for name, s in sums.items()}


def dequantised(values, scales, levels):
    """A matrix of ours (chips/cpu/kernels/quantized.h), rows and columns filled up to whole blocks."""
    blocks, groups = values.shape[:2]
    v = values.reshape(blocks, groups, -1, 16, 4).long()
    v = v - 128 if levels is None else torch.cat([levels.long()[v & 15], levels.long()[v >> 4]], 2)
    w = v.permute(0, 3, 1, 2, 4).reshape(blocks * 16, groups * 32).float()
    s = scales.reshape(-1, 1) if scales.dim() == 2 else scales.float().permute(0, 2, 1).reshape(blocks * 16, groups).repeat_interleave(32, 1)
    return w * s


def own_weights(folder, config):
    """The same by Hugging Face's names."""
    there, out = load_file(f"{folder}/model.safetensors"), {}
    kv = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    parts = {"qkv": {"self_attn.q_proj": config.hidden_size, "self_attn.k_proj": kv, "self_attn.v_proj": kv},
             "out": {"self_attn.o_proj": config.hidden_size}, "down": {"mlp.down_proj": config.hidden_size},
             "up": {"mlp.gate_proj": config.intermediate_size, "mlp.up_proj": config.intermediate_size}}
    for name, values in there.items():
        stem, _, kind = name.rpartition(".")
        if kind not in ("q8", "q8_groups", "q4"):
            continue
        w = dequantised(values, there[stem + ".scales"], there.get(stem + ".levels"))
        if stem == "embedding.weight":
            out["model.embed_tokens.weight"] = w[:config.vocab_size]
            continue
        layer, fused = re.fullmatch(r"layers\.(\d+)\.(\w+)\.weight", stem).groups()
        for part, piece in zip(parts[fused], w[:sum(parts[fused].values())].split(list(parts[fused].values()))):
            out[f"model.layers.{layer}.{part}.weight"] = piece
    return out


def ours(bench, judge, words):
    """KL of the weights, its error, bits a weight; KL as it serves."""
    out = os.path.join(FOLDER, "ours")
    subprocess.run(["rm", "-rf", out], check=True)
    said = subprocess.run([bench.wellspring(), "quantize", MODEL, "--out", out, "--window", str(WINDOW), "--tokens",
                           str(WINDOW * CALIBRATION), "--json", *words], check=True, capture_output=True, text=True).stdout
    logits = []
    for w in judge.windows:
        path = os.path.join(FOLDER, "logits.safetensors")
        subprocess.run([bench.wellspring(), "generate", out, "--greedy", "--ids", ",".join(map(str, w)), "--dump-logits", path],
                       check=True, stdout=subprocess.DEVNULL, env=common.own_environment(WELLSPRING_THREADS=str(bench.threads)))
        logits.append(load_file(path)["logits"][0])
    return *judge.with_weights(own_weights(out, judge.model.config)), json.loads(said)["bits_per_weight"], judge.away(logits)[0]


NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def write_imatrix(path, squares):
    theirs = {v: k for k, v in NAMES.items()}
    with open(path, "wb") as f:
        f.write(struct.pack("<i", len(squares)))
        for name, values in squares.items():
            layer, module = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name).groups()
            there = f"blk.{layer}.{theirs[module]}.weight".encode()
            f.write(struct.pack("<i", len(there)) + there + struct.pack("<ii", 1, len(values)) + values.astype("<f4").tobytes())


def peer_weights(path, config):
    """What a file of llama.cpp's stands for, by Hugging Face's names, and bits a weight."""
    import gguf
    out, bits, count = {}, 0, 0
    for t in gguf.GGUFReader(path).tensors:
        if len(t.shape) < 2:
            continue
        w = torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(*reversed(t.shape.tolist())))
        bits, count = bits + 8 * t.n_bytes, count + w.numel()
        if t.name == "token_embd.weight":
            out["model.embed_tokens.weight"] = w
            continue
        layer, kind = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", t.name).groups()
        if kind in ("attn_q", "attn_k") and config.model_type == "llama":  # there neighbours turn together, here halves
            n = config.num_attention_heads if kind == "attn_q" else config.num_key_value_heads
            w = w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1]).transpose(1, 2).reshape(w.shape)
        out[f"model.layers.{layer}.{NAMES[kind]}.weight"] = w
    return out, bits / count


def peer(judge, quantizer, kind, imatrix=None):
    out = os.path.join(FOLDER, "theirs.gguf")
    subprocess.run([quantizer, "--pure", *(["--imatrix", imatrix] if imatrix else []), "--token-embedding-type", "q8_0",
                    os.path.join(FOLDER, "model.gguf"), out, kind], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    weights, bits = peer_weights(out, judge.model.config)
    return *judge.with_weights(weights), bits, None


def timed(bench, source, kind, plain, own, prompt, file):
    """A row of the files that the rows of speed use, whose weights are random: each as it lies, by one prompt."""
    name = f"kl from bf16 of the timed weights, {kind}"
    if not bench.wants(name):
        return
    sys.path.insert(0, os.path.join(source, "gguf-py"))
    judge = Judge(plain, [prompt])
    weights, bits = peer_weights(file, judge.model.config)
    theirs = judge.with_weights(weights)[0]
    ours = judge.with_weights(own_weights(own, judge.model.config))[0]
    matrices = sum(p.numel() for p in judge.plain.values() if p.dim() == 2)
    mine = 8 * os.path.getsize(f"{own}/model.safetensors") / matrices
    bench.row(name, "nats", ours, theirs, f"{os.path.basename(file).split('-')[-1][:-5]} ({bits:.2f} bits; ours {mine:.2f})")


def rows(bench, llama, source):
    """Rows of ours beside the best of llama.cpp's at as many bits. llama: its programs; source: its folder."""
    names = ("kl from bf16, q8", "kl from bf16, q4", "kl from bf16, q4 calibrated")
    if not any(map(bench.wants, names)):
        return
    if not make_model(bench.wellspring()):
        print("kl: Debian's packages cannot be fetched: left out")
        return
    sys.path.insert(0, os.path.join(source, "gguf-py"))
    judge = Judge(MODEL, held_out())
    calibration = f"{FOLDER}/text/train.txt"
    imatrix = os.path.join(FOLDER, "imatrix.dat")
    write_imatrix(imatrix, judge.mean_squares(windows(calibration, CALIBRATION)))
    if not os.path.exists(f"{FOLDER}/model.gguf"):
        subprocess.run([bench.wellspring(), "export", MODEL, "--out", f"{FOLDER}/model.gguf"], check=True, stdout=subprocess.DEVNULL)
    quantizer = os.path.join(llama, "llama-quantize")
    theirs = {kind + (" imatrix" if by else ""): peer(judge, quantizer, kind, by)
              for kind in ("Q8_0", "Q4_0", "Q4_K_S") for by in ((None,) if kind == "Q8_0" else (None, imatrix))}
    mine = {names[0]: ours(bench, judge, ["--to", "q8"]), names[1]: ours(bench, judge, ["--to", "q4", "--tables", "q8_groups"]),
            names[2]: ours(bench, judge, ["--to", "q4", "--tables", "q8_groups", "--calibrate", calibration])}
    print(f"kl: perplexity of the judge {judge.perplexity():.1f}; nats, standard error, bits a weight (embedding included)")
    for name, (kl, error, bits, served) in {**theirs, **mine}.items():
        print(f"    {name:32} {kl:.2e} +- {error:.0e}  {bits:.2f}" + (f"  {served:.2e} as it serves" if served else ""))
    for name, best in zip(names, (["Q8_0"], ["Q4_0", "Q4_K_S"], ["Q4_0 imatrix", "Q4_K_S imatrix"])):
        peer_name = min(best, key=lambda k: theirs[k][0])
        if not bench.wants(name):
            continue
        kl, _, bits, served = mine[name]
        bench.row(name, "nats", kl, theirs[peer_name][0], f"llama.cpp {peer_name} ({theirs[peer_name][2]:.2f} bits; ours {bits:.2f})",
                  ratio=1e-3 / served if name == names[0] else None, goal=1.0, agreement=served)
