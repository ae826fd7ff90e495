#!/usr/bin/python3
"""What a job file promises, on a live cluster: each kind of job, each way to end, each verb of the command line.

jobs_test.py [NAME...]: those whose names hold one of these.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
from harness import Cluster, free_port, until  # noqa: E402

shared = None  # a cluster that tests use which leave it as they found it


def cluster():
    global shared
    if not shared:
        shared = Cluster(leases=(20, 30))
        shared.up()
        for name in ('n1', 'n2'):
            shared.node(name, [{'chip': 'a100', 'count': 4}], mounts=['/usr/share'])
    return shared


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)
    return path


def job_file(c, text, name='job.yaml'):
    return write(f'{c.folder}/files/{name}', text)


def submitted(c, text, *arguments):
    said = c.run('job', 'submit', job_file(c, text), *arguments)
    assert said.returncode == 0, said.stderr
    return said.stdout.split()


def marks(c):
    folder = f'{c.folder}/marks-{time.monotonic_ns()}'
    os.makedirs(folder)
    return folder


def read(path):
    with open(path) as f:
        return f.read()


# Several tasks

def test_tasks():
    """Two nodes with two tasks each: ranks, addresses, the hostfile and the names that launchers know, one log each."""
    c = cluster()
    job, = submitted(c, '''
name: four
resources: {chip: a100, count: 2, nodes: 2, tasks_per_node: 2}
env: {COLOUR: "green, or blue"}
command: |
  env | sort
  echo "hosts:"; cat "$WELLSPRING_HOSTFILE"
''')
    c.wait(job)
    row = c.show(job)
    folder = row['run_folder']
    seen = []
    for rank in range(4):
        text = c.logs(job, rank=rank)
        variables, hosts = text.split('hosts:\n')
        env = dict(line.split('=', 1) for line in variables.splitlines() if '=' in line)
        seen.append(env)
        assert hosts == '127.0.0.1 slots=2 type=a100-40\n' * 2, hosts
        assert text == read(f'{folder}/attempts/1/log.{rank}.txt')
    for rank, env in enumerate(seen):
        expected = {'WELLSPRING_JOB': job, 'WELLSPRING_ATTEMPT': '1', 'WELLSPRING_RANK': str(rank), 'RANK': str(rank),
                    'WELLSPRING_LOCAL_RANK': str(rank % 2), 'LOCAL_RANK': str(rank % 2), 'WELLSPRING_WORLD_SIZE': '4',
                    'WORLD_SIZE': '4', 'WELLSPRING_NODE_RANK': str(rank // 2), 'MASTER_ADDR': '127.0.0.1',
                    'WELLSPRING_RUN_FOLDER': folder, 'WELLSPRING_CHIP': 'a100-40', 'AIRS_SWITCH': '1', 'AIRS_SIZE': '2',
                    'AIRS_ACCELERATOR_COUNT': '2', 'AIRS_ACCELERATOR_MODEL': 'a100-40', 'AIRS_FBMEM': '40',
                    'AIRS_HOSTFILE_PATH': env['WELLSPRING_HOSTFILE'], 'COLOUR': 'green, or blue', 'PWD': f'{folder}/work'}
        assert {k: env.get(k) for k in expected} == expected, (rank, env)
        assert env['WELLSPRING_RENDEZVOUS'] == f'127.0.0.1:{env["MASTER_PORT"]}'
        assert env['WELLSPRING_TOKEN'] == read(f'{folder}/owner').strip()
        assert len(env['WELLSPRING_DEVICES'].split(',')) == 2
        for name in env:  # nothing of the daemon's own environment
            assert name not in ('WELLSPRING_LOGIN', 'WELLSPRING_CLUSTER', 'LD_PRELOAD'), name
    placement = json.loads(read(f'{folder}/attempts/1/placement.json'))
    assert placement['nodes'] == ['n1', 'n2'] and placement['chip'] == 'a100-40', placement


def test_first_failure_decides():
    """The first task that fails decides the status; the others get SIGTERM, then SIGKILL after their grace."""
    c = cluster()
    folder = marks(c)
    job, = submitted(c, f'''
resources: {{chip: a100, nodes: 2, tasks_per_node: 2}}
checkpoint: {{grace: 1}}
command: |
  trap 'echo term > {folder}/$RANK' TERM
  [ $RANK = 2 ] && sleep 0.3 && exit 42
  [ $RANK = 3 ] && trap '' TERM
  while :; do sleep 0.05; [ -e {folder}/$RANK ] && exit 9; done
''')
    begin = time.monotonic()
    row = c.wait(job, 'failed')
    assert row['exit_status'] == 42, row
    assert 'task 2' in row['reason'] and '42' in row['reason'], row['reason']
    assert sorted(os.listdir(folder)) == ['0', '1'], os.listdir(folder)
    assert 1 < time.monotonic() - begin < 4


# What goes with a job

def test_workdir_and_setup():
    """The folder as it was at submit; its ignore file; a setup that is kept by content and copied for the next job."""
    c = cluster()
    folder = f'{c.folder}/files/project'
    write(f'{folder}/main.sh', 'cat data.txt made.txt; ls')
    write(f'{folder}/data.txt', 'one\n')
    write(f'{folder}/big.bin', 'x' * 10_000_000)
    write(f'{folder}/.wellspringignore', '*.bin\n')
    text = f'''
resources: {{chip: a100}}
workdir: project
setup: |
  sleep 0.2; echo "setting up in $PWD"; cat data.txt > made.txt
command: sh main.sh
'''
    first, = submitted(c, text)
    write(f'{folder}/data.txt', 'two\n')  # too late for the first
    c.wait(first)
    assert c.logs(first) == 'one\none\ndata.txt\nmade.txt\nmain.sh\n' or \
        c.logs(first).split() == ['one', 'one', 'data.txt', 'made.txt', 'main.sh'], c.logs(first)
    setup = c.logs(first, rank=-1)
    assert 'setup: begins' in setup and 'setting up' in setup and 'setup: done' in setup, setup
    second, = submitted(c, text)
    c.wait(second)
    assert c.logs(second).startswith('two\ntwo\n')
    assert 'setting up' in c.logs(second, rank=-1)
    write(f'{folder}/data.txt', 'one\n')
    # The same content again: on the node that has it, what the setup made is there already.
    until(10, 'both nodes have made it once, or one has it kept', lambda: kept_setup(c, text))
    failing, = submitted(c, text.replace('sleep 0.2;', 'echo no compiler; exit 5;'))
    row = c.wait(failing, 'failed')
    assert row['exit_status'] == 5 and 'setup' in row['reason'] and 'log.setup.txt' in row['reason'], row
    assert 'no compiler' in c.run('job', 'logs', failing, '--rank', '-1').stdout


def kept_setup(c, text):
    job, = submitted(c, text)
    c.wait(job)
    assert c.logs(job).startswith('one\none\n'), c.logs(job)
    return 'setup: done before, kept' in c.logs(job, rank=-1)


def test_mounts_and_image():
    c = cluster()
    c.run('cluster', 'teams', 'set', 'default', '--root', '/usr/share', check=True)
    job, = submitted(c, '''
resources: {chip: a100}
mounts: ["/usr/share/common-licenses:ro"]
command: ls /usr/share/common-licenses
''')
    c.wait(job)
    assert 'Apache-2.0' in c.logs(job)
    if os.geteuid() == 0:
        os.makedirs('/mnt/ws-test', exist_ok=True)
        job, = submitted(c, '''
resources: {chip: a100}
mounts: ["/usr/share/common-licenses:/mnt/ws-test:ro"]
command: ls /mnt/ws-test; touch /mnt/ws-test/x || echo "cannot write"
''')
        c.wait(job)
        assert 'Apache-2.0' in c.logs(job) and 'cannot write' in c.logs(job)
        assert not os.listdir('/mnt/ws-test')
    job, = submitted(c, '''
resources: {chip: a100}
image: /images/none.sif
command: "true"
''')
    row = c.wait(job, 'failed')
    assert row['attempts'] == 1 and 'apptainer' in row['reason'].lower(), row['reason']


# Preemption, drains

TRAINING = '''
name: training
resources: {{chip: a100, count: 4, nodes: 2}}
command: |
  [ $RANK = 0 ] || exec sleep 60
  cd "$WELLSPRING_RUN_FOLDER"; mkdir -p checkpoints
  step=$(ls checkpoints | sed 's/step-//' | sort -n | tail -1); step=${{step:-0}}
  echo "begins at $step"
  trap 'mkdir -p checkpoints/step-$step; echo "saved $step"; exit 75' TERM
  while [ $step -lt {steps} ]; do step=$((step + 1)); sleep 0.05; done
  echo "done $step"
'''


def test_preemption_and_drain():
    """A training of low priority is preempted, then its node drained: it writes a checkpoint each time, leaves with 75,
    and goes on from there; none of it counts as a failure."""
    c = cluster()
    text = TRAINING.format(steps=60).replace('nodes: 2', 'nodes: 1').replace('[ $RANK = 0 ] || exec sleep 60', '')
    training, = submitted(c, text + 'restart: 0\n')
    c.wait(training, 'running')
    other = c.submit('sleep 0.2', accepted=[{'chip': 'a100', 'count': 4}])  # the other node
    c.wait(other)
    time.sleep(0.5)
    urgent = c.submit('sleep 0.5', accepted=[{'chip': 'a100', 'count': 4, 'nodes': 2}], priority=10)
    c.wait(urgent)
    until(10, 'it goes on', lambda: c.show(training)['attempts'] == 2 and c.state(training) == 'running')
    history = c.show(training)['history']
    assert history[0]['exit_status'] == 75 and history[0]['cause'] == 'preempt', history[0]
    time.sleep(0.3)
    node = c.show(training)['on'][0]
    c.run('cluster', 'drain', node, '--note', 'new memory', check=True)
    until(10, 'it runs elsewhere', lambda: c.show(training)['attempts'] == 3 and c.state(training) == 'running')
    assert c.show(training)['on'][0] != node
    assert c.node_state(node) == 'drained'
    c.run('cluster', 'drain', node, '--resume', check=True)
    row = c.wait(training)
    assert row.get('restarts', 0) == 0, row
    logs = [c.logs(training, attempt=n) for n in (1, 2, 3)]
    saved = [int(re.search(r'saved (\d+)', text).group(1)) for text in logs[:2]]
    begun = [int(re.search(r'begins at (\d+)', text).group(1)) for text in logs]
    assert begun == [0, *saved] and 0 < saved[0] < saved[1], (begun, saved)
    assert 'done 60' in logs[2]


# Restarts and ends

def test_restarts():
    """Back-off, statuses that restart without being counted, 75 with and without a newer checkpoint, retry."""
    c = cluster()
    folder = marks(c)
    counted = c.submit(f'echo x >> {folder}/a; exit 4', restart={'most': 2, 'backoff': 0.3})
    listed = c.submit(f'echo x >> {folder}/b; [ $(wc -l < {folder}/b) -lt 4 ] && exit 33; exit 0',
                      restart={'on_exit': [33], 'backoff': 0.1})
    progress = c.submit(f'cd $WELLSPRING_RUN_FOLDER; echo x >> {folder}/c; n=$(wc -l < {folder}/c); '
                        'mkdir -p checkpoints/step-$n; [ $n -lt 8 ] && exit 75; exit 0', restart={'backoff': 0.05})
    stuck = c.submit(f'echo x >> {folder}/d; exit 75', restart={'backoff': 0.02})
    row = c.wait(counted, 'failed')
    assert row['attempts'] == 3 and row['restarts'] == 2 and row['exit_status'] == 4, row
    begins = [a['created'] for a in row['history']]
    ends = [a['ended'] for a in row['history']]
    assert begins[1] - ends[0] >= 0.3 and begins[2] - ends[1] >= 0.6, (begins, ends)
    row = c.wait(listed)
    assert row['attempts'] == 4 and row.get('restarts', 0) == 0, row
    assert c.wait(progress)['attempts'] == 8
    row = c.wait(stuck, 'failed')
    assert row['attempts'] == 6 and row['exit_status'] == 75, row
    assert c.run('job', 'retry', counted).returncode == 0
    until(10, 'it was tried again', lambda: c.show(counted)['attempts'] >= 4)
    row = c.wait(counted, 'failed')
    assert row['attempts'] == 6, row
    said = c.run('job', 'retry', listed)
    assert said.returncode == 64 and 'neither failed nor' in said.stderr, said


def test_limits_and_holds():
    c = cluster()
    late = c.submit("trap 'echo told; exit 3' TERM; while :; do sleep 0.05; done", time_limit=0.5)
    row = c.wait(late, 'failed')
    assert 'time limit' in row['reason'] and 'told\n' in c.logs(late), row
    whole = [{'chip': 'a100', 'count': 4, 'nodes': 2}]
    held, = submitted(c, 'resources: {chip: a100}\ncommand: echo held\n', '--set', 'priority=5')
    blocker = c.submit('sleep 1', accepted=whole)
    c.wait(held), c.wait(blocker, 'running')
    missed = c.submit('echo never', accepted=whole, deadline=time.time() + 0.3)
    waiting = c.submit('echo at last')
    c.run('job', 'hold', waiting, check=True)
    assert c.state(waiting) == 'held' and 'release' in c.show(waiting)['reason']
    row = c.wait(missed, 'cancelled', seconds=4)
    assert 'deadline' in row['reason']
    c.wait(blocker)
    time.sleep(0.3)
    assert c.state(waiting) == 'held'
    c.run('job', 'release', waiting, check=True)
    c.wait(waiting)
    later = c.submit('echo later', not_before=time.time() + 1)
    assert c.state(later) == 'queued'
    row = c.wait(later)
    assert row['started'] >= row['spec']['not_before']


def test_arrays_and_dependencies():
    c = cluster()
    folder = marks(c)
    array, = submitted(c, f'''
name: sweep
array: 0-8:2%2
resources: {{chip: a100}}
command: |
  ls {folder} | wc -l >> {folder}/../counts
  touch {folder}/$WELLSPRING_ARRAY_INDEX; sleep 0.3; rm {folder}/$WELLSPRING_ARRAY_INDEX
  echo "index $WELLSPRING_ARRAY_INDEX of $WELLSPRING_ARRAY_JOB"; [ $WELLSPRING_ARRAY_INDEX != 4 ]
''')
    row = c.wait(array, 'failed')
    assert row['array'] == {'elements': 5, 'succeeded': 4, 'failed': 1}, row
    assert max(int(n) for n in read(f'{folder}/../counts').split()) <= 1, 'more than two at once'
    assert c.logs(f'{array}_6') == f'index 6 of {array}\n'
    assert [e['id'] for e in row['elements']] == [f'{array}_{i}' for i in (0, 2, 4, 6, 8)]
    assert c.run('job', 'show', f'{array}_3').returncode != 0
    shown = c.run('job', 'show', array).stdout
    assert re.search(r'elements +5: (1 failed, 4 succeeded|4 succeeded, 1 failed)\n', shown), shown
    said = c.run('job', 'logs', array)
    assert said.returncode and not said.stdout and said.stderr.count('name an element') == 1, said
    ids = submitted(c, f'''
jobs:
  - name: good
    resources: {{chip: a100}}
    command: sleep 0.3; echo good >> {folder}/order
  - name: bad
    resources: {{chip: a100}}
    command: sleep 0.3; exit 1
  - name: after-good
    after: good
    command: echo after-good >> {folder}/order
  - name: never
    after: bad
    command: echo never >> {folder}/order
  - name: rescue
    after: ["afternotok:bad", "afterany:after-good"]
    command: echo rescue >> {folder}/order
''')
    assert len(ids) == 5
    assert c.state(ids[2]) in ('queued', 'running')
    c.wait(ids[4])
    c.wait(ids[3], 'cancelled')
    assert f'job {ids[1]} failed' in c.show(ids[3])['reason']
    assert read(f'{folder}/order').split() == ['good', 'after-good', 'rescue']
    after_array = c.submit('true', after=[{'job': int(array), 'kind': 'afternotok'}])
    c.wait(after_array)


# Services and interactive jobs

SERVER = r'''
import http.server, os, sys, time
port = int(os.environ["PORT"])
born = time.time()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die": os._exit(1)
        status = 200 if self.path != "/ready" or time.time() > born + 0.5 else 503
        self.send_response(status); self.end_headers()
        self.wfile.write(f"copy at {port}\n".encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''


def free_pair():
    """Two free ports in a row, not among those that the system gives to clients."""
    import random
    while True:
        port = random.randrange(12000, 31000)
        try:
            for one in (port, port + 1):
                with socket.socket() as s:
                    s.bind(('127.0.0.1', one))
            return port
        except OSError:
            pass


def test_service():
    """Copies on ports of their own, ready when they answer, started again when they end, reached through `forward`."""
    c = cluster()
    program = write(f'{c.folder}/files/server.py', SERVER)
    port = free_pair()
    service, = submitted(c, f'''
name: web
resources: {{chip: a100}}
command: exec python3 {program}
service: {{port: {port}, readiness: /ready, replicas: 2}}
restart: {{most: 3, backoff: 0.1}}
''')
    assert c.show(service)['kind'] == 'service'
    for i in (0, 1):
        c.wait(f'{service}_{i}', 'running')
    assert not any(c.show(f'{service}_{i}').get('ready') for i in (0, 1))
    until(10, 'both are ready', lambda: all(c.show(f'{service}_{i}').get('ready') for i in (0, 1)))
    assert 'running 2/2 ready' in c.run('job', 'list').stdout and '2: 2 running, 2 ready' in c.run('job', 'show', service).stdout
    assert re.search(r'service +ready\n', c.run('job', 'show', f'{service}_1').stdout)
    local = free_port()
    forward = subprocess.Popen([harness.PROGRAM, 'job', 'forward', service, '--local', str(local)],
                               env=c.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert f'leads to job {service}_0' in forward.stdout.readline()
    forward.send_signal(signal.SIGINT)
    forward.wait(10)
    forward = subprocess.Popen([harness.PROGRAM, 'job', 'forward', f'{service}_1', '--local', str(local)],
                               env=c.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert str(local) in forward.stdout.readline()
    for _ in range(3):
        with urllib.request.urlopen(f'http://127.0.0.1:{local}/', timeout=10) as answer:
            assert answer.read() == f'copy at {port + 1}\n'.encode()
    forward.send_signal(signal.SIGINT)
    assert forward.wait(10) in (0, -signal.SIGINT, 130)
    assert c.state(f'{service}_1') == 'running'
    try:
        urllib.request.urlopen(f'http://127.0.0.1:{port}/die', timeout=10).read()
    except OSError:
        pass
    until(15, 'it was started again', lambda: (r := c.show(f'{service}_0')) and r['attempts'] == 2 and r['state'] == 'running')
    until(10, 'and is ready again', lambda: c.show(f'{service}_0').get('ready'))
    assert c.show(f'{service}_1')['attempts'] == 1
    c.run('job', 'cancel', service, check=True)
    c.wait(service, 'cancelled')
    plain = c.submit('sleep 60')
    c.wait(plain, 'running')
    for job, word in ((plain, '--port'), (service, "none of job"), (f'{service}_1', 'not running: it is cancelled')):
        said = c.run('job', 'forward', job)
        assert said.returncode == 64 and not said.stdout and word in said.stderr, said
    c.call('POST', f'/jobs/{plain}/cancel')
    silent = c.submit('sleep 60', kind='service', service={'port': free_port(), 'ready_timeout': 1},
                      restart={'backoff': 5, 'most_backoff': 5})
    until(10, 'one that is not ready in time is ended', lambda: c.show(silent)['history'][:1] and
          'not ready in time' in c.show(silent)['history'][0].get('reason', ''))
    c.call('POST', f'/jobs/{silent}/cancel')
    c.wait(silent, 'cancelled')


def test_interactive():
    """Without a command it waits for those who come, and is not preempted."""
    c = cluster()
    job = c.submit('', kind='interactive', accepted=[{'chip': 'a100', 'count': 4}])
    c.wait(job, 'running')
    time.sleep(0.3)
    assert c.state(job) == 'running'
    urgent = c.submit('true', accepted=[{'chip': 'a100', 'count': 4, 'nodes': 2}], priority=100)
    time.sleep(0.5)
    assert c.state(job) == 'running' and c.state(urgent) == 'queued'
    c.call('POST', f'/jobs/{job}/cancel')
    c.wait(job, 'cancelled')
    c.wait(urgent)


# The command line

def test_run_passes_the_status_on():
    c = cluster()
    said = c.run('job', 'run', '--set', 'resources.chip=a100', '--', 'sh', '-c', 'echo out; exit 23')
    assert said.returncode == 23 and said.stdout == 'out\n' and 'failed' in said.stderr, said
    said = c.run('job', 'run', '--', 'echo', 'two words')
    assert said.returncode == 0 and said.stdout == 'two words\n', said
    said = c.run('job', 'run', '--', 'sh', '-c', 'kill -9 $$')
    assert said.returncode == 137, said
    said = c.run('job', 'run', '--set', 'restart.backoff=0.1', '--', 'sh', '-c', 'echo $WELLSPRING_ATTEMPT; [ $WELLSPRING_ATTEMPT = 2 ] || exit 75')
    assert said.returncode == 0 and said.stdout == '1\n2\n' and 'attempt 1 ended with status 75' in said.stderr, said


def heeds_interrupts():
    """What a shell starts in the background ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupts_leave_jobs_alone():
    """Ctrl-C of any client command changes no job."""
    c = cluster()
    job = c.submit('for i in $(seq 600); do echo $i; sleep 0.1; done')
    c.wait(job, 'running')
    before = {j['id'] for j in c.call('GET', '/jobs?state=all&limit=1000')['jobs']}
    plan = ['job', 'plan', job_file(c, 'resources: {chip: a100}\ncommand: x\n')]
    for wait in (0, 0.002, 0.01, 0.03):
        client = subprocess.Popen([harness.PROGRAM, *plan], env=c.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  preexec_fn=heeds_interrupts)
        time.sleep(wait)
        client.send_signal(signal.SIGINT)
        client.wait(10)
    assert {j['id'] for j in c.call('GET', '/jobs?state=all&limit=1000')['jobs']} == before and c.state(job) == 'running'
    clients = [['job', 'run', '--', 'sleep', '8'], ['job', 'logs', '-f', job], ['job', 'list'], ['job', 'show', job]]
    for arguments in clients:
        client = subprocess.Popen([harness.PROGRAM, *arguments], env=c.environment, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, preexec_fn=heeds_interrupts)
        if arguments[1] in ('run', 'logs'):
            line = (client.stderr if arguments[1] == 'run' else client.stdout).readline()
            assert line, arguments
            time.sleep(0.3)
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=10)
    assert c.state(job) == 'running', c.show(job)
    c.call('POST', f'/jobs/{job}/cancel')
    running = [j for j in c.call('GET', '/jobs?state=active')['jobs'] if j['name'] == 'sleep']
    assert len(running) == 1 and running[0]['state'] in ('starting', 'running'), running
    assert c.wait(running[0]['id'])['attempts'] == 1
    # In the middle of an upload: no job, and the same submit works afterwards.
    folder = f'{c.folder}/files/heavy'
    os.makedirs(folder, exist_ok=True)
    with open(f'{folder}/data', 'wb') as f:
        f.write(os.urandom(60_000_000))
    path = job_file(c, f'resources: {{chip: a100}}\nworkdir: {folder}\ncommand: wc -c < data\n')
    before = {j['id'] for j in c.call('GET', '/jobs?state=all&limit=1000')['jobs']}
    client = subprocess.Popen([harness.PROGRAM, 'job', 'submit', path], env=c.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=heeds_interrupts)
    blobs = f'{c.folder}/controller/blobs'
    until(20, 'the upload has begun', lambda: any('.part' in f for _, _, files in os.walk(blobs) for f in files) or
          client.poll() is not None)
    assert client.poll() is None, 'it was too fast for this test'
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=10)
    assert {j['id'] for j in c.call('GET', '/jobs?state=all&limit=1000')['jobs']} == before
    job, = submitted(c, read(path))
    c.wait(job)
    assert c.logs(job) == '60000000\n'
    c.wait(job)


