#!/usr/bin/python3
"""The state's disk is full, or what lies on it has been changed: nothing is lost, and nothing wrong is served."""
import glob
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
from breakage import SmallDisk, is_root  # noqa: E402
from harness import Cluster, Refused, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 4}]


def refusal(f):
    try:
        f()
    except Refused as e:
        return e
    raise AssertionError('it was not refused')


def test_full_disk():
    """State, node and run folders on one disk that fills up: requests get 503 and a clear text, what runs goes on
    and keeps its lease, nothing is lost, and all works again when there is room."""
    if not is_root():
        return 'skip'
    with SmallDisk(24) as disk, Cluster(leases=(2, 3)) as c:
        marks = f'{c.folder}/marks'
        os.makedirs(marks)
        c.config['folder'] = f'{disk.folder}/controller'
        c.config['runs'] = f'{disk.folder}/runs'
        c.up()
        c.node('n1', A100, folder=f'{disk.folder}/node', runs=f'{disk.folder}/runs')
        steady = c.submit(f'trap "echo told to end >> {marks}/steady; exit 143" TERM; '
                          f'for i in $(seq 1 80); do sleep 0.1; done; echo done >> {marks}/steady')
        ends = c.submit(f'sleep 2; echo done >> {marks}/ends; exit 3')
        c.wait(steady, 'running'), c.wait(ends, 'running')
        member = c.call('POST', '/tokens', {'role': 'viewer', 'user': 'ada'})['token']
        disk.fill()
        full = time.monotonic()
        refused = until(5, 'a submit is refused', lambda: refusal(lambda: c.submit('true')))
        assert refused.status == 503 and 'cannot be written' in refused.message and 'disk' in refused.message, refused
        assert 'nothing was done' in refused.message
        health = refusal(lambda: c.call('GET', '/health', token=''))
        assert health.status == 503, health
        assert 'disk' in c.call('GET', '/cluster')['trouble']
        for _ in range(20):  # for as long as it lasts, whatever else is going on
            assert refusal(lambda: c.call('GET', '/health', token='')).status == 503
            time.sleep(0.1)
        for verb in ('hold', 'cancel'):
            assert refusal(lambda: c.call('POST', f'/jobs/{steady}/{verb}')).status == 503
        assert c.call('GET', '/cluster', token=member)['you']['user'] == 'ada'  # reading goes on
        time.sleep(max(0.0, 5 - (time.monotonic() - full)))  # longer than a lease; one job has ended meanwhile
        assert c.state(steady) == 'running' and c.state(ends) == 'running'
        assert not os.path.exists(f'{marks}/steady'), open(f'{marks}/steady').read()
        disk.free()
        until(5, 'it works again', lambda: c.answers())
        fresh = c.submit('echo again')
        assert c.wait(ends, 'failed')['exit_status'] == 3
        c.wait(fresh)
        c.wait(steady)
        for job, lines in ((steady, 1), (ends, 1)):
            assert c.show(job)['attempts'] == 1
            with open(f'{marks}/{"steady" if job == steady else "ends"}') as f:
                assert f.read() == 'done\n'
        # What was said is on disk: the state is as it was after a restart.
        before = {j['id']: j['state'] for j in c.call('GET', '/jobs?state=all')['jobs']}
        c.kill_controller()
        c.up()
        assert {j['id']: j['state'] for j in c.call('GET', '/jobs?state=all')['jobs']} == before


def test_node_disk_full():
    """A node whose disk is full cannot begin a job: the job has not failed, it waits and runs when there is room."""
    if not is_root():
        return 'skip'
    with SmallDisk(8) as disk, Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', A100, folder=f'{disk.folder}/node', runs=f'{disk.folder}/runs')
        disk.fill()
        job = c.submit('echo here')
        row = until(10, 'it was tried twice', lambda: (r := c.show(job)) and r['attempts'] >= 2 and r)
        assert row['state'] in ('queued', 'starting'), row
        assert 'No space left' in row['history'][0]['reason'], row
        tries = row['attempts']
        time.sleep(1)
        assert c.show(job)['attempts'] <= tries + 1, 'it is tried without a pause'
        disk.free()
        c.wait(job)
        assert c.logs(job) == 'here\n'


def start(c):
    """What `up` says when it refuses to start; None when it starts."""
    open(f'{c.folder}/controller.log', 'w').close()
    c.up(wait=False)
    started = []

    def decided():
        if c.controller.poll() is None:
            try:
                started[:] = [c.answers()]
            except AssertionError:
                pass
        return c.controller.poll() is not None or started == [True]
    until(20, 'it starts or refuses to', decided)
    if c.controller.poll() is None:
        return None
    assert c.controller.returncode in (65, 74), (c.controller.returncode, c.log())
    return c.log()


def settle(c):
    """Ends the controller in order and moves everything from the log beside the file into the file."""
    c.controller.terminate()
    c.controller.wait(20)
    path = f'{c.config["folder"]}/state.db'
    subprocess.run([sys.executable, '-c', f'import sqlite3; sqlite3.connect({path!r}).execute("PRAGMA wal_checkpoint(TRUNCATE)")'],
                   check=True)
    return path


