"""A real cluster for the console's test: a controller and nodes with whatever devices one wants."""
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
PROGRAM = os.environ.get('WELLSPRING_BINARY', f'{ROOT}/build/bin/wellspring')


def until(what, seconds=20, every=0.05):
    """Waits for what() to be true and returns it."""
    end = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        if time.monotonic() > end:
            raise TimeoutError(f'not true within {seconds} s: {getattr(what, "__doc__", None) or what}')
        time.sleep(every)


class Cluster:
    def __init__(self, folder):
        self.folder, self.port, self.processes, self.controller = folder, 0, [], None
        self.env = dict(os.environ, WELLSPRING_LOGIN=f'{folder}/login.json', WELLSPRING_CLUSTER=folder)
        with open(f'{folder}/cluster.yaml', 'w') as f:
            f.write(f'folder: {folder}\nlocal_node: false\nsingle_trust: true\nweb: {ROOT}/web\n')
        self.up()

    def up(self):
        """Starts the controller, the second time on the same port."""
        log = open(f'{self.folder}/controller.log', 'a')
        self.controller = subprocess.Popen([PROGRAM, 'cluster', 'up', '--config', f'{self.folder}/cluster.yaml', '--port', str(self.port)],
                                           env=self.env, stdout=log, stderr=log, start_new_session=True)

        def known():
            assert self.controller.poll() is None, open(f'{self.folder}/controller.log').read()
            if not os.path.exists(f'{self.folder}/login.json'):
                return False
            with open(f'{self.folder}/login.json') as f:
                login = json.load(f)
            self.url, self.token = login['url'], login['token']
            try:
                return self.get('/cluster')
            except OSError:
                return False
        until(known)
        self.port = int(self.url.rsplit(':', 1)[1])

    def down(self):
        self.controller.send_signal(signal.SIGKILL)
        self.controller.wait()

    def call(self, method, path, body=None, token=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f'{self.url}/api/v1{path}', data, {'Authorization': f'Bearer {token or self.token}'}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.msg = f'{method} {path}: {error.read().decode()}'
            raise

    def get(self, path, token=None):
        return self.call('GET', path, token=token)

    def node(self, name, devices):
        """Starts a node; devices: {chip: count}."""
        invitation = self.call('POST', '/tokens', {'role': 'join'})['token']
        folder = f'{self.folder}/{name}'
        os.makedirs(folder, exist_ok=True)
        config = {'name': name, 'folder': folder, 'runs': f'{self.folder}/runs', 'single_trust': True, 'memory_mb': 500000,
                  'devices': [{'chip': chip, 'count': n} for chip, n in devices.items()]}
        with open(f'{folder}/node.yaml', 'w') as f:
            json.dump(config, f)
        log = open(f'{folder}/log', 'a')
        process = subprocess.Popen([PROGRAM, 'cluster', 'node', '--config', f'{folder}/node.yaml', '--controller', self.url, '--join', invitation],
                                   env=self.env, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        until(lambda: any(n['name'] == name and n['state'] == 'up' for n in self.get('/nodes')['nodes']))
        return process

    def person(self, role, team, user):
        """A new token."""
        return self.call('POST', '/tokens', {'role': role, 'team': team, 'user': user})['token']

    def submit(self, command, token=None, chip=None, count=1, **more):
        accepted = [{'count': count, **({'chip': chip} if chip else {}), **more.pop('resources', {})}]
        return self.call('POST', '/jobs', {'command': command, 'accepted': accepted, **more}, token)['id']

    def state(self, job):
        return self.get(f'/jobs/{job}')['state']

    def wait(self, job, *states, seconds=20):
        return until(lambda: self.state(job) in states, seconds)

    def stop(self):
        """Ends all jobs, then all processes."""
        try:
            if self.controller.poll() is not None:
                self.up()
            for job in self.get('/jobs?state=active&limit=1000')['jobs']:
                self.call('POST', f'/jobs/{job["id"]}/cancel')
            until(lambda: not self.get('/jobs?state=active&limit=1')['jobs'], 40)
        except (OSError, TimeoutError, urllib.error.HTTPError) as error:
            print(f'note: jobs were not ended: {error}')
        for process in [*self.processes, self.controller]:
            process.terminate()
        for process in [*self.processes, self.controller]:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
