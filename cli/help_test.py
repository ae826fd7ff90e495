#!/usr/bin/python3
"""Every example of every --help, run as it stands: in a folder with a corpus, and with the run where ./dev demo leaves it."""
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../cluster/testing'))
from harness import Cluster, until  # noqa: E402

PROGRAM = os.environ['WELLSPRING_BINARY']
ENVIRONMENT = dict(os.environ, PATH=f'{os.path.dirname(PROGRAM)}:{os.environ["PATH"]}')
RUN = '''
tokenizer: tokenizer
data: {train: [{path: data}], eval: [{path: data}]}
model: {width: 32, layers: 1, heads: 2, ffn: 64, context: 64}
train: {steps: 2, sequence: 32, batch: 2, schedule: {learning_rate: 0.001}}
'''
passed = failed = 0


def check(ok, what, detail=''):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f'FAILED: {what}\n{detail}', flush=True)


def text_of(*words):
    return subprocess.run([PROGRAM, *words, '--help'], check=True, capture_output=True, text=True, timeout=60).stdout


def listed(text, title):
    """The first words of the rows below a title."""
    block = text.partition(f'\n{title}:\n')[2].partition('\n\n')[0]
    return [row.split()[0] for row in block.splitlines() if re.match(r'  \S', row)]


def commands():
    for name in listed(subprocess.run([PROGRAM, '--help'], capture_output=True, text=True).stdout, 'Commands'):
        verbs = listed(text_of(name), 'Verbs')
        yield from ((name, verb) for verb in verbs) if verbs else [(name,)]


def examples(words):
    return [row.strip() for row in re.split(r'\nExamples?:\n', text_of(*words) + '\n')[-1].splitlines() if row.strip()]


def run(folder, line, **options):
    return subprocess.run(['bash', '-o', 'pipefail', '-c', line], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=120, **options)


