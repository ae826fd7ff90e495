#!/usr/bin/python3
"""`wellspring job exec` and `attach` through controller, node and launcher."""
import os
import pty
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
from harness import PROGRAM, Cluster, Refused, main, until  # noqa: E402


def running(c, command='sleep 300', **spec):
    job = c.submit(command, **spec)
    c.wait(job, 'running')
    return job


def processes(command):
    """Pids whose command line is exactly this."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                if f.read().replace(b'\0', b' ').strip() == command.encode():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def test_exec():
    with Cluster() as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 4}])
        job = running(c, env={'COLOUR': 'blue'})
        r = c.run('job', 'exec', job, '--', 'echo $COLOUR $WELLSPRING_RANK; pwd; echo bad >&2; exit 7')
        assert (r.returncode, r.stderr) == (7, 'bad\n'), r
        assert r.stdout == f'blue 0\n{c.folder}/runs/default/{job}/work\n', r
        # Words are quoted as they were given; what is typed goes in, and its end too.
        r = c.run('job', 'exec', job, '--', 'printf', '%s|', 'a b', "c'd", '$HOME')
        assert r.stdout == "a b|c'd|$HOME|", r
        with open('/etc/passwd') as f:
            expected = f.read()
        with open('/etc/passwd') as f:
            assert c.run('job', 'exec', job, '--', 'cat', stdin=f).stdout == expected
        # More than any buffer on the way.
        r = c.run('job', 'exec', job, '--', 'head -c 20000000 /dev/zero | tr "\\0" x')
        assert len(r.stdout) == 20_000_000 and r.returncode == 0, len(r.stdout)
        # A shell with a terminal.
        r = subprocess.run([PROGRAM, 'job', 'attach', job], env=c.environment, input='echo sum $((1+1))\nstty size\nexit 5\n',
                           capture_output=True, text=True, timeout=30)
        assert r.returncode == 5 and 'sum 2' in r.stdout and '24 80' in r.stdout, r
        # The end of what is typed is the shell's.
        for typed in ('echo sum $((1+2))\n', 'echo sum $((1+2)); sleep 0.5; cat\n', ''):
            r = subprocess.run([PROGRAM, 'job', 'attach', job], env=c.environment, input=typed, capture_output=True, text=True, timeout=30)
            assert r.returncode == 0 and ('sum 3' in r.stdout or not typed), r
        # Each rank has its own.
        two = running(c, accepted=[{'chip': 'a100', 'count': 2, 'tasks_per_node': 2}])
        assert c.run('job', 'exec', '--rank', '1', two, '--', 'echo $RANK').stdout == '1\n'
        r = c.run('job', 'exec', '--rank', '7', two, '--', 'true')
        assert r.returncode not in (0, 126) and 'rank 7' in r.stderr, r
        # Whoever watches is told.
        events = [e['text'] for e in c.call('GET', '/events')['events'] if e.get('job') == int(job)]
        assert any('runs a command beside it' in e for e in events), events

        # It ends with its client, also when it does not read what it is given.
        client = subprocess.Popen([PROGRAM, 'job', 'exec', job, '--', 'exec sleep 1234.5'], env=c.environment,
                                  stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        until(10, 'the command runs', lambda: processes('sleep 1234.5'))
        os.set_blocking(client.stdin.fileno(), False)
        try:
            for _ in range(200):
                os.write(client.stdin.fileno(), b'x' * 65536)
        except BlockingIOError:
            pass
        client.kill()
        client.wait()
        until(10, 'the command is gone', lambda: not processes('sleep 1234.5'))
        assert c.state(job) == 'running'

        interrupts(c, job)

        # It ends with the job, and does not keep it.
        client = subprocess.Popen([PROGRAM, 'job', 'exec', job, '--', 'exec sleep 1234.5'], env=c.environment,
                                  stdin=subprocess.DEVNULL)
        until(10, 'the command runs', lambda: processes('sleep 1234.5'))
        c.call('POST', f'/jobs/{job}/cancel')
        c.wait(job, 'cancelled', seconds=5)
        assert client.wait(10) == 137
        assert not processes('sleep 1234.5')
        r = c.run('job', 'exec', job, '--', 'true')
        assert r.returncode not in (0, 126) and r.stderr == f'error: job {job} is not running: it is cancelled\n', r

        # A daemon that was killed and started again reaches what the one before it started.
        c.kill_node('n1')
        c.node('n1', [])
        until(10, 'the new daemon is reached', lambda: c.run('job', 'exec', two, '--', 'exit 6').returncode == 6)
        # A viewer looks, and another team does neither.
        c.call('PUT', '/teams/other', {})
        for role, team in (('viewer', 'default'), ('member', 'other')):
            token = c.call('POST', '/tokens', {'role': role, 'team': team, 'user': 'eve'})['token']
            try:
                c.call('GET', f'/jobs/{two}/exec?command=true', token=token,
                       headers={'Connection': 'Upgrade', 'Upgrade': 'wellspring-tunnel'})
                raise AssertionError(f'a {role} of {team} got in')
            except Refused as e:
                assert e.status == 403, e


def interrupts(c, job):
    """Ctrl-C: without a terminal it ends exec; in one it goes to the command, as in any shell. The job goes on."""
    client = subprocess.Popen([PROGRAM, 'job', 'exec', job, '--', 'exec sleep 1234.5'], env=c.environment, stdin=subprocess.DEVNULL,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    until(10, 'the command runs', lambda: processes('sleep 1234.5'))
    client.send_signal(signal.SIGINT)
    assert client.wait(10) != 0
    until(10, 'the command is gone', lambda: not processes('sleep 1234.5'))
    assert c.state(job) == 'running'
    pid, screen = pty.fork()
    if not pid:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who started us may ignore it
        os.execve(PROGRAM, [PROGRAM, 'job', 'attach', job], c.environment)
    said = b''

    def type_and_see(text, expected):
        nonlocal said
        os.write(screen, text)
        end = time.monotonic() + 10
        while expected not in said and time.monotonic() < end:
            said += os.read(screen, 65536)
        assert expected in said, said
        said = b''

    type_and_see(b'echo ready $((1+1))\n', b'ready 2')
    os.write(screen, b'sleep 1234.5\n')
    until(10, 'the command runs', lambda: processes('sleep 1234.5'))
    os.write(screen, b'\x03')
    until(10, 'the command is gone', lambda: not processes('sleep 1234.5'))
    type_and_see(b'echo still $((1+2))\n', b'still 3')
    os.kill(pid, signal.SIGINT)  # to attach itself
    os.waitpid(pid, 0)
    os.close(screen)
    assert c.state(job) == 'running'


if __name__ == '__main__':
    sys.exit(main(globals()))