def test_bad_input():
    """Refused at submit, with file, line and key, and the nearest that is possible."""
    c = cluster()
    table = [
        ('resources: {chip: a100, cuont: 2}\ncommand: x\n', 1, ["'cuont'", "'resources'", "'count'"]),
        ('comand: x\n', 1, ["'comand'", 'command']),
        ('command: x\nresources:\n  chip: a100\n  count: 5\n', 4, ['never run', '5 a100-40', 'most on one is 4']),
        ('command: x\nresources: {chip: a100, nodes: 9}\n', 2, ['9 nodes', 'there are 2']),
        ('command: x\nresources: {chip: h100}\n', 2, ["no node has a chip 'h100'", 'a100-40']),
        ('command: x\nresources: {chip: a1000}\n', 2, ['a1000', 'a100']),
        ('command: x\nresources: {chip: a100, count: -1}\n', 2, ['count']),
        ('command: x\nresources: {chip: a100, memory: 4000GB}\n', 2, ['MB', 'most is']),
        ('command: x\nmounts: ["/srv/none"]\n', 2, ['/srv/none']),
        ('command: x\nmounts: ["/usr/share/../../etc"]\n', 2, ['..']),
        ('command: x\narray: 5-1\n', 2, ['5-1', 'backwards']),
        ('command: x\nafter: 99999999\n', 2, ['no job 99999999']),
        ('command: x\nqueue: fast\n', 2, ['no queue fast', 'default']),
        ('command: x\nteam: nobody\n', 2, ['no team nobody']),
        ('command: x\nmigrate: true\n', 2, ['not built']),
        ('command: x\ntime_limit: soon\n', 2, ['soon', '45m']),
        ('command: x\nkind: bach\n', 2, ['batch']),
        ('train: gone.yaml\n', 1, ['gone.yaml', 'no such file']),
        ('train: broken.yaml\n', None, ['broken.yaml:2']),
        ('train: near.yaml\n', None, ['near.yaml:1', 'tokenizer', '`workdir: .`']),
        ('train: nearer.yaml\n', None, ['nearer.yaml:1', "'tokens'", '`workdir: .`']),
        ('jobs:\n  - name: a\n    command: x\n    after: b\n  - name: b\n    command: x\n    after: a\n', 7, ['cycle', 'a waits for b']),
        ('command: [1, 2\n', None, ['job.yaml']),
        ('command: x\nsecrets: [none]\n', 2, ['no secret none']),
    ]
    write(f'{c.folder}/files/broken.yaml', 'model: demo\n  steps: [1, 2\n')
    write(f'{c.folder}/files/near.yaml', 'tokenizer: tokenizer\ndata: {train: [{path: /data}]}\n')
    write(f'{c.folder}/files/nearer.yaml', 'data: {train: [{path: /data}, {path: tokens}]}\n')
    c.run('cluster', 'teams', 'set', 'default', '--root', '/usr/share', '--root', '/srv', check=True)
    before = c.call('GET', '/cluster')['jobs']
    refused_all(c, table)
    # What would wait for ever: nodes of two pools, a mount beside another chip, alternatives above their own quotas.
    for name in ('apart1', 'apart2'):
        os.makedirs(f'{c.folder}/runs-{name}')
        c.node(name, [{'chip': 'mlu370-x8', 'count': 2}], runs=f'{c.folder}/runs-{name}')
    refused_all(c, [
        ('command: x\nresources: {chip: mlu370-x8, nodes: 2}\n', 2, ['never run', '2 nodes', 'in one pool', 'most in one is 1']),
        ('command: x\nresources: {chip: mlu370-x8}\nmounts: ["/usr/share/doc"]\n', 3, ['mlu370-x8', 'offer /usr/share/doc', 'n1 (a100-40)']),
    ])
    c.run('cluster', 'quota', 'default', 'a100', '--devices', '1', check=True)
    c.run('cluster', 'quota', 'default', 'mlu370-x8', '--hours', '0', check=True)
    refused_all(c, [
        ('command: x\nresources: {chip: a100, count: 2, any_of: [{chip: mlu370-x8}]}\n', 2, ['may hold 1 a100-40', 'never run']),
        ('command: x\nresources: {chip: mlu370-x8}\n', 2, ['no device-hours of mlu370-x8']),
    ])
    c.run('cluster', 'quota', 'default', 'a100', '--remove', check=True)
    c.run('cluster', 'quota', 'default', 'mlu370-x8', '--remove', check=True)
    c.run('cluster', 'queues', 'default', '--max-priority', '5', check=True)
    refused_all(c, [('command: x\npriority: 6\n', 2, ['queue default', 'priority 5 at most'])])
    c.run('cluster', 'queues', 'default', '--max-priority', '1000', check=True)
    for name in ('apart1', 'apart2'):
        c.kill_node(name)
        until(10, f'{name} is gone', lambda: c.node_state(name) != 'up')
        c.run('cluster', 'nodes', 'remove', name, check=True)
    assert c.call('GET', '/cluster')['jobs'] == before