def serves(folder, line):
    process = subprocess.Popen(['bash', '-c', 'exec ' + line.replace('8080', '0')], cwd=folder, env=ENVIRONMENT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    check('http://127.0.0.1:' in said and process.returncode == 0, line, f'{process.returncode} {said} {error}')


def stays(line, cluster, folder, there, environment=None):
    """A command that works until it is told to end; `there` is true when it does what it should."""
    process = subprocess.Popen(['bash', '-c', 'exec ' + line], cwd=folder, text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={**cluster.environment, **(environment or {}), 'PATH': ENVIRONMENT['PATH']})
    try:
        until(20, line, there)
        said = ''
    except AssertionError as e:
        said = str(e)
    process.send_signal(signal.SIGTERM)
    said += process.communicate(timeout=30)[0]
    check(process.returncode == 0 and 'not within' not in said, line, f'{process.returncode} {said}')


def on_cluster(cluster, folder, words, line):
    """An example of `job` or `cluster`, with the job, node or file that it names."""
    words, given = words[1], 'hello\n'
    submit = cluster.submit
    running = lambda **spec: cluster.wait(submit('sleep 60', accepted=[{'chip': 'cpu'}], **spec), 'running')['id']
    if ' 12' in line:
        if words in ('cancel', 'hold', 'exec', 'attach'):
            job = running()
        elif words == 'forward':
            job = cluster.wait(submit('exec python3 -m http.server 18000 --bind 127.0.0.1', kind='service',
                                      service={'port': 18000}), 'running')['id']
            line = line.replace('8000', '18000')
        else:
            job = submit('false' if words == 'retry' else 'echo done')
            cluster.wait(job, 'failed' if words == 'retry' else 'succeeded')
            if words == 'release':
                job = submit('true', accepted=[{'chip': 'cpu'}], not_before=time.time() + 100)
                cluster.call('POST', f'/jobs/{job}/hold')
        line = line.replace(' 12', f' {job}')
    if words == 'attach':
        given = 'exit 0\n'
    if words == 'forward':
        return stays(line.replace('--local 18000', '--local 18001'), cluster, folder,
                     lambda: subprocess.run(['curl', '-sf', 'http://127.0.0.1:18001/'], capture_output=True).returncode == 0)
    if words == 'up':
        other = f'{folder}/other'
        return stays(line + ' --port 0 --no-node', cluster, folder, lambda: os.path.exists(f'{other}/login.json'),
                     {'WELLSPRING_CLUSTER': other, 'WELLSPRING_LOGIN': f'{other}/login.json'})
    if words == 'node':
        token = cluster.call('POST', '/tokens', {'role': 'join'})['token']
        line = re.sub(r'https://\S+', cluster.url, line).replace('wsj_...', token)
        line = re.sub(r' --ca-fingerprint \S+', '', line) + f' --name second --single-trust --set folder={folder}/second'
        return stays(line, cluster, folder, lambda: cluster.node_state('second') == 'up')
    environment = {**cluster.environment, 'PATH': ENVIRONMENT['PATH']}
    if words == 'login':
        line = line.replace('http://127.0.0.1:8930', cluster.url)
        environment['WELLSPRING_LOGIN'] = f'{folder}/login-again.json'
    if words == 'restore':
        line = re.sub(r'\S+\.backup', cluster.call('POST', '/cluster/backup')['path'], line)
    result = subprocess.run(['bash', '-o', 'pipefail', '-c', line], cwd=folder, env=environment, capture_output=True, text=True,
                            timeout=60, input=given)
    check(result.returncode == 0 and result.stdout, line, f'{result.returncode} {result.stdout} {result.stderr}')
    if words == 'drain':
        cluster.call('POST', '/nodes/head/resume')
    if words == 'reserve':
        cluster.call('DELETE', '/reservations/demo-day')
    if words == 'quota':
        cluster.call('PUT', '/teams/default', {'quotas': {'cpu-avx2': {'devices': -1, 'hours': -1}}})


def main():
    draw = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        for language, words in (('en', 'the package of a system is installed with water and stone'), ('zh', '软件包 系统 安装 水 泉')):
            os.makedirs(f'{folder}/corpus/{language}')
            for i in range(300):
                with open(f'{folder}/corpus/{language}/{i}.txt', 'w', encoding='utf-8') as f:
                    f.write(' '.join(draw.choice(words.split()) for _ in range(30)) + '\n')
        with open(f'{folder}/run.yaml', 'w', encoding='utf-8') as f:
            f.write(RUN)
        os.makedirs(f'{folder}/runs/demo')
        for name, target in (('run', '../first'), ('text', '../../text'), ('data', '../../data'), ('tokenizer', '../../tokenizer')):
            os.symlink(target, f'{folder}/runs/demo/{name}')
        with open(f'{folder}/train.yaml', 'w', encoding='utf-8') as f:
            f.write('resources: {chip: cpu}\ncommand: "true"\n')
        cluster = Cluster(leases=(20, 30))
        cluster.up()
        cluster.node('head', [{'chip': 'cpu', 'count': 16}])
        for name, text in (('token', cluster.token), ('key', 'secret')):
            with open(f'{folder}/{name}.txt', 'w', encoding='utf-8') as f:
                f.write(text + '\n')
        for words in commands():
            found = examples(words)
            check(any('wellspring ' + ' '.join(words) in line for line in found), f'{words}: --help has an example', found)
            for line in found:
                if words == ('serve',):
                    serves(folder, line)
                elif words[0] in ('job', 'cluster'):
                    on_cluster(cluster, folder, words, line)
                else:
                    result = run(folder, line, input='hello\n')
                    check(result.returncode == 0 and result.stdout, line, f'{result.returncode} {result.stderr}')
        cluster.close()
        # What --out is when it is not given lies beside the demo's folder, not in it.
        before = sorted(os.listdir(f'{folder}/runs/demo'))
        for line in ('wellspring train --preset demo', 'cp run.yaml demo.yaml && wellspring train demo.yaml'):
            result = run(folder, line + ' --set train.steps=1 --set model.layers=1 --set samples=[]')
            check(result.returncode == 0 and 'runs/train-demo/' in result.stdout, line, result.stderr)
            check(sorted(os.listdir(f'{folder}/runs/demo')) == before, f'{line}: leaves runs/demo alone')
            run(folder, 'rm -r runs/train-demo')
    print(f'{passed} passed, {failed} failed')
    return failed > 0


sys.exit(main())
