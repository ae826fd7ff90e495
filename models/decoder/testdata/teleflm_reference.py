"""Tele-FLM in plain PyTorch, for comparison: a Llama block with a scalar on the embedding's output (input_mult)
and one on the logits (output_mult / mup_scale_factor). Weight names are Llama's. Source: arXiv 2404.16645."""
import json

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).type_as(x) * self.weight


def rotate(x, theta):  # [B, H, T, W]
    width = x.shape[-1]
    angle = torch.outer(torch.arange(x.shape[-2]).float(), theta ** (-torch.arange(0, width, 2).float() / width))
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        w = c["hidden_size"]
        self.heads, self.theta = c["num_attention_heads"], c["rope_theta"]
        for n in "qkvo":
            setattr(self, n + "_proj", nn.Linear(w, w, bias=False))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (p(x).view(B, T, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(rotate(q, self.theta), rotate(k, self.theta), v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, D))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        w, f = c["hidden_size"], c["intermediate_size"]
        self.gate_proj, self.up_proj = nn.Linear(w, f, bias=False), nn.Linear(w, f, bias=False)
        self.down_proj = nn.Linear(f, w, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = (Norm(c["hidden_size"], c["rms_norm_eps"]) for _ in range(2))
        self.self_attn, self.mlp = Attention(c), Mlp(c)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class TeleFlm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c = c = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.model.layers = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.model.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.lm_head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)

    def forward(self, ids):
        x = self.model.embed_tokens(ids) * self.c["input_mult"]
        for layer in self.model.layers:
            x = layer(x)
        return self.lm_head(self.model.norm(x)) * (self.c["output_mult"] / self.c["mup_scale_factor"])

    def save_pretrained(self, folder, **_):
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, f"{folder}/model.safetensors", metadata={"format": "pt"})
        json.dump(dict(self.c, model_type="TeleFLM", architectures=["TeleFLMForCausalLM"], use_mup=True), open(f"{folder}/config.json", "w"), indent=1)

    @classmethod
    def from_pretrained(cls, folder):
        model = cls(json.load(open(f"{folder}/config.json")))
        model.load_state_dict(load_file(f"{folder}/model.safetensors"))
        return model
