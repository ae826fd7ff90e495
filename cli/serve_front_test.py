#!/usr/bin/python3
"""What is around a request to wellspring serve: keys, TLS, limits, draining, several models. On a small model with random weights."""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from use_model_test import CONTEXT, PROGRAM, PROMPT, Server, main, run, write_adapter  # noqa: E402

KEY, OTHER = 'a-key-of-sufficient-length', 'another-key-of-that-length'
LONG = {'prompt': PROMPT, 'max_tokens': CONTEXT - 100, 'temperature': 0, 'ignore_eos': True}
SOME = {**LONG, 'max_tokens': 500}
SHORT = {'prompt': PROMPT, 'max_tokens': 2}


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)
    return path


def bearer(key):
    return {'Authorization': f'Bearer {key}'}


def until(said, seconds=30):
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, 'it took too long'
        time.sleep(0.005)


def test_refused_at_the_start(folder, model):
    keys, bad = write(f'{folder}/keys', f'ada {KEY}\n'), write(f'{folder}/bad', f'ada {KEY}\nbo\n')
    cert = write(f'{folder}/cert', 'no certificate')
    for words, said, status in (((model, '--host', '0.0.0.0'), '--api-key-file', 64), ((model, '--tls-cert', cert), '--tls-key', 64),
                                ((model, '--tls-cert', cert, '--tls-key', cert), 'PEM', 78), ((model, '--api-key-file', bad), 'bad:2', 65),
                                ((model, '--api-key-file', f'{folder}/none'), 'none', 74), ((), '--models', 64),
                                ((model, '--allow-origin', 'chat.example'), 'chat.example', 64), ((model, model), 'two models', 64),
                                ((model, '--max-body-mb', '0'), '--max-body-mb', 64), ((model, '--memory-gb', '0.000001'), '--memory-gb', 78),
                                (('--models', write(f'{folder}/m.yaml', f'models:\n  - {{path: {model}, wights: q4}}\n')), 'm.yaml:2', 78)):
        error = run('serve', '--port', '0', *words, status=status)
        assert 'error: ' in error and said in error and KEY not in error, (words, error)
    assert keys


def test_keys(folder, model):
    s = Server(model, '--api-key-file', write(f'{folder}/keys', f'# people\nada {KEY}\n'), '--log', key=OTHER)
    try:
        for headers in ({}, bearer('wrong-key-wrong-key')):
            status, text = s.ask('POST', '/v1/completions', SHORT, headers=headers)
            assert status == 401 and json.loads(text)['error']['code'] == 'invalid_api_key', text
        assert s.ask('GET', '/metrics')[0] == 401 and s.ask('GET', '/health/ready')[0] == 200 and s.ask('GET', '/')[0] == 200
        assert s.ask('POST', '/v1/completions', SHORT, headers={**bearer(KEY), 'X-Request-Id': 'mine'})[0] == 200
        assert s.headers['X-Request-Id'] == 'mine'
        assert s.ask('POST', '/v1/completions', SHORT, headers=bearer(OTHER))[0] == 200
        assert s.headers['X-Request-Id'].startswith('req-')
        assert s.ask('POST', '/v1/completions', SHORT, headers={**bearer(KEY), 'Host': 'evil.example'})[0] == 421
        assert s.ask('POST', '/v1/completions', SHORT, headers={**bearer(KEY), 'Origin': 'https://evil.example'})[0] == 403
        # What one key has said is not found computed by another one's request.
        cached = [json.loads(s.ask('POST', '/v1/completions', {'prompt': 'a prompt that is long enough', 'max_tokens': 1}, headers=bearer(k))[1])
                  ['usage']['prompt_tokens_details']['cached_tokens'] for k in (KEY, OTHER, KEY)]
        assert cached[0] == cached[1] == 0 < cached[2], cached
    finally:
        log = s.stop()
    assert ' mine ada' in log and ' default' in log and KEY not in log and OTHER not in log, log


