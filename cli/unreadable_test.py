#!/usr/bin/python3
"""Files and folders that the program may not read or write: the error names them, and the exit status is 74.

Root may read everything, so as root the program runs as nobody, from a copy that nobody can reach."""
import os
import shutil
import subprocess
import sys
import tempfile

PROGRAM = os.environ['WELLSPRING_BINARY']
RUN = '''
tokenizer: {0}/tokenizer
data: {{train: [{{path: {0}/data}}], eval: [{{path: {0}/data}}]}}
model: {{width: 32, layers: 1, heads: 2, ffn: 64, context: 64}}
train: {{steps: 1, sequence: 32, batch: 2, schedule: {{learning_rate: 0.001}}}}
'''
passed = failed = 0
as_nobody, program = [], PROGRAM


def run(*words):
    return subprocess.run([*as_nobody, program, *words], cwd='/', stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def must(*words):
    subprocess.run([PROGRAM, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)


def refused(path, *words):
    """The command works, and without permission for this path ends with status 74 and an error that names it."""
    global passed, failed
    mode = os.stat(path).st_mode
    os.chmod(path, 0)
    result = run(*words)
    os.chmod(path, mode)
    ok = result.returncode == 74 and path in result.stderr and 'ermission denied' in result.stderr and result.stderr.startswith('error: ')
    passed, failed = passed + ok, failed + (not ok)
    if not ok:
        print(f'FAILED: {path} of mode 0: {words}: status {result.returncode}: {result.stderr}')


def works(*words):
    global passed, failed
    result = run(*words)
    ok = result.returncode == 0
    passed, failed = passed + ok, failed + (not ok)
    if not ok:
        print(f'FAILED: {words}: status {result.returncode}: {result.stderr}')


def prepare(work):
    os.chmod(work, 0o755)
    os.makedirs(f'{work}/text/deep')
    for i in range(40):
        with open(f'{work}/text/{"deep/" if i % 2 else ""}{i}.txt', 'w', encoding='utf-8') as f:
            f.write('\n'.join(f'Document {i} of package {i * j} is installed with the system.' for j in range(40)))
    with open(f'{work}/run.yaml', 'w', encoding='utf-8') as f:
        f.write(RUN.format(work))
    with open(f'{work}/ids.jsonl', 'w', encoding='utf-8') as f:
        f.write('[40, 41]\n')
    must('text', 'train', f'{work}/text', '--vocab-size', '280', '--out', f'{work}/tokenizer')
    must('data', 'prepare', f'{work}/text', '--tokenizer', f'{work}/tokenizer', '--eval-share', '0.2', '--out', f'{work}/data')
    must('train', f'{work}/run.yaml', '--out', f'{work}/run')
    os.makedirs(f'{work}/out', mode=0o777)
    os.chmod(f'{work}/out', 0o777)


def become_nobody(work):
    global as_nobody, program
    as_nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    tree = os.path.dirname(os.path.dirname(os.path.realpath(PROGRAM)))
    os.makedirs(f'{work}/tree/bin')
    shutil.copy(PROGRAM, f'{work}/tree/bin/wellspring')
    shutil.copytree(f'{tree}/lib', f'{work}/tree/lib', ignore=lambda _, names: [n for n in names if not n.endswith('.so')])
    program = f'{work}/tree/bin/wellspring'


def main():
    with tempfile.TemporaryDirectory() as work:
        prepare(work)
        if os.geteuid() == 0:
            become_nobody(work)
        text, tokenizer, data = f'{work}/text/0.txt', f'{work}/tokenizer/tokenizer.json', f'{work}/data'
        model = f'{work}/run/checkpoints/step-1'
        encode = ('text', 'encode', text, '--tokenizer', f'{work}/tokenizer')
        works(*encode)
        refused(text, *encode)
        refused(tokenizer, *encode)
        refused(f'{work}/tokenizer', *encode)
        refused(f'{work}/ids.jsonl', 'text', 'decode', f'{work}/ids.jsonl', '--tokenizer', tokenizer)
        for unreadable in (text, f'{work}/text', f'{work}/text/deep'):
            refused(unreadable, 'text', 'train', f'{work}/text', '--out', f'{work}/out/tokenizer')
            refused(unreadable, 'data', 'prepare', f'{work}/text', '--tokenizer', tokenizer, '--out', f'{work}/out/data')
        refused(tokenizer, 'data', 'prepare', f'{work}/text', '--tokenizer', tokenizer, '--out', f'{work}/out/data')
        refused(f'{work}/out', 'data', 'prepare', f'{work}/text', '--tokenizer', tokenizer, '--out', f'{work}/out/data')
        shard = next(f'{data}/{name}' for name in sorted(os.listdir(data)) if name.startswith('train-'))
        for unreadable in (f'{data}/dataset.json', shard, data):
            refused(unreadable, 'data', 'verify', data)
        train = ('train', f'{work}/run.yaml', '--out', f'{work}/out/run')
        for unreadable in (f'{work}/run.yaml', f'{data}/dataset.json', shard, data, tokenizer, f'{work}/out'):
            refused(unreadable, *train)
        works(*train)
        for unreadable in (f'{model}/config.json', f'{model}/model.safetensors', f'{model}/tokenizer.json', model):
            refused(unreadable, 'generate', model, '--prompt', 'a', '--max-tokens', '1')
            refused(unreadable, 'eval', 'bpb', model, text)
            refused(unreadable, 'serve', model, '--port', '0')
        refused(text, 'eval', 'bpb', model, text)
        refused(f'{work}/run/checkpoints', 'generate', f'{work}/run', '--prompt', 'a', '--max-tokens', '1')
        refused(f'{model}/model.safetensors', 'export', model, '--out', f'{work}/out/model')
        refused(f'{work}/out', 'export', model, '--out', f'{work}/out/model')
        works('export', model, '--out', f'{work}/out/model')
    print(f'{passed} passed, {failed} failed')
    return failed > 0


sys.exit(main())
