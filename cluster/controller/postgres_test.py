#!/usr/bin/python3
"""The state in PostgreSQL: the same promises, also when its server goes away."""
import http.client
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
import kill_test  # noqa: E402
from breakage import Postgres  # noqa: E402
from harness import Cluster, Refused, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 4}]


def test_jobs_on_postgres():
    """Jobs, an array, a restart with a job that runs, a backup while it is written, and its restore."""
    with Postgres() as server, Cluster(leases=(20, 30), state=server.url) as c:
        c.up()
        assert 'secret' not in c.call('GET', '/cluster')['state'], 'the password is shown'
        c.node('n1', A100)
        long = c.submit('sleep 4; echo long')
        array = c.submit('echo $WELLSPRING_ARRAY_INDEX', array='0-19')
        after = c.submit('echo after', after=[{'job': int(array)}])
        c.wait(after)
        stop = []

        def submit():
            while not stop:
                c.submit('true')
        writer = threading.Thread(target=submit)
        writer.start()
        try:
            backup = [c.run('cluster', 'backup', check=True).stdout.strip() for _ in range(3)][-1]
        finally:
            stop.append(True)
            writer.join()
        c.kill_controller()
        c.up()
        assert c.state(long) == 'running'
        c.wait(long)
        assert c.show(long)['attempts'] == 1 and c.logs(long) == 'long\n'
        assert c.show(array)['array'] == {'elements': 20, 'succeeded': 20}
        with Cluster(state=server.url) as second:
            second.up(wait=False)
            assert second.controller.wait(20) == 75 and 'in use' in second.log(), second.log()
        c.kill_controller()
        said = c.run('cluster', 'restore', backup, '--config', f'{c.folder}/cluster.yaml')
        assert said.returncode == 64 and '--replace' in said.stderr, said
        said = c.run('cluster', 'restore', backup, '--config', f'{c.folder}/cluster.yaml', '--replace')
        assert said.returncode == 0, said
        c.up()
        assert c.show(array)['array'] == {'elements': 20, 'succeeded': 20}
        until(5, 'the node is back', lambda: c.node_state('n1') == 'up')
        fresh = c.submit('true')
        c.wait(fresh)
        assert int(fresh) > 1_000_000


def test_kill_points_on_postgres():
    """The controller is killed at every write of its state in turn."""
    with Postgres() as server, Cluster(leases=(20, 30), state=server.url) as c:
        done, points, worst = kill_test.kill_at_points(c, 0)
        assert done >= 20
        return f'{done} kills at {points} points on PostgreSQL, the slowest start afterwards {worst:.2f} s'


def test_server_killed():
    """The server is killed and comes back, again and again under load: 503 meanwhile, then all works; what was accepted
    runs once, nothing runs twice, and jobs that run are not disturbed."""
    with Postgres() as server, Cluster(leases=(2, 4), state=server.url) as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 16}])
        marks = f'{c.folder}/marks'
        os.makedirs(marks)
        steady = c.submit(f'echo x >> {marks}/steady; sleep 60')
        c.wait(steady, 'running')
        accepted, refused, other = {}, [], []
        stop = []

        def submit(thread):
            i = 0
            while not stop:
                name = f'{thread}-{i}'
                i += 1
                try:
                    accepted[name] = c.submit(f'echo x >> {marks}/{name}')
                except Refused as e:
                    (refused if e.status == 503 else other).append(e)
                    time.sleep(0.02)
                except (OSError, http.client.HTTPException) as e:
                    other.append(e)
        threads = [threading.Thread(target=submit, args=(t,)) for t in range(3)]
        for t in threads:
            t.start()
        try:
            for away in (1.5, 0.2, 0.2, 5, 0.2):  # once longer than a lease
                time.sleep(0.4)
                before = len(accepted)
                server.kill()
                time.sleep(away)
                if away > 1:
                    try:
                        c.call('GET', '/health', token='')
                        raise AssertionError('/health knows nothing of it')
                    except Refused as e:
                        assert e.status == 503, e
                    assert c.call('GET', '/cluster').get('trouble')
                assert len(accepted) - before < 400
                server.start()
                until(10, 'it works again', lambda: c.answers())
        finally:
            stop.append(True)
            for t in threads:
                t.join()
        assert refused and not other, (len(refused), other)
        assert all('cannot be written' in e.message for e in refused), refused[0]
        until(60, 'all has ended', lambda: len(c.call('GET', '/jobs?state=active')['jobs']) == 1)
        assert c.state(steady) == 'running' and c.show(steady)['attempts'] == 1
        counts = {n: open(f'{marks}/{n}').read().count('x') for n in os.listdir(marks)}
        assert set(counts.values()) == {1}, {n: k for n, k in counts.items() if k != 1}
        assert not [n for n in accepted if n not in counts], 'accepted, and never ran'
        unsure = len(counts) - 1 - len(accepted)
        assert unsure == 0, f'{unsure} ran without having been accepted'
        return f'{len(accepted)} jobs accepted and {len(refused)} requests refused while PostgreSQL was killed 5 times'


if __name__ == '__main__':
    if not Postgres.programs():
        print('PostgreSQL is not installed (package postgresql)')
        sys.exit(77)
    sys.exit(harness.main(dict(globals())))