def test_tls(folder, model):
    cert, key = f'{folder}/cert.pem', f'{folder}/key.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert,
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '2'], check=True, capture_output=True)
    s = Server(model, '--tls-cert', cert, '--tls-key', key)
    try:
        url = f'https://localhost:{s.port}/v1/completions'
        curl = ['curl', '-sS', '--max-time', '30', '--resolve', f'localhost:{s.port}:127.0.0.1', '-d', json.dumps(SHORT), url]
        good = subprocess.run([*curl, '--cacert', cert], capture_output=True, text=True)
        assert json.loads(good.stdout)['object'] == 'text_completion', good
        assert subprocess.run(curl, capture_output=True).returncode == 60  # nobody vouches for it
        status, text = s.ask('GET', '/health')
        assert status == 400 and 'https://' in text, text
        c = http.client.HTTPSConnection('localhost', s.port, context=ssl.create_default_context(cafile=cert))
        for _ in range(3):  # one connection
            c.request('POST', '/v1/completions', json.dumps(SHORT))
            assert json.loads(c.getresponse().read())['usage']['completion_tokens'] <= 2
        c.close()
    finally:
        s.stop()


def test_too_much_and_too_long(folder, model):
    s = Server(model, '--max-body-mb', '1', '--request-seconds', '0.05')
    try:
        status, text = s.ask('POST', '/v1/completions', raw=json.dumps({'prompt': 'x' * (1 << 20)}))
        assert status == 413 and s.headers['X-Request-Id'], text
        status, text = s.ask('POST', '/v1/completions', LONG)
        assert status == 504 and json.loads(text)['error']['code'] == 'request_timeout', text
        status, text = s.ask('POST', '/v1/completions', {**LONG, 'stream': True})
        last = text.strip().split('\n\n')[-1]
        assert status == 200 and json.loads(last[6:])['error']['code'] == 'request_timeout', last
        until(lambda: s.good('/health')['requests'] == 0)
    finally:
        s.stop()


