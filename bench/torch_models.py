#!/usr/bin/env python3
"""PyTorch models that are not changed, stock and with wellspring.torch enabled, in one process.

    python3 bench/torch_models.py [--build build] [--threads 2] [--quick] [--only NAME]

GPT-2 124M (4 rows of 256 tokens) and a BERT-base encoder (8 rows of 128) of transformers, random weights, f32: a
forward pass in evaluation, and a training step with the fused AdamW (dropout off, as its random numbers stay
PyTorch's). Both sides take turns. Goals are against PyTorch as shipped; the rows with tcmalloc are PyTorch with its best
allocator, which serves both sides then.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile

import common

TUNED = "--tuned" in sys.argv
common.need("torch", "transformers", preload=TUNED)
sys.path.insert(0, os.path.join(common.ROOT, "build", "python"))
import torch  # noqa: E402
import transformers  # noqa: E402


def gpt2():
    config = transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ids = torch.randint(0, config.vocab_size, (4, 256))
    return transformers.GPT2LMHeadModel(config), lambda model: model(input_ids=ids, labels=ids)


def bert():
    config = transformers.BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ids = torch.randint(0, config.vocab_size, (8, 128))
    return transformers.BertForMaskedLM(config), lambda model: model(input_ids=ids, labels=ids)


MODELS = {"GPT-2 124M 4x256": gpt2, "BERT-base 8x128": bert}


def measure(bench, wt, name, dtype):
    torch.manual_seed(0)
    model, call = MODELS[name]()
    model = model.to(dtype)
    title = f"{name} {'bf16' if dtype == torch.bfloat16 else 'f32'}"
    suffix, goal = (", tcmalloc on both sides", None) if TUNED else ("", 1.2)
    tokens = 1024

    def timed(run, on):
        def side(budget):
            with wt.use() if on else contextlib.nullcontext():
                return common.median_seconds(run, budget, least=1 if bench.args.quick else 2)
        return side

    def forward():
        with torch.no_grad():
            return call(model.eval()).logits

    if bench.wants(title + " forward"):
        with wt.use():
            ours = forward()
        agreement = common.distance(ours[0].float(), forward()[0].float())
        times = bench.turns(count=1 if bench.args.quick else 2, torch=timed(forward, False), ours=timed(forward, True))
        bench.row(f"{title} forward{suffix}", "tokens/s", tokens / times["ours"], tokens / times["torch"],
                  "torch eager", goal, agreement=agreement, tolerance=2e-2 if dtype == torch.bfloat16 else 1e-5)
    if not bench.wants(title + " training step"):
        return
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step():
        model.train()
        loss = call(model).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def gradients():
        model.train()
        call(model).loss.backward()
        found = torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
        optimizer.zero_grad()
        return found

    with wt.use():
        ours = gradients()
    agreement = common.distance(ours, gradients())
    del ours
    times = bench.turns(count=1 if bench.args.quick else 2, torch=timed(step, False), ours=timed(step, True))
    bench.row(f"{title} training step{suffix}", "tokens/s", tokens / times["ours"], tokens / times["torch"],
              "torch eager", goal, agreement=agreement, tolerance=5e-2 if dtype == torch.bfloat16 else 1e-4)


def main():
    def arguments(parser):
        parser.add_argument("--tuned", action="store_true", help="both sides with tcmalloc (the script runs itself so)")
        parser.add_argument("--bf16", action="store_true", help="bf16 weights, too")

    bench = common.Bench("torch_models", __doc__, arguments)
    sys.path.insert(0, os.path.join(bench.args.build, "python"))
    import wellspring.torch as wt
    for dtype in [torch.float32] + ([torch.bfloat16] if bench.args.bf16 else []):
        for name in MODELS:
            measure(bench, wt, name, dtype)
    if TUNED:
        print(json.dumps(bench.rows), file=open(os.environ["WELLSPRING_ROWS"], "w", encoding="utf-8"))
        return
    if os.path.exists(common.TCMALLOC):
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run([sys.executable] + sys.argv + ["--tuned"], check=True,
                           env={**os.environ, "WELLSPRING_ROWS": file.name})
            with open(file.name, encoding="utf-8") as f:
                bench.rows += json.load(f)
    bench.write()


if __name__ == "__main__":
    main()
