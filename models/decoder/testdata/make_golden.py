#!/usr/bin/env python3
"""Makes the golden folders that models/decoder's tests compare with, from PyTorch and transformers:
a small model with random weights, and golden.safetensors with ids, targets, logits, every gradient, the losses of
ten AdamW steps, and the error of PyTorch's bf16 autocast against f32.

    make_golden.py [OUT]      OUT: this folder by default
Run with the Python of the peers' environment.
"""
import os
import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from teleflm_reference import TeleFlm  # noqa: E402

BATCH, TIME = 2, 24
LLAMA = dict(vocab_size=96, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
TELEFLM = dict(vocab_size=96, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
               max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False,
               input_mult=1.5, output_mult=2.0, mup_scale_factor=4.0, bos_token_id=1, eos_token_id=2)


def randomise(model):
    """Weights that make every term count: norms and biases too."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or ".ln_" in name:
                p.add_(0.2 * torch.randn_like(p))
            elif p.dim() == 1:
                p.copy_(0.1 * torch.randn_like(p))
            else:
                p.copy_(0.6 * torch.randn_like(p) / p.shape[-1] ** 0.5 if "embed" not in name and "wte" not in name and "wpe" not in name else 0.5 * torch.randn_like(p))
    return model


def make(kind, seed=0, **more):
    return make_any(kind, seed, **(dict(tie_word_embeddings=True, **more) if kind == "qwen2" else more))


def make_any(kind, seed, **more):
    torch.manual_seed(seed)
    if kind == "teleflm":
        model = TeleFlm(dict(TELEFLM, **more))
    elif kind == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, "tie_word_embeddings": False, **more}))
    elif kind == "qwen2":
        model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**{**LLAMA, **more}))
    else:
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0.0,
                                                                     embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2, **more))
    return randomise(model).float().train()


def logits_of(model, ids):
    out = model(ids)
    return out if torch.is_tensor(out) else out.logits


def write(model, folder, **save):
    os.makedirs(folder, exist_ok=True)
    model.save_pretrained(folder, **save)
    vocab = model.c["vocab_size"] if hasattr(model, "c") else model.config.vocab_size
    ids = torch.randint(vocab, (BATCH, TIME))
    targets = torch.randint(vocab, (BATCH, TIME))
    targets[0, :3] = -100

    def loss_of(logits):
        return F.cross_entropy(logits.float().view(-1, vocab), targets.view(-1))

    logits = logits_of(model, ids)
    out = {"ids": ids.int(), "targets": targets.int(), "logits": logits.detach().clone()}
    loss_of(logits).backward()
    exact = {n: p.grad.clone() for n, p in model.named_parameters()}
    out |= {"grad." + n: g for n, g in exact.items()}
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        half = logits_of(model, ids)
        loss = loss_of(half)
    loss.backward()
    rms = lambda t: t.float().square().mean().sqrt()
    out["bf16_logits_error"] = (rms(half - logits) / rms(logits)).detach().view(1)
    difference = torch.cat([(p.grad.float() - exact[n]).flatten() for n, p in model.named_parameters()])
    out["bf16_gradient_error"] = (difference.norm() / torch.cat([g.flatten() for g in exact.values()]).norm()).view(1)
    model.zero_grad(set_to_none=True)
    groups = [dict(params=[p for p in model.parameters() if p.dim() > 1], weight_decay=0.1), dict(params=[p for p in model.parameters() if p.dim() == 1], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(10):
        loss = loss_of(logits_of(model, ids))
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    out["losses"] = torch.tensor(losses)
    save_file(out, f"{folder}/golden.safetensors")


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else HERE
    for kind in ("llama", "qwen2", "gpt2", "teleflm"):
        write(make(kind), f"{where}/{kind}")
        print("made", kind)
