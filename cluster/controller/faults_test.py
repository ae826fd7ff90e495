#!/usr/bin/python3
"""Nodes, controllers, networks and clocks that fail under a live cluster: each test says what has to hold.

faults_test.py [NAME...]: those whose names hold one of these.
"""
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
from breakage import Clock, Proxy  # noqa: E402
from harness import Cluster, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 1}]


def on(chip, **more):
    return {'accepted': [{'chip': chip}], **more}


def wait_attempt(c, job, number, state='running', seconds=10):
    def there():
        history = c.show(job)['history']
        return len(history) >= number and history[number - 1]['state'] == state and history[number - 1]
    return until(seconds, f'attempt {number} of job {job} is {state}', there)


def diary(path, seconds):
    """A job that writes when it began, was told to end, and had a result, with the monotonic time of each."""
    return f'''
note() {{ echo "$1 $WELLSPRING_ATTEMPT $(cut -d' ' -f1 /proc/uptime)" >> {path}; }}
trap 'note stop; exit 143' TERM
note start
end=$(($(date +%s%N) / 1000000 + {int(seconds * 1000)}))
# A signal to all of us ends date as well: what it then did not say is no number.
while now=$(date +%s%N); [ -z "$now" ] || [ $((now / 1000000)) -lt $end ]; do sleep 0.05; done
note result
'''


def read_diary(path):
    """[(what, attempt, time)]"""
    with open(path) as f:
        return [(w, int(n), float(t)) for w, n, t in (line.split() for line in f)]


def processes_of(c, job):
    return harness.processes_with(f'WELLSPRING_RUN_FOLDER={c.folder}/runs/default/{job}\0')


def node_of(c, job):
    return c.show(job)['on'][0]


def test_node_killed():
    """A node dies with all of its processes: its job runs elsewhere once its lease is over."""
    with Cluster(leases=(2, 4)) as c:
        c.up()
        for name in ('n1', 'n2'):
            c.node(name, A100)
        job = c.submit('sleep 60', name='steady')
        c.wait(job, 'running')
        victim = node_of(c, job)
        begin = time.monotonic()
        c.kill_node(victim, attempts=True)
        wait_attempt(c, job, 2)
        took = time.monotonic() - begin
        assert node_of(c, job) != victim
        assert c.node_state(victim) == 'lost'
        assert took < 5, f'{took:.2f} s'
        c.node(victim, A100)  # it comes back, empty
        assert c.state(job) == 'running' and c.show(job)['attempts'] == 2
        return f'node killed, leases of 2 and 4 s: running elsewhere after {took:.2f} s'


def test_cut_off():
    """Cut off for longer than its lease, then back: the node ended the old attempt itself before the new one began,
    exactly one has a result; a job that goes on without contact is left alone."""
    with Cluster(leases=(2, 4)) as c:
        c.up()
        proxy = Proxy(c.port)
        c.node('frozen', A100)
        c.node('loose', [{'chip': 'h100', 'count': 1}, {'chip': 'mlu370', 'count': 1}],
               controller=f'http://127.0.0.1:{proxy.port}')
        c.node('spare', [{'chip': 'a100', 'count': 1}, {'chip': 'h100', 'count': 1}, {'chip': 'mlu370', 'count': 1}])
        files = {chip: f'{c.folder}/diary-{chip}' for chip in ('a100', 'h100', 'mlu370')}
        jobs = {}
        for chip, path in files.items():
            more = {'on_lost_contact': 'continue'} if chip == 'mlu370' else {}
            jobs[chip] = c.submit(diary(path, 6), **on(chip, **more))
        for job in jobs.values():
            c.wait(job, 'running')
        for chip, job in jobs.items():  # nodes with fewer devices are filled first
            assert node_of(c, job) == ('frozen' if chip == 'a100' else 'loose')
        until(5, 'all have begun', lambda: all(os.path.exists(f) for f in files.values()))
        daemon = c.nodes['frozen']
        daemon.send_signal(signal.SIGSTOP)
        proxy.cut()
        for chip in ('a100', 'h100'):
            wait_attempt(c, jobs[chip], 2)
            assert node_of(c, jobs[chip]) == 'spare'
        assert c.show(jobs['mlu370'])['attempts'] == 1
        daemon.send_signal(signal.SIGCONT)
        proxy.mend()
        until(10, 'both are back', lambda: c.node_state('frozen') == c.node_state('loose') == 'up')
        for job in jobs.values():
            c.wait(job)
        least = 9.0
        for chip in ('a100', 'h100'):
            events = read_diary(files[chip])
            stopped = [t for what, n, t in events if what == 'stop' and n == 1]
            begun = [t for what, n, t in events if what == 'start' and n == 2]
            assert len(stopped) == len(begun) == 1 and stopped[0] < begun[0], events
            least = min(least, begun[0] - stopped[0])
            assert [n for what, n, t in events if what == 'result'] == [2], events
        assert [(what, n) for what, n, t in read_diary(files['mlu370'])] == [('start', 1), ('result', 1)]
        proxy.close()
        return f'cut off, leases of 2 and 4 s: the old attempt had ended {least:.2f} s before the new one began'


