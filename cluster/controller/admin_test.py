#!/usr/bin/python3
"""What an administrator relies on: retention, pools of nodes, metrics, the audit log.

admin_test.py [NAME...]: those whose names hold one of these.
"""
import json
import os
import re
import subprocess
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
from attack import expect  # noqa: E402
from harness import Cluster, Refused, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 1}]
DAY = 86400


def gone(c, job):
    return job not in [j['id'] for j in c.call('GET', '/jobs?state=all')['jobs']]


def test_retention():
    """Jobs, run folders and caches go when their time is over, and nothing else does."""
    with Cluster(config={'keep_days': 2 / DAY, 'keep_runs_days': 4 / DAY}) as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 3}], cache_days=4 / DAY)
        runs, work = f'{c.folder}/runs/default', f'{c.folder}/work'
        os.makedirs(work)
        with open(f'{work}/hello.txt', 'w') as f:
            f.write('hello\n')
        file = f'{c.folder}/job.yaml'
        with open(file, 'w') as f:
            f.write(f'command: cat hello.txt made.txt\nworkdir: {work}\nsetup: echo made > made.txt\n')
        submitted = c.run('job', 'run', file)
        assert submitted.returncode == 0 and 'hello\nmade\n' in submitted.stdout, submitted
        over = c.call('GET', '/jobs?state=all')['jobs'][0]['id']
        stays = c.submit('while sleep 0.2; do date > now; done')  # writes below its run folder
        quiet = c.submit('sleep 300')  # writes nothing
        c.wait(quiet, 'running'), c.wait(stays, 'running')
        others = (f'{runs}/mine', f'{runs}/999')  # a user's own; a number that no job has had yet
        for folder in others:
            os.makedirs(folder)
            os.utime(folder, (1, 1))
        assert os.listdir(f'{runs}/{over}/work')
        archives, prepared = f'{c.folder}/n1/archives', f'{c.folder}/n1/prepared/default'
        folders = lambda: [e for e in os.scandir(prepared) if e.is_dir()]  # noqa: E731
        assert os.listdir(archives) and folders()
        until(20, 'the job is forgotten', lambda: gone(c, over))
        until(20, 'its run folder is removed', lambda: not os.path.exists(f'{runs}/{over}'))
        until(20, 'its caches are removed', lambda: not os.listdir(archives) and not folders())
        for folder in (*others, f'{runs}/{stays}', f'{runs}/{quiet}/attempts/1'):
            assert os.path.isdir(folder), folder
        # The same folder again is fetched and set up again.
        again = c.run('job', 'run', file)
        assert again.returncode == 0 and 'hello\nmade\n' in again.stdout, again


def test_run_folders_stay():
    """Unasked they are never removed."""
    with Cluster(config={'keep_days': 1 / DAY}) as c:
        c.up()
        c.node('n1', A100, cache_days=1 / DAY)
        job = c.submit('true')
        c.wait(job)
        until(20, 'the job is forgotten', lambda: gone(c, job))
        time.sleep(3)
        assert os.path.isdir(f'{c.folder}/runs/default/{job}')


def test_pools():
    """Only who reads what the controller wrote shares its run folders; a job stays among those that share its own."""
    with Cluster(leases=(1, 2)) as c:
        c.up()
        c.node('n1', A100), c.node('n2', A100)
        c.node('apart', [{'chip': 'h100', 'count': 1}], runs=f'{c.folder}/elsewhere')
        os.makedirs(f'{c.folder}/elsewhere2/.wellspring')
        with open(f'{c.folder}/elsewhere2/.wellspring/proof-liar', 'w') as f:
            f.write('0' * 32)
        c.node('liar', [{'chip': 'h100', 'count': 1}], runs=f'{c.folder}/elsewhere2')
        pools = {n['name']: n['pool'] for n in c.call('GET', '/nodes')['nodes']}
        assert pools['n1'] == pools['n2'] == 'shared' and pools['apart'] == 'apart' and pools['liar'] == 'liar', pools
        for chip, goes_on in (('a100', True), ('h100', False)):
            job = c.submit('sleep 300', accepted=[{'chip': chip, 'count': 1}])
            node = c.wait(job, 'running')['on'][0]
            c.kill_node(node, attempts=True)
            if goes_on:
                until(10, 'it runs on the other one', lambda: c.state(job) == 'running' and c.show(job)['on'] != [node])
            else:
                until(10, 'it has lost its node', lambda: c.state(job) == 'queued')
                time.sleep(1)
                row = c.show(job)
                assert row['state'] == 'queued' and node in row['reason'], row
                c.nodes[node].wait()
                c.node(node, [])
                c.wait(job, 'running')
                assert c.show(job)['on'] == [node] and c.show(job)['attempts'] == 2