def refused_all(c, table):
    wrong = []
    for text, line, words in table:
        path = job_file(c, text)
        for verb in ('submit', 'plan'):
            said = c.run('job', verb, path)
            place = f'job.yaml:{line}' if line else ''
            if said.returncode not in (64, 65, 78) or place not in said.stderr or not all(w in said.stderr for w in words):
                wrong.append((verb, text, place, words, said.returncode, said.stderr))
    assert not wrong, '\n'.join(map(str, wrong))


def test_plan_spends_nothing():
    c = cluster()
    said = c.run('job', 'plan', job_file(c, 'resources: {chip: a100, count: 2, any_of: [{chip: a100, nodes: 2}]}\ncommand: x\n'))
    assert said.returncode == 0 and 'now' in said.stdout and 'n1' in said.stdout, said
    assert len(said.stdout.strip().splitlines()) == 5, said.stdout
    said = c.run('job', 'plan', job_file(c, '''
jobs:
  - name: a
    resources: {chip: a100}
    time_limit: 2h
    command: x
  - name: endless
    resources: {chip: a100}
    command: x
  - name: b
    after: a
    resources: {chip: a100, count: 2}
    command: x
  - name: c
    after: [a, "afterany:endless"]
    resources: {chip: a100}
    command: x
  - name: many
    resources: {chip: a100, count: 3}
    array: 0-9%3
    command: x
  - name: all
    resources: {chip: a100}
    array: 0-19
    command: x
  - name: web
    resources: {chip: a100}
    service: {port: 8000, replicas: 2}
    command: x
'''))
    assert said.returncode == 0, said.stderr
    plans = dict(zip(('a', 'endless', 'b', 'c', 'many', 'all', 'web'), re.split(r'\n(?=(?:endless|b|c|many|all|web)[:\n])', said.stdout)))
    assert 'after a: in 2h 0m at the latest' in plans['b'] and 'now it would be n' in plans['b'], plans['b']
    assert 'after a, endless' in plans['c'] and 'at the latest' not in plans['c'], plans['c']
    assert plans['many'].startswith('many: 10 elements, 3 at once\n') and 'now (2 of 10)' in plans['many'], plans['many']
    assert plans['all'].startswith('all: 20 elements, as many as fit at once\n') and 'now (8 of 20)' in plans['all'], plans['all']
    assert plans['web'].startswith('web: 2 replicas\n') and 'now (2 of 2)' in plans['web'], plans['web']
    said = json.loads(c.run('job', 'plan', '--json', job_file(c, 'array: 0-9%3\ncommand: x\n')).stdout)
    assert said['elements'] == 10 and said['at_once'] == 3 and said['plan'][0]['begin'] == 3, said


