#!/usr/bin/env python3
"""Tokenizers against Hugging Face `tokenizers` and `tiktoken`: training, encoding, decoding.

    python3 bench/tokenizer.py [--text FILE...] [--threads 2] [--quick] [--only encode]

FILE: plain text of different kinds; without it the demo's corpus is fetched from Debian's packages
(tools/demo_corpus.py), cleaned, and 10 MB of English and of Chinese taken. All sides get the same documents
(paragraphs up to about 4 kB) and the same vocabulary of 16,384 tokens, trained here on all of them; every
fifth is encoded. Each peer is timed by its fastest call, in a process of its own with that number of threads.
The agreement is the share of documents whose ids differ, for training the share of merges.
"""

import json
import os
import struct
import subprocess
import sys
import time

import common

ROOT = common.ROOT
CACHE = os.path.join(ROOT, ".cache", "bench", "tokenizer")
VOCABULARY = 16384
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def corpus(wellspring, share):
    """The demo's text, cleaned: `share` bytes of each language."""
    demo = os.path.join(ROOT, ".cache", "demo")
    subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tools", "demo_corpus.py"), os.path.join(demo, "corpus"),
                    "--cache", os.path.join(demo, "packages")], check=True, stdout=subprocess.DEVNULL)
    texts = []
    for language in ("en", "zh"):
        out = os.path.join(CACHE, language)
        subprocess.run([wellspring, "data", "clean",
                        os.path.join(demo, "corpus", language), "--out", out, "--force"],
                       check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "train.txt"), encoding="utf-8") as f:
            texts.append(f.read().encode()[:share].decode(errors="ignore"))
    return texts


def documents(texts):
    out, piece = [], ""
    for text in texts:
        for paragraph in text.split("\n\n"):
            piece += paragraph + "\n\n"
            if len(piece) > 4096:
                out.append(piece)
                piece = ""
    return out + [piece] if piece else out


def pack(path, docs):
    rows = [d.encode() for d in docs]
    with open(path, "wb") as f:
        f.write(struct.pack(f"<{1 + len(rows)}Q", len(rows), *map(len, rows)))
        f.write(b"".join(rows))


def unpack(path):
    with open(path, "rb") as f:
        data = f.read()
    (count,) = struct.unpack_from("<Q", data)
    at, out = 8 * (count + 1), []
    for size in struct.unpack_from(f"<{count}Q", data, 8):
        out.append(data[at:at + size].decode())
        at += size
    return out


def read_ids(path):
    with open(path, "rb") as f:
        data = f.read()
    (count,) = struct.unpack_from("<Q", data)
    at, out = 8 * (count + 1), []
    for size in struct.unpack_from(f"<{count}Q", data, 8):
        out.append(list(struct.unpack_from(f"<{size}i", data, at)))
        at += 4 * size
    return out


def write_ids(path, rows):
    rows = [list(map(int, row)) for row in rows]
    with open(path, "wb") as f:
        f.write(struct.pack(f"<{1 + len(rows)}Q", len(rows), *map(len, rows)))
        for row in rows:
            f.write(struct.pack(f"<{len(row)}i", *row))


def hugging_face(path):
    import tokenizers
    t = tokenizers.Tokenizer.from_file(path)

    def calls(docs, threads):
        if threads == 1:
            return [lambda: [e.ids for e in t.encode_batch_fast(docs, add_special_tokens=False)],
                    lambda: [t.encode(d, add_special_tokens=False).ids for d in docs]]
        return [lambda: [e.ids for e in t.encode_batch_fast(docs, add_special_tokens=False)]]

    return calls, lambda ids: t.decode(ids, skip_special_tokens=False)


def tik_token(path):
    import tiktoken
    with open(path, encoding="utf-8") as f:
        saved = json.load(f)
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(b): b for b in own}
    letters.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in own)})
    ranks = {bytes(letters[c] for c in token): i for token, i in saved["model"]["vocab"].items()}
    regex = PATTERNS["gpt2" if saved["pre_tokenizer"]["type"] == "ByteLevel" else "llama3"]
    t = tiktoken.Encoding("ours", pat_str=regex, mergeable_ranks=ranks, special_tokens={})

    def calls(docs, threads):
        if threads == 1:
            return [lambda: [t.encode_to_numpy(d, disallowed_special=()) for d in docs],
                    lambda: [t.encode_ordinary(d) for d in docs]]
        return [lambda: t.encode_ordinary_batch(docs, num_threads=threads)]

    return calls, t.decode


