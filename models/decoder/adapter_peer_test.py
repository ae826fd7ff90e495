#!/usr/bin/env python3
"""LoRA adapters as PEFT writes them: the logits of adapted models are those of PEFT in f32.

    models/decoder/adapter_peer_test.py [BUILD]

Runs under a Python with `peft`: this one, or the one that WELLSPRING_PEERS names; else it is left out (status 77:
`Adapter.IsWhatMergedWeightsAre` compares with merged weights all the same).
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = [
    ("llama", dict(r=8, lora_alpha=16, target_modules=LLAMA)),
    ("llama", dict(r=4, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 7},
                   alpha_pattern={r"model.layers.1.*.v_proj": 5})),
    ("llama", dict(r=4, target_modules=r".*\.mlp\.(up|down)_proj", init_lora_weights="gaussian")),
    ("llama", dict(r=4, target_modules="all-linear", exclude_modules=["lm_head"])),
    ("qwen2", dict(r=2, lora_alpha=9, target_modules=LLAMA, layers_to_transform=[1])),
    ("qwen2", dict(r=3, target_modules=["self_attn.k_proj", "mlp.gate_proj"], rank_pattern={"layers.0.self_attn.k_proj": 5})),
    ("gpt2", dict(r=4, lora_alpha=8, target_modules=["c_attn", "mlp.c_proj", "c_fc"], fan_in_fan_out=True)),
]


def check(build):
    import peft
    import torch
    import transformers
    from safetensors.torch import save_file

    sys.path.insert(0, os.path.join(HERE, "testdata"))
    import make_golden

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = 0
    for number, (kind, settings) in enumerate(CASES):
        with tempfile.TemporaryDirectory() as top:
            model = make_golden.make(kind, seed=number).eval()
            model.save_pretrained(f"{top}/base")
            adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.1, **settings)).eval()
            with torch.no_grad():
                for name, p in adapted.named_parameters():
                    if "lora_B" in name:
                        p.copy_(0.3 * torch.randn_like(p))
            if number % 2:
                for name, p in adapted.named_parameters():
                    if "lora_" in name:
                        p.data = p.data.bfloat16().float()
            adapted.save_pretrained(f"{top}/adapter")
            ids = torch.randint(96, (1, 30))
            with torch.no_grad():
                logits = adapted(ids).logits
            save_file({"ids": ids.int(), "logits": logits.contiguous()}, f"{top}/golden.safetensors")
            run = subprocess.run([f"{build}/tests/models_decoder_test", "--gtest_filter=Adapter.FolderOfTheEnvironment"], cwd=ROOT,
                                 capture_output=True, text=True, env=dict(os.environ, WELLSPRING_ADAPTER=top))
            line = [x[len(top) + 2:] for x in run.stdout.splitlines() if x.startswith(top)]
            print("ok  " if run.returncode == 0 else "FAIL", kind, settings, line[0] if line else run.stdout[-1500:], flush=True)
            failed += run.returncode != 0
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.join(ROOT, "tools"))
    import peers
    peers.need(["peft", "torch", "transformers"], "compared with merged weights only", "pip install peft")
    sys.exit(check(peers.build()))
