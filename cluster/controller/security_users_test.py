#!/usr/bin/python3
"""Teams are separate system users: two real ones, what they try of each other, mounts, secrets."""
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
from attack import as_user, expect, files_with, system_users, uid_of  # noqa: E402
from harness import PROGRAM, Cluster, main, processes_with, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 4}]


def token_of(c, team, user='u'):
    return c.call('POST', '/tokens', {'role': 'member', 'team': team, 'user': user})['token']


def ends(c, job, state='failed', seconds=20):
    until(seconds, f'job {job} has ended', lambda: c.state(job) in ('succeeded', 'failed', 'cancelled'))
    shown = c.show(job)
    assert shown['state'] == state, f'{shown["state"]}: {shown.get("reason")}: {c.logs(job)[-800:]}'
    return shown


def test_two_teams():
    with system_users('a', 'b') as users:
        if not users:
            print('note: needs root, to make two system users')
            return 'skip'
        ua, ub = users
        with Cluster(single_trust=False) as c:
            c.up()
            c.node('n1', A100)
            for team, user in (('alpha', ua), ('beta', ub)):
                c.call('PUT', f'/teams/{team}', {'system_user': user})
            a, b = token_of(c, 'alpha'), token_of(c, 'beta')
            c.call('PUT', '/secrets/key?team=alpha', b'the-secret-of-alpha')
            # Each is its user, with nothing of root.
            job = c.submit('id -un; id -Gn; echo $HOME $USER; umask; grep -E "NoNewPrivs|CapEff|CapBnd" /proc/self/status; '
                           'pwd; ls -ld . ..; cat /proc/self/oom_score_adj', token=b)
            ends(c, job, 'succeeded')
            log = c.logs(job)
            assert log.startswith(f'{ub}\n{ub}\n') and 'NoNewPrivs:\t1' in log and 'CapEff:\t0000000000000000' in log, log
            # A job of alpha with everything in it; beta looks for it.
            work = tempfile.mkdtemp(dir=c.folder)
            os.chmod(work, 0o755)
            with open(f'{work}/file', 'w') as f:
                f.write('content-of-alpha')
            with open(f'{c.folder}/job.yaml', 'w') as f:
                json.dump({'name': 'x', 'team': 'alpha', 'workdir': work, 'setup': 'echo made-by-alpha > made', 'secrets': ['key'],
                           'env': {'PRIVATE': 'environment-of-alpha'}, 'run': 'cat file; echo log-of-alpha; echo $WELLSPRING_SECRETS; sleep 300'}, f)
            victim = c.run('job', 'submit', f'{c.folder}/job.yaml').stdout.strip()
            c.wait(victim, 'running')
            until(10, 'its log', lambda: 'log-of-alpha' in c.logs(victim))
            secrets = c.logs(victim).split('\n')[-2]
            run = c.show(victim)['run_folder']
            pid = next(p for p in processes_with('PRIVATE=environment-of-alpha'))
            launcher = c.launchers()[0]
            token = next(t for t in os.listdir(f'{c.folder}/n1/spool/attempts') if t.startswith('2-'))
            assert os.stat(secrets).st_uid == uid_of(ua) and stat.S_IMODE(os.stat(secrets).st_mode) == 0o700
            assert stat.S_IMODE(os.stat(f'{secrets}/key').st_mode) == 0o400
            assert token not in secrets  # everybody may list the folder that it lies in
            tries = [f'ls {run}', f'cat {run}/owner', f'cat {run}/attempts/1/log.0.txt', f'cat {run}/work/file', f'ls {c.folder}/runs/alpha',
                     f'cat {c.folder}/runs/alpha/*/owner', f'ls {secrets}', f'cat {secrets}/key', f'cat /proc/{pid}/root{secrets}/key',
                     f'cat /proc/{pid}/environ', f'ls /proc/{pid}/fd', f'cat /proc/{pid}/maps', f'readlink /proc/{pid}/cwd',
                     f'cat /proc/{launcher}/environ', f'ls -l /proc/{launcher}/fd', f'kill -0 {pid}', f'kill -9 {pid}', f'kill -9 {launcher}',
                     f'cat {c.folder}/n1/node.json', f'ls {c.folder}/n1/spool', f'ls {c.folder}/n1/services', f'cat {c.folder}/n1/archives/*',
                     f'ls {c.folder}/n1/archives', f'ls {c.folder}/n1/prepared/alpha', f'cat {c.folder}/n1/spool/used',
                     f'cat {c.folder}/controller/state.db', f'cat {c.folder}/controller/state.db-wal', f'ls {c.folder}/controller/keys',
                     f'cat {c.folder}/controller/keys/secrets.key', f'ls {c.folder}/controller/backups', f'ls {c.folder}/controller/blobs',
                     f'ls {c.folder}/controller/records', f'cat {c.folder}/login.json', f'kill -0 {c.controller.pid}',
                     f'kill -0 {c.nodes["n1"].pid}', f'cat /proc/{c.controller.pid}/environ', f'cat /proc/{c.nodes["n1"].pid}/environ',
                     f'touch {run}/x', f'touch {c.folder}/runs/x', f'mkdir {c.folder}/runs/alpha/9', f'touch {c.folder}/n1/x', f'rm -f {run}/owner && false',
                     f'echo 0 > {c.folder}/n1/lease', f'ln {run}/owner . ', f'gdb -p {pid} -batch', f'dd if=/proc/{pid}/mem bs=1 count=1',
                     f'python3 -c "import ctypes; l=ctypes.CDLL(None); import sys; sys.exit(0 if l.ptrace(16, {pid}, 0, 0) == 0 else 1)"',
                     f'sh -c "for f in /sys/fs/cgroup/wellspring-*/*/cgroup.procs; do echo $$ > \\$f && exit 0; done; exit 1"', 'su -c true', 'sudo -n true',
                     f'find /dev/shm /tmp/ws-cluster-* -user {ua} -readable -type f 2>/dev/null | grep .']
            script = ''.join(f'if {t} >/dev/null 2>&1; then echo "REACHED {i}"; fi\n' for i, t in enumerate(tries)) + 'echo tried\n'
            job = c.submit(script, token=b)
            ends(c, job, 'succeeded')
            log = c.logs(job)
            assert 'tried' in log and 'REACHED' not in log, [tries[int(x.split()[1])] for x in log.split('\n') if x.startswith('REACHED')]
            # The same by a hand on the machine, and by the way into jobs.
            for t in tries:
                r = as_user(ub, t)
                assert r.returncode != 0 and 'alpha' not in r.stdout, (t, r)
            mine = c.submit('sleep 300', token=b)
            c.wait(mine, 'running')
            r = c.run('job', 'exec', mine, '--', f'id -un; cat {secrets}/key; cat /proc/{pid}/environ; kill -9 {pid}')
            assert r.stdout == f'{ub}\n' and 'alpha' not in r.stderr.replace('runs/alpha', ''), r
            r = c.run('job', 'exec', victim, '--', 'id -un; cat $WELLSPRING_SECRETS/key; echo $PRIVATE')
            assert r.stdout == f'{ua}\nthe-secret-of-alphaenvironment-of-alpha\n', r
            assert c.state(victim) == 'running'
            # Nothing of it on any disk but sealed; nothing in lists of processes.
            c.call('POST', '/cluster/backup')
            found = files_with(c.folder, 'the-secret-of-alpha')
            assert not found, found
            listed = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout
            assert 'the-secret-of-alpha' not in listed and 'environment-of-alpha' not in listed
            c.call('POST', f'/jobs/{victim}/cancel')
            ends(c, victim, 'cancelled')
            assert not os.path.exists(secrets)
            # The launcher killed: the daemon clears up.
            c.call('POST', f'/jobs/{mine}/cancel')
            again = c.submit('echo $WELLSPRING_SECRETS; exec sleep 300', token=a, secrets=[{'name': 'key'}])
            c.wait(again, 'running')
            until(10, 'its log', lambda: c.logs(again))
            secrets = c.logs(again).strip()
            assert os.path.exists(f'{secrets}/key')
            for pid in processes_with('WELLSPRING_SECRETS=' + secrets):
                with open(f'/proc/{pid}/stat') as f:
                    os.kill(int(f.read().split(')')[1].split()[1]), signal.SIGKILL)
            until(10, 'the secrets are gone', lambda: not os.path.exists(secrets))

            traps(c, ua, ub, a, b)