# Quotas, reservations, and how they are set

def test_device_hours():
    """What uses its team's hours up is stopped in time, waits with the reason, and goes on when there are more."""
    c = cluster()
    c.call('PUT', '/teams/metered', {})
    hours = 0.0015  # 5.4 s
    c.run('cluster', 'quota', 'metered', 'a100', '--hours', str(hours), check=True)
    job, = submitted(c, '''
team: metered
resources: {chip: a100}
checkpoint: {grace: 1}
command: |
  trap 'echo saved; exit 75' TERM
  while :; do sleep 0.05; done
''')
    dear = c.submit('true', team='metered', accepted=[{'chip': 'a100-40'}], time_limit=3600)
    c.wait(job, 'running')
    assert 'this job may take 1.008' in c.show(dear)['reason'], c.show(dear)
    until(10, 'it was stopped', lambda: c.state(job) == 'queued')
    row = c.show(job)
    assert row['reason'] == 'team metered: device-hours of a100-40 used up this month', row
    assert row['history'][0]['cause'] == 'quota' and row['history'][0]['exit_status'] == 75 and 'saved' in c.logs(job), row
    assert row.get('restarts', 0) == 0 and row['expected'] > time.time(), row
    team = next(t for t in c.call('GET', '/teams')['teams'] if t['name'] == 'metered')
    assert 0 < team['quotas']['a100-40']['hours_used'] <= hours, team
    c.run('cluster', 'quota', 'metered', 'a100', '--hours', '10', check=True)
    until(10, 'it goes on', lambda: c.state(job) == 'running' and c.show(job)['attempts'] == 2)
    c.wait(dear)
    c.call('POST', f'/jobs/{job}/cancel')
    c.wait(job, 'cancelled')