def test_controller_down():
    """The controller is down for a while: no job is disturbed, ends that came meanwhile arrive, no line of a log is
    lost or doubled for one who follows it."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 3}])
        long = c.submit('for i in $(seq 1 70); do echo line $i; sleep 0.1; done')
        short = c.submit('sleep 2; echo over; exit 7')
        c.wait(long, 'running'), c.wait(short, 'running')
        with open(f'{c.folder}/followed', 'wb') as out:
            follower = subprocess.Popen([harness.PROGRAM, 'job', 'logs', '-f', long], env=c.environment, stdout=out,
                                        stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        c.kill_controller()
        time.sleep(3)
        begin = time.monotonic()
        c.up()
        back = time.monotonic() - begin
        until(3, 'the end that came meanwhile', lambda: c.state(short) == 'failed')
        assert c.show(short)['exit_status'] == 7
        assert c.state(long) == 'running'
        c.wait(long)
        assert follower.wait(10) == 0
        whole = ''.join(f'line {i}\n' for i in range(1, 71))
        assert c.logs(long) == whole
        with open(f'{c.folder}/followed') as f:
            followed = f.read()
        assert followed == whole, followed
        for job in (long, short):
            assert c.show(job)['attempts'] == 1
        return f'the controller answered {back:.2f} s after its start'


def test_restarted_controller_waits():
    """Only after a full lease does a restarted controller declare a node lost."""
    with Cluster(leases=(1.2, 2.5)) as c:
        c.up()
        c.node('n1', A100)
        job = c.submit('sleep 60')
        c.wait(job, 'running')
        c.node('n2', A100)
        c.kill_node('n1', attempts=True)
        c.kill_controller()
        time.sleep(3)  # longer than a lease
        begin = time.monotonic()
        c.up()
        wait_attempt(c, job, 2, seconds=10)
        took = time.monotonic() - begin
        assert took >= 2.5, took
        lost = next(e for e in c.call('GET', '/events')['events'] if e.get('node') == 'n1' and 'lost' in e['text'])
        started = next(e for e in c.call('GET', '/events')['events'] if e['text'] == 'the controller has started')
        assert lost['at'] - started['at'] >= 2.4, (lost, started)


def test_pause():
    """`cluster pause` lengthens the leases: what would be lost is not, and afterwards they act again, the node's end
    always before the controller's."""
    with Cluster(leases=(1, 2)) as c:
        c.up()
        c.node('n1', A100)
        c.node('n2', A100)
        path = f'{c.folder}/diary'
        job = c.submit(diary(path, 30))
        c.wait(job, 'running')
        victim = c.nodes[node_of(c, job)]
        c.run('cluster', 'pause', '--seconds', '5', check=True)
        until(2, 'the node has heard of it', lambda: float(open(f'{c.folder}/{node_of(c, job)}/lease').read().split()[0])
              > time.monotonic() + 3)
        begin = time.monotonic()
        victim.send_signal(signal.SIGSTOP)
        time.sleep(3.9)  # twice as long as a lease
        assert c.show(job)['attempts'] == 1 and c.state(job) == 'running'
        assert [what for what, _, _ in read_diary(path)] == ['start']
        wait_attempt(c, job, 2, seconds=8)
        took = time.monotonic() - begin
        assert took > 5, took
        until(2, 'it has begun', lambda: len(read_diary(path)) >= 3)
        events = read_diary(path)
        assert [(what, n) for what, n, _ in events] == [('start', 1), ('stop', 1), ('start', 2)], events
        victim.send_signal(signal.SIGCONT)
        # Ended by hand: leases are as ever at once.
        c.run('cluster', 'pause', '--seconds', '600', check=True)
        c.run('cluster', 'pause', '--end', check=True)
        assert 'paused_until' not in c.call('GET', '/cluster')


def test_daemon_killed():
    """The node daemon is killed and restarted (also as another version) while ten jobs run and end: every status
    arrives, and is the right one."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 10}])
        jobs = {}
        for i in range(10):
            jobs[c.submit(f'sleep {0.8 + 0.45 * i}; echo said {i}; exit {i}')] = i
        for job in jobs:
            c.wait(job, 'running')
        upgraded = f'{c.folder}/upgraded'
        shutil.copytree(os.path.dirname(harness.PROGRAM), f'{upgraded}/bin')
        shutil.copytree(os.path.join(os.path.dirname(harness.PROGRAM), '../lib'), f'{upgraded}/lib',
                        ignore=lambda d, names: [n for n in names if 'engine' in n])
        before = harness.PROGRAM
        try:
            for life in range(4):
                time.sleep(0.3)
                c.kill_node('n1')
                time.sleep(0.7)  # some end now
                harness.PROGRAM = f'{upgraded}/bin/wellspring' if life % 2 == 0 else before
                c.node('n1', A100)
        finally:
            harness.PROGRAM = before
        for job, i in jobs.items():
            row = c.wait(job, 'succeeded' if i == 0 else 'failed')
            assert row['exit_status'] == i and row['attempts'] == 1, row
            assert c.logs(job) == f'said {i}\n'


def test_launcher_killed():
    """A known death needs no lease: the job waits again at once."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', A100)
        job = c.submit('sleep 60')
        c.wait(job, 'running')
        tasks = processes_of(c, job)
        begin = time.monotonic()
        for pid in c.launchers():
            os.kill(pid, signal.SIGKILL)
        wait_attempt(c, job, 2)
        took = time.monotonic() - begin
        assert took < 2, took
        history = c.show(job)['history']
        assert history[0]['cause'] == 'lost' and 'launcher' in history[0]['reason'], history[0]
        assert tasks and not any(harness.alive(pid) for pid in tasks), 'a process of the old attempt lives'
        return f'launcher killed: running again after {took:.2f} s'