def traps(c, ua, ub, a, b):
    """What a team lays out for those who read its files with more rights."""
    key = f'{c.folder}/controller/keys/secrets.key'
    with open(key) as f:
        content = f.read().strip()
    job = c.submit(f'''echo said
until [ -e attempts ] || [ -e ../attempts ]; do sleep 0.05; done
cd ..
rm -f metrics.jsonl; ln -s {key} metrics.jsonl
ln -s {key} plan.json; mkdir -p attempts/1; ln -sf {key} attempts/1/status.json
rm -rf checkpoints; ln -s {c.folder}/controller checkpoints
sleep 0.3; rm -f attempts/1/log.0.txt; ln -s {key} attempts/1/log.0.txt
echo more; sleep 60''', token=b)
    c.wait(job, 'running')
    time.sleep(1)
    for path in ('', '/log', '/curve', '/log?rank=-1'):
        text = c.call('GET', f'/jobs/{job}{path}', raw=True)
        assert content not in text and 'ws_' not in text, (path, text)
    # A pipe that nobody writes to, numbers that are none, a depth that ends a stack.
    job2 = c.submit('''cd ..; rm -f metrics.jsonl; mkfifo metrics.jsonl plan.json; sleep 1; rm metrics.jsonl plan.json
python3 - <<'X'
open("metrics.jsonl", "w").write('{"step": "x", "seconds": "y", "a": ' + '[' * 60000 + '\\n' + '{"step": 1, "a": ' + '{"b":' * 5000 + '1' + '}' * 5000 + '}\\n'
    + '{"loss": 1e999, "step": {"x": 1}}\\n' + '{"step": 7, "loss": 2.5, "text": "' + 'x' * 5000 + '"}\\n' + '[' * 3000000 + '\\n{"step": 8}\\n')
open("plan.json", "w").write('[{"steps": ' + '[' * 20000 + ']' * 20000 + '}]')
X
sleep 60''', token=b)
    c.wait(job2, 'running')
    for _ in range(3):
        begin = time.monotonic()
        c.call('GET', f'/jobs/{job2}', raw=True)
        c.call('GET', f'/jobs/{job2}/curve', raw=True)
        assert time.monotonic() - begin < 3
        time.sleep(0.7)
    assert c.show(job2)['progress']['step'] == 8
    points = c.call('GET', f'/jobs/{job2}/curve')['points']
    assert {'step': 7, 'loss': 2.5} in points, points
    for j in (job, job2):
        c.call('POST', f'/jobs/{j}/cancel')
    # Who asks too much of a node gets no more of it than others leave.
    assert c.node_state('n1') == 'up' and c.nodes['n1'].poll() is None
    # The folder of a team that is another's is not given away.
    expect(409, c.call, 'PUT', '/teams/beta', {'system_user': ua})
    os.makedirs(f'{c.folder}/runs/gamma', exist_ok=True)
    os.chown(f'{c.folder}/runs/gamma', uid_of(ub), -1)
    c.call('PUT', '/teams/alpha', {'system_user': 'daemon'})
    c.call('PUT', '/teams/gamma', {'system_user': ua})
    job = c.submit('true', token=token_of(c, 'gamma'))
    shown = ends(c, job)
    assert 'belongs to user' in shown['reason'] and os.stat(f'{c.folder}/runs/gamma').st_uid == uid_of(ub), shown


