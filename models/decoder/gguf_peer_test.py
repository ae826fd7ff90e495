#!/usr/bin/env python3
"""Compares GGUF files live with transformers, which reads them as models and tokenizers, and with the package `gguf`.

    models/decoder/gguf_peer_test.py [BUILD]

Folders that transformers writes become GGUF files by us; transformers reads these and must give the same logits, and the
same ids for texts; we read them back into a folder, which must give the same again. Runs under a Python with both
packages: this one, or the one that WELLSPRING_PEERS names; else it is left out (status 77: `GgufFolders` compares with
the golden folders all the same). The C++ half is `GgufModel.FileOfTheEnvironment`.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TEXTS = ["the theme of them there, it's 123 o'clock", "  Spaces\n\nand LINES  \n", "泉水 naïve café 12345", ""]
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "gpt2": "GPT2LMHeadModel"}
TOKENIZERS = {"llama": "llama3", "qwen2": "qwen2", "gpt2": "gpt2"}


def write_tokenizer(kind, folder, vocab):
    """A tokenizer of text/testdata, and bos and eos of its own in config.json. Its ids must be below `vocab`."""
    with open(f"{ROOT}/text/testdata/{TOKENIZERS[kind]}.json") as f:
        data = json.load(f)
    added = [t for t in data["added_tokens"] if t["special"]]  # others strip or stand alone, which GGUF cannot say
    data["added_tokens"] = added
    with open(f"{folder}/tokenizer.json", "w") as f:
        json.dump(data, f)
    with open(f"{folder}/config.json") as f:
        config = json.load(f)
    config["bos_token_id"], config["eos_token_id"] = 0, 1 if kind == "llama" else 0
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f)
    with open(f"{folder}/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": added[0]["content"], "eos_token": added[config["eos_token_id"]]["content"],
                   "chat_template": "{{ messages }}"}, f)
    assert len(data["model"]["vocab"]) <= vocab


def check(build):
    import gguf
    import torch
    import transformers

    sys.path.insert(0, os.path.join(HERE, "testdata"))
    import make_golden

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results = []

    def report(what, good, detail=""):
        results.append(bool(good))
        print(("ok   " if good else "FAIL ") + what + (f": {detail}" if detail else ""), flush=True)

    def ours(task):
        run = subprocess.run([f"{build}/tests/models_decoder_test", "--gtest_filter=GgufModel.FileOfTheEnvironment"], cwd=ROOT, capture_output=True, text=True,
                             env=dict(os.environ, WELLSPRING_GGUF_MODEL=task))
        if run.returncode:
            print(run.stdout[-1500:], run.stderr[-500:])
        return run.returncode == 0

    vocab = 500
    cases = [("llama", {}), ("llama", dict(num_key_value_heads=1)), ("llama", dict(tie_word_embeddings=True)), ("qwen2", {}), ("qwen2", dict(tie_word_embeddings=True)), ("gpt2", {})]
    with tempfile.TemporaryDirectory() as top:
        for number, (kind, more) in enumerate(cases):
            name = f"{kind} {json.dumps(more) if more else ''}"
            folder, back, file = f"{top}/{number}", f"{top}/{number}_back", f"{top}/{number}/model.gguf"
            if kind == "gpt2":  # transformers takes the default of n_positions, whatever the file says
                shape = transformers.GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=4, n_positions=1024)
                model = make_golden.randomise(transformers.GPT2LMHeadModel(shape))
            else:
                model = make_golden.make_any(kind, seed=200 + number, **dict(more, vocab_size=vocab))
            model = model.float().eval()
            model.save_pretrained(folder)
            write_tokenizer(kind, folder, vocab)
            ids = torch.randint(vocab, (2, 20))
            with torch.no_grad():
                logits = model(ids).logits
            if not ours(f"{folder}|{file}|F32"):
                report(f"we write a GGUF file: {name}", False)
                continue
            with torch.no_grad():
                theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32).eval()
                d = (theirs(ids).logits - logits).abs().max().item()
            report(f"transformers reads our GGUF file: {name}", d < 1e-4, f"{d:.1e}")
            if not ours(f"{file}|{back}"):
                report(f"we read it back: {name}", False)
                continue
            with torch.no_grad():
                d = (getattr(transformers, CLASSES[kind]).from_pretrained(back, dtype=torch.float32).eval()(ids).logits - logits).abs().max().item()
            report(f"we read it back: {name}", d < 1e-5, f"{d:.1e}")
            wanted = transformers.PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
            again = transformers.PreTrainedTokenizerFast(tokenizer_file=f"{back}/tokenizer.json")
            report(f"the tokenizer comes back: {name}", all(wanted(t).input_ids == again(t).input_ids for t in TEXTS))
            alone = f"{top}/{number}_alone"  # without the folder's own tokenizer
            os.makedirs(alone)
            shutil.copy(file, alone)
            shutil.copy(f"{folder}/config.json", alone)
            theirs = transformers.AutoTokenizer.from_pretrained(alone, gguf_file="model.gguf")
            # transformers 5 cuts text as each class does, whatever tokenizer.ggml.pre says: compare the vocabulary.
            reader = gguf.GGUFReader(file)
            tokens = reader.fields["tokenizer.ggml.tokens"].contents()
            report(f"transformers reads our tokenizer: {name}", all(theirs.convert_tokens_to_ids(t) == i for i, t in enumerate(tokens) if not t.startswith("[PAD")))
            report(f"and the chat template: {name}", reader.fields["tokenizer.chat_template"].contents() == "{{ messages }}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.path.insert(0, os.path.join(ROOT, "tools"))
    import peers
    peers.need(["accelerate", "gguf", "torch", "transformers"], "compared with the golden folders only", "./dev setup --peers, pip install gguf accelerate")
    sys.exit(check(peers.build()))
