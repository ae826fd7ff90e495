"""A cluster of real processes on this machine, for tests and benchmarks: a controller and nodes.

    with Cluster() as c:
        c.up()
        c.node('n1', [{'chip': 'a100', 'count': 4}])
        job = c.submit('echo hello')
        c.wait(job)
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
PROGRAM = os.environ.get('WELLSPRING_BINARY', os.path.join(ROOT, 'build/bin/wellspring'))


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(f'{status}: {message}')
        self.status, self.message = status, message


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def until(seconds, what, f):
    """f() as soon as it is true; fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = f()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'not within {seconds} s: {what}')
        time.sleep(0.01)


def processes_with(token_text):
    """Processes whose environment holds the text."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/environ', 'rb') as f:
                if token_text.encode() in f.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def alive(pid):
    """Whether the process is there and has not ended (a zombie has)."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


class Cluster:
    def __init__(self, leases=(2, 4), state=None, config=None, single_trust=True):
        self.folder = tempfile.mkdtemp(prefix='ws-cluster-')
        os.chmod(self.folder, 0o755)
        self.port = free_port()
        self.url = f'http://127.0.0.1:{self.port}'
        self.config = {'folder': f'{self.folder}/controller', 'port': self.port, 'local_node': False,
                       'leases': {'fence_after': leases[0], 'lost_after': leases[1]},
                       'runs': f'{self.folder}/runs', **(config or {})}
        if state:
            self.config['state'] = state
        self.single_trust = single_trust
        self.environment = {**os.environ, 'WELLSPRING_LOGIN': f'{self.folder}/login.json',
                            'WELLSPRING_CLUSTER': f'{self.folder}/controller', 'HOME': self.folder}
        self.controller = None
        self.nodes = {}  # name -> process
        self.token = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        for process in [self.controller, *self.nodes.values()]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for pid in processes_with(self.folder):  # attempts that outlive their node
            if pid != os.getpid():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
        for launcher in self.launchers():
            try:
                os.kill(launcher, signal.SIGKILL)
            except OSError:
                pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def launchers(self):
        """Pids of wellspring-launch that work in our folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as f:
                    if not f.read().startswith(b'wellspring-launch'):
                        continue
                if any(self.folder in os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')):
                    found.append(int(pid))
            except OSError:
                pass
        return found

    # Controller

    def up(self, fault=None, fault_log=None, wait=True):
        path = f'{self.folder}/cluster.yaml'
        with open(path, 'w') as f:
            json.dump(self.config, f)
        environment = dict(self.environment)
        if fault is not None or fault_log:
            environment['LD_PRELOAD'] = os.path.join(os.path.dirname(PROGRAM), '../lib/libwellspring_faults.so')
        if fault is not None:
            environment['WELLSPRING_FAULT'] = str(fault)
        if fault_log:
            environment['WELLSPRING_FAULT_LOG'] = fault_log
        with open(f'{self.folder}/controller.log', 'ab') as log:
            self.controller = subprocess.Popen([PROGRAM, 'cluster', 'up', '--config', path], env=environment,
                                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            until(20, 'the controller answers', self.answers)
            until(5, 'the login works', self.login)

    def login(self):
        """False while the first start has not made it yet: the file is there before the token counts."""
        try:
            with open(f'{self.folder}/login.json') as f:
                self.token = json.load(f)['token']
            self.call('GET', '/cluster')
            return True
        except (OSError, Refused):
            return False

    def answers(self):
        if self.controller.poll() is not None:
            raise AssertionError('the controller ended: ' + self.log())
        try:
            return self.call('GET', '/health', token='')['status'] == 'ok'
        except (OSError, http.client.HTTPException, Refused):
            return False

    def log(self):
        with open(f'{self.folder}/controller.log', errors='replace') as f:
            return f.read()[-4000:]

    def kill_controller(self):
        self.controller.kill()
        self.controller.wait()

    # API

    def call(self, method, path, body=None, token=None, raw=False, headers=None, timeout=60):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        try:
            token = self.token if token is None else token
            headers = dict(headers or {})
            if token:
                headers['Authorization'] = f'Bearer {token}'
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            connection.request(method, '/api/v1' + path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status >= 300:
                try:
                    message = json.loads(data)['error']['message']
                except (ValueError, KeyError, TypeError):
                    message = data.decode(errors='replace')
                raise Refused(answer.status, message)
            return data.decode(errors='replace') if raw else json.loads(data)
        finally:
            connection.close()

    def submit(self, command, token=None, **spec):
        spec = {'name': 'test', 'command': command, **spec}
        return self.call('POST', '/jobs', spec, token=token)['id']

    def show(self, job):
        return self.call('GET', f'/jobs/{job}')

    def state(self, job):
        return self.show(job)['state']

    def wait(self, job, state='succeeded', seconds=30):
        """Until the job is in the state; fails as soon as it has ended in another one."""
        def there():
            now = self.show(job)
            if now['state'] == state:
                return now
            if now['state'] in ('succeeded', 'failed', 'cancelled'):
                raise AssertionError(f'job {job} is {now["state"]}: {now.get("reason")}; log: {self.logs(job)[-500:]}')
            return None
        return until(seconds, f'job {job} is {state}', there)

    def records(self):
        """The records of ended attempts, in the order of their writing."""
        found = []
        folder = f'{self.folder}/controller/records'
        for name in sorted(os.listdir(folder)):
            with open(f'{folder}/{name}') as f:
                found += [json.loads(line) for line in f]
        return found

    def records_of(self, job):
        return [r for r in self.records() if r['source']['job'] == str(job)]

    def logs(self, job, **query):
        query = '&'.join(f'{k}={v}' for k, v in query.items())
        return self.call('GET', f'/jobs/{job}/log?{query}', raw=True)

    def run(self, *arguments, **options):
        """The command line program, logged in as the administrator."""
        return subprocess.run([PROGRAM, *arguments], env=self.environment, capture_output=True, text=True,
                              stdin=options.pop('stdin', subprocess.DEVNULL), timeout=60, **options)

    # Nodes

    def node(self, name, devices, wait=True, **options):
        folder = f'{self.folder}/{name}'
        path = f'{folder}.yaml'
        if not os.path.exists(path):
            with open(path, 'w') as f:
                json.dump({'name': name, 'controller': self.url, 'folder': folder, 'runs': f'{self.folder}/runs',
                           'address': '127.0.0.1', 'single_trust': self.single_trust, 'devices': devices,
                           'memory_mb': 4000, **options}, f)
        command = [PROGRAM, 'cluster', 'node', '--config', path]
        if not os.path.exists(f'{folder}/node.json'):
            command += ['--join', self.call('POST', '/tokens', {'role': 'join'})['token']]
        with open(f'{folder}.log', 'ab') as log:
            self.nodes[name] = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log)
        if wait:
            until(20, f'node {name} is up', lambda: self.node_state(name) == 'up')

    def node_state(self, name):
        for node in self.call('GET', '/nodes')['nodes']:
            if node['name'] == name:
                return node['state']
        return None

    def kill_node(self, name, attempts=False):
        """SIGKILL to the daemon; with `attempts` to all that it started, as a power cut would."""
        self.nodes[name].kill()
        self.nodes[name].wait()
        if attempts:
            folder = f'{self.folder}/{name}'
            for pid in self.launchers():
                try:
                    if any(folder in os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')):
                        os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            names = os.listdir(f'{folder}/spool/attempts')
            for token in names:
                for pid in processes_with('WELLSPRING_TOKEN=' + token):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass


def main(tests):
    """Runs functions test_* (all, or those named); a text that one returns is printed as a note, 'skip' counts as
    skipped. The last line is the count that tools/run_tests reads."""
    import sys
    wanted = [a for a in sys.argv[1:] if not os.path.isdir(a)]  # beside the build folder
    passed = failed = skipped = 0
    for name, f in list(tests.items()):
        if not name.startswith('test_') or (wanted and not any(w in name for w in wanted)):
            continue
        begin = time.monotonic()
        try:
            note = f()
            if note == 'skip':
                skipped += 1
                continue
            passed += 1
            print(f'{name}: ok, {time.monotonic() - begin:.1f} s', flush=True)
            if note:
                print(f'note: {note}', flush=True)
        except Exception as e:  # noqa: BLE001
            import traceback
            traceback.print_exc()
            print(f'{name}: FAILED: {e}', flush=True)
            failed += 1
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or not passed else 0