def test_full_is_429(folder, model):
    s = Server(model, '--sequences', '1', '--waiting', '1', '--batch-tokens', '64')
    seen = []
    try:
        threads = [threading.Thread(target=lambda: seen.append((s.ask('POST', '/v1/completions', SOME)[0], s.headers['Retry-After']))) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        states = sorted(status for status, _ in seen)
        assert set(states) == {200, 429}, states
        assert s.good('/v1/completions', SHORT)['object'] == 'text_completion'
    finally:
        s.stop()


def test_limit_of_a_key(folder, model):
    s = Server(model, '--key-requests', '1', '--api-key-file', write(f'{folder}/keys', f'ada {KEY}\nbo {OTHER}\n'))
    try:
        first = threading.Thread(target=s.ask, args=('POST', '/v1/completions', SOME), kwargs={'headers': bearer(KEY)})
        first.start()
        until(lambda: s.good('/health')['requests'])
        status, text = s.ask('POST', '/v1/completions', SHORT, headers=bearer(KEY))
        assert status == 429 and s.headers['Retry-After'] and 'limit' in text, (status, text)
        assert s.ask('POST', '/v1/completions', SHORT, headers=bearer(OTHER))[0] == 200
        first.join()
        assert s.ask('POST', '/v1/completions', SHORT, headers=bearer(KEY))[0] == 200
    finally:
        s.stop()


def test_draining(folder, model):
    s = Server(model)
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
    c.request('POST', '/v1/completions', json.dumps({**SOME, 'stream': True}))
    r = c.getresponse()
    assert r.read(10).startswith(b'data: ')
    s.process.send_signal(signal.SIGTERM)
    until(lambda: s.ask('GET', '/health/ready')[0] == 503)
    assert s.ask('GET', '/health/live')[0] == 200
    status, text = s.ask('POST', '/v1/completions', SHORT)
    assert status == 503 and s.headers['Retry-After'] and 'stopping' in text, text
    assert r.read().endswith(b'data: [DONE]\n\n')
    assert s.process.wait(30) == 0
    s.stop()


def last_event(text):
    return json.loads(text.strip().split('\n\n')[-1].split('data: ')[-1])


class Running(threading.Thread):
    """A long request whose answer has begun, or is being made; `status` and `text` once it has ended."""

    def __init__(self, s, path='/v1/completions', beside=0, **more):
        super().__init__()
        self.s, self.path, self.body, self.begun = s, path, {**LONG, **more}, threading.Event()
        if path == '/v1/responses':
            self.body = {'input': PROMPT, 'max_output_tokens': CONTEXT - 100, 'ignore_eos': True, 'temperature': 0, **more}
        self.start()
        if self.body.get('stream'):
            assert self.begun.wait(30)
        else:
            until(lambda: s.good('/health')['requests'] > beside)

    def run(self):
        c = http.client.HTTPConnection('127.0.0.1', self.s.port, timeout=60)
        c.request('POST', self.path, json.dumps(self.body))
        r = c.getresponse()
        first = r.read(10)
        self.begun.set()
        self.status, self.text = r.status, (first + r.read()).decode()
        c.close()


def test_a_second_signal_ends_at_once(folder, model):
    s = Server(model)
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
    c.request('POST', '/v1/completions', json.dumps({**LONG, 'stream': True}))
    c.getresponse().read(10)
    s.process.send_signal(signal.SIGTERM)
    until(lambda: s.ask('GET', '/health/ready')[0] == 503)
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(5) == -signal.SIGTERM
    s.process.stdout.close()
    s.log.close()


def test_drain_has_an_end(folder, model):
    """What is cut off says so, in a stream and whole."""
    for path in ('/v1/completions', '/v1/responses'):
        s = Server(model, '--drain-seconds', '0')
        some = [Running(s, path, stream=True), Running(s, path, beside=1)]
        assert '--drain-seconds' in s.stop()
        for r in some:
            r.join()
            assert r.status == (200 if r.body.get('stream') else 503), (r.status, r.text[-300:])
            assert last_event(r.text)['error']['code'] == 'stopping' and '[DONE]' not in r.text, r.text[-300:]


def test_what_is_wrong_shows_before_a_model_is_loaded(folder, model):
    """A model that cannot even be found is not looked for when a file of keys or certificates is wrong, or the port is taken."""
    taken = socket.create_server(('127.0.0.1', 0))
    bad = write(f'{folder}/bad', 'ada\n')
    for words, said, status in ((('--api-key-file', bad), 'bad:1', 65), (('--tls-cert', bad, '--tls-key', bad), 'PEM', 78),
                                (('--port', str(taken.getsockname()[1])), 'in use', 74)):
        error = run('serve', f'{folder}/nowhere', *(() if '--port' in words else ('--port', '0')), *words, status=status)
        assert said in error, (words, error)
    taken.close()


def choice_of(s, name):
    status, text = s.ask('POST', '/v1/completions', {**LONG, 'max_tokens': 24, 'model': name})
    return status, json.loads(text)['choices'][0] if status == 200 else json.loads(text)['error']


def until_answered(s, name, seconds=20):
    """The answer of a model that may need to be loaded anew; till then each refusal is a 503 that says why."""
    end = time.monotonic() + seconds
    while True:
        status, said = choice_of(s, name)
        if status == 200:
            return said
        assert status == 503 and 'model.safetensors' in said['message'] and time.monotonic() < end, (status, said)
        time.sleep(0.2)


def quantized(folder, model, name, seed):
    """A mapped model; of another seed another one of the same size."""
    plain = f'{folder}/{name}-plain'
    subprocess.run(['cp', '-r', model, plain], check=True)
    with open(f'{plain}/model.safetensors', 'rb+') as f:
        begin = 8 + int.from_bytes(f.read(8), 'little')
        f.seek(begin)
        rows = f.read(384 * 128)
        f.seek(begin)
        f.write(rows[128 * seed:] + rows[:128 * seed])
    run('quantize', plain, '--to', 'q8', '--out', f'{folder}/{name}')
    with open(f'{folder}/{name}/model.safetensors', 'rb') as f:
        return f'{folder}/{name}/model.safetensors', f.read()


def test_mapped_file_changed_in_place(folder, model):
    """The server survives, no wrong token is given, the other model goes on, and the file is served again when it is whole."""
    file, first = quantized(folder, model, 'mapped', 0)
    _, second = quantized(folder, model, 'other', 1)
    _, third = quantized(folder, model, 'third', 2)
    assert len(first) == len(second) and first != second
    with Server(f'{folder}/mapped', model) as s:
        plain, before = choice_of(s, 'model'), choice_of(s, 'mapped')
        assert plain[0] == before[0] == 200
        wholes = {name: s.good('/v1/completions', {**LONG, 'model': name})['choices'][0]['text'] for name in ('model', 'mapped')}

        def write_in_place(content):
            with open(file, 'rb+') as f:
                f.write(content)

        def cut(size):
            os.truncate(file, size)

        for what, change, status in (('cut to nothing', lambda: cut(0), 503), ('cut', lambda: cut(len(first) // 2), 503),
                                     ('overwritten', lambda: write_in_place(second), 503)):
            some = [Running(s, stream=True, model='mapped'), Running(s, '/v1/responses', stream=True, model='mapped'), Running(s, model='mapped')]
            beside = Running(s, model='model')
            change()
            for r in some:
                r.join()
                if r.status == 200 and '"error":{' not in r.text and 'response.failed' not in r.text:
                    print(f'note: {what}: a request had ended before')
                    continue
                assert r.status == (200 if r.body.get('stream') else status), (what, r.status, r.text[-300:])
                assert 'model.safetensors' in r.text and 'changed on disk' in r.text and '[DONE]' not in r.text, (what, r.text[-300:])
                if r.path == '/v1/completions' and r.status == 200:
                    said = ''.join(json.loads(e[6:])['choices'][0]['text'] for e in r.text.split('\n\n') if '"choices"' in e)
                    assert wholes['mapped'].startswith(said.rstrip('\ufffd')), (what, said)
            beside.join()
            assert beside.status == 200 and json.loads(beside.text)['choices'][0]['text'] == wholes['model'], (what, beside.text[-300:])
            if what != 'overwritten':
                status_now, said = choice_of(s, 'mapped')
                assert status_now == 503 and 'model.safetensors' in said['message'], (what, status_now, said)
                write_in_place(first)
                assert until_answered(s, 'mapped') == before[1], what
            else:
                assert until_answered(s, 'mapped') != before[1]
            assert choice_of(s, 'model') == plain
        now = choice_of(s, 'mapped')
        with open(f'{file}.new', 'wb') as f:  # the right way: who serves the old one goes on
            f.write(third)
        os.rename(f'{file}.new', file)
        assert choice_of(s, 'mapped') == now


def test_models_share_a_budget(folder, model):
    models = write(f'{folder}/models.yaml', f'''
models:
  - {{name: first, path: {model}, aliases: [gpt-x]}}
  - {{name: second, path: {model}, dtype: bf16}}
  - {{name: huge, path: {model}, cache_gb: 0.01}}
''')
    s = Server('--models', models, '--cache-gb', '0.002', '--memory-gb', '0.004')
    try:
        def loaded():
            return {m['id']: m['loaded'] for m in s.good('/v1/models')['data']}
        assert loaded() == {'first': True, 'second': False, 'huge': False}, loaded()
        assert s.good('/v1/models/gpt-x')['id'] == 'first'
        assert s.good('/v1/completions', {**SHORT, 'model': 'second'})['model'] == 'second'
        assert loaded() == {'first': False, 'second': True, 'huge': False}, loaded()
        assert s.good('/v1/completions', {**SHORT, 'model': 'gpt-x'})['model'] == 'first'
        status, text = s.ask('POST', '/v1/completions', {**SHORT, 'model': 'huge'})
        assert status == 503 and '--memory-gb' in text, (status, text)
        status, text = s.ask('POST', '/v1/completions', {**SHORT, 'model': 'nobody'})
        assert status == 404 and json.loads(text)['error']['code'] == 'model_not_found', text
        long = threading.Thread(target=s.ask, args=('POST', '/v1/completions', {**SOME, 'model': 'first'}))
        long.start()
        until(lambda: s.good('/health')['requests'])
        status, text = s.ask('POST', '/v1/completions', {**SHORT, 'model': 'second'})
        assert status == 429 and s.headers['Retry-After'], (status, text)
        long.join()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(s.ask('POST', '/v1/completions', {**SHORT, 'model': 'second'})[0])) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert answers == [200] * 6, answers
        figures = s.ask('GET', '/metrics')[1]
        assert 'wellspring_model_loads_total{model="second"} 2\n' in figures and 'wellspring_requests_total{model="first"} 2\n' in figures, figures
    finally:
        log = s.stop()
    assert "'first' unloaded" in log and "'second' loaded" in log, log


SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\[\\"n])*",?)*)\})? (\S+)')


