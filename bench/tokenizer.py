#!/usr/bin/env python3
"""Tokenizers against Hugging Face `tokenizers` and `tiktoken`, side by side in one run.

    python3 bench/tokenizer.py [TEXT...] [--build build] [--threads 2] [--quick] [--only encode]

Runs under a Python that has both: this one, or the one named by WELLSPRING_PEERS. TEXT: files of plain text
of different kinds; without them the demo's corpus is fetched from Debian's packages (tools/demo_corpus.py),
cleaned, and 10 MB of each language taken. All sides get the same documents (paragraphs up to about 4 kB) and
the same vocabulary of 16,384 tokens, trained here on all of them; every fifth is encoded. Ours is
build/bench/tokenizer_bench. Passes are timed in turns and medians kept; training runs once or twice a side.
Each peer is timed by its fastest call. The agreement is the share of documents whose ids differ, for training
the share of merges.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import time

try:
    import tiktoken
    import tokenizers
except ImportError:
    peers = os.environ.get("WELLSPRING_PEERS")
    if not peers or os.path.realpath(peers) == os.path.realpath(sys.executable):
        sys.exit("tokenizer.py needs tokenizers and tiktoken: set WELLSPRING_PEERS to a Python that has them")
    os.execv(peers, [peers] + sys.argv)

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
CACHE = os.path.join(ROOT, ".cache", "bench", "tokenizer")
VOCABULARY = 16384
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def corpus(share):
    """The demo's text, cleaned: `share` bytes of each language."""
    demo = os.path.join(ROOT, ".cache", "demo")
    subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tools", "demo_corpus.py"), os.path.join(demo, "corpus"),
                    "--cache", os.path.join(demo, "packages")], check=True, stdout=subprocess.DEVNULL)
    texts = []
    for language in ("en", "zh"):
        out = os.path.join(CACHE, language)
        subprocess.run([os.path.join(ROOT, "build", "bin", "wellspring"), "data", "clean",
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


def median_seconds(run, budget):
    """Slow peers: one pass after the warm-up is enough."""
    run()
    times, end = [], time.perf_counter() + budget
    while time.perf_counter() < end or not times:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def hugging_face(path):
    t = tokenizers.Tokenizer.from_file(path)

    def calls(docs, threads):
        if threads == 1:
            return [lambda: [e.ids for e in t.encode_batch_fast(docs, add_special_tokens=False)],
                    lambda: [t.encode(d, add_special_tokens=False).ids for d in docs]]
        return [lambda: [e.ids for e in t.encode_batch_fast(docs, add_special_tokens=False)]]

    return calls, lambda ids: t.decode(ids, skip_special_tokens=False)


def tik_token(path):
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
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    t = tokenizers.Tokenizer(models.BPE())
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
        return min(median_seconds(call, budget) for call in calls(docs, threads))
    ids = [list(map(int, row)) for row in calls(docs, threads)[0]()]
    assert [decode(row) for row in ids] == docs, "documents do not come back"
    return median_seconds(lambda: [decode(row) for row in ids], budget)


class Side:
    """A process that answers with seconds."""

    def __init__(self, command, threads):
        environment = dict(os.environ, WELLSPRING_THREADS=str(threads), RAYON_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"a side stopped at: {words}")
        return float(answer)


def sides(program, threads):
    own = [sys.executable, os.path.realpath(__file__), "--threads", str(threads), "--peer"]
    return {"ours": Side([program], threads), "tokenizers": Side(own + ["tokenizers"], threads),
            "tiktoken": Side(own + ["tiktoken"], threads)}


def share_different(a, b):
    return sum(x != y for x, y in zip(a, b)) / max(1, len(a)) if len(a) == len(b) else 1.0


def row(what, unit, threads, amount, mine, theirs, name, agreement, goal):
    return {"what": what, "unit": unit, "threads": threads, "ours": round(amount / mine, 2) if amount else round(mine, 3),
            "peer": round(amount / theirs, 2) if amount else round(theirs, 3), "peer_name": name,
            "ratio": round(theirs / mine, 2), "roof_share": None, "agreement": round(agreement, 6),
            "goal": goal, "pass": None if goal is None else theirs / mine >= goal and agreement == 0}


def measure_passes(what, pattern, threads, team, pack_path, megabytes, budget, turns):
    """Rows for encoding or decoding: the faster peer first, with the goal."""
    times = {name: [] for name in team}
    tokenizer = os.path.join(CACHE, f"{pattern}.json")
    out = {name: os.path.join(CACHE, f"{name}.ids") for name in team}
    for turn in range(turns):
        for name, side in team.items():
            where = out[name] if what == "encode" and turn == 0 else "-"
            times[name].append(side.ask(what, tokenizer, pack_path, budget, where))
    mine = statistics.median(times.pop("ours"))
    rows = []
    for name in sorted(times, key=lambda n: statistics.median(times[n])):
        differ = share_different(read_ids(out["ours"]), read_ids(out[name])) if what == "encode" else 0.0
        goal = 2.0 if what == "encode" and threads == 1 and not rows else None
        rows.append(row(f"{what} {pattern}, {megabytes:.1f} MB English and Chinese", "MB/s", threads, megabytes, mine,
                        statistics.median(times[name]), name, differ, goal))
    return rows


def measure_training(pattern, threads, team, pack_path, megabytes, turns):
    mine, theirs = [], []
    ours, peer = os.path.join(CACHE, f"{pattern}.json"), os.path.join(CACHE, f"{pattern}.peer.json")
    for _ in range(turns):
        mine.append(team["ours"].ask("train", pattern, VOCABULARY, pack_path, ours))
        theirs.append(team["tokenizers"].ask("train", pattern, VOCABULARY, pack_path, peer))
    merges = []
    for path in (ours, peer):
        with open(path, encoding="utf-8") as f:
            merges.append(json.load(f)["model"]["merges"])
    return row(f"train {VOCABULARY} tokens {pattern} on {megabytes:.1f} MB", "s", threads, None, statistics.median(mine),
               statistics.median(theirs), "tokenizers", share_different(*merges), 3.0)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "CPU")


def table(result):
    keys = ["what", "unit", "threads", "ours", "peer", "peer_name", "ratio", "agreement", "goal", "pass"]
    lines = ["# Tokenizers against Hugging Face's and tiktoken", "",
             f"{result['machine']['processor']}, {result['machine']['cores']} cores, {result['date']}.", "",
             "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    word = {True: "yes", False: "no", None: ""}
    for r in result["rows"]:
        lines.append("| " + " | ".join(word[r[k]] if r[k] is None or isinstance(r[k], bool) else str(r[k])
                                       for k in keys) + " |")
    return "\n".join(lines) + "\n"


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".new", path)


def run(args):
    os.makedirs(CACHE, exist_ok=True)
    subprocess.run(["ninja", "-C", args.build, "--quiet", "tokenizer_bench"], check=True)
    program = os.path.join(args.build, "bench", "tokenizer_bench")
    if args.text:
        texts = []
        for path in args.text:
            with open(path, encoding="utf-8", errors="replace") as f:
                texts.append(f.read())
    else:
        texts = corpus(10_000_000)
    docs = documents(texts)
    packed = os.path.join(CACHE, "documents")
    pack(packed, docs)
    pack(packed + ".fifth", docs[::5])
    megabytes, fifth = (sum(len(d.encode()) for d in some) / 1e6 for some in (docs, docs[::5]))
    teams = {n: sides(program, n) for n in sorted({1, args.threads})}
    budget, turns = (0.2, 1) if args.quick else (0.5, 3)
    for pattern in PATTERNS:
        for threads, team in reversed(teams.items()):
            if "train" in args.only or not args.only:
                yield measure_training(pattern, threads, team, packed, megabytes, 1 if args.quick else 2)
            elif not os.path.exists(os.path.join(CACHE, f"{pattern}.json")):
                team["ours"].ask("train", pattern, VOCABULARY, packed, os.path.join(CACHE, f"{pattern}.json"))
            for what in ("encode", "decode"):
                if (what in args.only or not args.only) and (what == "encode" or threads == 1):
                    yield from measure_passes(what, pattern, threads, team, packed + ".fifth", fifth, budget, turns)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", nargs="*", metavar="TEXT")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="one short turn per case")
    parser.add_argument("--only", default="", choices=["", "train", "encode", "decode"])
    parser.add_argument("--out", default=os.path.join(ROOT, "bench", "results", "tokenizer.json"))
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        for line in sys.stdin:
            print(peer_answer(args.peer, args.threads, line.split()), flush=True)
        return
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "date": datetime.date.today().isoformat(),
        "versions": {"tokenizers": tokenizers.__version__, "tiktoken": tiktoken.__version__,
                     "python": platform.python_version()},
        "rows": [],
    }
    for r in run(args):
        result["rows"].append(r)
        print(f"{r['what']:48} {r['threads']} threads {r['ours']:8.2f} {r['peer']:8.2f} {r['unit']:4} ({r['peer_name']}) "
              f"{r['ratio']:6.2f}x  differs {r['agreement']:.2g}", flush=True)
    write(args.out, json.dumps(result, indent=1) + "\n")
    write(os.path.splitext(args.out)[0] + ".md", table(result))


if __name__ == "__main__":
    main()
