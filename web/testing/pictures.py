#!/usr/bin/python3
"""The pictures of docs/console.md, of a real controller whose nodes say that they have accelerators: pictures.py [FOLDER]."""
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, 'cluster/testing')]
import browser  # noqa: E402
import harness  # noqa: E402

NODES = {'gpu-a-01': {'h100': 8}, 'gpu-a-02': {'h100': 8}, 'gpu-b-01': {'a100-80': 8}, 'gpu-b-02': {'a100-80': 8}, 'asc-01': {'ascend-910b': 8},
         'cpu-01': {'cpu-avx512': 16}}
TRAIN = r'''cat > "$WELLSPRING_RUN_FOLDER/train.py" <<'P'
import json, math, os, random, time
folder, steps, done = os.environ['WELLSPRING_RUN_FOLDER'], 4000, 1450
json.dump([{'steps': steps}], open(folder + '/plan.json', 'w'))
random.seed(1)
out = open(folder + '/metrics.jsonl', 'a')
for s in range(1, steps + 1):
    loss = 2.1 + 7.5 * math.exp(-s / 90) + .8 * math.exp(-s / 900) + random.gauss(0, .05)
    speed = 118000 + random.gauss(0, 1800) - (20000 if s % 250 < 3 else 0)
    out.write(json.dumps({'step': s, 'time': time.time(), 'loss': loss, 'tokens_per_second': speed, 'seconds': .5}) + '\n')
    if s % 100 == 0:
        out.write(json.dumps({'step': s, 'eval_loss': loss + .08}) + '\n')
        os.makedirs(folder + '/checkpoints/step-%d' % s, exist_ok=True)
    if s % 5 == 0 or s > done:
        print('\033[2m%s\033[0m \033[36mtrain\033[0m  step %5d  loss \033[1m%.4f\033[0m  %7.0f tokens/s%s' % (
            time.strftime('%H:%M:%S'), s, loss, speed, '  \033[33mcheckpoint\033[0m' if s % 100 == 0 else ''), flush=True)
    if s > done:
        out.flush()
        time.sleep(.5)
P
exec python3 "$WELLSPRING_RUN_FOLDER/train.py"'''


def fill(c):
    c.up()
    c.call('PUT', '/teams/vision', {'weight': 2, 'quotas': {'h100': {'devices': 12, 'hours': 500}}})
    c.call('PUT', '/teams/language', {'weight': 3})
    c.call('PUT', '/queues/night', {'priority': -50})
    for name, devices in NODES.items():
        c.node(name, [{'chip': chip, 'count': n} for chip, n in devices.items()], memory_mb=512000, mounts=['/data', '/scratch'] if 'gpu' in name else [])
    ada, lin = (c.call('POST', '/tokens', {'role': 'member', 'team': team, 'user': user})['token'] for team, user in (('vision', 'ada'), ('language', 'lin')))

    def submit(token, name, chip, count, command='sleep 3000', nodes=1, **more):
        return c.submit(command, token, name=name, accepted=[{'chip': chip, 'count': count, 'nodes': nodes}], **more)
    first = submit(lin, 'pretrain-3b', 'h100', 8, TRAIN, time_limit=86400)
    c.wait(first, 'running')
    submit(ada, 'segment-street', 'h100', 4)
    submit(lin, 'tokenize-web', 'a100-80', 8)
    submit(ada, 'port-check', 'ascend-910b', 4)
    submit(lin, 'sweep-lr', 'cpu-avx512', 1, '[ $WELLSPRING_ARRAY_INDEX != 7 ] && sleep $((WELLSPRING_ARRAY_INDEX / 12))', array='0-199', array_at_once=6)
    submit(ada, 'eval-robust', 'cpu-avx512', 1, 'echo "no such data set"; exit 1')
    submit(ada, 'eval-base', 'cpu-avx512', 1, 'true')
    submit(ada, 'segment-night', 'h100', 8, queue='night', time_limit=7200)
    submit(lin, 'finetune-long', 'h100', 8, nodes=2, time_limit=7200)
    submit(lin, 'ablate', 'a100-80', 8, nodes=2)
    submit(lin, 'publish', 'cpu-avx512', 1, after=[{'job': int(first)}])
    c.call('POST', '/nodes/gpu-b-02/drain', {'note': 'its fan is replaced'})
    tomorrow = time.time() // 86400 * 86400 + 86400 + 8 * 3600
    c.call('PUT', '/reservations/demo-day', {'node': 'asc-01', 'team': 'vision', 'from': tomorrow, 'until': tomorrow + 12 * 3600, 'note': 'shown to the public'})
    return first


def main():
    browser.enter()
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', 'pillow'], check=True)
    from PIL import Image
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, 'docs/console')
    os.makedirs(folder, exist_ok=True)
    with harness.Cluster(leases=(60, 90), config={'web': os.path.join(ROOT, 'web')}) as c:
        job = fill(c)
        b = browser.Browser(c.url)
        for name, path, ready, size, scheme in (('pool', 'pool', '.tiles', (1280, 1010), 'light'), ('job', f'jobs/{job}', '.chart path.curve', (1280, 860), 'light'),
                                                ('nodes', 'nodes', 'tbody .bar', (1280, 900), 'light'), ('phone', f'jobs/{job}', '.chart path.curve', (360, 900), 'light'),
                                                ('dark', 'jobs', 'tbody .badge', (1280, 760), 'dark')):
            page = b.page(c.token, *size, scheme=scheme)
            b.go(page, path)
            page.wait_for_selector(ready)
            page.mouse.move(0, 0)
            page.wait_for_timeout(2500)  # some lines of the log, and the login's greeting has gone
            path = os.path.join(folder, f'{name}.png')
            page.screenshot(path=path)
            Image.open(path).convert('RGB').quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)  # a third of the size
            print(f'{name}.png: {os.path.getsize(path) // 1000} kB', flush=True)
            b.close()
        b.end()
    return 0


if __name__ == '__main__':
    sys.exit(main())