def test_changed_byte():
    """One byte of a row is another one: the start is refused, and the table and the way back are named."""
    with Cluster(leases=(20, 30)) as c:
        c.config['backup'] = {'every_hours': 0.0002}
        c.up()
        c.node('n1', A100)
        job = c.submit('echo a line that can be found: WHALE')
        c.wait(job)
        time.sleep(1.5)
        until(10, 'a backup was made by itself', lambda: glob.glob(f'{c.config["folder"]}/backups/*.backup'))
        path = settle(c)
        with open(path, 'r+b') as f:
            data = f.read()
            at = data.index(b'WHALE')
            f.seek(at), f.write(b'x')
        text = start(c)
        newest = max(glob.glob(f'{c.config["folder"]}/backups/*.backup'))
        for part in ('table jobs', 'checksum', 'wellspring cluster restore', newest):
            assert part in text, text
        with open(path, 'rb') as f:
            now = f.read()
        assert [i for i in range(len(data)) if data[i] != now[i]] == [at], 'the refused start changed the file'


def test_zeroed_page():
    """A page of zeros, wherever it is: refused with the table's name, or harmless."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', A100)
        jobs = [c.submit(f'echo {i} {"x" * 3000}') for i in range(8)]
        for job in jobs:
            c.wait(job)
        path = settle(c)
        with open(path, 'rb') as f:
            good = f.read()
        pages = len(good) // 4096
        named = set()
        for page in range(0, pages, max(1, pages // 12)):
            if not good[page * 4096:(page + 1) * 4096].strip(b'\0'):
                continue
            with open(path, 'wb') as f:
                f.write(good[:page * 4096] + bytes(4096) + good[(page + 1) * 4096:])
            text = start(c)
            if text is None:  # a page that nothing reads
                assert sorted(j['id'] for j in c.call('GET', '/jobs?state=all')['jobs']) == sorted(jobs)
                settle(c)
                continue
            assert 'wellspring cluster restore' in text or page == 0, text
            if page > 0:
                assert 'is damaged: table ' in text, text
                named.add(text.split('damaged: table ')[1].split(':')[0])
        assert named & {'jobs', 'attempts', 'events'}, named
        with open(path, 'wb') as f:
            f.write(good)
        c.up()
        assert len(c.call('GET', '/jobs?state=all')['jobs']) == 8


def test_restore():
    """From a backup: what ran then and runs still is taken up, what began later is ended, no number is used twice."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('n1', A100)
        marks = f'{c.folder}/marks'
        os.makedirs(marks)
        say = f'echo $WELLSPRING_ATTEMPT >> {marks}/$WELLSPRING_JOB'
        old = c.submit(f'{say}; sleep 6; echo over')
        done = c.submit(f'{say}; echo done')
        c.wait(old, 'running'), c.wait(done)
        until(5, 'the end is forgotten by the node', lambda: len(os.listdir(f'{c.folder}/n1/spool/attempts')) == 1)
        backup = c.run('cluster', 'backup', check=True).stdout.strip()
        late = c.submit(f'{say}; sleep 60')
        c.wait(late, 'running')
        tasks = harness.processes_with(f'WELLSPRING_RUN_FOLDER={c.folder}/runs/default/{late}\0')
        assert tasks
        path = settle(c)
        with open(path, 'r+b') as f:
            f.seek(4096), f.write(bytes(os.path.getsize(path) - 8192))
        assert 'is damaged' in start(c)
        config = f'{c.folder}/cluster.yaml'
        refused = c.run('cluster', 'restore', backup, '--config', config)
        assert refused.returncode != 0 and '--replace' in refused.stderr, refused
        said = c.run('cluster', 'restore', backup, '--config', config, '--replace')
        assert said.returncode == 0, said
        assert glob.glob(f'{path}.replaced-*'), os.listdir(os.path.dirname(path))
        c.up()
        until(5, 'the node is back', lambda: c.node_state('n1') == 'up')
        until(5, 'what is not known any more has ended', lambda: not [p for p in tasks if harness.alive(p)])
        jobs = {j['id']: j['state'] for j in c.call('GET', '/jobs?state=all')['jobs']}
        assert jobs == {old: 'running', done: 'succeeded'}, jobs
        fresh = c.submit(f'{say}; echo fresh')
        assert int(fresh) > int(late) + 1000, 'a number may be used twice'
        c.wait(fresh), c.wait(old)
        assert c.show(old)['attempts'] == 1
        assert {n: open(f'{marks}/{n}').read() for n in os.listdir(marks)} == \
            {old: '1\n', done: '1\n', late: '1\n', fresh: '1\n'}
        # While it runs, nothing is replaced.
        refused = c.run('cluster', 'restore', backup, '--config', config, '--replace')
        assert refused.returncode == 75 and 'in use' in refused.stderr, refused


if __name__ == '__main__':
    sys.exit(harness.main(dict(globals())))
