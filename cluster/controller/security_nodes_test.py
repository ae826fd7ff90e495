#!/usr/bin/python3
"""Nodes that are not what they say, controllers that are not ours, and what lies between: TLS, invitations, notifications."""
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
from attack import FakeController, Frames, Raw, expect, hello_of, join_as, link_as, quickly  # noqa: E402
from harness import PROGRAM, Cluster, Refused, free_port, main, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 4}]


def test_joining():
    with Cluster() as c:
        c.up()
        # Once, and not for long.
        token = c.call('POST', '/tokens', {'role': 'join'})['token']
        key = join_as(c, 'a', token)
        expect(401, join_as, c, 'b', token, says='used by node a already')
        brief = c.call('POST', '/tokens', {'role': 'join', 'seconds': 0.3})['token']
        time.sleep(0.5)
        expect(401, join_as, c, 'b', brief, says='expired')
        gone = c.call('POST', '/tokens', {'role': 'join'})['token']
        c.call('DELETE', f'/tokens/{gone.split("_")[1]}')
        expect(401, join_as, c, 'b', gone)
        for wrong in ('', 'wsj_x_y', c.token, key, token[:-1], 5, None, [token]):
            expect((400, 401, 403), c.call, 'POST', '/join', {'token': wrong, 'name': 'b'}, token='')
        # Many at once with one invitation: one of them.
        token = c.call('POST', '/tokens', {'role': 'join'})['token']
        results = []

        def join(i):
            try:
                results.append(join_as(c, f'c{i}', token))
            except Refused as e:
                results.append(e.status)

        threads = [threading.Thread(target=join, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(map(str, results))[:15] == ['401'] * 15 and sum(isinstance(r, str) for r in results) == 1, results
        # A name that is another's, or means something else.
        expect(409, join_as, c, 'a')
        expect(400, join_as, c, 'shared')
        # Another's name on the link, no key, a wrong one.
        other = join_as(c, 'other')
        assert link_as(c, 'other', key) == 403
        assert link_as(c, 'a', other) == 403
        for wrong in ('', 'wsn_', 'wsn_00', key[:-1], c.token):
            assert link_as(c, 'a', wrong) in (401, 403), wrong
        assert link_as(c, 'nobody', key) == 401
        assert link_as(c, '../a', key) == 401
        # A node that was removed is out at once, and its key opens nothing.
        link = link_as(c, 'a', key)
        link.send('M', {'hello': hello_of(c.folder)})
        assert link.message('welcome')
        link.send('M', {'attempts': [], 'proof': ''})
        until(10, 'it is up', lambda: c.node_state('a') == 'up')
        c.call('DELETE', '/nodes/a')
        assert link.ends(5)
        assert link_as(c, 'a', key) == 401


def connected(c, name, key, **changes):
    link = link_as(c, name, key)
    assert isinstance(link, Frames), link
    link.send('M', {'hello': hello_of(c.folder, **changes)})
    assert link.message('welcome')
    link.send('M', {'attempts': [], 'proof': ''})
    return link


def listed(c, job):
    """A job's state, without asking its node how far it is."""
    return next(j['state'] for j in c.call('GET', '/jobs?state=all')['jobs'] if j['id'] == job)


def test_rogue_nodes():
    """Each says what it may not; the controller answers everybody else as before."""
    with Cluster(leases=(20, 30)) as c:
        c.up()
        c.node('good', [{'chip': 'h100', 'count': 2}])
        key = join_as(c, 'rogue')
        good = c.submit('sleep 300', accepted=[{'chip': 'h100'}])
        c.wait(good, 'running')
        token = [n for n in os.listdir(f'{c.folder}/good/spool/attempts')][0]

        # Frames and messages that cannot be: the link ends.
        def broken(send):
            link = connected(c, 'rogue', key)
            send(link)
            assert link.ends(10), send
            quickly(1, c.call, 'GET', '/jobs')

        for payload in (b'', b'{', b'[' * 100_000, b'\xff', b'{"hello": 1}', b'{"hello": {"devices": 5}}', b'{"events": {"token": 1}}',
                        b'{"events": [5]}', b'{"events": [{"token": 5}]}', b'{"attempts": 7}', b'{"attempts": [{"token": []}]}',
                        b'{"attempts": [], "proof": 5}', b'[]', b'7'):
            broken(lambda link: link.send('M', payload))
        broken(lambda link: link.raw.send(b'\xff\xff\xff\xff' + b'M' + b'\0' * 4 + b'x' * 100))
        broken(lambda link: link.send('?', b'', 3).send('M', b'x'))
        broken(lambda link: link.send('O', b'{', 1))
        broken(lambda link: link.send('O', {'log': {}}, 2))  # a number of ours
        for change in ({'devices': [{'chip': '../x'}]}, {'devices': [{'chip': 'a100', 'cores': [-1]}]}, {'runs': 'relative'},
                       {'runs': '/a/../../etc'}, {'mounts': ['x']}, {'mounts': ['/a/..']}, {'address': "x'; id"}, {'address': 'a b'},
                       {'address': ''}, {'memory_mb': -5}, {'only_team': '../x'}, {'devices': [{'chip': 'a100'}] * 5000},
                       {'address': 'x' * 300}):
            link = link_as(c, 'rogue', key)
            link.send('M', {'hello': hello_of(c.folder, **change)})
            assert link.ends(5), change

        # Events of attempts that are not its own, or of none: nothing happens, and it is told to end them.
        link = connected(c, 'rogue', key)
        until(10, 'it is up', lambda: c.node_state('rogue') == 'up')
        for kind in ('ended', 'running', 'prepared', 'ready'):
            link.send('M', {'events': [{'token': token, 'kind': kind, 'status': 0}]})
        link.send('M', {'events': [{'token': token[:-1] + '0', 'kind': 'running'}, {'token': '99999-x', 'kind': 'ended'}]})
        killed = []
        while token not in killed:
            killed = link.message('kill')
        assert c.state(good) == 'running'
        # Archives that no attempt on it works in.
        for path in ('/archives/default/' + '0' * 64, '/archives/../' + '0' * 64, '/archives/default/..%2f..%2fkeys%2fsecrets.key'):
            expect((400, 403, 404), c.call, 'GET', path, token=key, headers={'Wellspring-Node': 'rogue'})
        # Figures that poison sums and comparisons.
        job = c.submit('true', accepted=[{'chip': 'a100'}])
        start = link.message('start')
        assert start['id'] == job and start['token'].split('-')[0] != token.split('-')[0]
        mine = start['token']
        link.send('M', {'events': [{'token': mine, 'kind': 'running'}]})
        until(10, 'it runs', lambda: listed(c, job) == 'running')
        link.send('M', {'events': [{'token': mine, 'kind': 'ended', 'status': 1 << 20, 'outcome': 'x' * 10_000, 'reason': 'y' * 100_000,
                                    'cpu_seconds': -1e300, 'peak_memory': -5, 'checkpoint': -7,
                                    'reached': {'loss': 1.5, '../x': 1, 'text': 'x', **{f'n{i}': i for i in range(500)}}}]})
        until(10, 'it has ended', lambda: listed(c, job) == 'failed')
        shown = c.show(job)
        assert shown['exit_status'] == 255 and len(shown['reason']) <= 600, shown
        attempt = shown['history'][0]
        assert attempt.get('cpu_seconds', 0) == 0 and attempt.get('checkpoint', 0) == 0 and len(attempt['reached']) <= 64, attempt
        # What it says twice counts once; an old end changes nothing of the next attempt.
        c.call('POST', f'/jobs/{job}/retry')
        again = link.message('start')
        assert again['token'] != mine
        link.send('M', {'events': [{'token': mine, 'kind': 'ended', 'status': 0}, {'token': mine, 'kind': 'running'}]})
        link.message('kill')
        assert listed(c, job) == 'starting'

        # A log that comes without end, past the window.
        link.send('M', {'events': [{'token': again['token'], 'kind': 'running'}]})
        until(10, 'it runs', lambda: listed(c, job) == 'running')

        def read():
            try:
                c.call('GET', f'/jobs/{job}/log', raw=True)
            except (Refused, OSError):
                pass

        def memory():
            with open(f'/proc/{c.controller.pid}/status') as f:
                return int(f.read().split('VmRSS:')[1].split()[0]) / 1000

        before = memory()
        reader = threading.Thread(target=read)
        reader.start()
        payload = b''
        while b'"log"' not in payload:
            kind, channel, payload = link.receive()
        sent = 0
        link.raw.socket.settimeout(2)
        try:
            while sent < 512 << 20:
                link.send('D', b'x' * (1 << 20), channel)
                sent += 1 << 20
        except OSError:
            pass
        assert sent < 256 << 20, f'it goes on taking: {sent}, {payload} {c.log()[-3000:]}'
        reader.join()
        # Channels of its own, more and more of them; messages as fast as they go.
        link = connected(c, 'rogue', key)
        try:
            for i in range(200_000):
                link.send('O', b'{}', 2 * i + 1)
        except OSError:
            pass
        link = connected(c, 'rogue', key)
        begin = time.monotonic()
        stop = threading.Event()

        def flood():
            try:
                while not stop.is_set():
                    link.send('M', {'events': [{'token': f'{i}-x', 'kind': 'ended'} for i in range(100)]})
            except OSError:
                pass

        def drain():
            try:
                while link.raw.socket.recv(1 << 20):
                    pass
            except OSError:
                pass

        threads = [threading.Thread(target=f, daemon=True) for f in (flood, drain)]
        for t in threads:
            t.start()
        while time.monotonic() - begin < 1.5:
            quickly(1, c.call, 'GET', '/jobs')
            quickly(1, c.call, 'PUT', '/queues/q', {'priority': 1})
        stop.set()
        link.raw.socket.close()
        assert memory() < before + 200, f'{before:.0f} MB, then {memory():.0f} MB'
        assert c.state(good) == 'running' and c.answers()


def start_message(folder, token, job, command='true', **changes):
    spec = {'name': 'x', 'team': 'default', 'accepted': [{'chip': 'a100'}], 'command': command, **changes.pop('spec', {})}
    return {'start': {'token': token, 'attempt': 1, 'job': job, 'id': str(job), 'run_folder': f'{folder}/runs/default/{job}',
                      'user': '', 'chip': 'a100', 'spec': spec, 'resources': 0, 'node_rank': 0, 'devices': [0],
                      'nodes': [{'name': 'n', 'address': '127.0.0.1'}], **changes}}


def test_replays_and_forged_orders():
    """A start message twice, an old token again, and orders that no controller of ours gives."""
    with Cluster() as c:
        fake = FakeController()
        try:
            with open(f'{c.folder}/n.yaml', 'w') as f:
                json.dump({'name': 'n', 'controller': fake.url, 'folder': f'{c.folder}/n', 'runs': f'{c.folder}/runs',
                           'address': '127.0.0.1', 'single_trust': True, 'devices': A100, 'memory_mb': 1000}, f)
            command = [PROGRAM, 'cluster', 'node', '--config', f'{c.folder}/n.yaml']

            def daemon(*more):
                log = open(f'{c.folder}/n.log', 'ab')
                c.nodes['n'] = subprocess.Popen([*command, *more], env=c.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                return fake.link()

            def ended(link):
                while True:
                    events = link.message('events')
                    assert events is not None, 'the node has closed the link: ' + open(f'{c.folder}/n.log').read()[-1500:]
                    for e in events:
                        if e['kind'] == 'ended':
                            return e

            link = daemon('--join', 'wsj_x_y')
            marks = f'{c.folder}/marks'
            start = start_message(c.folder, '1-aaaa', 1, f'echo x >> {marks}')
            for _ in range(5):
                link.send('M', start)
            assert ended(link)['status'] == 0
            link.send('M', start)
            time.sleep(0.3)
            for _ in range(3):
                link.send('M', {'forget': ['1-aaaa']})
                link.send('M', start)
                e = ended(link)
                assert e['outcome'] == 'lost', e
            # Over a restart of the daemon.
            c.nodes['n'].kill()
            c.nodes['n'].wait()
            link = daemon()
            link.send('M', start)
            assert ended(link)['outcome'] == 'lost'
            with open(marks) as f:
                assert f.read() == 'x\n'
            # Orders that lead out of the node's folders, or are not orders.
            number = 100
            for changes in ({'token': '../../evil'}, {'token': '.x'}, {'token': 'a/b'}, {'run_folder': '/etc/evil'},
                            {'run_folder': f'{c.folder}/runs/../evil/1'}, {'run_folder': f'{c.folder}/runs/other/1'},
                            {'run_folder': f'{c.folder}/runs/default/../1'}, {'run_folder': f'{c.folder}/runs/default'},
                            {'run_folder': f'{c.folder}/runs/default/1/2'}, {'spec': {'team': '../evil'}}, {'spec': {'team': ''}},
                            {'spec': {'team': '..'}}, {'spec': {'snapshot': '../../etc/passwd'}}, {'spec': {'snapshot': 'A' * 64}},
                            {'devices': [7]}, {'devices': [-1]}, {'spec': {'env': {'WELLSPRING_TOKEN': 'x'}}},
                            {'secrets': {'../evil': '00'}}, {'spec': {'mounts': [{'source': '/etc', 'target': '/mnt'}]}},
                            {'nodes': []}, {'spec': {'accepted': [{'chip': 'a100', 'tasks_per_node': 100000}]}}):
                number += 1
                message = start_message(c.folder, f'{number}-b', number, f'touch {c.folder}/evil')
                message['start'].update(changes if 'spec' not in changes else {})
                message['start']['spec'].update(changes.get('spec', {}))
                if 'run_folder' not in changes:
                    message['start']['run_folder'] = f'{c.folder}/runs/{message["start"]["spec"]["team"]}/{number}'
                link.send('M', message)
                e = ended(link)
                assert e['status'] in (126, 127) and e['outcome'] in ('not_started', 'node_fault'), (changes, e)
            for text in (b'{', b'[]', b'{"start": 5}', b'{"start": {}}', b'{"stop": {}}', b'{"forget": ["../../x", ".."]}',
                         b'{"kill": 7}', b'{"beat": "x"}', b'{"go": 5}'):
                link.send('M', text)
                if text in (b'{', b'[]'):  # it dials again
                    link = fake.link()
            for what in ({'log': {'token': 'x', 'folder': '/etc', 'rank': 0}}, {'log': {'token': 'x', 'folder': f'{c.folder}/runs/../n'}},
                         {'progress': {'folder': '/etc'}}, {'curve': {'folder': f'{c.folder}/runs/../../../etc'}}, {'exec': {'token': 'x'}},
                         {'forward': {'token': 'x', 'port': 22}}, {'other': {}}, {}):
                number += 2 - number % 2  # those of a controller are even
                link.send('O', what, number)
                while True:
                    kind, channel, payload = link.receive()
                    if kind in 'XD' and channel == number:
                        break
                assert b'root:' not in payload, what
                if kind == 'D':
                    assert b'126 ' in payload, payload  # exec: the end of a command that was not started
            assert not os.path.exists(f'{c.folder}/evil') and not os.path.exists('/etc/evil')
            # It goes on as if nothing had been.
            link.send('M', start_message(c.folder, '2-cccc', 2, f'echo y >> {marks}'))
            while ended(link)['token'] != '2-cccc':
                pass
            with open(marks) as f:
                assert f.read() == 'x\ny\n'
        finally:
            fake.close()


def own_address():
    found = subprocess.run(['hostname', '-I'], capture_output=True, text=True).stdout.split()
    return next((a for a in found if '.' in a and not a.startswith('127.')), None)


def test_tls():
    """Any address but the loopback is served by TLS alone; nodes and users know the CA."""
    address = own_address()
    if not address:
        return 'skip'
    with Cluster(config={'address': address}) as c:
        c.up(wait=False)
        ca = f'{c.folder}/controller/keys/ca.pem'

        def talk(path, token='', host=address, trusted=True, method='GET', body=None):
            context = ssl.create_default_context(cafile=ca) if trusted else ssl.create_default_context()
            import http.client
            connection = http.client.HTTPSConnection(host, c.port, context=context, timeout=10)
            connection.request(method, '/api/v1' + path, body, {'Authorization': f'Bearer {token}'} if token else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        def up():
            try:
                return talk('/health')[0] == 200
            except OSError:
                return False

        until(20, 'it answers', up)
        until(10, 'the login works', lambda: os.path.exists(f'{c.folder}/login.json'))
        with open(f'{c.folder}/login.json') as f:
            login = json.load(f)
        assert login['url'] == f'https://{address}:{c.port}' and 'BEGIN CERTIFICATE' in login['ca']
        until(10, 'the token counts', lambda: talk('/jobs', login['token'])[0] == 200)
        assert os.stat(f'{c.folder}/controller/keys/ca.key').st_mode & 0o077 == 0
        assert os.stat(f'{c.folder}/controller/keys/server.key').st_mode & 0o077 == 0
        # Nobody else's word is taken for it; in clear there is one clear answer.
        try:
            talk('/health', trusted=False)
            raise AssertionError('the system trusts a CA that we made')
        except ssl.SSLError:
            pass
        with Raw(c.port, host=address) as raw:
            raw.send(f'GET /api/v1/health HTTP/1.1\r\nHost: {address}\r\n\r\n')
            status, headers = raw.head()
            assert status == 400 and b'https' in raw.exactly(int(headers['content-length']))
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers('ALL:@SECLEVEL=0')
            context.minimum_version = context.maximum_version = version
            try:
                with Raw(c.port, host=address) as raw:
                    context.wrap_socket(raw.socket)
                raise AssertionError(f'{version} is spoken')
            except (ssl.SSLError, OSError):
                pass
        # Users: by the CA's certificate; not without, and never in clear.
        environment = {**c.environment, 'WELLSPRING_LOGIN': f'{c.folder}/other.json'}

        def log_in(*arguments):
            return subprocess.run([PROGRAM, 'cluster', 'login', *arguments], env=environment, input=login['token'] + '\n',
                                  capture_output=True, text=True, timeout=30)

        r = log_in(login['url'])
        assert r.returncode != 0 and 'certificate' in r.stderr and '--ca-fingerprint HEX' in r.stderr and not os.path.exists(f'{c.folder}/other.json'), r
        r = log_in(f'http://{address}:{c.port}')
        assert r.returncode != 0 and 'https' in r.stderr, r
        r = log_in(login['url'], '--ca', ca)
        assert r.returncode == 0 and 'admin' in r.stdout, r
        assert os.stat(f'{c.folder}/other.json').st_mode & 0o077 == 0
        # By the fingerprint, which `token new` prints with the token: another one's is refused, and nothing is kept of it.
        made = subprocess.run([PROGRAM, 'cluster', 'token', 'new', '--user', 'ada'], env=environment, capture_output=True, text=True)
        pin = made.stderr.split('--ca-fingerprint')[1].split()[0]
        r = log_in(login['url'], '--ca-fingerprint', '0' * 64)
        assert r.returncode and 'certificate' in r.stderr, r
        r = log_in(login['url'] + '/', '--ca-fingerprint', pin)
        assert r.returncode == 0 and 'admin' in r.stdout, r
        # Nodes: by the fingerprint that stands in the invitation's line.
        line = c.run('cluster', 'token', 'join').stdout.split()
        fingerprint = line[line.index('--ca-fingerprint') + 1]
        invitation = line[line.index('--join') + 1]
        assert len(fingerprint) == 64

        def node(name, url, *arguments):
            path = f'{c.folder}/{name}.yaml'
            with open(path, 'w') as f:
                json.dump({'name': name, 'folder': f'{c.folder}/{name}', 'runs': f'{c.folder}/runs', 'address': address,
                           'single_trust': True, 'devices': A100, 'memory_mb': 1000}, f)
            return [PROGRAM, 'cluster', 'node', '--config', path, '--controller', url, *arguments]

        for name, url, more, word in (('w1', login['url'], [], 'certificate'),
                                      ('w2', login['url'], ['--ca-fingerprint', '0' * 64], 'certificate'),
                                      ('w3', f'http://{address}:{c.port}', ['--ca-fingerprint', fingerprint], 'https')):
            r = subprocess.run(node(name, url, '--join', invitation, *more), env=c.environment, capture_output=True, text=True,
                               timeout=30)
            assert r.returncode != 0 and word in r.stderr, (name, r)
            assert not os.path.exists(f'{c.folder}/{name}/node.json')
        with open(f'{c.folder}/n.log', 'wb') as log:
            c.nodes['n'] = subprocess.Popen(node('n', login['url'], '--join', invitation, '--ca-fingerprint', fingerprint),
                                            env=c.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        r = None

        def ran():
            nonlocal r
            r = c.run('job', 'run', '--', 'echo over TLS')
            return r.stdout == 'over TLS\n'

        until(20, 'a job runs', ran)
        job = c.run('job', 'submit', '--', 'sleep 100').stdout.strip()
        until(10, 'it runs', lambda: json.loads(c.run('job', 'show', '--json', job).stdout)['state'] == 'running')
        assert c.run('job', 'exec', job, '--', 'exit 7').returncode == 7
        # A certificate of another CA in its place: the node does not speak to it.
        c.kill_controller()
        os.rename(f'{c.folder}/controller/keys', f'{c.folder}/controller/keys.old')
        os.makedirs(f'{c.folder}/controller/keys')
        os.rename(f'{c.folder}/controller/keys.old/secrets.key', f'{c.folder}/controller/keys/secrets.key')
        c.up(wait=False)
        until(20, 'it answers', up)

        def node_log():
            with open(f'{c.folder}/n.log') as f:
                return f.read()

        until(20, 'the node refuses it', lambda: 'certificate' in node_log())
        assert c.run('cluster', 'status').returncode != 0


class Hook(http.server.BaseHTTPRequestHandler):
    seen, answers = [], []

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        Hook.seen.append((self.path, json.loads(body), dict(self.headers)))
        status = Hook.answers.pop(0) if Hook.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header('Location', '/redirected')
        self.send_header('Content-Length', '0')
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *unused):
        pass


def test_notifications():
    with Cluster(config={'notify': {'allow': ['127.0.0.1']}}) as c:
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hook)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_address[1]}'
        seen = Hook.seen
        try:
            c.up()
            c.node('n1', A100)
            job = c.submit('exit 3', notify=url + '/hook?x=1')
            until(10, 'it is told', lambda: seen)
            path, body, headers = seen.pop()
            assert path == '/hook?x=1' and body['job'] == job and body['state'] == 'failed' and body['exit_status'] == 3, body
            assert headers['Content-Type'] == 'application/json' and not any('wst_' in v or v == c.token for v in headers.values())
            # An array once, when all of it has ended; an error is tried again; a redirection leads nowhere.
            Hook.answers[:] = [500, 302]
            array = c.submit('true', array='0-4', notify=url)
            until(20, 'the third try', lambda: len(seen) >= 3)
            time.sleep(0.5)
            assert [s[1]['job'] for s in seen] == [array] * 3 and all(s[0] == '/' for s in seen), seen
            seen.clear()
            # What ended while nobody could be told is told after a restart; what was told is not.
            c.kill_controller()
            c.up()
            port = free_port()
            late = c.submit('true', notify=f'http://127.0.0.1:{port}/late')
            c.wait(late)
            c.kill_controller()
            server2 = http.server.ThreadingHTTPServer(('127.0.0.1', port), Hook)
            threading.Thread(target=server2.serve_forever, daemon=True).start()
            c.up()
            until(10, 'it is told', lambda: seen)
            server2.shutdown()
            assert [s[1]['job'] for s in seen] == [late], seen
            seen.clear()
            for bad in ('ftp://x/', 'file:///etc/passwd', 'http://', 'http://u:p@x/', 'javascript:x', 'http://x/\r\nX: y', 'http://x y/'):
                expect(400, c.submit, 'true', notify=bad)
        finally:
            server.shutdown()
    # Without leave none of them goes to the machine itself, by whatever name.
    with Cluster() as c:
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hook)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        try:
            c.up()
            c.node('n1', A100)
            for host in ('127.0.0.1', 'localhost', '0.0.0.0', '[::1]', '[::ffff:127.0.0.1]'):  # known at submit
                expect(400, c.submit, 'true', notify=f'http://{host}:{port}/', says='notify.allow')
            jobs = [c.submit('true', notify=f'http://{host}:{port}/') for host in ('localhost.', '127.1', '2130706433', '0x7f000001')]
            for job in jobs:
                c.wait(job)
            time.sleep(1.5)
            assert not Hook.seen, Hook.seen
            assert c.answers()
        finally:
            server.shutdown()


if __name__ == '__main__':
    sys.exit(main(globals()))