def test_clock_jump():
    """The wall clock jumps by hours on controller and node: nothing is lost, fenced, or ended early."""
    with Cluster(leases=(1.5, 3)) as c:
        clock = Clock(c.folder)
        c.environment.update(clock.environment)
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 3}])
        path = f'{c.folder}/diary'
        jobs = [c.submit(diary(path, 6)), c.submit('sleep 6', time_limit=60)]
        for job in jobs:
            c.wait(job, 'running')
        member = c.call('POST', '/tokens', {'role': 'member', 'user': 'ada', 'seconds': 600})['token']
        for hours in (2, -2, 0):
            clock.jump(hours * 3600)
            time.sleep(1.2)
            assert c.node_state('n1') == 'up'
            assert c.call('GET', '/cluster', token=member)['you']['user'] == 'ada'
            fresh = c.submit('true')
            c.wait(fresh)
        for job in jobs:
            row = c.wait(job)
            assert row['attempts'] == 1, row
            assert 5 < row['ended'] - row['started'] < 12, row
        assert [what for what, _, _ in read_diary(path)] == ['start', 'result']


def memory_mb(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(f.read().split('VmRSS:')[1].split()[0]) / 1024


def test_log_flood():
    """A job writes 500 MB: the disk holds a bounded part with its whole end, controller and node stay small, others
    go on."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 2}])
        flood = c.submit("seq -f 'line %015.0f of a job that says too much' 1 10416666; echo THE END")
        c.wait(flood, 'running')
        follower = subprocess.Popen([harness.PROGRAM, 'job', 'logs', '-f', flood], env=c.environment,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        worst = largest = node_largest = 0
        ended = False
        while not ended:
            begin = time.monotonic()
            other = c.submit('echo small')
            c.wait(other)
            worst = max(worst, time.monotonic() - begin)
            assert c.logs(other) == 'small\n'
            largest = max(largest, memory_mb(c.controller.pid))
            node_largest = max(node_largest, memory_mb(c.nodes['n1'].pid))
            ended = c.state(flood) in ('succeeded', 'failed')
        c.wait(flood)
        follower.wait(30)
        folder = c.show(flood)['run_folder']
        size = sum(os.path.getsize(os.path.join(at, f)) for at, _, files in os.walk(folder) for f in files)
        assert size <= 68 << 20, size
        tail = c.logs(flood, tail=10_000_000)
        lines = tail.split('\n')[1:]
        assert lines[-2] == 'THE END' and lines[-1] == ''
        numbers = [int(line[5:20]) for line in lines[:-2]]
        assert numbers == list(range(10416667 - len(numbers), 10416667)) and len(numbers) > 200000
        assert c.logs(flood, offset=0)[:100].startswith('line 000000000000001 of')
        assert largest < 150 and node_largest < 150, (largest, node_largest)
        return (f'500 MB of log: {size / 1e6:.0f} MB kept, controller at most {largest:.0f} MB, node {node_largest:.0f} MB, '
                f'another job at most {worst:.2f} s')


def test_quota_race():
    """Two clients submit at once for what is left of a quota: it is never exceeded."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 8}])
        c.run('cluster', 'quota', 'default', 'a100', '--devices', '3', check=True)
        ids, failures = [], []

        def submit():
            try:
                for _ in range(10):
                    ids.append(c.submit('sleep 0.3'))
            except Exception as e:  # noqa: BLE001
                failures.append(e)
        threads = [threading.Thread(target=submit) for _ in range(4)]
        for t in threads:
            t.start()
        most = 0
        while any(t.is_alive() for t in threads) or c.call('GET', '/jobs?state=active')['jobs']:
            team = c.call('GET', '/teams')['teams'][0]
            most = max(most, team['held'].get('a100-40', 0))
        assert not failures, failures
        assert len(set(ids)) == 40
        assert most == 3, most
        spans = sorted((a['created'], a['ended']) for job in ids for a in c.show(job)['history'])
        for begin, _ in spans:
            assert sum(b <= begin < e for b, e in spans) <= 3
        try:
            c.submit('true', accepted=[{'chip': 'a100', 'count': 4}])
            raise AssertionError('a job that the quota never lets start was accepted')
        except harness.Refused as refused:
            assert refused.status == 400 and 'may hold 3' in refused.message, refused


if __name__ == '__main__':
    sys.exit(harness.main(dict(globals())))