def test_reservations():
    """A reserved node is its team's: others wait with that reason, or end before it begins."""
    c = cluster()
    c.call('PUT', '/teams/guests', {})
    whole = [{'chip': 'a100', 'count': 4}]
    c.run('cluster', 'reserve', 'day', '--node', 'n1', '--team', 'guests', '--hours', '2', check=True)
    first = c.submit('sleep 30', accepted=whole)
    c.wait(first, 'running')
    assert c.show(first)['on'] == ['n2']
    second = c.submit('true', accepted=whole)
    until(5, 'it waits for the reserved node', lambda: re.fullmatch(
        r'waits for 4 a100-40, 0 free, 4 reserved for others \(day, until 20[-0-9]+T[:0-9]+Z\)', c.show(second).get('reason', '')))
    theirs = c.submit('sleep 0.3', team='guests', accepted=whole)
    c.wait(theirs)
    assert c.show(theirs)['history'][0]['parts'][0]['node'] == 'n1' and c.state(second) == 'queued'
    # From later on: who ends before may use it.
    begin = time.time() + 3600
    said = c.run('cluster', 'reserve', 'day', '--node', 'n1', '--team', 'guests', '--from', '+1h', '--hours', '2', '--json', check=True)
    row, = json.loads(said.stdout)['reservations']
    assert abs(row['from'] - begin) < 30 and row['until'] == row['from'] + 7200, row
    until(5, 'the reason says what helps', lambda: re.search(r'\(day, from 20[-0-9]+T[:0-9]+Z; with a time_limit that ends before that it may start\)',
                                                             c.show(second).get('reason', '')))
    assert c.state(second) == 'queued'
    c.wait(c.submit('true', accepted=whole, time_limit=60))
    for arguments in (['day', '--node', 'n1', '--team', 'guests', '--from', 'soon'], ['day', '--node', 'n1'], ['--node', 'n1', '--team', 'guests']):
        assert c.run('cluster', 'reserve', *arguments).returncode == 64, arguments
    c.run('cluster', 'reserve', 'day', '--remove', check=True)
    c.wait(second)
    c.call('POST', f'/jobs/{first}/cancel')
    c.wait(first, 'cancelled')