def test_users_that_cannot_be():
    if os.geteuid() != 0:
        print('note: needs root')
        return 'skip'
    with system_users('r', uid=0) as users, system_users('c') as plain, Cluster(single_trust=False) as c:
        if not users or not plain:
            return 'skip'
        c.up()
        c.node('n1', A100)
        # No user: refused at once, with what to do.
        c.call('PUT', '/teams/none', {})
        for team in ('none', 'default'):
            expect(409, c.submit, 'true', token=token_of(c, team), says='--system-user')
        for user in ('root', '0', '+0', '-x', 'a b', '../x'):
            try:
                c.call('PUT', '/teams/none', {'system_user': user})
            except Exception as e:  # noqa: BLE001
                assert getattr(e, 'status', 0) == 400, e
            else:  # a number is a name that no machine has
                assert user == '0', user
                ends(c, c.submit('id', token=token_of(c, 'none')))
        # Another name of root; none that the machine knows.
        c.call('PUT', '/teams/none', {'system_user': users[0]})
        shown = ends(c, c.submit('id', token=token_of(c, 'none')))
        assert 'root' in shown['reason'], shown
        c.call('PUT', '/teams/none', {'system_user': 'nobody-has-this-name'})
        shown = ends(c, c.submit('id', token=token_of(c, 'none')))
        assert 'does not exist' in shown['reason'], shown
        c.environment['WELLSPRING_API_TOKEN'], c.environment['WELLSPRING_URL'] = token_of(c, 'none'), c.url
        said = c.run('job', 'run', '--', 'id')  # nothing was logged, and it ends all the same
        assert said.returncode and 'does not exist' in said.stderr, said
        del c.environment['WELLSPRING_API_TOKEN'], c.environment['WELLSPRING_URL']
        # With a node of single trust beside it, a team without a user runs there, and never as root here.
        c.call('PUT', '/teams/none', {'system_user': ''})
        c.single_trust = True
        c.node('trust', [{'chip': 'h100', 'count': 1}])
        token = token_of(c, 'none')
        expect(409, c.submit, 'id', token=token, accepted=[{'chip': 'a100'}])
        job = c.submit('echo ran', token=token)
        ends(c, job, 'succeeded')
        assert c.show(job)['history'][0]['parts'][0]['node'] == 'trust'
        blocked = c.submit('true', token=token, accepted=[{'chip': 'h100'}, {'chip': 'a100'}])
        ends(c, blocked, 'succeeded')
        # Who trusts all is shown everywhere.
        nodes = {n['name']: n for n in c.call('GET', '/nodes')['nodes']}
        assert nodes['trust']['single_trust'] and not nodes['n1'].get('single_trust') and nodes['n1']['switches_users']
        assert c.call('GET', '/cluster')['single_trust']
        assert 'single trust' in c.run('cluster', 'nodes').stdout and 'single trust' in c.run('cluster', 'status').stdout