def test_a_removed_node_joins_again():
    """Its old key is no hindrance; an invitation that a member does not need is none either."""
    with Cluster(leases=(1, 2)) as c:
        c.up()
        c.node('n1', A100)

        def again():
            c.kill_node('n1')
            invitation = c.call('POST', '/tokens', {'role': 'join'})['token']
            with open(f'{c.folder}/n1.log', 'ab') as log:
                c.nodes['n1'] = subprocess.Popen([harness.PROGRAM, 'cluster', 'node', '--config', f'{c.folder}/n1.yaml', '--join', invitation],
                                                 env=c.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        again()
        until(10, 'it is up, a member as before', lambda: c.node_state('n1') == 'up')
        c.kill_node('n1')
        until(10, 'it is away', lambda: c.node_state('n1') != 'up')
        c.call('POST', '/nodes/n1/lost', {}), c.call('DELETE', '/nodes/n1')
        again()
        until(10, 'it is up, joined anew', lambda: c.node_state('n1') == 'up')
        job = c.submit('wellspring --version')  # a job finds the program of its node
        c.wait(job)
        assert c.logs(job).startswith('wellspring '), c.logs(job)


def figures_of(text):
    """{'name{labels}': value} of Prometheus' text, with every line checked."""
    out, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith('#'):
            m = re.fullmatch(r'# (HELP|TYPE) (\w+) (.+)', line)
            assert m, line
            kinds.setdefault(m[2], set()).add(m[1])
            continue
        m = re.fullmatch(r'((\w+)(\{\w+="[^"\n]*"(?:,\w+="[^"\n]*")*\})?) (-?[\d.]+(?:e[-+]\d+)?|NaN)', line)
        assert m, line
        assert m[1] not in out, f'twice: {line}'
        name = re.sub(r'_(bucket|sum|count)$', '', m[2])
        assert kinds.get(m[2]) == {'HELP', 'TYPE'} or kinds.get(name) == {'HELP', 'TYPE'}, line
        out[m[1]] = float(m[4])
    return out


def test_metrics():
    with Cluster() as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 2}])
        c.call('PUT', '/teams/red', {})
        red = c.call('POST', '/tokens', {'role': 'viewer', 'team': 'red', 'user': 'ada'})['token']
        member = c.call('POST', '/tokens', {'role': 'member', 'team': 'red', 'user': 'ada'})['token']
        running = [c.submit('sleep 300'), c.submit('sleep 300', token=member)]
        for job in running:
            c.wait(job, 'running')
        c.submit('sleep 300')
        c.submit('sleep 300', token=member), c.submit('sleep 300', token=member)
        every, own = (figures_of(c.call('GET', '/metrics', token=t, raw=True)) for t in (c.token, red))
        waiting = len([j for j in c.call('GET', '/jobs?state=all')['jobs'] if j['state'] == 'queued'])
        assert every['wellspring_jobs{state="queued"}'] == waiting and every['wellspring_jobs{state="running"}'] == 2, every
        assert own['wellspring_jobs{state="queued"}'] == 2 and own['wellspring_jobs{state="running"}'] == 1, own
        held = {team: f'wellspring_devices_held{{team="{team}",chip="a100-40"}}' for team in ('default', 'red')}
        assert every[held['default']] == every[held['red']] == 1 and every['wellspring_devices{chip="a100-40"}'] == 2, every
        assert own[held['red']] == 1 and held['default'] not in own, own


def test_audit():
    """Who asked for what, refusals too, and no secret in it; who is nobody is only counted."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        strangers = lambda: figures_of(c.call('GET', '/metrics', raw=True))['wellspring_refused_strangers_total']  # noqa: E731
        before = strangers()
        made = c.call('POST', '/tokens', {'role': 'viewer', 'user': 'eve'})['token']
        job = c.submit('sleep 300')
        expect(403, c.call, 'POST', f'/jobs/{job}/cancel', token=made)
        c.call('PUT', '/secrets/password', {'content': 'correct horse'})
        c.call('PUT', '/queues/night', {'priority': 5, 'open': False})
        c.call('POST', '/session', {'token': made}, token='')
        expect(401, c.call, 'POST', '/session', {'token': 'wst_forged'}, token='')
        expect(401, c.call, 'GET', '/jobs', token='')
        # Rows are written a moment after the answer.
        rows = until(5, 'the last one is there', lambda: (lambda r: r if 'session' in r[0]['what'] else None)(c.call('GET', '/audit')['audit']))
        text = str(rows)
        assert 'correct horse' not in text and made not in text and 'wst_forged' not in text
        for user, what, outcome in (('eve', f'POST /api/v1/jobs/{job}/cancel', 'refused'), ('n1', 'POST /api/v1/join', 'done'),
                                    ('eve', 'POST /api/v1/session', 'done'), ('', 'PUT /api/v1/secrets/password', 'done'),
                                    ('', 'PUT /api/v1/queues/night priority=5 open=false', 'done')):
            assert any(r['who'].startswith(user) and r['what'] == what and r['outcome'].startswith(outcome) for r in rows), (what, rows)
        assert not [r for r in rows if not r['who']], rows
        assert strangers() == before + 2


def test_quotas_and_queues_by_command():
    """A limit that is not named stays; a command without one only shows."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        c.call('PUT', '/teams/counted', {})

        def quotas(*arguments):
            said = c.run('cluster', 'quota', 'counted', *arguments, '--json', check=True)
            team, = json.loads(said.stdout)['teams']
            return {chip: {k: v for k, v in q.items() if k != 'hours_used'} for chip, q in team.get('quotas', {}).items()}

        assert quotas('a100', '--devices', '3', '--hours', '50') == {'a100-40': {'devices': 3, 'hours': 50}}
        assert quotas('a100', '--devices', '4') == {'a100-40': {'devices': 4, 'hours': 50}}
        assert quotas('a100', '--hours', '60') == {'a100-40': {'devices': 4, 'hours': 60}}
        assert quotas('a100') == quotas() == {'a100-40': {'devices': 4, 'hours': 60}}
        assert quotas('a100', '--devices', '-1') == {'a100-40': {'hours': 60}}
        assert quotas('a100', '--remove') == {}
        for arguments in (['nobody', 'a100', '--devices', '1'], ['nobody'], ['counted', '--devices', '1'], ['counted', 'a100', '--remove', '--hours', '1']):
            assert c.run('cluster', 'quota', *arguments).returncode == 64, arguments
        assert 'nobody' not in c.run('cluster', 'teams').stdout

        def queue(*arguments):
            said = c.run('cluster', 'queues', 'night', *arguments, '--json', check=True)
            return next(q for q in json.loads(said.stdout)['queues'] if q['name'] == 'night')

        assert queue('--priority', '-5', '--team', 'counted')['teams'] == ['counted']
        assert queue('--close')['teams'] == ['counted']
        assert not queue('--all-teams', '--open').get('teams') and queue()['priority'] == -5
        assert queue('--max-priority', '0')['max_priority'] == 0
        for arguments in (['--open', '--close'], ['--team', 'counted', '--all-teams'], ['--max-priority', '1001']):
            assert c.run('cluster', 'queues', 'night', *arguments).returncode in (64, 65), arguments


