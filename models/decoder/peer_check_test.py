#!/usr/bin/env python3
"""Compares live with PyTorch and transformers, both ways: folders that transformers writes (sharded, tied, bf16,
Llama-3 rope) are loaded by us and give the same logits, gradients and losses; what we write is loaded by transformers.

    models/decoder/peer_check_test.py [BUILD]

Runs under a Python with `transformers`: this one, or the one that WELLSPRING_PEERS names; else it is left out
(status 77: `Parity.GoldenFolders` compares with the golden files all the same). The C++ half is
`Parity.FolderOfTheEnvironment`, told by WELLSPRING_PARITY which folder to take.
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def check(build):
    import torch
    import transformers
    from safetensors.torch import load_file

    sys.path.insert(0, os.path.join(HERE, "testdata"))
    import make_golden

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    cases = [("llama", {}, {}), ("llama", dict(num_key_value_heads=4), dict(max_shard_size="30KB")), ("llama", dict(rope_parameters=rope), {}),
             ("llama", dict(num_key_value_heads=1), {}), ("qwen2", {}, {}), ("qwen2", dict(tie_word_embeddings=False), dict(max_shard_size="30KB")), ("gpt2", {}, {}),
             ("gpt2", {}, dict(max_shard_size="30KB")), ("teleflm", {}, {}), ("teleflm", dict(input_mult=0.5, output_mult=0.5), {})]
    results = []

    def report(what, good, detail=""):
        results.append(good)
        print(("ok   " if good else "FAIL ") + what + (f": {detail}" if detail else ""), flush=True)

    def load(kind, folder):
        return make_golden.TeleFlm.from_pretrained(folder) if kind == "teleflm" else getattr(transformers, CLASSES[kind]).from_pretrained(folder)

    def difference(kind, folder, ids, logits):
        with torch.no_grad():
            return (make_golden.logits_of(load(kind, folder).float().eval(), ids) - logits).abs().max().item()

    with tempfile.TemporaryDirectory() as top:
        for number, (kind, more, save) in enumerate(cases):
            name = f"{kind} {json.dumps(more) if more else ''}{' sharded' if save else ''}"
            folder = f"{top}/{number}"
            if kind == "qwen2":
                more = dict(dict(tie_word_embeddings=True), **more)
            model = make_golden.make_any(kind, seed=100 + number, **more)
            make_golden.write(model, folder, **save)
            golden = load_file(f"{folder}/golden.safetensors")
            ids, logits = golden["ids"].long(), golden["logits"]
            run = subprocess.run([f"{build}/tests/models_decoder_test", "--gtest_filter=Parity.FolderOfTheEnvironment"], cwd=ROOT, capture_output=True, text=True,
                                 env=dict(os.environ, WELLSPRING_PARITY=folder))
            line = [x for x in run.stdout.splitlines() if x.startswith(folder)]
            report(f"we load what PyTorch writes: {name}", run.returncode == 0, line[0][len(folder) + 2:] if line else run.stdout[-800:])
            if run.returncode:
                continue
            dump = f"{folder}/dump.safetensors"
            run = subprocess.run([f"{build}/bin/wellspring", "generate", folder, "--ids", ",".join(map(str, ids[0].tolist())), "--dtype", "f32", "--dump-logits", dump],
                                 capture_output=True, text=True)
            if run.returncode == 0:
                d = (load_file(dump)["logits"][0] - logits[0]).abs().max().item()
                report(f"wellspring generate --dump-logits: {name}", d < 1e-4, f"{d:.1e}")
            else:
                report(f"wellspring generate --dump-logits: {name}", False, run.stderr[-400:])
            for written in ("ours", "ours_sharded"):
                if written == "ours_sharded" and kind == "teleflm":
                    continue  # our reference reads one file
                d = difference(kind, f"{folder}/{written}", ids, logits)
                report(f"PyTorch loads {written}: {name}", d < 1e-4, f"{d:.1e}")
            if kind == "teleflm":
                d = difference("llama", f"{folder}/ours_llama", ids, logits)
                report(f"transformers loads Tele-FLM exported as Llama: {name}", d < 1e-4, f"{d:.1e}")
        # Weights stored in bf16.
        model = make_golden.make("llama", seed=7).bfloat16()
        model.save_pretrained(f"{top}/half")
        ids = torch.randint(96, (1, 20))
        with torch.no_grad():  # read again: .float() would leave the rotary table as bf16 rounded it
            logits = transformers.LlamaForCausalLM.from_pretrained(f"{top}/half", dtype=torch.float32)(ids).logits
        run = subprocess.run([f"{build}/bin/wellspring", "generate", f"{top}/half", "--ids", ",".join(map(str, ids[0].tolist())), "--dtype", "f32", "--dump-logits", f"{top}/half/dump.safetensors"],
                             capture_output=True, text=True)
        d = (load_file(f"{top}/half/dump.safetensors")["logits"] - logits).abs().max().item() if run.returncode == 0 else 1e9
        report("we load weights stored in bf16", d < 1e-4, f"{d:.1e}" if run.returncode == 0 else run.stderr[-400:])
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "gpt2": "GPT2LMHeadModel"}

if __name__ == "__main__":
    sys.path.insert(0, os.path.join(ROOT, "tools"))
    import peers
    peers.need(["torch", "transformers"], "compared with the golden files only")
    sys.exit(check(peers.build()))
