#!/usr/bin/env python3
"""Our tokenizers beside Hugging Face's on real text, random text and bytes, and code points: the same ids.

    text/peer_test.py [BUILD] [--all]

Runs under a Python with `tokenizers`: this one, or the one that WELLSPRING_PEERS names; else it is left out
(status 77: the golden files in testdata/ are compared all the same). Ours is the program itself, `wellspring text
encode`. --all: five times the random text, and every code point between every pair of neighbours (minutes).
"""
import json
import os
import random
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))
import peers  # noqa: E402

peers.need(["tokenizers"], "compared with the golden files only")
from tokenizers import Tokenizer  # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "text", "testdata"))
import make_golden  # noqa: E402

EVERYTHING = "--all" in sys.argv
PROGRAM = os.environ.get("WELLSPRING_BINARY") or os.path.join(peers.build(), "bin", "wellspring")
passed = failed = 0


def ours(path, lines, *options):
    """Ids of each line (bytes), by the program."""
    done = subprocess.run([PROGRAM, "text", "encode", "--tokenizer", path, "--add-special", *options],
                          input=b"\n".join(lines) + b"\n", capture_output=True)
    if done.returncode:
        sys.exit(f"{path}: {done.stderr.decode()}")
    return done.stdout.decode().splitlines()


def theirs(tokenizer, texts):
    return ["[" + ",".join(map(str, e.ids)) + "]" for e in tokenizer.encode_batch_fast(texts)]


def count(name, texts, found, wanted):
    global passed, failed
    wrong = [i for i, (a, b) in enumerate(zip(found, wanted)) if a != b]
    if len(found) != len(wanted) or wrong:
        failed += 1
        print(f"{name}: {len(wrong)} of {len(wanted)} texts differ ({len(found)} answers)")
        for i in wrong[:3]:
            print(f"  {texts[i][:200]!r}\n    ours   {found[i][:300]}\n    theirs {wanted[i][:300]}")
    else:
        passed += 1


def compare(name, path, texts):
    lines = [json.dumps(t).encode() for t in texts]
    count(name, texts, ours(path, lines, "--json-lines"), theirs(Tokenizer.from_file(path), texts))


def real_texts():
    """Documents that stand about: this project's and Python's own."""
    out = []
    for folder in (ROOT, os.path.dirname(os.__file__)):
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(f for f in folders if f[0] != "." and not f.startswith("build"))[:20]
            for name in sorted(names):
                if name.endswith((".md", ".py", ".txt", ".h", ".cpp")) and len(out) < (2000 if EVERYTHING else 120):
                    with open(os.path.join(parent, name), "rb") as f:
                        out.append(f.read(20000).decode(errors="replace"))
    return out


def random_texts(n):
    pool = list("abcXYZ 019.,!?'\"-_/\\\n\r\t  ’éßÀþ中文字，。ひカ한ωЖ١½①Ⅳ\u0301\u0345\u200b\u2028\u3000\u0085\U0001f600"
                "\U00010400\u1100\u1161\u11a8\u0344\u212b")
    words = ["<|endoftext|>", "<s>", "[L]", "[B]", "tokenizer", "'ll", "'ſ", "▁", "   ", "\n\n", "的", "HTTPServer"]
    code_points = lambda: chr(random.choice([random.randrange(0x20, 0xD800), random.randrange(0xE000, 0x110000),
                                             random.randrange(0x300, 0x370), random.randrange(0x4E00, 0xA000)]))
    makers = [lambda: random.choice(pool), code_points, lambda: random.choice(words + pool),
              lambda: chr(random.randrange(256))]  # the last: any bytes, by way of Latin-1
    return ["".join(make() for _ in range(random.randint(0, 60))) for make in makers for _ in range(n // 4)]


def invalid_lines(n):
    """Bytes that are no UTF-8, each without a newline."""
    pieces = [b"a ", "中".encode(), "é".encode()[:1], "中".encode()[:2], b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
              "\U0001f600".encode()[:3], b"\xc0\xaf", b"'s"]
    out = [b"".join(random.choice(pieces) for _ in range(random.randint(1, 20))) for _ in range(n // 2)]
    return out + [random.randbytes(random.randint(1, 60)).replace(b"\n", b"") for _ in range(n // 2)]


def code_point_texts():
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    if not EVERYTHING:  # the golden hashes hold all of them; here a sample shows which one differs
        points = random.sample(points[:0x30000], 4000)
    return ["".join(f"{a}{chr(c)}{b}" for a, b in zip("a1 \n'é中\u0301", "b2 \r中'é ")) for c in points]


def bytes_come_back(path, lines):
    global passed, failed
    ids = ours(path, lines)
    back = subprocess.run([PROGRAM, "text", "decode", "--tokenizer", path, "--skip-special"],
                          input="\n".join(ids).encode(), capture_output=True).stdout
    good = back == b"\n".join(lines) + b"\n"
    passed, failed = passed + good, failed + (not good)
    if not good:
        print(f"{path}: bytes that are no UTF-8 do not come back")


def main():
    random.seed(11)
    more = 5 if EVERYTHING else 1
    real, made, points = real_texts(), random_texts(4000 * more), code_point_texts()
    broken = invalid_lines(2000 * more)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: os.path.join(ROOT, "text", "testdata", name + ".json")
                 for name in ("gpt2", "gpt2_prefix", "llama3", "qwen2", "o200k", "digits", "llama2", "llama2_metaspace")}
        # Vocabularies of a size that is used, learned by the peer from what stands about.
        for name, (pre, normalizer) in make_golden.byte_level_forms().items():
            files[f"{name} 8192"] = os.path.join(folder, name + ".json")
            make_golden.trained(pre, ["<|endoftext|>"], 8192, normalizer, texts=real).save(files[f"{name} 8192"])
        for name, path in files.items():
            compare(f"{name}, real text", path, real)
            compare(f"{name}, random text", path, made)
            compare(f"{name}, code points", path, points)
            texts = [b.decode(errors="replace") for b in broken]
            count(f"{name}, invalid UTF-8 replaced", texts, ours(path, broken, "--invalid-utf8", "replace"),
                  theirs(Tokenizer.from_file(path), texts))
            if name.split()[0] in ("llama3", "o200k", "digits"):
                bytes_come_back(path, broken)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