def test_names_and_removal():
    """Nothing is made by a slip; what is not used any more goes."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        c.call('PUT', '/queues/night', {})
        for arguments, word in ((['queues', 'nightly'], 'queues set nightly'), (['queues', 'night', '--team', 'nope'], 'no team nope'),
                                (['queues', 'remove'], 'which one'), (['teams', 'set'], 'which team'), (['queues', 'remove', 'default'], 'default stays')):
            said = c.run('cluster', *arguments)
            assert said.returncode in (64, 65) and word in said.stderr, said
        assert 'nightly' not in c.run('cluster', 'queues').stdout
        c.run('cluster', 'queues', 'set', 'nightly', check=True)
        assert 'nightly' in c.run('cluster', 'queues').stdout
        said = c.run('cluster', 'teams', 'set', 'brief', '--system-user', 'nosuchuser', check=True)
        assert 'knows no user nosuchuser' in said.stderr, said
        token = c.call('POST', '/tokens', {'team': 'brief', 'user': 'ada'})['token']
        job = c.submit('true', team='brief', queue='nightly', not_before=time.time() + 100)
        for what, name in (('queues', 'nightly'), ('teams', 'brief')):
            said = c.run('cluster', what, 'remove', name)
            assert said.returncode == 64 and f'such as {job}' in said.stderr, said
        c.call('POST', f'/jobs/{job}/cancel')
        for what, name in (('queues', 'nightly'), ('teams', 'brief')):
            assert name not in c.run('cluster', what, 'remove', name, check=True).stdout
        try:
            c.call('GET', '/jobs', token=token)
            raise AssertionError('a token of a team that is no more')
        except Refused as e:
            assert e.status == 401, e
        assert c.run('job', 'retry', job).returncode == 64
        assert c.run('cluster', 'token', 'list', check=True).stdout == c.run('cluster', 'token', check=True).stdout
        assert 'empty' in c.run('cluster', 'secret', 'set', 'none').stderr


def test_nodes_that_are_away():
    """A drained node is up and drained; one that was given up says by whom; the table fits a terminal."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100), c.node('n2', A100)
        c.run('cluster', 'drain', 'n1', '--note', 'new memory', check=True)
        assert '2 of 2 nodes up, 1 drained' in c.run('cluster', 'status').stdout
        c.kill_node('n2')
        until(10, 'it is away', lambda: c.node_state('n2') != 'up')
        c.run('cluster', 'nodes', 'lost', 'n2', check=True)
        lines = c.run('cluster', 'nodes').stdout.splitlines()
        assert any('new memory' in line for line in lines) and any('given up by ' in line for line in lines), lines
        assert all(';' not in line for line in lines), lines
        assert all('single trust' in line[:80] and ('new memory' in line[:80] or 'given up' in line[:80]) for line in lines[2:4]), lines


def test_interrupts_of_up():
    """The second Ctrl-C does not wait, and takes the node along, too."""
    with Cluster(config={'local_node': True}) as c:
        c.up()
        lock = f'{c.folder}/controller/node/daemon.lock'
        node = until(10, 'its node is there', lambda: os.path.exists(lock) and open(lock).read().strip())
        time.sleep(1.5)  # it has been seen
        for _ in range(2):
            c.controller.send_signal(signal.SIGINT)
        c.controller.wait(10)
        until(10, 'its node has ended', lambda: not harness.alive(int(node)))


if __name__ == '__main__':
    sys.exit(harness.main(dict(globals())))
