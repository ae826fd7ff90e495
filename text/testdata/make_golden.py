#!/usr/bin/env python3
"""Writes this folder's tokenizers, golden.jsonl and every_code_point.json with Hugging Face `tokenizers`.

    .cache/peers/venv/bin/python text/testdata/make_golden.py

Each line of golden.jsonl: tokenizer, text, add_special, ids and the peer's decoding. The tokenizers are
small ones of our own, trained on the sentences below, in the forms of GPT-2, Llama 3, Qwen2, GPT-4o and
Llama 2 (with normaliser, and with Metaspace).

every_code_point.json holds, per tokenizer and block of 4,096 code points, a hash of the ids of a text in which
each of them stands beside letters, digits, white space, itself and an apostrophe. For the byte-level ones the
vocabulary is all pairs of bytes, in an order (pair_order) by which a missing or additional cut changes the ids.
"""
import base64
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
import tiktoken

HERE = os.path.dirname(os.path.abspath(__file__))
SENTENCES = """The tokenizer cuts text into pieces, and it's the pieces that are merged. We'll see what they've done.
A spring is a place where water comes out of the ground; the well's water is cold, and we'd drink it in 1984.
水从地里涌出来的地方叫做泉。分词器把文字切成小块,然后合并最常见的相邻小块。今天的天气很好,我们去公园散步吧!
Der schnelle braune Fuchs springt über den faulen Hund. L'été dernier, nous sommes allés à la plage. ¿Dónde está?
Привет, мир! Это небольшой текст для проверки. Γειά σου Κόσμε. こんにちは世界。これはテストです。안녕하세요 세계.
for (int i = 0; i < 100; ++i) {\n    total += values[i] * 3.14159;\n\treturn total;\n}\r\n\r\n
    Indented    lines   with     many spaces.\n\n\n  And   empty lines.  \n \n
HTTPServer parseXMLDocument camelCase SNAKE_CASE x+y=z; a//b /* c */ 12345678 ½ ² Ⅷ ٣٤٥
""".replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def trained(pre, special, size=420, normalizer=None, texts=(SENTENCES,), **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def split(pattern, *more):
    return pre_tokenizers.Sequence([*more, pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level_forms():
    """Pre-tokeniser and normaliser of each kind."""
    return {"gpt2": (pre_tokenizers.ByteLevel(add_prefix_space=False), None), "llama3": (split(LLAMA3), None),
            "qwen2": (split(LLAMA3.replace("{1,3}", "")), normalizers.NFC()), "o200k": (split(O200K), None)}


def gpt2():
    t = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    t.add_tokens([AddedToken("tokenizer", single_word=True), AddedToken("[L]", lstrip=True),
                  AddedToken("[R]", rstrip=True), AddedToken("[B]", lstrip=True, rstrip=True)])
    return t


def gpt2_prefix():
    return trained(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<s>", "</s>"])


def llama3():
    t = trained(split(LLAMA3), ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], ignore_merges=True)
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B",
                                      special_tokens=[("<|begin_of_text|>", 0)])])
    return t


def qwen2():
    t = trained(split(LLAMA3.replace("{1,3}", "")), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                normalizer=normalizers.NFC())
    t.add_tokens([AddedToken("\u6cc9e\u0301", normalized=True)])
    return t


def o200k():
    return trained(split(O200K), ["<|endoftext|>"])


def digits():
    return trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                            pre_tokenizers.ByteLevel(add_prefix_space=False)]), ["<s>"])


