#!/usr/bin/env python3
"""Answers beside transformers' in f32: greedy text, beam search and final activations of the same folders.

    serve/peer_test.py [BUILD]

Runs under a Python with `transformers`: this one, or the one that WELLSPRING_PEERS names; else it is left out (status 77).
"""
import glob
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VOCAB, NEW = 96, 24
CASES = [("llama", {}), ("llama", {"num_key_value_heads": 1}), ("llama", {"num_key_value_heads": 4}), ("qwen2", {"tie_word_embeddings": True}),
         ("qwen2", {"tie_word_embeddings": False}), ("gpt2", {})]


def letter(token):
    return chr(33 + token)  # as GPT-2's tokenizers print the bytes from '!' on, which are letters of their own


def write_tokenizer(folder):
    letters = [letter(i) for i in range(94)] + ["\u0120", "\u010a"]
    kind = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    with open(f"{folder}/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump({"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "pre_tokenizer": kind, "decoder": kind,
                   "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(letters)}, "merges": []}}, f)


def text_of(ids, eos):
    ids = list(ids)
    if eos in ids:
        ids = ids[:ids.index(eos)]
    return "".join(letter(i) if i < 94 else " \n"[i - 94] for i in ids)


class Server:
    def __init__(self, build, folder):
        self.process = subprocess.Popen([f"{build}/bin/wellspring", "serve", folder, "--port", "0", "--dtype", "f32"], cwd=ROOT,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().split(" on ")[1].split()[0]

    def ask(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()


RUN = """
seed: 1
tokenizer: TOP/tokenizer
data: {train: [{path: TOP/data}], eval: [{path: TOP/data}]}
model: {family: llama, width: 64, layers: 2, heads: 4, kv_heads: 2, ffn: 160, context: 256, tied: true}
train:
  dtype: f32
  sequence: 64
  batch: 4
  steps: 800
  schedule: {kind: wsd, learning_rate: 0.01, warmup: 20, final_share: 0.05, decay: 0.5}
  eval_every: 1000
  eval_tokens: 2000
"""


def train(build, top):
    """A model that this project trained on its own documents, as the demo does; its folder."""
    program = f"{build}/bin/wellspring"
    texts = sorted(glob.glob(f"{ROOT}/docs/*.md"))
    with open(f"{top}/run.yaml", "w") as f:
        f.write(RUN.replace("TOP", top))
    for words in (["text", "train", *texts, "--vocab-size", "768", "--pattern", "llama3", "--special", "<|endoftext|>", "--out", f"{top}/tokenizer"],
                  ["data", "prepare", *texts, "--eval-share", "0.05", "--tokenizer", f"{top}/tokenizer", "--out", f"{top}/data"],
                  ["train", f"{top}/run.yaml", "--out", f"{top}/run"]):
        p = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "WELLSPRING_THREADS": "1"})
        if p.returncode:
            sys.exit(f"wellspring {' '.join(words[:2])}: {p.stderr or p.stdout}")
    return max(glob.glob(f"{top}/run/checkpoints/step-*"), key=lambda f: int(f.rpartition("-")[2]))


def check(build):
    import torch
    import transformers

    sys.path.insert(0, os.path.join(ROOT, "models/decoder/testdata"))
    import make_golden

    torch.set_num_threads(1)  # the server has the others
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    passed = failed = 0

    def report(what, ours, theirs):
        nonlocal passed, failed
        good = ours == theirs
        passed, failed = passed + good, failed + (not good)
        if not good:
            print(f"FAIL {what}:\n  ours   {ours!r}\n  theirs {theirs!r}", flush=True)

    with tempfile.TemporaryDirectory() as top:
        for number, (kind, more) in enumerate(CASES):
            folder = f"{top}/{number}"
            model = make_golden.make_any(kind, seed=200 + number, **more).eval()
            model.save_pretrained(folder)
            write_tokenizer(folder)
            eos = model.config.eos_token_id
            with Server(build, folder) as server, torch.no_grad():
                for seed in range(6):
                    name = f"{kind} {more} {seed}"
                    torch.manual_seed(seed)
                    ids = torch.randint(3, VOCAB, (1, 3 + 4 * seed))
                    body = {"prompt": ids[0].tolist(), "max_tokens": NEW}
                    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
                    greedy = model.generate(ids, **options)[0, ids.shape[1]:].tolist()
                    report(name + " greedy", server.ask("/v1/completions", {**body, "temperature": 0})["choices"][0]["text"], text_of(greedy, eos))
                    for penalty in (1.0, 0.5):
                        beams = model.generate(ids, num_beams=4, num_return_sequences=4, length_penalty=penalty, **options)[:, ids.shape[1]:]
                        ours = server.ask("/v1/completions", {**body, "n": 4, "use_beam_search": True, "length_penalty": penalty})
                        report(f"{name} beams {penalty}", [c["text"] for c in ours["choices"]], [text_of(b, eos) for b in beams.tolist()])
                    final = model(ids, output_hidden_states=True).hidden_states[-1][0]
                    for pooling, theirs in (("last", final[-1]), ("mean", final.mean(0))):
                        ours = server.ask("/v1/embeddings", {"input": ids[0].tolist(), "pooling": pooling, "normalize": False})
                        apart = (torch.tensor(ours["data"][0]["embedding"]) - theirs).abs().max().item()
                        report(f"{name} {pooling}: {apart:.1e} apart", apart < 1e-4 * max(1, theirs.abs().max().item()), True)
        folder = train(build, top)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
        with Server(build, folder) as server, torch.no_grad():
            for prompt in ("The server", "A request that", "## Why", "Use `wellspring", "1, 2, 3,", "x"):
                ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
                theirs = model.generate(ids, max_new_tokens=96, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids))
                theirs = tokenizer.decode(theirs[0, ids.shape[1]:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
                ours = server.ask("/v1/completions", {"prompt": prompt, "max_tokens": 96, "temperature": 0})["choices"][0]["text"]
                report(f"trained, greedy after {prompt!r}", ours, theirs)
        print(f"note: the trained model goes on after 'x': {ours[:60]!r}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.join(ROOT, "tools"))
    import peers
    peers.need(["torch", "transformers"], "left out")
    sys.exit(check(peers.build()))
