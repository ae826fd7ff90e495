#!/usr/bin/python3
"""Each attempt that has ended leaves one record of what it used and reached, whatever happens to the controller.

records_test.py [NAME...]: those whose names hold one of these.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
import harness  # noqa: E402
from harness import Cluster, until  # noqa: E402


def new_cluster():
    c = Cluster()
    c.up()
    c.node('n1', [{'chip': 'a100', 'count': 2}])
    return c


def written(c, job, count=1):
    return until(10, f'{count} records of job {job}', lambda: len(c.records_of(job)) >= count and c.records_of(job))


def test_what_an_attempt_used_and_reached():
    with new_cluster() as c:
        # The second attempt goes on from the first one's checkpoint.
        job = c.submit('cd "$WELLSPRING_RUN_FOLDER"; n=$WELLSPRING_ATTEMPT; mkdir -p checkpoints/step-$n\n'
                       'echo "{\\"step\\": $n, \\"loss\\": $((5 - n)).5, \\"note\\": \\"x\\"}" >> metrics.jsonl\n'
                       'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; sleep 0.2; [ $n = 2 ] || exit 75',
                       accepted=[{'chip': 'a100', 'count': 2}], restart={'backoff': 0.05})
        c.wait(job)
        records = written(c, job, 2)
        assert [(r['source']['attempt'], r['source']['status']) for r in records] == [('1', '75'), ('2', '0')], records
        for n, record in enumerate(records, 1):
            assert (record['kind'], record['nodes'], record['devices']) == ('attempt', 1, 2), record
            assert record['reached'] == {'step': n, 'loss': 5.5 - n, 'checkpoint': n}, record
            used = record['used']
            assert 0.2 <= used['seconds'] < 10 and used['device_seconds'] >= 2 * used['seconds'], record
            assert used['cpu_seconds'] > 0.02 and used['peak_memory'] > 100_000, record
            assert record['source']['team'] == 'default' and record['source']['nodes'] == 'n1', record
        # What nobody could measure is not said to be nothing.
        lost = c.submit('sleep 60', accepted=[{'chip': 'a100', 'count': 1}])
        c.wait(lost, 'running')
        c.kill_node('n1', attempts=True)
        record, = written(c, lost)
        assert record['source']['cause'] == 'lost' and 'cpu_seconds' not in record['used'], record


def test_a_record_that_could_not_be_written_comes_later_and_once():
    with new_cluster() as c:
        folder = f'{c.folder}/controller/records'
        jobs = [c.submit('exit 0')]
        c.wait(jobs[0])
        written(c, jobs[0])

        def without_records(f):
            os.rename(folder, folder + '.away')
            open(folder, 'w').close()
            f()
            os.remove(folder)
            os.rename(folder + '.away', folder)

        def end_one():
            complaints = c.log().count('could not be written')
            jobs.append(c.submit('exit 0'))
            c.wait(jobs[-1])
            until(10, 'the controller says so', lambda: c.log().count('could not be written') > complaints)

        without_records(end_one)  # tried again by the same controller
        written(c, jobs[1])

        def end_one_and_die():
            end_one()
            c.kill_controller()

        without_records(end_one_and_die)  # or by the next one
        c.up()
        written(c, jobs[2])
        c.kill_controller()
        c.up()
        time.sleep(1.5)  # the writer has looked again
        ids = [r['id'] for r in c.records()]
        assert len(ids) == len(set(ids)) == 3, c.records()


def test_what_ends_while_the_controller_comes_back_is_recorded_once():
    with new_cluster() as c:
        jobs = [c.submit('while [ ! -e ../go ]; do sleep 0.05; done', accepted=[{'chip': 'a100', 'count': 1}])
                for _ in range(2)]
        for job in jobs:
            c.wait(job, 'running')
        c.kill_controller()
        # So many records that the new controller reads them for a while.
        other = json.dumps({'at': time.time(), 'kind': 'attempt', 'id': 'other', 'chip': 'a100', 'nodes': 1, 'devices': 1})
        month = time.strftime('%Y-%m', time.gmtime())
        with open(f'{c.folder}/controller/records/records-{month}.jsonl', 'a') as f:
            f.write(f'{other}\n' * 300_000)
        for job in jobs:
            open(f'{c.folder}/runs/default/{job}/go', 'w').close()
        c.up()
        for job in jobs:
            c.wait(job)
        until(20, 'both are recorded', lambda: len([r for r in c.records() if r['id'] != 'other']) >= 2)
        time.sleep(2)
        ids = [r['id'] for r in c.records() if r['id'] != 'other']
        assert len(ids) == len(set(ids)) == 2, ids


if __name__ == '__main__':
    sys.exit(harness.main(dict(globals())))
