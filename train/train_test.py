#!/usr/bin/python3
"""The program `wellspring train` as a user and a machine meet it: killed, stopped, resumed, on other numbers of
threads, with a full disk and with wrong configurations."""
import fcntl
import glob
import hashlib
import html.parser
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

BINARY = os.environ['WELLSPRING_BINARY']
passed, failed = 0, 0


def check(ok, what, detail=''):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f'FAILED: {what}\n{detail}', flush=True)


def run(*arguments, limit='', threads=None, **options):
    environment = dict(os.environ, **({'WELLSPRING_THREADS': str(threads)} if threads else {}))
    command = [BINARY, *map(str, arguments)]
    if limit:
        command = ['bash', '-c', f'ulimit {limit}; exec "$@"', 'bash', *command]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, **options)


def must(*arguments, **options):
    result = run(*arguments, **options)
    if result.returncode:
        print(f'{arguments}: status {result.returncode}\n{result.stderr}')
        sys.exit(1)
    return result


def prepare(work):
    text = f'{work}/text'
    os.mkdir(text)
    words = random.Random(5)
    for d in range(60):
        with open(f'{text}/{d}.txt', 'w') as f:
            for _ in range(8):
                f.write(' '.join(words.choice(['package', 'system', 'file', 'the', 'of', '软件包', '系统', 'install', 'with'])
                                 for _ in range(20)) + '.\n')
    must('text', 'train', text, '--vocab-size', 320, '--special', '<|endoftext|>', '--out', f'{work}/tokenizer')
    must('data', 'prepare', text, '--tokenizer', f'{work}/tokenizer', '--eval-share', '0.2', '--out', f'{work}/data')
    with open(f'{work}/run.yaml', 'w') as f:
        f.write(f'''seed: 7
tokenizer: {work}/tokenizer
data:
  train: [{{path: {work}/data}}]
  eval: [{{path: {work}/data}}]
model: {{family: llama, width: 64, layers: 2, heads: 2, kv_heads: 1, ffn: 96, context: 64, tied: true, dropout: 0.1}}
train:
  dtype: f32
  sequence: 48
  batch: 4
  micro_batch: 2
  steps: 30
  schedule: {{kind: wsd, learning_rate: 0.003, warmup: 5}}
  checkpoint_every: 7
  eval_every: 11
samples: ["the package"]
''')


def weights(folder, step):
    """Hash of what a run left at a step."""
    total = hashlib.sha256()
    for name in ('model.safetensors', 'optimizer.safetensors'):
        with open(f'{folder}/checkpoints/step-{step}/{name}', 'rb') as f:
            total.update(f.read())
    return total.hexdigest()


def lines(path):
    try:
        with open(path, 'rb') as f:
            return f.read().count(b'\n')
    except FileNotFoundError:
        return 0


