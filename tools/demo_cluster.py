#!/usr/bin/python3
"""The demo's training as a job of a cluster of its own: two teams, one preemption, and the model as a service.

demo_cluster.py train --out DIR --preset demo|mini --seconds N    starts the cluster and trains; the run is DIR/run
demo_cluster.py ask --out DIR --question JSON                     serves the newest checkpoint as a job and asks it
demo_cluster.py stop --out DIR                                    ends the cluster
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
PROGRAM = f'{ROOT}/build/bin/wellspring'


def client_python():
    """A Python that has OpenAI's client, if there is one."""
    for python in (sys.executable, os.environ.get('WELLSPRING_PEERS') or f'{ROOT}/.cache/peers/venv/bin/python'):
        if os.path.exists(python) and subprocess.run([python, '-c', 'import openai'], capture_output=True).returncode == 0:
            return python
    return None


class Demo:
    def __init__(self, out):
        self.out = os.path.realpath(out)
        self.folder = f'{self.out}/cluster'
        self.environment = {**os.environ, 'WELLSPRING_CLUSTER': self.folder, 'WELLSPRING_LOGIN': f'{self.folder}/login.json'}

    def tell(self, *words, token=None, quiet=False):
        """Runs the program; shows the line and what it says, as a person would see it."""
        environment = {**self.environment, **({'WELLSPRING_API_TOKEN': token} if token else {})}
        if not quiet:
            print('$ wellspring', *words, flush=True)
        run = subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f'error: wellspring {" ".join(words)}: {run.stderr.strip()}')
        if not quiet:
            print(run.stdout, end='', flush=True)
        return run.stdout

    def job(self, number):
        return json.loads(self.tell('job', 'show', number, '--json', quiet=True))

    def start(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        with open(f'{self.folder}/controller.log', 'w') as log:
            process = subprocess.Popen([PROGRAM, 'cluster', 'up', '--port', '0', '--single-trust', '--set',
                                        'leases.fence_after=20', '--set', 'leases.lost_after=30'],
                                       env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        with open(f'{self.folder}/controller.pid', 'w') as f:
            f.write(str(process.pid))
        for _ in range(200):
            if process.poll() is not None:
                with open(f'{self.folder}/controller.log') as f:
                    sys.exit(f'error: the cluster did not start: {f.read()}')
            if os.path.exists(self.environment['WELLSPRING_LOGIN']):
                nodes = json.loads(self.tell('cluster', 'nodes', '--json', quiet=True))['nodes']
                if nodes and nodes[0]['state'] == 'up':
                    return nodes[0]
            time.sleep(0.05)
        sys.exit('error: the cluster has no node after 10 s')

    def stop(self):
        try:
            with open(f'{self.folder}/controller.pid') as f:
                pid = int(f.read())
            with open(f'/proc/{pid}/cmdline') as f:
                if 'cluster' not in f.read():
                    return
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                os.kill(pid, 0)
                time.sleep(0.05)
        except (OSError, ValueError):
            pass  # it is not there

    def train(self, preset, seconds):
        node = self.start()
        device = node['devices'][0]
        for team in ('language', 'vision'):
            self.tell('cluster', 'teams', 'set', team, quiet=True)
        self.tell('cluster', 'queues', 'urgent', '--priority', '100', quiet=True)
        tokens = {team: self.tell('cluster', 'token', 'new', '--user', user, '--team', team, quiet=True).strip()
                  for team, user in (('language', 'ada'), ('vision', 'bob'))}
        self.tell('cluster', 'nodes')
        with open(f'{ROOT}/train/presets/{preset}.yaml') as f:
            text = f.read().replace(' runs/', f' {ROOT}/runs/')
        with open(f'{self.out}/run.yaml', 'w') as f:
            f.write(re.sub(r'max_seconds: \d+', f'max_seconds: {seconds}', text))
        job_file = f'{self.out}/train.job.yaml'
        with open(job_file, 'w') as f:
            json.dump({'name': 'debian-lm', 'team': 'language', 'resources': {'chip': device['chip'], 'count': device['all']},
                       'train': f'{self.out}/run.yaml', 'checkpoint': {'grace': 60}}, f)
        self.tell('job', 'plan', job_file, token=tokens['language'])
        number = self.tell('job', 'submit', job_file, token=tokens['language']).strip()
        small = None
        begun = said = time.monotonic()
        while True:
            job = self.job(number)
            if job['state'] in ('succeeded', 'failed', 'cancelled'):
                break
            progress = job.get('progress', {})
            now = time.monotonic()
            if small is None and job['state'] == 'running' and progress.get('step', 0) > 10 and now - begun > seconds * 0.3:
                print('\nthe other team has something small and urgent:', flush=True)
                words = (f'{PROGRAM} text encode --tokenizer {self.out}/tokenizer {self.out}/text/eval-en.txt > tokens.txt; '
                         'echo "$(wc -w < tokens.txt) words of token numbers"')
                small = self.tell('job', 'submit', '--set', 'queue=urgent', '--set', 'name=count-tokens', '--set',
                                  f'resources.chip={device["chip"]}', '--set', 'team=vision', '--', words,
                                  token=tokens['vision']).strip()
                time.sleep(0.3)
                self.tell('job', 'list')
                continue
            if now - said >= (5 if seconds < 60 else 20):
                said = now
                if 'step' in progress:
                    eta = progress.get('eta_seconds')
                    print(f'job {number}: {job["state"]}, attempt {job.get("attempts", 0)}, step {progress["step"]}'
                          f'{" of " + str(progress["steps"]) if "steps" in progress else ""}, loss {progress.get("loss", 0):.3f}, '
                          f'{progress.get("tokens_per_second", 0):.0f} tokens/s{f", {eta:.0f} s to go" if eta else ""}', flush=True)
            time.sleep(0.3)
        self.tell('job', 'list', '--all')
        self.tell('job', 'show', number)
        if job['state'] != 'succeeded':
            sys.exit(f'error: the training {job["state"]}: {job.get("reason")}\n'
                     + self.tell('job', 'logs', number, '--tail', '3000', quiet=True))
        if small is None or job['attempts'] < 2:
            sys.exit('error: the training was not preempted')
        self.tell('job', 'logs', small)
        self.tell('cluster', 'events', '--limit', '12')
        link = f'{self.out}/run'
        if os.path.islink(link):
            os.remove(link)
        shutil.rmtree(link, ignore_errors=True)
        os.symlink(os.path.relpath(job['run_folder'], self.out), link)

    def ask(self, question):
        steps = [int(name[5:]) for name in os.listdir(f'{self.out}/run/checkpoints') if name.startswith('step-')]
        model = os.path.realpath(f'{self.out}/run/checkpoints/step-{max(steps)}')
        port = 21000 + os.getpid() % 9000
        node = json.loads(self.tell('cluster', 'nodes', '--json', quiet=True))['nodes'][0]
        job_file = f'{self.out}/serve.job.yaml'
        with open(job_file, 'w') as f:
            json.dump({'name': 'answers', 'team': 'language', 'kind': 'service', 'resources': {'chip': node['devices'][0]['chip']},
                       'command': f'exec {PROGRAM} serve {model} --port {port}', 'service': {'port': port}}, f)
        number = self.tell('job', 'submit', job_file).strip()
        for _ in range(200):
            job = self.job(number)
            if job['history'] and job['history'][-1].get('ready'):
                break
            time.sleep(0.1)
        else:
            sys.exit('error: the server did not answer within 20 s: ' + self.tell('job', 'logs', number, quiet=True))
        print('POST /v1/completions', question)
        base_url, python = f'http://127.0.0.1:{port}/v1', client_python()
        if python:  # as users of OpenAI's API do it
            code = 'import json, openai, sys\n' \
                   'client = openai.OpenAI(base_url=sys.argv[1], api_key="any")\n' \
                   'model = client.models.list().data[0].id\n' \
                   'print(client.completions.create(model=model, **json.loads(sys.argv[2])).model_dump_json(exclude_none=True))'
            body = json.loads(subprocess.run([python, '-c', code, base_url, question], check=True, stdout=subprocess.PIPE, text=True).stdout)
            print('(asked with the openai client)')
        else:
            request = urllib.request.Request(f'{base_url}/completions', question.encode(), {'Content-Type': 'application/json'})
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = json.load(answer)
        print(body['choices'][0]['text'])
        print(body['usage'])
        self.tell('job', 'cancel', number)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('train', 'ask', 'stop'))
    parser.add_argument('--out', required=True)
    parser.add_argument('--preset')
    parser.add_argument('--seconds', type=int)
    parser.add_argument('--question')
    args = parser.parse_args()
    demo = Demo(args.out)
    if args.what == 'train':
        demo.train(args.preset, args.seconds)
    elif args.what == 'ask':
        demo.ask(args.question)
    else:
        demo.stop()


if __name__ == '__main__':
    main()