def llama2(metaspace):
    """Symbols are characters; what the vocabulary lacks becomes bytes."""
    special = ["<unk>", "<s>", "</s>"]
    word = "\u2581"
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    bare.train_from_iterator([SENTENCES[:300]], trainers.BpeTrainer(
        vocab_size=200, special_tokens=special, show_progress=False))
    learned = json.loads(bare.to_str())["model"]
    vocab = {s: i for i, s in enumerate(special)}
    for b in range(256):
        vocab[f"<0x{b:02X}>"] = len(vocab)
    for token in sorted(learned["vocab"], key=learned["vocab"].get):
        vocab.setdefault(token, len(vocab))
    t = Tokenizer(models.BPE(vocab, [tuple(m) for m in learned["merges"]], unk_token="<unk>",
                             fuse_unk=True, byte_fallback=True))
    if metaspace:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend(word), normalizers.Replace(" ", word)])
        t.decoder = decoders.Sequence([decoders.Replace(word, " "), decoders.ByteFallback(),
                                       decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    t.add_special_tokens(special)
    return t


def texts():
    random.seed(7)
    given = [SENTENCES, "", " ", "  ", "\n", " \n", "\n ", "a \n  ", "a\u3000b\u00a0 c\u2003", "'s 'S 'ſ I'LL they'VE 'tis",
             "don't DON'T'd", "x'\u017fy", "e\u0301 a\u0328\u0301 \u1e9b\u0323 \u1100\u1161\u11a8 \u212b \u0344 \u6cc9e\u0301 \u6cc9é",
             "\U0001f600 \U0001f469\u200d\U0001f4bb \U0002070e", "\u0000\u0001\x7f\u0080\u0085x", "12345 67 \u0664\u0665\u0666\u0667",
             "tokenizer xtokenizer tokenizers (tokenizer) tokenizer",
             "a [L] b [R]  c [B] [B]  d[L][R] e  [L]\n[R]\n", "<|endoftext|>x <|endoftext|> <s> </s> <unk>",
             "<|begin_of_text|>a<|eot_id|>\n<|im_start|>user\nhi<|im_end|>", "▁▁ ▁x", "  leading", "trailing  ",
             "ab" * 200, "的" * 120, "=" * 300, " " * 300 + "x", "\r\n\r\n\t\t x", "a/b//\n/c", "ABCdef'sGHI Ǆǅǆ ʰªº"]
    pool = list("abcXYZ 019.,!?'\"-_/\\\n\r\t  ’éßÀþ中文字，。ひカ한ωЖ١½①Ⅳ\u0301\u0345\u200b\u2028\U0001f600\U00010400")
    given += ["".join(random.choice(pool) for _ in range(random.randint(1, 40))) for _ in range(30)]
    every = [c for c in range(0x21, 0x3000) if not 0xD800 <= c < 0xE000]
    given += ["".join("a" + chr(c) for c in random.sample(every, 50)) for _ in range(4)]
    return given


def pair_order():
    """All pairs of bytes: first those that only a missing cut can bring together."""
    def kind(x, y):
        if x < 128 or y < 128:
            return 0 if x < 128 <= y else 1 if y < 128 <= x else 4
        return 2 if y >= 0xC2 else 3  # between characters, inside one
    return sorted(((x, y) for x in range(256) for y in range(256)), key=lambda p: (kind(*p), p))


def pairs(pre, normalizer=None):
    letter = bytes_to_unicode()
    vocab = {letter[b]: b for b in range(256)}
    merges = [(letter[x], letter[y]) for x, y in pair_order()]
    vocab.update({x + y: 256 + i for i, (x, y) in enumerate(merges)})
    t = Tokenizer(models.BPE(vocab, merges))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    return t


def block_text(first):
    """The text of 4,096 code points; the C++ test makes the same."""
    return "".join(f"a{c}b1{c}2 {c}\n{c}{c}'s" for c in map(chr, range(first, first + 4096))
                   if not "\ud800" <= c < "\ue000")


def fnv(ids):
    h = 0xCBF29CE484222325
    for i in ids:
        h = (h ^ i) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def every_code_point(made):
    bare = {name: pairs(*form) for name, form in byte_level_forms().items()}
    bare.update({name: made[name] for name in ("llama2", "llama2_metaspace")})
    blocks = [block_text(first) for first in range(0, 0x110000, 4096)]
    return {name: [fnv(e.ids) for e in t.encode_batch_fast(blocks, add_special_tokens=False)]
            for name, t in bare.items()}


def main():
    rows = []
    made = {"gpt2": gpt2(), "gpt2_prefix": gpt2_prefix(), "llama3": llama3(), "qwen2": qwen2(), "o200k": o200k(),
            "digits": digits(), "llama2": llama2(False), "llama2_metaspace": llama2(True)}
    for name, t in made.items():
        with open(os.path.join(HERE, name + ".json"), "w") as f:
            json.dump(json.loads(t.to_str()), f, ensure_ascii=False, separators=(",", ":"))
        for i, text in enumerate(texts()):
            # Long rows once, the others everywhere.
            if len(text) > 150 and name not in ("gpt2", "llama2"):
                continue
            for special in ((True, False) if i in (9, 19) else (True,)):
                ids = t.encode(text, add_special_tokens=special).ids
                rows.append([name, text, special, ids, t.decode(ids, skip_special_tokens=False)])
    # tiktoken: ranks of our own, its own patterns.
    import tiktoken_ext.openai_public as openai
    byte_of = {v: k for k, v in bytes_to_unicode().items()}
    vocab = json.loads(made["llama3"].to_str())["model"]["vocab"]
    tokens = [bytes(byte_of[c] for c in s) for s in sorted(vocab, key=vocab.get)[3:]]
    with open(os.path.join(HERE, "ranks.cl100k.tiktoken"), "w") as f:
        for i, token in enumerate(tokens):
            f.write(f"{base64.b64encode(token).decode()} {i}\n")
    cl100k = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
              r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
    e = tiktoken.Encoding("ours", pat_str=cl100k, mergeable_ranks={t: i for i, t in enumerate(tokens)},
                          special_tokens={})
    for text in texts():
        rows.append(["ranks.cl100k", text, False, e.encode_ordinary(text), text])
    with open(os.path.join(HERE, "golden.jsonl"), "w") as f:
        for row in rows:
            name, text, special, ids, decoded = row
            f.write(json.dumps({"tokenizer": name, "text": text, "add_special": special, "ids": ids,
                                **({} if decoded == text else {"decoded": decoded})},
                               ensure_ascii=True, separators=(",", ":")) + "\n")
    with open(os.path.join(HERE, "every_code_point.json"), "w") as f:
        json.dump(every_code_point(made), f, indent=0)
    print(len(rows), "rows")


def bytes_to_unicode():
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


if __name__ == "__main__":
    main()