def test_list_pages_and_json():
    c = cluster()
    ids = [c.submit('true', name='paged') for _ in range(5)]
    for job in ids:
        c.wait(job)
    arguments = ['job', 'list', '--all', '--name', 'paged', '--limit', '2']
    seen = []
    while arguments:
        said = c.run(*arguments)
        assert said.returncode == 0, said
        seen += re.findall(r'^ *(\d+) +paged', said.stdout, re.M)
        more = re.search(r'\(more: wellspring (.*)\)', said.stdout)
        arguments = more and more.group(1).split()
    assert seen == ids[::-1], (seen, ids)
    held = [c.submit('true', not_before=time.time() + 100) for _ in range(2)]
    for verb, state in (('hold', 'held'), ('release', 'queued'), ('cancel', 'cancelled')):
        rows = json.loads(c.run('job', verb, *held, '--json', check=True).stdout)['jobs']
        assert [(r['id'], r['state']) for r in rows] == [(job, state) for job in held], (verb, rows)
    said = c.run('job', 'retry', '99999999', held[0], '--json')  # one that cannot does not keep the others
    assert said.returncode == 64 and [r['id'] for r in json.loads(said.stdout)['jobs']] == held[:1], said
    for arguments in (['job', 'list', '--state', 'foo'], ['cluster', 'usage', '--month', '2026-13']):
        said = c.run(*arguments)
        assert said.returncode == 65 and said.stderr, said
    said = c.run('job', 'logs', ids[0], '--attempt', '7')
    assert said.returncode and not said.stdout and 'no attempt 7' in said.stderr, said
    c.wait(held[0])
    path = write(f'{c.folder}/files/secret.txt', 'hush')
    with open(path) as f:
        said = c.run('cluster', 'secret', 'set', 'listed', '--json', stdin=f, check=True)
    assert json.loads(said.stdout) == {'team': 'default', 'name': 'listed'}, said
    assert [s['name'] for s in json.loads(c.run('cluster', 'secret', '--json').stdout)['secrets']] == ['listed']
    assert json.loads(c.run('cluster', 'secret', 'remove', 'listed', '--json').stdout) == {'removed': 'default/listed'}
    assert c.run('cluster', 'secret', 'set').returncode == 64


