"""What the tests of security try things with: bare sockets, nodes and controllers that do not keep to the rules, system users."""
import base64
import contextlib
import json
import os
import pwd
import socket
import struct
import subprocess
import threading
import time

from harness import Refused


def expect(status, f, *arguments, says=None, **named):
    """f(...) is refused with this status (or one of several); the message is returned."""
    wanted = status if isinstance(status, tuple) else (status,)
    try:
        answer = f(*arguments, **named)
    except Refused as e:
        assert e.status in wanted, f'{arguments}: {e.status} instead of {wanted}: {e.message}'
        assert says is None or says in e.message, f'{arguments}: {e.message}'
        return e.message
    raise AssertionError(f'{arguments} {named} was not refused, but answered {str(answer)[:300]}')


class Raw:
    """One connection of bare bytes."""

    def __init__(self, port, timeout=10, host='127.0.0.1'):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.rest = b''

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def head(self):
        """Status and headers of an answer; (0, {}) when the other side has gone."""
        while b'\r\n\r\n' not in self.rest:
            try:
                more = self.socket.recv(65536)
            except (ConnectionError, BrokenPipeError):
                more = b''
            if not more:
                return 0, {}
            self.rest += more
        head, self.rest = self.rest.split(b'\r\n\r\n', 1)
        lines = head.decode('latin-1').split('\r\n')
        pairs = [line.split(': ', 1) for line in lines[1:]]
        return int(lines[0].split()[1]), {p[0].lower(): p[1] for p in pairs if len(p) == 2}

    def exactly(self, n):
        while len(self.rest) < n:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            self.rest += more
        out, self.rest = self.rest[:n], self.rest[n:]
        return out


class Frames:
    """The link of a node or controller, after the upgrade: frames of length, type, channel, payload."""

    def __init__(self, raw):
        self.raw = raw

    def send(self, kind, payload, channel=0):
        payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.raw.send(struct.pack('>IBI', len(payload), ord(kind), channel) + payload)
        return self

    def receive(self):
        """Type, channel, payload; None when the link has ended."""
        try:
            size, kind, channel = struct.unpack('>IBI', self.raw.exactly(9))
            return chr(kind), channel, self.raw.exactly(size)
        except (EOFError, ConnectionError, OSError):
            return None

    def message(self, key):
        """The next message with that key; a node that asks for its lease gets it."""
        while True:
            frame = self.receive()
            if frame is None:
                return None
            if frame[0] == 'M':
                found = json.loads(frame[2])
                if 'beat' in found and key != 'beat':
                    self.send('M', {'beat': found['beat'], 'fence_after': 60, 'lost_after': 100})
                if key in found:
                    return found[key]

    def ends(self, seconds=10):
        """Whether the other side closes the link."""
        self.raw.socket.settimeout(seconds)
        try:
            while self.raw.socket.recv(65536):
                pass
            return True
        except socket.timeout:
            return False
        except OSError:
            return True


def join_as(c, name, token=None):
    """A node's key."""
    token = token or c.call('POST', '/tokens', {'role': 'join'})['token']
    return c.call('POST', '/join', {'token': token, 'name': name}, token='')['key']


def link_as(c, name, key):
    """The link of a node of ours, or the status of the refusal."""
    raw = Raw(c.port)
    raw.send(f'GET /api/v1/link HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: wellspring-link\r\n'
             f'Authorization: Bearer {key}\r\nWellspring-Node: {name}\r\n\r\n')
    status, _ = raw.head()
    return Frames(raw) if status == 101 else status


def hello_of(folder, **changes):
    return {'name': 'fake', 'runs': f'{folder}/fake-runs', 'address': '127.0.0.1', 'version': '1', 'containment': 'none',
            'devices': [{'chip': 'a100-40'}, {'chip': 'a100-40'}], 'memory_mb': 4000, 'single_trust': True, **changes}


class FakeController:
    """Lets one real node join, and sends it whatever a test wants."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'
        self.links = []
        self.joined = threading.Event()
        self.came = threading.Condition()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            raw = Raw.__new__(Raw)
            raw.socket, raw.rest = peer, b''
            data = b''
            while b'\r\n\r\n' not in data:
                more = peer.recv(65536)
                if not more:
                    break
                data += more
            if data.startswith(b'POST /api/v1/join'):
                body = json.dumps({'name': 'n', 'key': 'wsn_00', 'ca': ''}).encode()
                raw.send(b'HTTP/1.1 201 Created\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' % len(body) + body)
                peer.close()
            elif data.startswith(b'GET /api/v1/link'):
                raw.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: wellspring-link\r\n\r\n')
                with self.came:
                    self.links.append(Frames(raw))
                    self.came.notify_all()
            else:
                raw.send('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
                peer.close()

    def link(self):
        """The next link that the node dials, after the greeting."""
        with self.came:
            assert self.came.wait_for(lambda: self.links, 20), 'the node does not dial'
            link = self.links.pop(0)
        link.raw.socket.settimeout(20)
        assert link.message('hello') is not None
        link.send('M', {'welcome': {'fence_after': 60, 'lost_after': 100, 'at': time.monotonic()}})
        return link

    def close(self):
        self.listener.close()


@contextlib.contextmanager
def system_users(*names, uid=None):
    """Fresh system users of this machine, by the names that are given back; None where they cannot be made."""
    if os.geteuid() != 0:
        yield None
        return
    made = []
    try:
        for suffix in names:
            name = f'wss{os.getpid()}{suffix}'
            options = ['--system', '--no-create-home', '--shell', '/bin/sh']
            if uid is not None:
                options = ['--non-unique', '--uid', str(uid), '--no-create-home']
            if subprocess.run(['useradd', *options, name], capture_output=True).returncode != 0:
                yield None
                return
            made.append(name)
        yield made
    finally:
        for name in made:
            subprocess.run(['userdel', '--force', name] if uid is None else
                           ['sed', '-i', f'/^{name}:/d', '/etc/passwd', '/etc/shadow'], capture_output=True)


def uid_of(name):
    return pwd.getpwnam(name).pw_uid


def as_user(name, command, **options):
    """A shell command with the rights of a user."""
    user = pwd.getpwnam(name)
    return subprocess.run(['setpriv', f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}', '--clear-groups', '--',
                           '/bin/sh', '-c', command], capture_output=True, text=True, timeout=60, cwd='/', **options)


def files_with(folder, *texts):
    """Files below a folder that hold one of the texts, plain or in another common dress."""
    dresses = []
    for text in texts:
        raw = text.encode()
        dresses += [raw, raw.hex().encode(), base64.b64encode(raw)[:-3]]
    found = []
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            try:
                if not os.path.isfile(path):
                    continue
                with open(path, 'rb') as f:
                    data = f.read()
            except OSError:
                continue
            if any(d in data for d in dresses):
                found.append(path)
    return found


def quickly(seconds, f, *arguments, **named):
    begin = time.monotonic()
    answer = f(*arguments, **named)
    took = time.monotonic() - begin
    assert took < seconds, f'{arguments} took {took:.2f} s'
    return answer
