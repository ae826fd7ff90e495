#!/usr/bin/python3
"""The server under load, with faulty clients and bad input; after each a request gets the answer that it got before.

load_test.py BUILD [NAME] [--long]. --long: five minutes of load, 10,000 connections.
load_test.py --connect PORT N: the client of many connections, a process of its own for its files.
"""
import contextlib
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../cli'))

sys.setrecursionlimit(20000)  # for deep schemas
LONG = '--long' in sys.argv
ASKED = {'max_tokens': 24, 'temperature': 0, 'ignore_eos': True}


def request_bytes(body, path='/v1/completions', headers=''):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f'POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(data)}\r\n\r\n'.encode() + data


def connected(port, timeout=30, receive=0):
    s = socket.socket()
    if receive:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.settimeout(timeout)
    s.connect(('127.0.0.1', port))
    return s


def answer_of(s, until=b'\r\n'):
    """Status of the answer that comes on a socket (0: none came), and what came up to `until` at least."""
    got = b''
    with contextlib.suppress(OSError):
        while until not in got:
            more = s.recv(4096)
            if not more:
                break
            got += more
    found = re.match(rb'HTTP/1.1 (\d+) ', got)
    return int(found[1]) if found else 0, got


def status_of(s):
    return answer_of(s)[0]


def connect_many(port, n):
    """Holds n silent connections until a line comes; then asks on n others at once. Prints how many got which status; 0
    stands for no answer, and for a refusal that does not say why."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held = [connected(port) for _ in range(n)]
    print('open', flush=True)
    sys.stdin.readline()
    for s in held:
        s.close()
    counts, asked = {}, []
    for _ in range(n):
        asked.append(connected(port))
        with contextlib.suppress(OSError):
            asked[-1].sendall(b'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    for s in asked:
        status, got = answer_of(s, b'}')
        if status != 200 and not (b'"message":"too many connections' in got and b'\r\nretry-after: 1\r\n' in got.lower()):
            status = 0
        counts[status] = counts.get(status, 0) + 1
        s.close()
    print(json.dumps(counts), flush=True)


if len(sys.argv) == 4 and sys.argv[1] == '--connect':
    connect_many(int(sys.argv[2]), int(sys.argv[3]))
    sys.exit(0)

import use_model_test as small  # noqa: E402

os.environ.setdefault('WELLSPRING_THREADS', '1')  # clients and a small model need the rest


class ServerOnPort(small.Server):
    def __init__(self, model, port):
        self.log, self.port = tempfile.TemporaryFile('w+'), port
        self.process = subprocess.Popen([small.PROGRAM, 'serve', model, '--port', str(port), '--dtype', 'f32'], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        assert f':{port}' in self.process.stdout.readline()


class Served:
    """A server, and the answer that it gives; checked whenever asked, and at the end with the server's own."""

    def __init__(self, *words, server=None):
        self.server = server or small.Server(*words)
        self.port, self.pid = self.server.port, self.server.process.pid
        self.answer = self.ask()[1]

    def ask(self, **more):
        status, text = self.server.ask('POST', '/v1/completions', {'prompt': small.PROMPT, **ASKED, **more})
        return status, json.loads(text)['choices'][0] if status == 200 else text

    def same(self, within=10):
        """The same answer as at the start, at the latest after some seconds of 429 or 503."""
        end = time.monotonic() + within
        while True:
            try:
                status, choice = self.ask()
            except (http.client.HTTPException, OSError) as e:
                status, choice = 0, repr(e)
            if status == 200:
                assert choice == self.answer, (choice, self.answer)
                return
            assert status in (429, 503) and time.monotonic() < end, (status, choice)
            time.sleep(0.1)

    def idle(self, within=20):
        """No request is left in the engine."""
        end, seen = time.monotonic() + within, 0
        while seen < 3 and time.monotonic() < end:
            seen = 0 if self.server.good('/health')['requests'] else seen + 1
            time.sleep(0.05)
        assert seen == 3, self.server.good('/health')

    def memory(self):
        """Resident MB, and threads."""
        with open(f'/proc/{self.pid}/status') as f:
            text = f.read()
        return int(re.search(r'VmRSS:\s+(\d+)', text)[1]) / 1024, int(re.search(r'Threads:\s+(\d+)', text)[1])

    def cpu(self):
        """Seconds of processor time."""
        with open(f'/proc/{self.pid}/stat') as f:
            fields = f.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.same()
            log = self.server.stop()
            assert 'failed with 500' not in log, log
        else:
            self.server.process.kill()
            self.server.process.wait()