# What the processes are

def test_no_kernel_library():
    """Controller, node daemon and launcher load no kernel library; the controller answers within 100 ms."""
    c = cluster()
    job = c.submit('sleep 30')
    c.wait(job, 'running')
    kernel = re.compile(r'lib(wellspring_engine|OpenCL|cuda|cublas|dnnl|mkl|openblas|blas|torch|mujoco|mpi)', re.I)
    for pid in (c.controller.pid, c.nodes['n1'].pid, *c.launchers()):
        mapped = set(re.findall(r'/\S*\.so\S*', read(f'/proc/{pid}/maps')))
        assert not [m for m in mapped if kernel.search(m)], mapped
    assert c.launchers()
    c.call('POST', f'/jobs/{job}/cancel')
    times = []
    for _ in range(5):
        with Cluster() as other:
            other.up(wait=False)
            begin = time.monotonic()
            while True:
                try:
                    with socket.create_connection(('127.0.0.1', other.port), timeout=1) as s:
                        s.sendall(b'GET /health HTTP/1.0\r\n\r\n')
                        if b' 200 ' in s.recv(100):
                            break
                except OSError:
                    pass
                assert time.monotonic() < begin + 10, other.log()
                time.sleep(0.001)
            times.append(time.monotonic() - begin)
    assert min(times) < 0.1, times
    return f'`cluster up` answers after {1000 * min(times):.0f} ms (best of 5)'


if __name__ == '__main__':
    try:
        status = harness.main(dict(globals()))
    finally:
        if shared:
            shared.close()
    sys.exit(status)
