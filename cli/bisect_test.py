#!/usr/bin/python3
"""wellspring ops bisect: commands that break unless certain kernels are off, for some shapes or all."""
import json
import os
import subprocess
import sys
import tempfile

PROGRAM = os.environ['WELLSPRING_BINARY']
passed = failed = 0


def check(ok, what, detail=''):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f'FAILED: {what}\n{detail}', flush=True)


def bisect(folder, body, *options):
    """Of a program that uses kernels and is good when `body`, which sees their choice as K, says so."""
    path = f'{folder}/command'
    with open(path, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/bash\n{PROGRAM} ops check softmax rms_norm --first >/dev/null 2>&1 || exit 9\n'
                f'K=" $WELLSPRING_KERNELS "\n{body}\n')
    os.chmod(path, 0o755)
    return subprocess.run([PROGRAM, 'ops', 'bisect', '--json', *options, '--', path], cwd=folder, capture_output=True,
                          text=True, timeout=300)


def found(result):
    return [row['kernel'] for row in json.loads(result.stdout)] if result.returncode == 0 else None


def main():
    with tempfile.TemporaryDirectory() as folder:
        result = bisect(folder, '[[ $K == *" cpu:softmax "* ]]', '--no-shapes')
        check(found(result) == ['cpu:softmax'], 'one culprit', result.stdout + result.stderr)
        check('softmax' in json.loads(result.stdout)[0]['operators'], 'its operator', result.stdout)

        result = bisect(folder, '[[ $K == *" cpu:rms_norm "* && $K == *" cpu:softmax_backward "* ]]', '--no-shapes')
        check(found(result) == ['cpu:rms_norm', 'cpu:softmax_backward'], 'two culprits', result.stdout + result.stderr)

        # Judged by what the run leaves behind, not by its status.
        result = bisect(folder, '[[ $K == *" cpu:rms_norm "* ]] && touch good || rm -f good; exit 3', '--no-shapes',
                        '--test', 'test -e good')
        check(found(result) == ['cpu:rms_norm'], 'a test of its own', result.stdout + result.stderr)

        # Only the packed f32 rows of softmax break it.
        log = subprocess.run([PROGRAM, 'ops', 'check', 'softmax', '--first'], capture_output=True, text=True, timeout=60,
                             env=dict(os.environ, WELLSPRING_HITS=f'{folder}/hits.json', WELLSPRING_KERNELS='all'))
        check(log.returncode == 0, 'the command with a hit log', log.stderr)
        with open(f'{folder}/hits.json', encoding='utf-8') as f:
            hits = json.load(f)['hits']
        shapes = sorted({h['shapes'] for h in hits if h['kernel'] == 'softmax'})
        check(shapes and all(h['calls'] > 0 and h['seconds'] >= 0 for h in hits), 'the hit log', hits)
        result = bisect(folder, f'[[ $K == *" cpu:softmax "* || $K == *" cpu:softmax@{shapes[0]} "* ]]')
        check(found(result) == ['cpu:softmax'] and json.loads(result.stdout)[0]['shapes'] == [shapes[0]],
              'the shapes that break it', result.stdout + result.stderr)

        result = bisect(folder, 'exit 0')
        check(result.returncode == 0 and json.loads(result.stdout) == [], 'nothing to find', result.stderr)
        result = bisect(folder, 'exit 1')
        check(result.returncode == 69 and "no kernel's fault" in result.stderr, 'no kernel breaks it', result.stderr)
    result = subprocess.run([PROGRAM, 'ops', 'bisect', '--', 'false'], capture_output=True, text=True, timeout=60)
    check(result.returncode == 64 and 'ran no kernel' in result.stderr, 'a command without kernels', result.stderr)
    result = subprocess.run([PROGRAM, 'ops', 'bisect'], capture_output=True, text=True, timeout=60)
    check(result.returncode == 64 and 'wanted after --' in result.stderr, 'no command', result.stderr)
    print(f'{passed} passed, {failed} failed')
    return failed > 0


sys.exit(main())