def bench(port, *words):
    p = subprocess.run([small.PROGRAM, 'bench', 'serve', f'http://127.0.0.1:{port}', '--json', '--prompt-tokens', '8-64', '--timeout', '60',
                        '--ids-below', '256', *words], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def test_twice_the_load(folder, model):
    seconds = 300 if LONG else 20
    # The cache of keys and values is full within a second: from then on memory has no reason to grow.
    with Served(model, '--sequences', '8', '--waiting', '16', '--cache-gb', '0.004') as s:
        lengths = ('--output-tokens', '200-400')
        able = bench(s.port, '--concurrency', '8', '--duration', '4', *lengths)
        rate = able['per_second']['requests']
        assert able['requests']['failed'] == 0, able
        seen, statuses = [], set()
        out = {}
        load = threading.Thread(target=lambda: out.update(bench(s.port, '--rate', str(2 * rate), '--duration', str(seconds), *lengths)))
        load.start()
        begin = time.monotonic()
        while load.is_alive():
            status, choice = s.ask()
            assert status in (200, 429, 503) and (status != 200 or choice == s.answer), (status, choice)
            statuses.add(status)
            seen.append((time.monotonic() - begin, *s.memory()))
            time.sleep(0.2)
        load.join()
        r = out['requests']
        assert r['sent'] == r['answered'] + r['failed'] and set(out['errors']) <= {'429', '503'}, out
        assert r['sent'] > 1.5 * rate * seconds and r['failed'] > 0 and out['per_second']['requests'] > 0.5 * rate, (rate, out)
        early, of = (max(x) for x in zip(*((mb, n) for t, mb, n in seen if t < seconds / 3)))
        late, n = (max(x) for x in zip(*((mb, n) for t, mb, n in seen if t > seconds / 2)))
        # A burst of connections may want more threads than there were; each has a stack, by huge pages 2 MB.
        assert late < early + max(4, 0.03 * early) + 2 * (n - of), (early, of, late, n)
        print(f'note: {rate:.0f} requests/s can be had; of {2 * rate:.0f}/s for {seconds} s {r["answered"]} were answered, '
              f'{r["failed"]} refused; memory {early:.0f} MB ({of} threads), later {late:.0f} MB ({n})')


def test_clients_that_vanish(folder, model):
    with Served(model) as s:
        for how in ('closed', 'reset', 'half'):
            some = []
            for i in range(40):
                c = connected(s.port)
                c.sendall(request_bytes({'prompt': f'{small.PROMPT} {i}', 'max_tokens': small.CONTEXT, 'ignore_eos': True, 'stream': i % 4 != 3}))
                some.append(c)
            for i, c in enumerate(some):
                if i % 4 < 2:
                    c.recv(100)
                if how == 'reset':
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                if how == 'half':
                    c.shutdown(socket.SHUT_WR)
                else:
                    c.close()
            s.idle()
            for c in some:
                c.close()
            s.same()


def test_clients_that_drip(folder, model):
    """Headers and bodies, a byte a second each; more of them than are served at once."""
    with Served(model) as s:
        whole = request_bytes({'prompt': 'x'})
        slow = [connected(s.port) for _ in range(300)]
        for i, c in enumerate(slow):
            with contextlib.suppress(OSError):
                c.sendall(whole[:10] if i % 2 else whole[:-8])
        slowest = 0
        for _ in range(20 if LONG else 6):
            for i, c in enumerate(slow):
                with contextlib.suppress(OSError):
                    c.send(b'x')
            begin = time.monotonic()
            s.same()
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(1)
        for c in slow:
            c.close()
        assert slowest < 8, slowest


def test_clients_that_never_read(folder, model):
    with Served(model) as s:
        deaf = []
        for i in range(100):
            c = connected(s.port, receive=2048)
            c.sendall(request_bytes({'prompt': f'{small.PROMPT} {i}', 'max_tokens': 1500, 'logprobs': 5, 'ignore_eos': True, 'stream': i % 2 == 0}))
            deaf.append(c)
        for _ in range(5):
            s.same(30)
        for c in deaf:
            c.close()
        s.idle()


def test_many_connections(folder, model):
    """Each gets an answer, if need be that there are too many: 384 are served at once, and twice as many wait; more are refused."""
    n = 10000 if LONG else 1000
    with Served(model) as s:
        p = subprocess.Popen([sys.executable, __file__, '--connect', str(s.port), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == 'open\n'
        s.same(20)
        p.stdin.write('\n'), p.stdin.flush()
        counts = {int(k): v for k, v in json.loads(p.stdout.readline()).items()}
        assert p.wait(60) == 0 and sum(counts.values()) == n, counts
        assert set(counts) <= {200, 503} and 200 in counts, counts
        print(f'note: of {n} connections got {counts}')


def test_file_limit(folder, model):
    """More connections than files: accepting pauses and does not burn the processor."""
    with Served(model) as s:
        resource.prlimit(s.pid, resource.RLIMIT_NOFILE, (100, 100))
        held = [connected(s.port) for _ in range(400)]
        before, begin = s.cpu(), time.monotonic()
        time.sleep(3)
        share = (s.cpu() - before) / (time.monotonic() - begin)
        for c in held:
            c.close()
        s.same(20)
        assert share < 0.3, share


def streams(s, n, ended):
    """n threads that each read one long stream; what they got goes to `ended`."""
    def one(i):
        c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
        try:
            c.request('POST', '/v1/completions', json.dumps({'prompt': f'{small.PROMPT} {i}', **ASKED, 'max_tokens': 1000, 'stream': True}))
            ended.append(c.getresponse().read().decode())
        except (http.client.HTTPException, OSError) as e:
            ended.append(repr(e))
        c.close()
    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    end = time.monotonic() + 20
    while s.server.good('/health')['requests'] < n and not ended and time.monotonic() < end:
        time.sleep(0.005)
    return threads


def test_sigterm_and_sigkill_under_load(folder, model):
    s = Served(model)
    port, answer = s.port, s.answer
    for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        ended = []
        threads = streams(s, 8, ended)
        s.server.process.send_signal(how)
        for t in threads:
            t.join()
        status = s.server.process.wait(60)
        if how == signal.SIGTERM:
            assert status == 0, status
            assert all(e.endswith('data: [DONE]\n\n') for e in ended), [e[-100:] for e in ended]
        else:
            assert status == -signal.SIGKILL
        s.server.process.stdout.close()
        s = Served(server=ServerOnPort(model, port))  # at once, on the same port
        assert s.answer == answer
    with s:
        pass


def test_model_replaced_while_mapped(folder, model):
    mapped, other = f'{folder}/q8', f'{folder}/other'
    small.run('quantize', model, '--to', 'q8', '--out', mapped)
    shutil.copytree(model, f'{folder}/plain')
    with open(f'{folder}/plain/model.safetensors', 'rb+') as f:  # each token gets the next one's embedding
        begin = 8 + struct.unpack('<Q', f.read(8))[0]
        f.seek(begin)
        rows = f.read(384 * 128)
        f.seek(begin)
        f.write(rows[128:] + rows[:128])
    small.run('quantize', f'{folder}/plain', '--to', 'q8', '--out', other)
    with Served(mapped) as s:
        os.rename(f'{other}/model.safetensors', f'{mapped}/model.safetensors')
        for _ in range(5):
            s.same()
        first = s.answer
    with Served(mapped) as s:
        assert s.answer != first


def deep(n):
    return b'{"prompt": ' + b'[' * n + b']' * n + b'}'


BAD = (
    ('over the context', {'prompt': 'word ' * 20000}, {400}),
    ('ids over the context', {'prompt': [5] * 1000000}, {400}),
    ('invalid UTF-8', b'{"prompt": "a\xff\xfe\xc3("}', {400}),
    ('cut UTF-8', b'{"prompt": "a\xe6\xb3', {400}),
    ('lone surrogate', b'{"prompt": "a\\ud800b", "max_tokens": 2}', {200, 400}),
    ('a NUL', b'{"prompt": "a\\u0000b", "max_tokens": 2}', {200}),
    ('a stop of 1 MB', {'prompt': 'a', 'stop': 'x' * (1 << 20), 'max_tokens': 2}, {200, 400}),
    ('stops of 1 MB in all', {'prompt': 'a', 'stop': [f'stop {i}' for i in range(100000)]}, {400}),
    ('a bias of 1 MB', {'prompt': 'a', 'logit_bias': {str(i): 1 for i in range(100000)}}, {400}),
    ('deep JSON', deep(100000), {400}),
    ('deeper JSON', deep(7 << 20), {400}),
    ('a number that is none', b'{"prompt": "a", "max_tokens": 1e999}', {400}),
    ('a great number', b'{"prompt": "a", "max_tokens": 123456789012345678901234567890}', {400}),
    ('less than none', {'prompt': 'a', 'max_tokens': -(1 << 63)}, {400}),
    ('a great temperature', {'prompt': 'a', 'temperature': 1e308, 'max_tokens': 2}, {200, 400}),
    ('a great seed', {'prompt': 'a', 'seed': (1 << 63) - 1, 'max_tokens': 2}, {200}),
    ('twice the same field', b'{"prompt": "a", "prompt": 5, "max_tokens": 2}', {200, 400}),
    ('16 MB of fields', {'prompt': 'a', 'max_tokens': 2, **{f'field {i}': i for i in range(600000)}}, {400}),
    ('no JSON', b'\x00' * 1000, {400}),
    ('nothing', b'', {400}),
    ('too large', b' ' * ((16 << 20) + 1), {413}),
)


def test_bad_bodies(folder, model):
    with Served(model) as s, Beside(s):
        for what, body, wanted in BAD:
            for path in ('/v1/completions', '/tokenize', '/detokenize') if isinstance(body, bytes) else ('/v1/completions',):
                c = connected(s.port)
                with contextlib.suppress(OSError):  # what is too large is refused before it was sent
                    c.sendall(request_bytes(body, path))
                status = status_of(c)
                c.close()
                assert status in wanted | ({400} if path != '/v1/completions' else set()) | ({200} if path == '/tokenize' else set()), (what, path, status)
                s.same()
        messages = [{'role': 'user', 'content': 'x'}] * 100000
        assert s.server.ask('POST', '/v1/chat/completions', {'messages': messages})[0] == 400
        s.same()


class Beside:
    """An ordinary request, again and again beside what a test does; each must get its usual tokens."""

    def __init__(self, served):
        self.served, self.stop, self.count, self.slowest, self.wrong = served, threading.Event(), 0, 0, []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            begin = time.monotonic()
            try:
                self.served.same()
            except AssertionError as e:
                self.wrong.append(str(e)[:300])
            self.count, self.slowest = self.count + 1, max(self.slowest, time.monotonic() - begin)
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.count and not self.wrong, self.wrong[:3]


def nested(n):
    schema = {'type': 'integer'}
    for _ in range(n):
        schema = {'type': 'object', 'properties': {'a': schema}, 'required': ['a']}
    return schema


def wide(n):
    return {'type': 'object', 'properties': {f'property {i}': {'anyOf': [{'type': 'string', 'maxLength': 1000}, {'type': 'number'}]} for i in range(n)}}


TREE = {'$defs': {'t': {'type': 'object', 'properties': {'l': {'$ref': '#/$defs/t'}, 'r': {'$ref': '#/$defs/t'}}, 'required': ['l', 'r']}}, '$ref': '#/$defs/t'}
FORMS = (
    *(('regex ' + r[:40], {'regex': r}) for r in (
        '(a+)+b', '(a|a)*b', '(a|aa)+$', '(.*)*x', '((a?){30}){30}a{30}', '(x+x+)+y', '.{1,100000}', '((a{1,100}){1,100}){1,100}', '(((((a*)*)*)*)*)*',
        '[a-z]{0,1000}[0-9]{0,1000}[a-z]{0,1000}!', '(' * 20000 + 'a' + ')' * 20000, 'a|' * 100000 + 'b', '(?:' + '|'.join(f'word{i}' for i in range(20000)) + ')*')),
    ('a schema of itself', {'json_schema': {'$ref': '#'}}),
    ('two of one another', {'json_schema': {'$defs': {'a': {'$ref': '#/$defs/b'}, 'b': {'$ref': '#/$defs/a'}}, '$ref': '#/$defs/a'}}),
    ('a tree without end', {'json_schema': TREE}),
    ('a list of itself', {'json_schema': {'type': 'array', 'items': {'$ref': '#'}, 'minItems': 1}}),
    ('nested', {'json_schema': nested(200)}),
    ('nested deeply', {'json_schema': nested(5000)}),
    ('wide', {'json_schema': wide(20000)}),
    ('a great enumeration', {'json_schema': {'enum': [f'word {i}' for i in range(50000)]}}),
    ('great counts', {'json_schema': {'type': 'array', 'items': {'type': 'string', 'minLength': 1000000000, 'maxLength': 2000000000}, 'minItems': 1000000000}}),
    ('alternatives of alternatives', {'json_schema': {'allOf': [{'anyOf': [{'type': 'object', 'properties': {f'p{i}': {'const': k}}} for k in range(20)]} for i in range(20)]}}),
    ('patterns', {'json_schema': {'type': 'string', 'pattern': '^(([a-z])+.)+[A-Z]([a-z])+$'}}),
    ('a grammar of itself', {'grammar': 'root ::= root root | root | "a"'}),
    ('a grammar to the left', {'grammar': 'root ::= a\na ::= b "x"\nb ::= a | "y"'}),
    ('a long grammar', {'grammar': 'root ::= r0\n' + '\n'.join(f'r{i} ::= "a" r{i + 1} | r{i + 1} "b" | r{i + 1} r{i + 1}' for i in range(3000)) + '\nr3000 ::= "c"'}),
    ('9 MB', {'regex': '|'.join(f'w{i}' for i in range(1000000))}),
    ('required without end', {'json_schema': {'type': 'object', 'required': [f'p{i}' for i in range(80000)]}}),
    ('nothing fits', {'regex': '[^\\x00-\\x{10ffff}]'}),
    ('tools without end', {'messages': [{'role': 'user', 'content': 'x'}], 'tool_choice': 'required',
                           'tools': [{'type': 'function', 'function': {'name': f'f{i}', 'parameters': TREE}} for i in range(100)]}),
)


def test_heavy_forms(folder, model):
    """What an answer must look like is compiled and kept within bounds; an ordinary request goes on beside it."""
    with Served(model, '--request-seconds', '20') as s, Beside(s) as beside:
        for what, form in FORMS:
            begin, slowest = time.monotonic(), beside.slowest
            beside.slowest = 0
            path = '/v1/chat/completions' if 'messages' in form else '/v1/completions'
            status, text = s.server.ask('POST', path, {'prompt': small.PROMPT, 'max_tokens': 64, 'temperature': 1, 'seed': 1, **form})
            seconds = time.monotonic() - begin
            error = json.loads(text)['error'] if status != 200 else {}
            assert status in (200, 400) and (status == 200 or error['message']), (what, status, text[:300])
            assert seconds < 15 and beside.slowest < 10, (what, seconds, beside.slowest)
            if seconds > 1 or beside.slowest > 1:
                print(f'note: {what}: {status} after {seconds:.1f} s, beside it at most {beside.slowest:.1f} s')
            beside.slowest = slowest
        assert s.memory()[0] < 800, s.memory()


LOOPS = (
    '{% for i in range(1000000000) %}x{% endfor %}', '{% for i in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}',
    "{{ 'x' * 1000000000 }}", '{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}',
    "{% set ns = namespace(s='x') %}{% for i in range(200) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    '{% for m in messages recursive %}{{ loop([m, m]) }}{% endfor %}')


def test_templates_that_loop(folder, model):
    """Found at the start or when a chat is asked for: the model goes on with other requests, and so does the one beside it."""
    for number, loop in enumerate(LOOPS):
        path = f'{folder}/{number}.jinja'
        with open(path, 'w') as f:
            f.write("{% if messages[0]['content'] != 'ws question' %}" + loop + '{% endif %}')
        with Served(model, '--chat-template', path) as s, Beside(s):
            begin = time.monotonic()
            status, text = s.server.ask('POST', '/v1/chat/completions', {'messages': [{'role': 'user', 'content': 'hi'}], 'max_tokens': 2})
            message = json.loads(text)['error']['message'] if status != 200 else ''
            assert status == 400 and f'{number}.jinja' in message and time.monotonic() - begin < 10, (loop, status, text[:300])
    path = f'{folder}/asked.jinja'
    with open(path, 'w') as f:  # the request says how often
        f.write("{% for i in range(often or 1) %}{{ messages[0]['content'] }}{% endfor %}")
    with Served(model, '--chat-template', path) as s, Beside(s):
        for more, wanted in (({}, 200), ({'chat_template_kwargs': {'often': 10**12}}, 400), ({'chat_template_kwargs': {'often': 'x' * (1 << 20)}}, 400),
                             ({'chat_template': '{% for i in range(1000000000) %}x{% endfor %}'}, 400)):
            begin = time.monotonic()
            status, text = s.server.ask('POST', '/v1/chat/completions', {'messages': [{'role': 'user', 'content': 'hi'}], 'max_tokens': 2, **more})
            assert status == wanted and time.monotonic() - begin < 10, (str(more)[:100], status, text[:300])


def test_forged_keys(folder, model):
    keys = f'{folder}/keys'
    key, sign = 'a-key-of-sufficient-length', 'another-key-of-that-length'
    with open(keys, 'w') as f:
        f.write(f'ada {key}\nbo sha256:{hashlib.sha256(sign.encode()).hexdigest()}\n')
    s = small.Server(model, '--api-key-file', keys)
    try:
        body = json.dumps({'prompt': small.PROMPT, **ASKED}).encode()

        def status(header):
            c = connected(s.port)
            with contextlib.suppress(OSError):
                c.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n' + header + b'Content-Length: %d\r\n\r\n' % len(body) + body)
            found = status_of(c)
            c.close()
            return found

        good = [s.ask('POST', '/v1/completions', raw=body, headers={'Authorization': f'Bearer {k}'}) for k in (key, sign)]
        assert [g[0] for g in good] == [200, 200] and json.loads(good[0][1])['choices'] == json.loads(good[1][1])['choices']
        hashed = hashlib.sha256(sign.encode()).hexdigest()
        for forged in (key[:-1], key + 'x', key.upper(), key + '\\0', f'{key},{sign}', f'sha256:{hashed}', hashed, 'ada', f'ada {key}', '', ' ', '*', 'x' * 10000,
                       "' or 1=1 --", 'null', f'{key}\t{key}'):
            assert status(f'Authorization: Bearer {forged}\r\n'.encode()) == 401, forged
        for header in (b'', b'Authorization: Basic YTpi\r\n', f'Authorization: {key}\r\n'.encode(), f'X-Api-Key: {key}\r\n'.encode(),
                       b'Authorization: Bearer \xff\xfe\x01\r\n', b'Authorization: Bearer ' + key.encode() + b'\x00\r\n',
                       b'Authorization: Bearer wrong-key-wrong-key\r\nAuthorization: Bearer ' + key.encode() + b'\r\n'):
            assert status(header) in (400, 401), header
        again = s.ask('POST', '/v1/completions', raw=body, headers={'Authorization': f'Bearer {key}'})
        assert json.loads(again[1])['choices'] == json.loads(good[0][1])['choices']
        assert s.ask('GET', '/metrics', headers={'Authorization': f'Bearer {key}'})[0] == 200
    finally:
        log = s.stop()
    assert key not in log and sign not in log


def endless(s, begin, again, most=64 << 20):
    """Status that an endless request gets, and the bytes that were taken of it."""
    c = connected(s.port)
    taken = 0
    try:
        c.sendall(begin)
        while taken < most:
            taken += c.send(again)
    except OSError:
        pass
    status = status_of(c)
    c.close()
    return status, taken


def test_endless_requests(folder, model):
    post = b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n'
    with Served(model) as s, Beside(s):
        before = s.memory()[0]
        for what, begin, again, wanted in (
                ('headers', b'GET /health HTTP/1.1\r\nHost: localhost\r\n', b'X-More: 12345678\r\n' * 100, {431}),
                ('one header', b'GET /health HTTP/1.1\r\nX-Long: ', b'x' * 10000, {431}),
                ('target', b'GET /', b'a' * 10000, {414, 431}),
                ('body in chunks', post + b'Transfer-Encoding: chunked\r\n\r\n', b'1000\r\n' + b' ' * 4096 + b'\r\n', {413}),
                ('a chunk without end', post + b'Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n', b' ' * 65536, {413}),
                ('small chunks', post + b'Transfer-Encoding: chunked\r\n\r\n', b'1\r\n \r\n' * 5000, {413}),
                ('announced', post + b'Content-Length: 99999999999999\r\n\r\n', b' ' * 65536, {413}),
                ('length that overflows', post + b'Content-Length: 999999999999999999999999\r\n\r\n', b' ', {400, 413})):
            status, taken = endless(s, begin, again)
            assert status in wanted or (status == 0 and taken < 48 << 20), (what, status, taken)
            s.same()
        assert s.memory()[0] < before + 150, (before, s.memory())


def main():
    sys.argv = [w for w in sys.argv if w != '--long']  # what is left is a name, if anything
    return small.main(globals())


if __name__ == '__main__':
    sys.exit(main())
