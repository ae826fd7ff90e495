#!/usr/bin/python3
"""OpenAI's own clients, as they come from the registries, against `wellspring serve` with a small model.

The Python one is taken from the peers' environment, the JavaScript one from .cache/peers/node (./dev setup --peers makes
both); what is not there is skipped.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, f'{ROOT}/cli')
import use_model_test as small  # noqa: E402

PEERS = os.environ.get('WELLSPRING_PEERS') or f'{ROOT}/.cache/peers/venv/bin/python'
MODULES = f'{ROOT}/.cache/peers/node/node_modules'


def clients():
    """Of each client: its name, the command that runs its script, or why it is not there."""
    has = lambda: subprocess.run([PEERS, '-c', 'import openai'], capture_output=True).returncode == 0
    if os.path.exists(PEERS) and has():
        yield 'python', [PEERS, f'{HERE}/testing/client.py'], ''
    else:
        yield 'python', [], f'{PEERS} has no openai (./dev setup --peers)'
    node = shutil.which('node')
    if node and os.path.isdir(f'{MODULES}/openai'):
        yield 'javascript', [node, f'{HERE}/testing/client.mjs', f'{MODULES}/openai/index.mjs'], ''
    else:
        yield 'javascript', [], f'no {"openai in " + MODULES if node else "node"} (./dev setup --peers)'


def main():
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        model = small.make_model(folder)
        wanted = small.generate(model, '--prompt', small.PROMPT, '--greedy', '--max-tokens', '12', '--dtype', 'f32')
        server = small.Server(model, '--name', 'small')
        environment = {**os.environ, 'OPENAI_BASE_URL': f'http://127.0.0.1:{server.port}/v1', 'OPENAI_API_KEY': 'any',
                       'WANTED': json.dumps({'prompt': small.PROMPT, 'text': wanted['text'], 'prompt_tokens': wanted['prompt_tokens'],
                                             'ids': wanted['prompt_ids'], 'context': small.CONTEXT})}
        for name, command, why in clients():
            if why:
                skipped += 1
                print(f'note: {name}: {why}')
                continue
            p = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            lines = p.stdout.splitlines()
            good = [line for line in lines if line.startswith('ok ')]
            bad = [line for line in lines if not line.startswith('ok ')]
            if p.returncode or not good:
                bad = bad or [f'status {p.returncode}']
            passed, failed = passed + len(good), failed + len(bad)
            for line in bad:
                print(f'FAILED {name}: {line}')
            if bad:
                print(p.stderr[-3000:])
        server.stop()
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