def metrics(s):
    """Values by name and labels of the text that Prometheus reads; what it would not read fails."""
    values, types = {}, {}
    for line in s.ask('GET', '/metrics')[1].splitlines():
        if line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            assert name not in types and kind in ('counter', 'gauge', 'histogram'), line
            types[name] = kind
        elif not line.startswith('# HELP '):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            family = re.sub('_(bucket|sum|count)$', '', name) if name not in types else name
            assert list(types)[-1] == family and (types[family] == 'histogram') == (family != name), line
            key = (name, *sorted(re.findall(r'(\w+)="([^"]*)"', labels or '')))
            assert key not in values, line
            values[key] = float(value)
    for (name, *labels), value in values.items():
        if name.endswith('_count') and types.get(name[:-6]) == 'histogram':
            base = {k: v for k, v in values.items() if k[0] == f'{name[:-6]}_bucket' and set(labels) < set(k[1:])}
            rising = [v for _, v in sorted((float(dict(k[1:])['le']), v) for k, v in base.items())]
            assert rising == sorted(rising) and len(rising) > 10 and rising[-1] == value, (name, labels, rising)
    return values


def test_metrics(folder, model):
    write_adapter(f'{folder}/law', 1)
    with Server(model, '--name', 'small', '--adapter', f'law={folder}/law') as s:
        before = metrics(s)
        for body in (SHORT, {**SHORT, 'model': 'law', 'ignore_eos': True}, {**SHORT, 'max_tokens': 1, 'n': 3}, {**SHORT, 'stream': True}):
            assert s.ask('POST', '/v1/completions', body)[0] == 200
        assert s.ask('POST', '/v1/completions', {**SHORT, 'model': 'none'})[0] == 404 and s.ask('GET', '/nowhere')[0] == 404
        assert s.ask('POST', '/v1/completions', raw='{')[0] == 400
        for stream in (True, False):
            body = json.dumps({**LONG, 'stream': stream})
            c = socket.create_connection(('127.0.0.1', s.port), timeout=30)
            c.sendall(f'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}'.encode())
            until(lambda: s.good('/health')['requests'])
            c.close()
            until(lambda: not s.good('/health')['requests'])
        until(lambda: metrics(s).get(('wellspring_requests_cancelled_total',)) == 2)
        now = metrics(s)

        def status(code):
            key = ('wellspring_responses_total', ('status', code))
            return now.get(key, 0) - before.get(key, 0)

        def answers(name, adapter, *more):
            return now[(f'wellspring_{name}', *sorted([('adapter', adapter), ('model', 'small'), *more]))]
        assert status('404') == 2 and status('400') == 1 and status('499') == 1 and status('500') == 0 and status('200') > 5, now
        ended = [answers('answers_total', '', ('finish', f)) for f in ('stop', 'length', 'cancelled', 'error')]
        assert sum(ended) == 7 and ended[2:] == [2, 0] and ended[1] >= 3, ended
        assert answers('time_to_first_token_seconds_count', '') == answers('e2e_request_latency_seconds_count', '') == 5
        assert 0 < answers('time_to_first_token_seconds_sum', '') <= answers('e2e_request_latency_seconds_sum', '')
        for name in ('time_to_first_token', 'time_per_output_token', 'e2e_request_latency'):
            assert answers(f'{name}_seconds_count', 'law') == 1, name
        assert answers('answers_total', 'law', ('finish', 'length')) == 1


