#!/usr/bin/env python3
"""Makes regex.jsonl with RE2 (pip install google-re2): each line is [pattern, [text, whole match?], ...].

    text/grammar/testdata/make_regex.py > text/grammar/testdata/regex.jsonl
"""
import json
import random

import re2

random.seed(5)
ATOMS = ["a", "b", "ab", "c", ".", r"\d", r"\w", r"\s", r"\S", r"\D", r"\W", "[a-c]", "[^a]", "[^a-c\\d]", "é", "[à-ü]",
         "泉", "[泉-水]", r"\.", r"\x41", r"\x{6CC9}", "[[:alpha:]]", "[[:^digit:]_]", "[]a]", "[a-]", r"[\w-]", "x{2}",
         "{", "}", "a{,2}", r"\n", "-", "^", "$", "😀", "[😀-😂]", r"\Qa.b\E"]
ALPHABET = ["a", "b", "c", "A", "x", "_", "0", "9", " ", "\n", ".", "-", "é", "à", "泉", "水", "😀", "{", "}", "]", ",", "2"]


def pattern(depth):
    kind = random.randrange(7)
    if depth == 0 or kind < 2:
        return random.choice(ATOMS)
    if kind < 4:
        return "".join(pattern(depth - 1) for _ in range(random.randrange(1, 4)))
    if kind == 4:
        return "(" + random.choice(["", "?:", "?P<n>"]) + "|".join(pattern(depth - 1) for _ in range(random.randrange(1, 4))) + ")"
    return "(?:" + pattern(depth - 1) + ")" + random.choice(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "{0,2}?"])


def main():
    options = re2.Options()
    options.log_errors = False
    made = 0
    while made < 600:
        p = pattern(3)
        try:
            r = re2.compile(p, options)
        except re2.error:
            continue
        texts = {""}
        for _ in range(300):
            texts.add("".join(random.choice(ALPHABET) for _ in range(random.randrange(0, 7))))
        cases = [[t, r.fullmatch(t) is not None] for t in sorted(texts)]
        yes = [c for c in cases if c[1]]
        no = [c for c in cases if not c[1]]
        print(json.dumps([p] + random.sample(yes, min(8, len(yes))) + random.sample(no, min(5, len(no))), ensure_ascii=False))
        made += 1


main()
