#!/usr/bin/env python3
"""What random schemas and random tokens wrote, read by the Python package jsonschema: all of it must be valid.

    text/grammar/peer_test.py [BUILD]

Runs under a Python with `jsonschema`: this one, or the one that WELLSPRING_PEERS names; else it is left out (status 77:
text_grammar_test checks the same texts by a checker of its own).
"""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
import peers  # noqa: E402

peers.need(["jsonschema"], "checked by text_grammar_test only")
from jsonschema import Draft202012Validator  # noqa: E402

BUILD = peers.build()


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "samples")
        subprocess.run([os.path.join(BUILD, "tests", "text_grammar_test"), "--gtest_filter=GrammarSchema.Random*"],
                       cwd=ROOT, env={**os.environ, "WELLSPRING_GRAMMAR_SAMPLES": path}, check=True,
                       stdout=subprocess.DEVNULL)
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                schema, text = map(json.loads, line.rstrip("\n").split("\t"))
                checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
                errors = [e.message for e in checker.iter_errors(json.loads(text))]
                passed += not errors
                failed += bool(errors)
                if errors:
                    print(f"{json.dumps(schema)}\n  wrote {text}\n  {errors[0]}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


sys.exit(main())