def killed_at(yaml, out, settings, moments):
    """Runs with a SIGKILL at each of these numbers of lines of metrics.jsonl, then to its end."""
    for moment in moments:
        before = lines(f'{out}/metrics.jsonl')
        process = subprocess.Popen([BINARY, 'train', yaml, '--out', out, '--resume', *settings],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and lines(f'{out}/metrics.jsonl') < before + moment:
            time.sleep(0.0005)
        process.kill()
        process.wait()
    return run('train', yaml, '--out', out, '--resume', *settings)


def test_killed(work):
    yaml = f'{work}/run.yaml'
    moments = random.Random(int.from_bytes(os.urandom(4), 'little'))
    for dtype in ('f32', 'bf16'):
        settings = ['--set', f'train.dtype={dtype}']
        must('train', yaml, '--out', f'{work}/whole-{dtype}', *settings)
        for attempt in range(3):
            at = [moments.randrange(1, 12) for _ in range(3)]
            out = f'{work}/killed-{dtype}-{attempt}'
            end = killed_at(yaml, out, settings, at)
            check(end.returncode == 0, f'{dtype}: resumed after kills {at}', end.stderr)
            check(end.returncode == 0 and weights(out, 30) == weights(f'{work}/whole-{dtype}', 30),
                  f'{dtype}: killed after {at} lines and resumed gives the same bytes')
            check(not glob.glob(f'{out}/checkpoints/.writing*'), 'no left-overs of a kill stay')


def test_threads(work):
    for width in (64, 128, 256, 512):
        settings = ['--set', f'model.width={width}', '--set', f'model.heads={width // 32}', '--set', f'model.kv_heads={width // 64}',
                    '--set', f'model.ffn={2 * width}', '--set', 'train.steps=3', '--set', 'train.micro_batch=4', '--set', 'samples=[]']
        for dtype in ('f32', 'bf16'):
            found = set()
            for threads in (1, 2, 3, 16, 64):
                out = f'{work}/threads-{width}-{dtype}-{threads}'
                must('train', f'{work}/run.yaml', '--out', out, *settings, '--set', f'train.dtype={dtype}', threads=threads)
                found.add(weights(out, 3))
            check(len(found) == 1, f'width {width} {dtype}: the same bits on 1, 2, 3, 16 and 64 threads')


def test_stopped(work):
    for number, name in ((signal.SIGTERM, 'SIGTERM'), (signal.SIGINT, 'SIGINT')):
        out = f'{work}/stopped-{name}'
        process = subprocess.Popen([BINARY, 'train', f'{work}/run.yaml', '--out', out], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        while lines(f'{out}/metrics.jsonl') < 4 and process.poll() is None:
            time.sleep(0.0005)
        process.send_signal(number)
        _, error = process.communicate()
        check(process.returncode == 75, f'{name}: status 75', f'{process.returncode}\n{error}')
        check('--resume' in error, f'{name}: says how to go on', error)
        with open(sorted(glob.glob(f'{out}/attempts/*/status.json'))[-1]) as f:
            check(json.load(f)['state'] == 'stopped', f'{name}: status.json says stopped')
        # Without RUN.yaml: the run folder knows it.
        end = run('train', '--resume', '--out', out)
        check(end.returncode == 0, f'{name}: resumed', end.stderr)
        check(weights(out, 30) == weights(f'{work}/whole-f32', 30), f'{name}: stopped and resumed gives the same bytes')


def pending(process):
    """Whether a signal waits to be taken by a process."""
    with open(f'/proc/{process.pid}/status') as f:
        return any(int(line.split()[1], 16) for line in f if line.startswith(('SigPnd', 'ShdPnd')))


def test_interrupted_twice(work):
    """Steps of seconds, so that the second Ctrl-C comes before the first was answered with a checkpoint."""
    out = f'{work}/interrupted'
    process = subprocess.Popen([BINARY, 'train', f'{work}/run.yaml', '--out', out, '--set', 'model.ffn=2048', '--set', 'train.batch=512'],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while lines(f'{out}/metrics.jsonl') < 1 and process.poll() is None:
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    while pending(process):
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    error = process.communicate()[1]
    check(process.returncode == 130, 'SIGINT twice: status 130', f'{process.returncode}\n{error}')
    check(lines(f'{out}/metrics.jsonl') == 1 and os.listdir(f'{out}/checkpoints') == [], 'SIGINT twice: leaves at once',
          str(os.listdir(f'{out}/checkpoints')))
    end = run('train', f'{work}/run.yaml', '--out', out, '--resume', '--set', 'train.steps=2')
    check(end.returncode == 0, 'SIGINT twice: the folder can be used again', end.stderr)


def test_progress(work):
    """The line on a terminal: how far, speed, time left, loss, share of the GEMM rate, memory."""
    keeper, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('4H', 24, 120, 0, 0))
    process = subprocess.Popen([BINARY, 'train', f'{work}/run.yaml', '--out', f'{work}/progress', '--set', 'train.steps=300',
                                '--set', 'train.checkpoint_every=0', '--set', 'train.eval_every=100'],
                               stdout=subprocess.DEVNULL, stderr=terminal, env=dict(os.environ, TERM='xterm'))
    os.close(terminal)
    text = b''
    try:
        while chunk := os.read(keeper, 65536):
            text += chunk
    except OSError:
        pass  # how a terminal says that its last writer has gone
    os.close(keeper)
    shown = [s for s in re.split('[\r\n]+', text.decode().replace('\x1b[K', '')) if s]
    line = re.compile(r'train: \d+% \([\d.]+k? of [\d.]+k tokens\), [\d.]+[kM]?/s, [\d.]+ ?\w+ left, loss \d\.\d+, \d+% of GEMM, [\d.]+ [kMG]i?B')
    check(process.wait() == 0 and any(line.fullmatch(s) for s in shown), 'progress on a terminal', '\n'.join(shown))
    check(any(re.fullmatch(r'step 100: held out .* bits per byte', s) for s in shown), 'evaluations are told', '\n'.join(shown))
    check(re.match(r'train: [\d.]+k tokens in .*, loss \d\.\d+, \d+% of GEMM', shown[-1]), 'the last line sums up', '\n'.join(shown))


class Page(html.parser.HTMLParser):
    """Text of a page, and everything that it would load from elsewhere."""

    def __init__(self, source):
        super().__init__()
        self.text, self.loads = '', []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.loads += [f'{tag} {k}={v}' for k, v in attrs if k in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action') and not v.startswith('#')]

    def handle_data(self, data):
        self.text += data + ' '


def test_report(work):
    out = f'{work}/reported'
    must('train', f'{work}/run.yaml', '--out', out)
    with open(f'{out}/report.html', encoding='utf-8') as f:
        source = f.read()
    page = Page(source)
    check(not page.loads and '@import' not in source and 'url(' not in source, 'the report loads nothing', str(page.loads))
    with open(f'{out}/metrics.jsonl') as f:
        metrics = [json.loads(row) for row in f]
    loss = [m['loss'] for m in metrics if 'loss' in m][-1]
    best = min(m['eval_bpb'] for m in metrics if 'eval_bpb' in m)
    for part in ('Loss', 'Held-out bits per byte', 'Learning rate', 'Throughput', 'Gradient norm', 'finished', f'{loss:.4f}', f'{best:.4f}',
                 'mean tokens a second', 'share of the machine', 'peak memory', 'Samples', 'the package', 'micro_batch: 2'):
        check(part in page.text, f'the report holds "{part}"', page.text[:2000])
    check(source.count('<svg') == 5 and source.count('<polyline') >= 5, 'five charts with curves')


def test_full_disk(work):
    """A checkpoint that does not fit: the one before it stays whole and the run goes on from it."""
    out = f'{work}/full'
    must('train', f'{work}/run.yaml', '--out', out, '--set', 'train.steps=7')
    before = weights(out, 7)
    # Files of at most 100 KiB (ulimit counts KiB): weights do not fit, metrics do.
    result = run('train', f'{work}/run.yaml', '--out', out, '--resume', limit='-f 100')
    check(result.returncode == 74, 'a full disk ends with status 74', f'{result.returncode} {result.stderr}')
    check('training goes on' in result.stderr and 'step 7 is whole' in result.stderr, 'and says what is whole', result.stderr)
    check(weights(out, 7) == before, 'the checkpoint before is whole')
    check(os.listdir(f'{out}/checkpoints') == ['step-7'], 'nothing else is left', str(os.listdir(f'{out}/checkpoints')))
    result = run('train', f'{work}/run.yaml', '--out', out, '--resume')
    check(result.returncode == 0 and weights(out, 30) == weights(f'{work}/whole-f32', 30), 'with room again it ends in the same bytes',
          result.stderr)


def test_small_disk(work):
    """The same on a disk that is really full, a tmpfs in a mount namespace, where one may be mounted."""
    script = '''
mount -t tmpfs -o size=6m none disk || exit 99
try() {  # NAME OPTION...: a run, and what it leaves
  "$BINARY" train run.yaml --out disk/run "${@:2}" 2>"left/$1" || true
  cp -r disk/run "left/$1.run"
}
try before --set train.steps=7
room=$(df -k --output=avail disk | tail -1)  # all but 100 KiB of it: metrics fit, weights do not
head -c $((room - 100))K /dev/zero >disk/filler
try full --resume
rm disk/filler
try after --resume
'''
    for folder in ('disk', 'left'):
        os.mkdir(f'{work}/{folder}')
    result = subprocess.run(['unshare', '-rm', 'bash', '-c', script], cwd=work, env=dict(os.environ, BINARY=BINARY), capture_output=True,
                            text=True, timeout=600)
    if not os.path.exists(f'{work}/left/before'):
        print(f'note: nothing may be mounted here, a full disk was tried by a limit on files alone: {result.stderr.strip()}')
        return
    with open(f'{work}/left/full') as f:
        said = f.read()
    check('No space left' in said and 'step 7 is whole' in said, 'a full disk is named, and what is whole', said)
    check(weights(f'{work}/left/full.run', 7) == weights(f'{work}/left/before.run', 7), 'the checkpoint before is whole')
    check(os.listdir(f'{work}/left/full.run/checkpoints') == ['step-7'], 'nothing else is left on the full disk')
    check(weights(f'{work}/left/after.run', 30) == weights(f'{work}/whole-f32', 30), 'with room again it ends in the same bytes', said)


def test_wrong_input(work):
    yaml = f'{work}/run.yaml'
    for setting, status, words in (('train.schedule.lerning_rate=1', 78, "did you mean 'learning_rate'"),
                                   ('model.widht=3', 78, "did you mean 'width'"),
                                   ('train.steps=many', 78, 'train.steps'),
                                   ('data.train.0.path=/nowhere', 78, '/nowhere'),
                                   ('tokenizer=/nowhere', 74, '/nowhere')):
        result = run('train', yaml, '--out', f'{work}/wrong', '--set', setting)
        check(result.returncode == status and words in result.stderr, setting, f'{result.returncode} {result.stderr}')
        check(not os.path.exists(f'{work}/wrong'), f'{setting}: no run folder is made')
    with open(f'{work}/typo.yaml', 'w') as f:
        f.write(open(yaml, encoding='utf-8').read().replace('steps: 30', 'stepz: 30'))
    result = run('train', f'{work}/typo.yaml')
    check(result.returncode == 78 and 'typo.yaml:12' in result.stderr and "did you mean 'steps'" in result.stderr, 'a mistyped key is named with its line',
          result.stderr)
    check(run('train', f'{work}/none.yaml').returncode == 74, 'a missing file')
    check(run('train').returncode == 64, 'no configuration')
    check(run('train', '--preset', 'huor').returncode == 64, 'an unknown preset')
    result = run('train', yaml, '--out', f'{work}/whole-f32')
    check(result.returncode == 64 and '--resume' in result.stderr, 'a folder that holds a run', result.stderr)
    result = run('train', yaml, '--out', f'{work}/nan', '--set', 'train.schedule.learning_rate=1.0e+30', '--set', 'train.schedule.warmup=0')
    check(result.returncode == 65 and 'training stopped at step' in result.stderr and 'document' in result.stderr, 'a loss that is not finite',
          f'{result.returncode} {result.stderr}')


def test_answers(work):
    result = must('train', '--resume', '--out', f'{work}/whole-f32', '--json')
    answer = json.loads(result.stdout)
    check(answer['state'] == 'finished' and answer['step'] == 30, 'a finished run that is resumed has nothing to do', result.stdout)
    files = sorted(glob.glob(f'{work}/text/*.txt'))[:3]
    answer = json.loads(must('eval', 'bpb', f'{work}/whole-f32', *files, '--json').stdout)
    check(answer['bytes'] == sum(map(os.path.getsize, files)), 'every byte counts')
    check(abs(sum(f['nats'] for f in answer['files']) - answer['nats']) < 1e-6 * answer['nats'], 'files add up')
    check(0 < answer['bits_per_byte'] < 8, 'bits per byte', str(answer))
    check(run('eval', 'bpb', f'{work}/whole-f32', f'{work}/none').returncode == 74, 'a missing text')
    check(run('eval', 'bpb', f'{work}/nowhere', files[0]).returncode == 74, 'a missing model')
    empty = f'{work}/empty'
    open(empty, 'w').close()
    check(run('eval', 'bpb', f'{work}/whole-f32', empty).returncode == 65, 'an empty text')
    for command in (('train',), ('eval', 'bpb')):
        text = must(*command, '--help').stdout
        check('wellspring ' + ' '.join(command) in text and 'xample' in text, f'{command}: help with an example', text)


def main():
    with tempfile.TemporaryDirectory() as work:
        prepare(work)
        for test in (test_killed, test_threads, test_stopped, test_interrupted_twice, test_progress, test_report, test_full_disk,
                     test_small_disk, test_wrong_input, test_answers):
            if len(sys.argv) < 3 or sys.argv[2] in test.__name__ or test is test_killed:  # BUILD [NAME]; the others build on that one
                test(work)
    print(f'{passed} passed, {failed} failed')
    return failed > 0


sys.exit(main())
