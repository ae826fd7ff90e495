#!/usr/bin/python3
"""Jobs of a cluster on a live Slurm: controller, command line and Slurm together.

cluster_test.py [NAME...]: those whose names hold one of these.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
from harness import Cluster, until  # noqa: E402

HERE = os.path.join(harness.ROOT, 'tools/slurm_here')
USER = 'games'  # in every Debian
slurm_folder = None
slurm_process = None
shared = None


def missing():
    programs = ['/usr/sbin/munged', '/usr/sbin/slurmctld', '/usr/sbin/slurmd', '/usr/sbin/slurmrestd']
    return os.getuid() != 0 or any(not os.path.exists(p) for p in programs)


def slurm():
    """Starts the one Slurm of these tests; it ends with them."""
    global slurm_folder, slurm_process
    if not slurm_folder:
        slurm_folder = tempfile.mkdtemp(prefix='ws-slurm-')
        slurm_process = subprocess.Popen(['setpriv', '--pdeathsig=TERM', HERE, 'hold', slurm_folder, 'MaxArraySize=10',
                                          'KillWait=2'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until(60, 'Slurm is up', lambda: os.path.exists(f'{slurm_folder}/ready') or slurm_process.poll() is not None)
        assert slurm_process.poll() is None
    return slurm_folder


def ask(*command):
    environment = {**os.environ, 'SLURM_CONF': f'{slurm()}/slurm.conf'}
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def slurm_jobs(token):
    return ask('squeue', '--all', '--noheader', '--states=all', f'--name=ws-{token}', '--format=%i').split()


def new_cluster():
    c = Cluster(config={'slurm': {'conf': f'{slurm()}/slurm.conf', 'poll': 0.2, 'settle': 0.5, 'nodes_every': 0.5}},
                single_trust=False)
    return c


def ready(c):
    until(20, 'the nodes of Slurm are up', lambda: c.node_state('slurm.m2') == 'up' and c.node_state('slurm.n1') == 'up')


def cluster():
    global shared
    if not shared:
        shared = new_cluster()
        shared.up()
        shared.call('PUT', '/teams/default', {'system_user': USER})
        ready(shared)
    return shared


def resources(count=1, nodes=1, chip='a100'):
    return [{'chip': chip, 'count': count, 'nodes': nodes}]


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)
    return path


def test_run_streams_and_passes_the_status_on():
    c = cluster()
    folder = f'{c.folder}/work'
    os.makedirs(folder, exist_ok=True)
    write(f'{folder}/data.txt', 'from the workdir\n')
    job = write(f'{c.folder}/job.yaml', 'name: hello\nworkdir: work\nsetup: echo made > made.txt\n'
                                        'resources: {chip: a100, count: 2}\n'
                                        'command: cat data.txt made.txt; id -un; echo $CUDA_VISIBLE_DEVICES; exit 7\n')
    said = c.run('job', 'run', job)
    assert said.returncode == 7, said
    lines = said.stdout.split('\n')
    assert 'from the workdir' in lines and 'made' in lines and USER in lines, said
    assert any(line.count(',') == 1 and line[0].isdigit() for line in lines), said


def test_shown_with_what_slurm_gave():
    c = cluster()
    job = c.submit('sleep 0.5; echo $WELLSPRING_RANK $WORLD_SIZE', accepted=resources(8, 2, 'mlu370'))
    now = c.wait(job)
    assert 'm[1-2]' in str(now), now
    assert c.logs(job, rank=1) == '1 2\n', c.logs(job, rank=1)
    nodes = c.run('cluster', 'nodes').stdout
    assert 'slurm.n4' in nodes and 'slurm.m1' in nodes, nodes


def test_figures_of_a_training_while_it_runs_and_in_its_record():
    c = cluster()
    job = c.submit('cd "$WELLSPRING_RUN_FOLDER"; mkdir -p checkpoints/step-2\n'
                   '[ $WELLSPRING_RANK = 1 ] || echo \'[{"steps": 10}]\' > plan.json\n'
                   '[ $WELLSPRING_RANK = 1 ] || for n in 1 2 3; do\n'
                   '  echo "{\\"step\\": $n, \\"loss\\": 1.$n, \\"tokens_per_second\\": 99, \\"seconds\\": 2}" >> metrics.jsonl\n'
                   'done\nwhile [ ! -e go ]; do sleep 0.1; done\n'
                   'i=0; [ $WELLSPRING_RANK = 1 ] || while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo "from rank $WELLSPRING_RANK"',
                   accepted=resources(nodes=2))
    until(20, 'it shows how far it is', lambda: c.show(job).get('progress', {}).get('step') == 3)
    now = c.show(job)['progress']
    assert (now['loss'], now['tokens_per_second'], now['steps'], now['eta_seconds']) == (1.3, 99, 10, 14), now
    assert now['checkpoint'] == 2, now
    assert '1.3' in c.run('job', 'show', str(job)).stdout
    points = c.call('GET', f'/jobs/{job}/curve')['points']
    assert [p['loss'] for p in points] == [1.1, 1.2, 1.3], points
    open(f'{c.folder}/runs/default/{job}/go', 'w').close()
    c.wait(job)
    record, = until(10, 'its record is written', lambda: c.records_of(job))
    assert record['reached']['loss'] == 1.3 and record['reached']['checkpoint'] == 2, record
    used = record['used']
    assert 0.02 < used['cpu_seconds'] < 20 and used['seconds'] > 0 and 'peak_memory' not in used, record
    assert not [n for n in os.listdir(f'{c.folder}/runs/default/{job}/attempts/1') if n.startswith('slurm.used')]


def test_cancel():
    c = cluster()
    job = c.submit("trap 'echo saved; exit 75' TERM; echo up; for i in $(seq 300); do sleep 0.1; done",
                   accepted=resources(), checkpoint={'grace': 5})
    until(20, 'it runs', lambda: 'up' in c.logs(job))
    c.wait(job, 'running')
    said = c.run('job', 'exec', str(job), '--', 'true')
    assert said.returncode and 'no such way in' in said.stderr, said
    said = c.run('job', 'cancel', str(job))
    assert said.returncode == 0, said
    c.wait(job, 'cancelled')
    assert 'saved' in c.logs(job)


def test_array():
    c = cluster()
    job = c.submit('echo $WELLSPRING_ARRAY_INDEX', array='0-24', accepted=resources())
    c.wait(job, seconds=60)
    for i in (0, 9, 10, 24):
        assert c.logs(f'{job}_{i}') == f'{i}\n'


def test_a_service_is_refused_where_only_slurm_has_the_chip():
    c = cluster()
    try:
        c.submit('sleep 1', kind='service', service={'port': 8000}, accepted=resources())
        raise AssertionError('it was accepted')
    except harness.Refused as e:
        assert e.status == 400, e
    c.node('own', [{'chip': 'a100', 'count': 1}])
    job = c.submit('sleep 30', kind='service', service={'port': harness.free_port()}, accepted=resources())
    until(20, 'it is on our own node', lambda: "'own'" in str(c.show(job)))
    c.call('POST', f'/jobs/{job}/cancel')
    c.wait(job, 'cancelled')


def test_a_dead_controller_disturbs_nothing():
    with new_cluster() as c:
        c.up()
        c.call('PUT', '/teams/default', {'system_user': USER})
        ready(c)
        runs = c.submit('echo once >> ../times; sleep 2; echo done', accepted=resources())
        ends = c.submit('echo once >> ../times; sleep 0.5; exit 4', accepted=resources())
        until(20, 'both run', lambda: c.state(runs) == c.state(ends) == 'running')
        c.kill_controller()
        time.sleep(1)  # one ends meanwhile
        c.up()
        c.wait(runs)
        c.wait(ends, 'failed')
        assert c.show(ends)['exit_status'] == 4
        for job in (runs, ends):
            with open(f'{c.folder}/runs/default/{job}/times') as f:
                assert f.read() == 'once\n'


def test_killed_between_slurms_answer_and_ours():
    with new_cluster() as c:
        c.up()
        c.call('PUT', '/teams/default', {'system_user': USER})
        ready(c)
        c.kill_controller()
        c.up(fault='slurm.submitted')
        ready(c)
        job = c.submit('echo once >> ../times; sleep 0.5', accepted=resources())
        assert c.controller.wait(20) == -9
        c.up()
        c.wait(job)
        with open(f'{c.folder}/runs/default/{job}/times') as f:
            assert f.read() == 'once\n'
        with open(f'{c.folder}/runs/default/{job}/owner') as f:
            token = f.read().strip()
        assert len(slurm_jobs(token)) == 1, slurm_jobs(token)
        assert c.show(job)['attempts'] == 1, c.show(job)


if __name__ == '__main__':
    if missing():
        print('Slurm is not installed, or this is not root')
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))  # with all that is to be tidied up
    try:
        status = harness.main(globals())
    finally:
        if shared:
            shared.close()
        if slurm_process:
            slurm_process.terminate()
            slurm_process.wait(30)
            subprocess.run(['rm', '-rf', slurm_folder])
    sys.exit(status)