def peer_train(pattern, size, docs, out):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    t = Tokenizer(models.BPE())
    if pattern == "gpt2":
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    batches = [docs[i:i + 1000] for i in range(0, len(docs), 1000)]
    begin = time.perf_counter()
    t.train_from_iterator(batches, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    seconds = time.perf_counter() - begin
    t.save(out)
    return seconds


def peer_answer(name, threads, words):
    """What tokenizer_bench does, by a peer."""
    what, first, second, third, out = words
    if what == "train":
        return peer_train(first, int(second), unpack(third), out)
    calls, decode = (hugging_face if name == "tokenizers" else tik_token)(first)
    docs, budget = unpack(second), float(third)
    if what == "encode":
        if out != "-":
            write_ids(out, calls(docs, threads)[0]())
        return min(common.median_seconds(call, budget, least=1) for call in calls(docs, threads))
    ids = [list(map(int, row)) for row in calls(docs, threads)[0]()]
    assert [decode(row) for row in ids] == docs, "documents do not come back"
    return common.median_seconds(lambda: [decode(row) for row in ids], budget, least=1)


class Peer(common.Program):
    """This script as tokenizer_bench for a peer, in a process of its own."""

    def __init__(self, name, threads):
        self.path = name
        self.process = subprocess.Popen(
            [sys.executable, os.path.realpath(__file__), "--peer", name, str(threads)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=dict(os.environ, RAYON_NUM_THREADS=str(threads)))


def share_different(a, b):
    return sum(x != y for x, y in zip(a, b)) / max(1, len(a)) if len(a) == len(b) else 1.0


def measure_passes(bench, what, pattern, threads, team, packed, megabytes):
    """Rows for encoding or decoding: the faster peer first, with the goal."""
    tokenizer = os.path.join(CACHE, f"{pattern}.json")
    out = {name: os.path.join(CACHE, f"{name}.ids") for name in team}
    if what == "encode":
        for name, side in team.items():
            side.number(what, tokenizer, packed, 0, out[name])
    times = bench.turns(**{name: lambda budget, side=side: side.number(what, tokenizer, packed, budget, "-")
                           for name, side in team.items()})
    mine = times.pop("ours")
    for place, name in enumerate(sorted(times, key=times.get)):
        differ = share_different(read_ids(out["ours"]), read_ids(out[name])) if what == "encode" else None
        bench.row(f"{what} {pattern}, {threads} thread{'s' * (threads > 1)}, {name}", "MB/s", megabytes / mine,
                  megabytes / times[name], peer_name=name, threads=threads, agreement=differ,
                  tolerance=0 if what == "encode" else None,
                  goal=2.0 if what == "encode" and threads == 1 and place == 0 else None)


def measure_training(bench, pattern, threads, team, packed, megabytes):
    paths = {"ours": os.path.join(CACHE, f"{pattern}.json"), "tokenizers": os.path.join(CACHE, f"{pattern}.peer.json")}
    times = bench.turns(count=1 if bench.args.quick else 2, **{
        name: lambda budget, name=name: team[name].number("train", pattern, VOCABULARY, packed, paths[name])
        for name in paths})
    merges = []
    for path in paths.values():
        with open(path, encoding="utf-8") as f:
            merges.append(json.load(f)["model"]["merges"])
    bench.row(f"train {pattern} {VOCABULARY} on {megabytes:.0f} MB, {threads} thread{'s' * (threads > 1)}", "s",
              times["ours"], times["tokenizers"], peer_name="tokenizers", threads=threads, goal=3.0,
              agreement=share_different(*merges), tolerance=0)


def main():
    if sys.argv[1:2] == ["--peer"]:
        for line in sys.stdin:
            print(peer_answer(sys.argv[2], int(sys.argv[3]), line.split()), flush=True)
        return
    common.need("tokenizers", "tiktoken")
    import tiktoken, tokenizers  # noqa: for the versions
    bench = common.Bench("tokenizer", __doc__, lambda p: p.add_argument("--text", nargs="*", default=[]))
    os.makedirs(CACHE, exist_ok=True)
    texts = [open(path, encoding="utf-8", errors="replace").read() for path in bench.args.text]
    docs = documents(texts or corpus(bench.wellspring(), 10_000_000))
    packed = os.path.join(CACHE, "documents")
    pack(packed, docs)
    pack(packed + ".fifth", docs[::5])
    megabytes, fifth = (sum(len(d.encode()) for d in some) / 1e6 for some in (docs, docs[::5]))
    for threads in sorted({1, bench.threads}):
        team = {"ours": bench.program("tokenizer_bench", threads), "tokenizers": Peer("tokenizers", threads),
                "tiktoken": Peer("tiktoken", threads)}
        for pattern in PATTERNS:
            if bench.wants(f"train {pattern}"):
                measure_training(bench, pattern, threads, team, packed, megabytes)
            elif not os.path.exists(os.path.join(CACHE, f"{pattern}.json")):
                team["ours"].ask("train", pattern, VOCABULARY, packed, os.path.join(CACHE, f"{pattern}.json"))
            for what in ("encode", "decode") if threads == 1 else ("encode",):
                if bench.wants(f"{what} {pattern}"):
                    measure_passes(bench, what, pattern, threads, team, packed + ".fifth", fifth)
    bench.write()


if __name__ == "__main__":
    main()
