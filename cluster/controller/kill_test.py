#!/usr/bin/python3
"""The controller is killed at every write of its state in turn: nothing is lost, nothing runs twice.

kill_test.py [RUNS]: RUNS kills (all points once by default).
"""
import http.client
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
from harness import Cluster, Refused, until  # noqa: E402


def ran(folder):
    """Lines that jobs wrote: one for each time that they ran."""
    out = {}
    for name in os.listdir(folder):
        with open(f'{folder}/{name}') as f:
            out[name] = f.read().split()
    return out


def scenario(c, marks):
    """Submits jobs; returns the ids that were acknowledged. Stops at the first answer that does not come."""
    accepted = []
    command = f'echo $WELLSPRING_TOKEN >> {marks}/$WELLSPRING_JOB'
    try:
        accepted.append(c.submit(command))
        accepted.append(c.submit(command, after=[{'job': int(accepted[0]), 'kind': 'afterok'}]))
        array = c.submit(command, array='0-2')
        accepted += [f'{array}_{i}' for i in range(3)]
        held = c.submit(command)
        accepted.append(held)
        try:
            c.call('POST', f'/jobs/{held}/hold')
            c.call('POST', f'/jobs/{held}/release')
        except Refused as e:
            if e.status != 409:  # it had ended already
                raise
        for job in accepted:
            c.wait(job, seconds=10)
    except (OSError, http.client.HTTPException):
        c.controller.wait(10)  # it was killed while it answered
    return accepted


def one_kill(c, point, worst):
    marks = f'{c.folder}/marks'
    os.makedirs(marks, exist_ok=True)
    for name in os.listdir(marks):
        os.remove(f'{marks}/{name}')
    c.up(fault=point, wait=False)
    try:
        until(20, 'it answers or has been killed', lambda: c.controller.poll() is not None or c.answers())
    except AssertionError:
        if c.controller.poll() is None:
            raise
    accepted = scenario(c, marks) if c.controller.poll() is None else []
    killed = c.controller.poll() is not None
    if not killed:
        c.kill_controller()
    begin = time.monotonic()
    c.up()
    worst[0] = max(worst[0], time.monotonic() - begin)
    for job in c.call('GET', '/jobs?state=held')['jobs']:  # killed between hold and release
        c.call('POST', f'/jobs/{job["id"]}/release')
    for job in accepted:
        c.wait(job, seconds=20)
    until(20, 'everything has ended', lambda: not c.call('GET', '/jobs?state=active')['jobs'])
    for job, tokens in ran(marks).items():
        assert len(tokens) == 1, f'point {point}: job {job} ran {len(tokens)} times: {tokens}'
    for job in accepted:
        assert job in ran(marks), f'point {point}: job {job} was acknowledged and never ran'
    c.kill_controller()
    return killed


def kill_at_points(c, runs):
    """Kills at each point in turn: all of them once, or so many runs. Returns kills, points, the slowest start after one."""
    worst = [0.0]
    done = points = point = 0
    c.up()
    c.node('n1', [{'chip': 'a100', 'count': 4}])
    c.kill_controller()
    while not runs or done < runs:
        point += 1
        try:
            killed = one_kill(c, point, worst)
        except AssertionError:
            print(f'at point {point}:', c.run('job', 'list').stdout, c.log())
            with open(f'{c.folder}/n1.log') as f:
                print(f.read()[-1500:])
            for job in c.call('GET', '/jobs?state=active')['jobs']:
                print(c.show(job['id']))
            raise
        done += killed
        if not killed:  # the scenario came to its end before that point
            points = max(points, point - 1)
            if not runs:
                break
            point = 0
    return done, points or point, worst[0]


def main():
    runs = next((int(a) for a in sys.argv[1:] if a.isdigit()), 0)
    with Cluster(leases=(20, 30)) as c:
        done, points, worst = kill_at_points(c, runs)
    print(f'note: {done} kills at {points} points, the slowest start afterwards {worst:.2f} s')
    print(f'{done} passed, 0 failed')
    return 0 if done >= 20 else 1


if __name__ == '__main__':
    sys.exit(main())