def test_threads(folder, model):
    def threads(*words):
        with Server(model, *words) as s:
            s.good('/v1/completions', SHORT)
            return len(os.listdir(f'/proc/{s.process.pid}/task'))
    one = threads('--threads', '1')
    assert threads('-t', '4') >= one + 3
    for words in (('-t', '0'), ('--threads', '70000')):
        assert '--threads' in run('serve', model, *words, status=64) and '--threads' in run('generate', model, '--ids', '1', *words, status=64)


def test_a_model_that_breaks_later(folder, model):
    copy = f'{folder}/copy'
    subprocess.run(['cp', '-r', model, copy], check=True)
    s = Server(model, copy)
    try:
        os.remove(f'{copy}/model.safetensors')
        status, text = s.ask('POST', '/v1/completions', {**SHORT, 'model': 'copy'})
        assert status == 503 and 'model.safetensors' in text, (status, text)
        subprocess.run(['cp', f'{model}/model.safetensors', copy], check=True)
        assert s.good('/v1/completions', {**SHORT, 'model': 'copy'})['model'] == 'copy'
        assert s.good('/tokenize', {'prompt': 'x', 'model': 'copy'})['count'] > 0
    finally:
        s.stop()


if __name__ == '__main__':
    assert PROGRAM
    sys.exit(main(globals()))
