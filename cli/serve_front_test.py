#!/usr/bin/python3
"""What is around a request to wellspring serve: keys, TLS, limits, draining, several models. On a small model with random weights."""
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from use_model_test import CONTEXT, PROGRAM, PROMPT, Server, main, run  # noqa: E402

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
    s = Server(model, '--drain-seconds', '0.1')
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
    c.request('POST', '/v1/completions', json.dumps({**LONG, 'stream': True}))
    c.getresponse().read(10)
    assert '--drain-seconds' in s.stop()


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