def test_a_node_without_root():
    """It takes one team, and says so."""
    if os.geteuid() != 0:
        print('note: needs root, to be somebody else')
        return 'skip'
    with system_users('n', 'm') as users, Cluster(single_trust=False) as c:
        if not users:
            return 'skip'
        c.up()
        c.call('PUT', '/teams/mine', {'system_user': users[1]})
        c.call('PUT', '/teams/other', {})
        folder, runs = f'{c.folder}/n', f'{c.folder}/own-runs'
        for path in (folder, runs):
            os.makedirs(path)
            os.chown(path, uid_of(users[0]), -1)
        with open(f'{c.folder}/n.yaml', 'w') as f:
            json.dump({'name': 'n', 'controller': c.url, 'folder': folder, 'runs': runs, 'address': '127.0.0.1', 'devices': A100,
                       'memory_mb': 1000, 'team': 'mine'}, f)
        token = c.call('POST', '/tokens', {'role': 'join'})['token']
        with open(f'{c.folder}/n.log', 'wb') as log:
            c.nodes['n'] = subprocess.Popen(
                ['setpriv', f'--reuid={uid_of(users[0])}', '--regid=65534', '--clear-groups', '--', PROGRAM, 'cluster', 'node', '--config',
                 f'{c.folder}/n.yaml', '--join', token], env={**c.environment, 'HOME': folder}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def log():
            with open(f'{c.folder}/n.log') as f:
                return f.read()

        until(20, 'the node is up: ' + log(), lambda: c.node_state('n') == 'up')
        node = c.call('GET', '/nodes')['nodes'][0]
        assert not node['switches_users'] and node['only_team'] == 'mine' and not node.get('single_trust'), node
        assert 'team mine' in c.run('cluster', 'nodes').stdout and 'jobs of team mine alone' in log()
        job = c.submit('id -un; sleep 0.2', token=token_of(c, 'mine'))
        ends(c, job, 'succeeded')
        assert c.logs(job) == f'{users[0]}\n', c.logs(job)
        for user in ('', 'daemon'):
            c.call('PUT', '/teams/other', {'system_user': user})
            expect(409, c.submit, 'true', token=token_of(c, 'other'), says='jobs of other teams alone; open to team other are nodes with: none')
        for name in ('node.json', 'spool', 'services'):
            assert os.stat(f'{folder}/{name}').st_mode & 0o077 == 0, name


def test_mounts():
    with system_users('a', 'b') as users:
        if not users:
            print('note: needs root, to make two system users')
            return 'skip'
        ua, ub = users
        with Cluster(single_trust=False) as c:
            data, other = f'{c.folder}/data', f'{c.folder}/other'
            for path, owner in ((data, ua), (f'{data}/in', ua), (f'{data}/team', ua), (other, ub), (f'{c.folder}/at', None), (f'{c.folder}/elsewhere', None)):
                os.makedirs(path)
                os.chmod(path, 0o755)
                if owner:
                    os.chown(path, uid_of(owner), -1)
            for path, text in ((f'{data}/in/file', 'inside'), (f'{other}/file', 'of b'), (f'{c.folder}/elsewhere/file', 'outside')):
                with open(path, 'w') as f:
                    f.write(text)
            os.symlink(f'{c.folder}/elsewhere', f'{data}/out')
            os.symlink('../elsewhere', f'{data}/out2')
            os.symlink('/', f'{data}/top')
            os.symlink(f'{data}/in', f'{data}/within')
            c.up()
            c.node('n1', A100, mounts=[data])
            c.call('PUT', '/teams/alpha', {'system_user': ua, 'roots': [data, '/offered-by-none']})
            c.call('PUT', '/teams/beta', {'system_user': ub, 'roots': []})
            a, b = token_of(c, 'alpha'), token_of(c, 'beta')
            at = f'{c.folder}/at'

            def submit(source, target=None, token=a, read_only=False, command=None):
                return c.submit(command or f'cat {target or source}/file', token=token,
                                mounts=[{'source': source, 'target': target or source, 'read_only': read_only}])

            # At submit: outside of the roots, with dots, offered by no node, of a team without roots.
            for bad in (f'{data}/../other', f'{data}/in/..', '/etc/..', 'relative', '', f'{data}//in', f'{data}/./in', f'{data}:x', f'{data},x', f'{data}/\n'):
                expect(400, submit, bad, at)
            for bad in (other, '/', '/etc', f'{data}x', f'{c.folder}', '/proc', '/dev/shm'):
                expect(403, submit, bad, at)
            expect(400, submit, '/offered-by-none', says='no node offers')
            expect(403, submit, f'{data}/in', token=b)
            for bad in ('../x', '/a/../b', '', 'x'):
                expect(400, submit, f'{data}/in', bad or 'x')
            # On the node, where links are resolved: what leads out is refused, be it shown elsewhere or in place.
            for link in ('out', 'out2', 'top'):
                for target in (at, None):
                    shown = ends(c, submit(f'{data}/{link}', target))
                    assert 'leads to' in shown['reason'] and 'outside' not in c.logs(c.call('GET', '/jobs?state=all')['jobs'][0]['id']), shown
            # What is allowed works, also through a link that stays within.
            for source in ('in', 'within'):
                job = submit(f'{data}/{source}', at)
                ends(c, job, 'succeeded')
                assert c.logs(job) == 'inside'
            job = submit(f'{data}/in', at, read_only=True, command=f'touch {at}/x; touch {data}/team/x && echo can; mount | grep -c " {at} "')
            ends(c, job, 'succeeded')
            assert 'Read-only' in c.logs(job) and c.logs(job).endswith('can\n1\n'), c.logs(job)
            assert not os.listdir(at), 'the mount is seen outside of the attempt'
            # Nothing that the launcher itself goes by is covered.
            for target in ('/', '/proc', '/sys', '/sys/fs/cgroup', '/dev', '/dev/shm', f'{c.folder}/n1', f'{c.folder}/n1/spool', c.folder):
                shown = ends(c, submit(f'{data}/in', target, command='true'))
                assert 'nothing may cover' in shown['reason'] or 'Permission' in shown['reason'] or 'mount at' in shown['reason'], (target, shown)
            os.symlink('/proc', f'{data}/team/proc')
            shown = ends(c, submit(f'{data}/in', f'{data}/team/proc', command='true'))
            assert 'nothing may cover /proc' in shown['reason'], shown
            # A source that its user may not reach, or not read: a mount gives nothing that it has not.
            os.chmod(f'{data}/in', 0o700)
            os.chown(f'{data}/in', 0, 0)
            job = submit(f'{data}/in', at)
            ends(c, job)
            assert 'Permission denied' in c.logs(job) and 'inside' not in c.logs(job), c.logs(job)
            os.makedirs(f'{data}/in/deeper')
            shown = ends(c, submit(f'{data}/in/deeper', at))
            assert 'Permission denied' in shown['reason'], shown


def test_secrets_without_users():
    """Files in memory of mode 0400, a variable only where it is asked for, and nothing anywhere else."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        value = 'x7-not-to-be-found-9z'
        c.call('PUT', '/secrets/first', value.encode())
        c.call('PUT', '/secrets/second', (value + '-2').encode())
        assert c.call('GET', '/secrets')['secrets'][0].keys() == {'name', 'changed'}
        job = c.submit('cd $WELLSPRING_SECRETS; stat -c "%a %n" * .; stat -f -c %T .; pwd; [ "$(cat first)" = ' + value + ' ] && echo right; '
                       '[ "$SECOND" = ' + value + '-2 ] && echo given; env | grep -c ' + value + '; sleep 300',
                       secrets=[{'name': 'first'}, {'name': 'second', 'variable': 'SECOND'}])
        c.wait(job, 'running')
        until(10, 'its log', lambda: 'given' in c.logs(job))
        time.sleep(0.2)
        log = c.logs(job).split('\n')
        folder = log[4]
        assert log[:4] == ['400 first', '400 second', '700 .', 'tmpfs'] and log[5:8] == ['right', 'given', '1'], log
        c.call('POST', '/cluster/backup')
        command = json.dumps(c.show(job)['spec']['command'])  # which tells it here
        c.call('POST', f'/jobs/{job}/cancel')
        ends(c, job, 'cancelled')
        assert not os.path.exists(folder) and value in command
        # Now one whose job does not name it, over all that the cluster writes.
        value = 'k2-not-to-be-found-3q'
        c.call('PUT', '/secrets/first', value.encode())
        job = c.submit('test -s $WELLSPRING_SECRETS/first && env | grep -q k2-not; echo $?; sleep 300', secrets=[{'name': 'first'}])
        c.wait(job, 'running')
        until(10, 'its log', lambda: c.logs(job))
        assert c.logs(job) == '1\n'
        c.call('POST', '/cluster/backup')
        assert not files_with(c.folder, value), files_with(c.folder, value)
        with open(f'{c.folder}/controller/keys/secrets.key') as f:
            sealing = f.read().strip()
        assert files_with(c.folder, sealing) == [f'{c.folder}/controller/keys/secrets.key']
        assert os.stat(f'{c.folder}/controller/keys/secrets.key').st_mode & 0o077 == 0
        for path in ('/secrets', f'/jobs/{job}', '/events', '/audit', '/jobs?state=all', '/metrics'):
            assert value not in c.call('GET', path, raw=True), path
        listed = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout
        assert value not in listed
        # The daemon is killed and comes back: the end of the job still takes the files away.
        folder = next(f'/dev/shm/{n}' for n in os.listdir('/dev/shm') if n.startswith('wellspring-') and
                      os.path.exists(f'/dev/shm/{n}/first') and open(f'/dev/shm/{n}/first').read() == value)
        c.kill_node('n1')
        c.node('n1', [])
        c.call('POST', f'/jobs/{job}/cancel')
        ends(c, job, 'cancelled')
        until(5, 'the files are gone', lambda: not os.path.exists(folder))
        # A job that names a secret which is none waits for nothing.
        expect(400, c.submit, 'true', secrets=[{'name': 'third'}], says='third')
        # One that is gone when the job starts: it does not run without it.
        late = c.submit('true', secrets=[{'name': 'second'}], accepted=[{'chip': 'a100', 'count': 4}], not_before=time.time() + 1)
        c.call('DELETE', '/secrets/second')
        assert 'secret second' in ends(c, late)['reason']
        c.call('DELETE', '/secrets/first')
        expect(404, c.call, 'DELETE', '/secrets/first')
        # Without the key that sealed them the controller does not start, or says what is missing.
        c.kill_controller()
        os.rename(f'{c.folder}/controller/keys/secrets.key', f'{c.folder}/kept.key')
        with open(f'{c.folder}/controller/keys/secrets.key', 'w') as f:
            f.write('short\n')
        c.up(wait=False)
        assert c.controller.wait(20) != 0 and 'secrets.key' in c.log()


if __name__ == '__main__':
    sys.exit(main(globals()))
