#!/usr/bin/python3
"""tools/demo.sh with a corpus and a program that only pretend: which failures end it, what it says and leaves behind."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Answers like `wellspring`, with BITS bits per byte.
PROGRAM = r'''#!/usr/bin/python3
import json, os, random, sys
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
def put(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').write(text)
if words[:2] == ['data', 'clean']:
    for name in ('train', 'eval-en', 'eval-zh'):
        draw = random.Random(name)
        put(f"{value('--out')}/{name}.txt", ''.join(chr(draw.randrange(97, 123)) for _ in range(2000)))
elif words[0] == 'eval':
    print(json.dumps({'bits_per_byte': float(os.environ['BITS'])}))
elif words[0] == 'generate':
    print('a continuation')
'''
# The cluster: leaves what the training would, and answers.
CLUSTER = r'''#!/bin/sh
case $1 in
  train) mkdir -p "$3/run/checkpoints/step-7"; echo '{}' > "$3/run/checkpoints/step-7/config.json" ;;
  ask) echo 'an answer' ;;
esac
'''
passed = failed = 0


def check(ok, what, detail):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f'FAILED: {what}\n{str(detail)[:3000]}', flush=True)


def put(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    os.chmod(path, 0o755)


def demo(root, *words, corpus=0, bits=1.0):
    put(f'{root}/tools/demo_corpus.py', f'#!/bin/sh\nexit {corpus}\n')
    return subprocess.run([f'{root}/tools/demo.sh', *words], capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, BITS=str(bits)))


def main():
    with tempfile.TemporaryDirectory() as root:
        for name in ('tools/demo.sh', 'tools/demo_table.py', 'tools/demo_figures.py', 'bench/common.py'):
            os.makedirs(os.path.dirname(f'{root}/{name}'), exist_ok=True)
            shutil.copy(f'{ROOT}/{name}', f'{root}/{name}')
        put(f'{root}/build/bin/wellspring', PROGRAM)
        put(f'{root}/tools/demo_cluster.py', CLUSTER)
        # Only packages that cannot be had are a reason to leave the miniature out.
        for words, corpus, status in ((('--mini',), 69, 77), (('--mini',), 65, 65), (('--mini',), 1, 1), ((), 69, 69)):
            r = demo(root, *words, corpus=corpus)
            check(r.returncode == status and ('left out' in r.stdout) == (status == 77), f'{words}: the corpus fails with {corpus}', r)
        r = demo(root, '--results', f'{root}/results', bits=0.5)
        check(r.returncode == 0 and 'an answer' in r.stdout, 'a model that beats the compressors', r)
        for path in ('runs/demo/run/demo', 'results/demo'):
            with open(f'{root}/{path}.json', encoding='utf-8') as f:
                result = json.load(f)
            rows = {row['what']: row for row in result['rows']}
            check(set(result) == {'machine', 'date', 'versions', 'rows'}, f'{path}.json has the form of the benchmarks', result)
            for key in 'demo: training', 'demo: in all', 'demo: eval-en.txt beside xz -9e alone', 'demo: eval-zh.txt beside zstd -19 alone':
                check(key in rows and rows[key]['goal'] == 1 and rows[key]['pass'] is True, f'{path}.json: {key} has met its goal', rows)
            key = 'demo: eval-en.txt beside xz -9e after the training text'
            check(key in rows and rows[key]['goal'] is None and rows[key]['ours'] == 0.5, f'{path}.json: {key} has no goal', rows)
            check(os.path.getsize(f'{root}/{path}.md') > 0, f'{path}.md', '')
        r = demo(root, bits=7.5)
        check(r.returncode == 1 and 'a continuation' in r.stdout and 'an answer' in r.stdout and 'in all' in r.stdout,
              'a model that loses: all the rest is done, then status 1', r)
        with open(f'{root}/runs/demo/run/demo.json', encoding='utf-8') as f:
            check(any(row['pass'] is False for row in json.load(f)['rows']), 'and its figures say so', '')
        check(demo(root, '--mini', bits=7.5).returncode == 0, 'a miniature may lose', '')
    print(f'{passed} passed, {failed} failed')
    return failed > 0


sys.exit(main())
