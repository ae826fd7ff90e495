#!/usr/bin/python3
"""wellspring generate, chat, serve and export as a user meets them, on a small model with random weights."""
import contextlib
import http.client
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ['WELLSPRING_BINARY']
CONTEXT = 2048
PROMPT = 'the water of the spring'


def write_model(folder, vocab):
    """A Qwen2 of width 32 whose weights are large enough that its tokens vary."""
    config = {'architectures': ['Qwen2ForCausalLM'], 'model_type': 'qwen2', 'hidden_act': 'silu', 'hidden_size': 32,
              'intermediate_size': 48, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 2,
              'vocab_size': vocab, 'max_position_embeddings': CONTEXT, 'rms_norm_eps': 1e-6, 'rope_theta': 10000.0,
              'tie_word_embeddings': True}
    shapes = {'model.embed_tokens.weight': (vocab, 32), 'model.norm.weight': (32,)}
    for i in range(2):
        at = f'model.layers.{i}.'
        for name, rows in (('q', 32), ('k', 16), ('v', 16)):
            shapes[f'{at}self_attn.{name}_proj.weight'], shapes[f'{at}self_attn.{name}_proj.bias'] = (rows, 32), (rows,)
        shapes[f'{at}self_attn.o_proj.weight'] = (32, 32)
        shapes[f'{at}mlp.gate_proj.weight'] = shapes[f'{at}mlp.up_proj.weight'] = (48, 32)
        shapes[f'{at}mlp.down_proj.weight'] = (32, 48)
        shapes[f'{at}input_layernorm.weight'] = shapes[f'{at}post_attention_layernorm.weight'] = (32,)
    write_folder(folder, config, shapes)


def write_folder(folder, config, shapes, width=0.4):
    """config.json and random weights of that width; norms are about 1."""
    draw, header, data = random.Random(5), {}, b''
    for name, shape in shapes.items():
        n = shape[0] * (shape[1] if len(shape) == 2 else 1)
        plain = 'norm' in name or ('.ln_' in name and name.endswith('.weight'))
        values = [1.0] * n if plain else [draw.gauss(0, width) for _ in range(n)]
        header[name] = {'dtype': 'F32', 'shape': list(shape), 'data_offsets': [len(data), len(data) + 4 * n]}
        data += struct.pack(f'<{n}f', *values)
    text = json.dumps(header).encode()
    os.makedirs(folder, exist_ok=True)
    with open(f'{folder}/config.json', 'w') as f:
        json.dump(config, f)
    with open(f'{folder}/model.safetensors', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def read_safetensors(path):
    with open(path, 'rb') as f:
        raw = f.read()
    n = struct.unpack('<Q', raw[:8])[0]
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name == '__metadata__':
            continue
        begin, end = t['data_offsets']
        kind = {'F32': 'f', 'I64': 'q', 'I32': 'i'}[t['dtype']]
        part = raw[8 + n + begin:8 + n + end]
        out[name] = (t['shape'], struct.unpack(f'<{len(part) // struct.calcsize(kind)}{kind}', part))
    return out


def run(*words, text=None, status=0):
    p = subprocess.run([PROGRAM, *words], input=text, capture_output=True, text=True, timeout=120)
    assert p.returncode == status, f'{words}: status {p.returncode}, not {status}: {p.stderr or p.stdout}'
    return p.stdout if status == 0 else p.stderr


def generate(model, *words):
    return json.loads(run('generate', model, '--json', *words))


class Server:
    def __init__(self, *words, key=''):
        self.log = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([PROGRAM, 'serve', '--port', '0', '--dtype', 'f32', *words], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True, env={**os.environ, 'WELLSPRING_API_KEY': key})
        line = self.process.stdout.readline()
        assert '://127.0.0.1:' in line, line
        self.port = int(line.split('://127.0.0.1:')[1].split()[0])

    def ask(self, method, path, body=None, raw=None, headers={}):
        """Status and text; self.headers of the answer."""
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        c.request(method, path, raw if raw is not None else None if body is None else json.dumps(body),
                  {'Content-Type': 'application/json', **headers})
        r = c.getresponse()
        text, self.headers = r.read().decode(), r.headers
        c.close()
        return r.status, text

    def good(self, path, body=None):
        status, text = self.ask('GET' if body is None else 'POST', path, body)
        assert status == 200, (path, status, text)
        return json.loads(text)

    def events(self, path, body):
        status, text = self.ask('POST', path, {**body, 'stream': True})
        assert status == 200, (status, text)
        lines = [line[6:] for line in text.split('\n\n') if line]
        assert lines[-1] == '[DONE]', lines[-1]
        return [json.loads(line) for line in lines[:-1]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """What it wrote to its log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        self.log.seek(0)
        with self.log:
            return self.log.read()


def argmax(row):
    return max(range(len(row)), key=lambda i: row[i])


def made_vocab(model):
    """The ids that have a text: only those are drawn."""
    with open(f'{model}/tokenizer.json') as f:
        t = json.load(f)
    return max([*t['model']['vocab'].values(), *(a['id'] for a in t['added_tokens'])]) + 1


def logits_of(folder, model, ids, *words):
    path = f'{folder}/logits.safetensors'
    run('generate', model, '--ids', ','.join(map(str, ids)), '--dump-logits', path, *words)
    dumped = read_safetensors(path)
    shape, values = dumped['logits']
    assert list(dumped['ids'][1]) == ids and shape[:2] == [1, len(ids)], shape
    return [values[i * shape[2]:(i + 1) * shape[2]] for i in range(len(ids))]


def test_greedy_follows_the_dumped_logits(folder, model):
    made = generate(model, '--prompt', PROMPT, '--greedy', '--max-tokens', '24', '--dtype', 'f32')
    assert made['tokens'] == len(made['ids']) == 24 and made['finish'] == 'length', made
    assert len(set(made['ids'])) > 3, made['ids']
    rows = logits_of(folder, model, made['prompt_ids'] + made['ids'], '--dtype', 'f32')
    first = made['prompt_tokens'] - 1
    assert [argmax(r[:made_vocab(model)]) for r in rows[first:first + 24]] == made['ids']


def test_bf16_is_near_f32(folder, model):
    ids = list(range(20, 40))
    exact, rough = (logits_of(folder, model, ids, '--dtype', t) for t in ('f32', 'bf16'))
    norm = sum(x * x for r in exact for x in r) ** 0.5
    away = sum((x - y) ** 2 for r, s in zip(exact, rough) for x, y in zip(r, s)) ** 0.5
    assert 0 < away < 0.05 * norm, away / norm


def test_ids_and_prompt_agree_and_output_is_text(folder, model):
    made = generate(model, '--prompt', PROMPT, '--greedy', '--max-tokens', '16')
    again = generate(model, '--ids', ','.join(map(str, made['prompt_ids'])), '--greedy', '--max-tokens', '16')
    assert again['ids'] == made['ids'] and again['text'] == made['text']
    shown = run('generate', model, '--prompt', PROMPT, '--greedy', '--max-tokens', '16')
    assert shown == PROMPT + made['text'] + '\n', shown


def test_sampling(folder, model):
    def ids(*words):
        return generate(model, '--prompt', PROMPT, '--max-tokens', '16', *words)['ids']
    greedy = ids('--greedy')
    assert ids('--temperature', '0') == ids('--top-k', '1') == ids('--top-p', '1e-9') == ids('--top-p', '0') == greedy
    assert ids('--seed', '7') == ids('--seed', '7')
    assert ids('--seed', '7') != ids('--seed', '8')
    assert ids('--seed', '7', '--temperature', '5') != ids('--seed', '7')


def test_stop_strings(folder, model):
    text = generate(model, '--prompt', PROMPT, '--greedy', '--max-tokens', '40')['text']
    stop = text[len(text) // 2:len(text) // 2 + 3]
    made = generate(model, '--prompt', PROMPT, '--greedy', '--max-tokens', '40', '--stop', stop, '--stop', 'never seen')
    assert made['text'] == text[:text.index(stop)] and made['finish'] == 'stop', (made, stop)


def test_model_without_tokenizer(folder, model):
    bare = f'{folder}/bare'
    shutil.copytree(model, bare)
    os.remove(f'{bare}/tokenizer.json')
    assert run('generate', bare, '--ids', '5,6,7', '--greedy', '--max-tokens', '4').count(',') == 3
    assert 'tokenizer.json' in run('generate', bare, '--prompt', 'x', status=64)
    assert '--stop' in run('generate', bare, '--ids', '5', '--stop', 'x', status=64)
    for command in ('chat', 'serve'):
        run(command, bare, text='', status=74)


def test_bad_commands(folder, model):
    for words, said in (((), 'give a prompt'), (('--prompt', 'a', '--ids', '1'), 'not both'),
                        (('--ids', '1,x'), "'x'"), (('--ids', '1,-2'), "'-2'"), (('--ids', '99999'), '99999'),
                        (('--prompt', 'a', '--dtype', 'f64'), 'f64'), (('--prompt', 'a', '--top-p', '-0.1'), 'top'),
                        (('--prompt', 'a', '--temperature', '-1'), 'temperature'), (('--prompt', 'a', '--top-k', '-1'), 'top'),
                        (('--prompt', 'a', '--max-tokens', '0'), '--max-tokens'), (('--prompt', 'a', '--stop', ''), 'stop'),
                        (('--ids', ','.join(['5'] * CONTEXT)), 'context')):
        error = run('generate', model, *words, status=64)
        assert error.startswith('error: ') and said in error, (words, error)
    assert run('generate', f'{folder}/nowhere', '--ids', '1', status=74).startswith('error: ')
    os.makedirs(f'{folder}/demo/run/checkpoints')
    assert f'did you mean {folder}/demo/run?' in run('generate', f'{folder}/demo', '--ids', '1', status=74)
    run('generate', model, '--ids', '1', '--dump-logits', f'{folder}/no/such/folder/x.safetensors', status=74)


def test_damaged_model(folder, model):
    bad = f'{folder}/bad'
    shutil.copytree(model, bad)
    with open(f'{bad}/model.safetensors', 'rb') as f:
        raw = f.read()
    with open(f'{bad}/model.safetensors', 'wb') as f:
        f.write(raw[:len(raw) // 2])
    assert 'model.safetensors' in run('generate', bad, '--ids', '1', status=65)
    with open(f'{bad}/config.json', 'w') as f:
        f.write('{"model_type": ')
    assert 'config.json' in run('generate', bad, '--ids', '1', status=65)


def test_chat(folder, model):
    words = ('chat', model, '--max-tokens', '8', '--temperature', '0', '--dtype', 'f32')
    one = run(*words, text='hello there\n')
    two = run(*words, text='hello there\n\n/clear\nhello there\n/quit\nnot read\n')
    assert one.strip() and two == one + one, (one, two)
    assert run(*words, text='hello there\nand more\n').startswith(one)
    p = subprocess.run([PROGRAM, *words], input='word ' * CONTEXT + '\nhello there\n', capture_output=True, text=True, timeout=120)
    assert p.returncode == 0 and 'context' in p.stderr and p.stdout == one, p
    stop = one.strip()[2:4]
    short = run(*words, '--stop', stop, text='hello there\n')
    assert short.strip('\n') == one[:one.index(stop)].strip('\n'), (one, short)
    quoted = run(*words, text='"""hello\nthere"""\n')
    assert quoted == run(*words, text='hello\\\nthere\n') != one, (quoted, one)
    saved = f'{folder}/said.json'
    three = run(*words, text=f'hello there\n/again\nand more\n/undo\n/save {saved}\n/undo\nhello there\n')
    assert three.startswith(one + one) and three.endswith(one), three
    with open(saved) as f:
        said = json.load(f)
    assert [m['role'] for m in said] == ['user', 'assistant'] and said[0]['content'] == 'hello there', said
    assert '/undo' in run(*words, text='/help\n') and 'no/such' in subprocess.run(
        [PROGRAM, *words], input='/save no/such/folder/x\n', capture_output=True, text=True, timeout=120).stderr
    assert run('chat', model, '--max-tokens', '0', status=64) and run('chat', model, '--stop', '', status=64)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *words, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(words[0], words, {**os.environ, 'TERM': 'xterm', **environment})
        self.seen = ''

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def until(self, text, seconds=30):
        """What is shown until `text` is; it is taken away, so that the next one looks behind it."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end and select.select([self.fd], [], [], 1)[0] is not None, (text, self.seen[-500:])
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors='replace')
                except OSError:  # it has ended
                    assert text in self.seen, (text, self.seen[-500:])
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self, seconds=20):
        """Its exit status, when it ends by itself."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.fd, 65536).decode(errors='replace')
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f'it does not end: {self.seen[-500:]}')


def test_chat_in_a_terminal(folder, model):
    """Lines are edited, and come back with the arrow keys also in the next chat; Ctrl-C and Ctrl-D as without editing."""
    words = (PROGRAM, 'chat', model, '--max-tokens', '8', '--temperature', '0', '--dtype', 'f32')
    up, left, history, saved = '\x1b[A', '\x1b[D', f'{folder}/state/wellspring/chat_history', f'{folder}/said.json'

    def ready(terminal):
        """A prompt is shown: keys are the editor's from there on."""
        terminal.until('> ')

    def said():
        with open(saved) as f:
            return [m['content'] for m in json.load(f) if m['role'] == 'user']

    t = Terminal(*words, XDG_STATE_HOME=f'{folder}/state')
    ready(t)
    t.type('helo 泉x' + left * 4 + 'l' + '\x05\x7f\n')  # a letter inside, the last one away
    ready(t)
    t.type('"""two\nlines"""\n')
    ready(t)
    t.type(f'/save {saved}\n')
    t.until('saved')
    ready(t)
    assert said() == ['hello 泉', 'two\nlines'], said()
    t.type('\x04')
    assert t.end() == 0
    with open(history) as f:
        assert f.read() == f'hello 泉\n"""two\nlines"""\n/save {saved}\n'
    assert os.stat(history).st_mode & 0o777 == 0o600
    os.chmod(history, 0o644)
    t = Terminal(*words, XDG_STATE_HOME=f'{folder}/state')
    ready(t)
    t.type(up * 4 + ' again\n')
    ready(t)
    t.type(up * 2 + '\n')  # the /save
    t.until('saved')
    ready(t)
    assert said() == ['hello 泉 again'], said()
    t.type('some words\x03')  # Ctrl-C drops the line where lines are read,
    t.until('Ctrl-D or /exit leaves')
    ready(t)
    t.type('hello there\n')  # and goes on; the conversation is whole
    ready(t)
    t.type(f'/save {saved}\n')
    t.until('saved')
    ready(t)
    assert said() == ['hello 泉 again', 'hello there'], said()
    t.type('\x03')
    t.until('Ctrl-D or /exit leaves')
    ready(t)
    t.type('\x03')  # twice in a row it leaves
    assert t.end() == 0
    assert os.stat(history).st_mode & 0o777 == 0o600
    t = Terminal(*words, '--no-history', XDG_STATE_HOME=f'{folder}/none')
    ready(t)
    t.type('nobody keeps this\n')
    ready(t)
    t.type('\x04')
    assert t.end() == 0 and not os.path.exists(f'{folder}/none')
    t = Terminal(PROGRAM, 'chat', patient_model(folder, model), '--max-tokens', '100000', *words[5:], XDG_STATE_HOME=f'{folder}/state')
    ready(t)
    t.type('hello there\n')
    t.until('hello there\r\n')
    t.until(' ')  # the answer has begun: the terminal is no longer the editor's
    t.type('\x03')  # stops an answer
    t.until('[stopped]')
    t.type('\x03')  # as does one that comes too late
    t.until('Ctrl-D or /exit leaves')
    ready(t)
    t.type(f'/save {saved}\n')
    t.until('saved')
    ready(t)
    assert said() == ['hello there'], said()
    t.type('\x04')
    assert t.end() == 0


def test_no_interrupt_is_lost(folder, model):
    """Ctrl-C a moment after the one that stopped an answer, at whatever point between the answer and the next line; and
    signals that come while a line is edited."""
    saved = f'{folder}/said.json'
    t = Terminal(PROGRAM, 'chat', patient_model(folder, model), '--max-tokens', '100000', '--no-history')
    t.until('> ')
    for sent, typed in ((signal.SIGWINCH, 'and mo'), (signal.SIGINT, 're')):
        t.type(typed)
        t.until(typed)
        os.kill(t.pid, sent)
    t.until('Ctrl-D or /exit leaves')
    t.until('> ')
    draw = random.Random(3)
    for _ in range(40):
        t.type('hello there\n')
        t.until('hello there\r\n')
        t.until(' ')
        t.type('\x03')
        t.until('[stopped]')
        time.sleep(draw.uniform(0, 0.001))
        t.type('\x03')
        t.until('Ctrl-D or /exit leaves')
        t.until('> ')
    t.type(f'/save {saved}\n')
    t.until('saved')
    t.until('> ')
    t.type('\x04')
    assert t.end() == 0
    with open(saved) as f:
        assert len([m for m in json.load(f) if m['role'] == 'user']) == 40


def patient_model(folder, model):
    """The model with a long context and without a token that ends a text: it answers until somebody stops it."""
    patient = shutil.copytree(model, f'{folder}/patient')
    with open(f'{patient}/config.json', encoding='utf-8') as f:
        config = {**json.load(f), 'max_position_embeddings': 1 << 17}
    with open(f'{patient}/config.json', 'w', encoding='utf-8') as f:
        json.dump(config, f)
    with open(f'{patient}/tokenizer_config.json', 'w', encoding='utf-8') as f:
        json.dump({'eos_token': None}, f)
    return patient


def write_adapter(folder, seed):
    """LoRA of rank 2 for the attention and the feed-forward of the model above, as PEFT writes it."""
    draw, header, data = random.Random(seed), {}, b''
    for i in range(2):
        for name, rows, columns in (('self_attn.q_proj', 32, 32), ('self_attn.v_proj', 16, 32), ('mlp.down_proj', 32, 48)):
            for part, shape in (('A', (2, columns)), ('B', (rows, 2))):
                n = shape[0] * shape[1]
                header[f'base_model.model.model.layers.{i}.{name}.lora_{part}.weight'] = {
                    'dtype': 'F32', 'shape': list(shape), 'data_offsets': [len(data), len(data) + 4 * n]}
                data += struct.pack(f'<{n}f', *[draw.gauss(0, 0.5) for _ in range(n)])
    text = json.dumps(header).encode()
    os.makedirs(folder)
    with open(f'{folder}/adapter_config.json', 'w') as f:
        json.dump({'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'bias': 'none', 'target_modules': ['q_proj', 'v_proj', 'down_proj']}, f)
    with open(f'{folder}/adapter_model.safetensors', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def test_serve_adapters_and_guesses(folder, model):
    write_adapter(f'{folder}/one', 1)
    write_adapter(f'{folder}/two', 2)
    body = {'prompt': PROMPT, 'max_tokens': 24, 'temperature': 0, 'ignore_eos': True}

    def texts(s):
        return {m: s.good('/v1/completions', {**body, 'model': m})['choices'][0]['text'] for m in ('model', 'one', 'two')}
    options = ('--name', 'model', '--adapter', f'one={folder}/one', '--adapter', f'two={folder}/two')
    with Server(model, *options) as s:
        plain = texts(s)
        assert len(set(plain.values())) == 3, plain
        assert s.ask('POST', '/v1/completions', {**body, 'model': 'three'})[0] == 404
        assert json.loads(s.ask('GET', '/v1/models')[1])['data'][0]['adapters'] == ['one', 'two']
    for guess in ('look-up', model):
        with Server(model, *options, '--speculate', guess) as s:
            assert texts(s) == plain, guess
            figures = s.ask('GET', '/metrics')[1]
            right = int(re.search(r'guessed_right_total{.*} (\d+)', figures)[1])
            assert right > 0 or guess == 'look-up', right  # a random model seldom repeats three tokens
    assert 'NAME=FOLDER' in run('serve', model, '--adapter', 'x', status=64)
    assert 'adapter_model.safetensors' in run('serve', model, '--adapter', f'x={folder}/nothing', status=74)


def test_serve_answers(folder, model):
    wanted = generate(model, '--prompt', PROMPT, '--greedy', '--max-tokens', '12', '--dtype', 'f32')
    s = Server(model, '--name', 'small')
    try:
        assert s.good('/health')['status'] == 'ok'
        assert [m['id'] for m in s.good('/v1/models')['data']] == ['small']
        request = {'model': 'small', 'prompt': PROMPT, 'max_tokens': 12, 'temperature': 0}
        whole = s.good('/v1/completions', request)
        assert whole['choices'][0]['text'] == wanted['text'] and whole['choices'][0]['finish_reason'] == 'length', whole
        assert whole['usage']['completion_tokens'] == 12
        ids = s.good('/v1/completions', {**request, 'prompt': wanted['prompt_ids']})
        assert ids['choices'][0]['text'] == wanted['text']
        pieces = s.events('/v1/completions', {**request, 'stream_options': {'include_usage': True}})
        assert ''.join(p['choices'][0]['text'] for p in pieces if p['choices']) == wanted['text']
        assert pieces[-1]['usage']['total_tokens'] == wanted['prompt_tokens'] + 12
        seeded = [s.good('/v1/completions', {'prompt': PROMPT, 'max_tokens': 12, 'seed': n})['choices'][0]['text'] for n in (1, 1, 2)]
        assert seeded[0] == seeded[1] != seeded[2]
        stop = wanted['text'][4:6]
        short = s.good('/v1/completions', {**request, 'stop': [stop]})['choices'][0]
        assert short['text'] == wanted['text'][:wanted['text'].index(stop)] and short['finish_reason'] == 'stop', short
        chat = {'messages': [{'role': 'system', 'content': 'be short'}, {'role': 'user', 'content': 'hello'}],
                'max_tokens': 12, 'temperature': 0}
        message = s.good('/v1/chat/completions', chat)['choices'][0]['message']
        events = s.events('/v1/chat/completions', chat)
        assert message['role'] == events[0]['choices'][0]['delta']['role'] == 'assistant'
        assert ''.join(e['choices'][0]['delta'].get('content', '') for e in events) == message['content']
        assert events[-1]['choices'][0]['finish_reason'] in ('stop', 'length')
    finally:
        s.stop()


def test_serve_refuses(folder, model):
    s = Server(model)
    try:
        for raw, said in (('{"prompt": "a', 'request body'), ('[]', 'object'), ('{}', 'prompt'), ('{"prompt": 5}', 'prompt'),
                          ('{"prompt": "a", "max_tokens": "b"}', 'max_tokens'), ('{"prompt": "a", "n": 0}', "'n'"),
                          ('{"prompt": "a", "temperature": -1}', 'temperature'), ('{"prompt": [99999]}', '99999'),
                          ('{"prompt": "a", "max_tokens": 0}', 'max_tokens'), ('{"prompt": "a", "stop": [""]}', 'stop')):
            status, text = s.ask('POST', '/v1/completions', raw=raw)
            assert status == 400 and said in json.loads(text)['error']['message'], (raw, status, text)
        status, text = s.ask('POST', '/v1/chat/completions', {'messages': [{'role': 'robot', 'content': 'x'}]})
        assert status == 400 and 'messages[0].role' in text, text
        long = {'prompt': 'word ' * CONTEXT, 'max_tokens': 4}
        for body in (long, {**long, 'stream': True}):
            status, text = s.ask('POST', '/v1/completions', body)
            assert status == 400 and 'context' in text, (status, text)
        assert s.ask('POST', '/v1/completions', {'model': 'other', 'prompt': 'a'})[0] == 404
        assert s.ask('GET', '/v1/nothing')[0] == 404
        assert s.ask('GET', '/v1/completions')[0] == 405
        c = socket.create_connection(('127.0.0.1', s.port), timeout=30)
        c.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n')
        assert b' 413 ' in c.recv(4096)
        c.close()
        error = run('serve', model, '--port', str(s.port), status=74)
        assert str(s.port) in error and 'in use' in error, error
        assert s.good('/health')['status'] == 'ok'
    finally:
        s.stop()


def test_client_that_leaves(folder, model):
    """Its request ends, so that the next one need not wait for all of its tokens."""
    s = Server(model)
    try:
        for stream in (True, False):
            body = json.dumps({'prompt': PROMPT, 'max_tokens': CONTEXT, 'stream': stream})
            c = socket.create_connection(('127.0.0.1', s.port), timeout=30)
            c.sendall(f'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}'.encode())
            if stream:
                assert b' 200 ' in c.recv(200)
            c.close()
            end, idle = time.monotonic() + 20, 0
            while idle < 3 and time.monotonic() < end:  # a single look may come before the request itself
                idle = 0 if s.good('/health')['requests'] else idle + 1
                time.sleep(0.05)
            assert idle == 3
        assert s.good('/v1/completions', {'prompt': PROMPT, 'max_tokens': 2})['usage']['completion_tokens'] <= 2
    finally:
        log = s.stop()
    assert '500' not in log, log  # nobody failed


def test_sigterm_lets_a_request_end(folder, model):
    s = Server(model)
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
    c.request('POST', '/v1/completions', json.dumps({'prompt': PROMPT, 'max_tokens': 200, 'temperature': 0}))
    end = time.monotonic() + 20
    while not s.good('/health')['requests'] and time.monotonic() < end:
        time.sleep(0.001)
    s.process.send_signal(signal.SIGTERM)
    r = c.getresponse()
    assert r.status == 200 and json.loads(r.read())['usage']['completion_tokens'] > 0
    assert s.process.wait(30) == 0  # a second signal would end it at once
    s.stop()


def header_of(path):
    """Names, dtypes and shapes of a safetensors file."""
    with open(path, 'rb') as f:
        return {n: t for n, t in json.loads(f.read(struct.unpack('<Q', f.read(8))[0])).items() if n != '__metadata__'}


def difference(a, b):
    """|a - b| / |a| of rows of logits."""
    norm = sum(x * x for r in a for x in r) ** 0.5
    return sum((x - y) ** 2 for r, s in zip(a, b) for x, y in zip(r, s)) ** 0.5 / norm


def test_quantize(folder, model):
    text = f'{folder}/quality.txt'
    with open(text, 'w') as f:
        f.write((PROMPT + ' is clear and cold. ') * 60)
    said = {}
    for kind, bits, most in (('q8', 9.5, 0.1), ('q4', 8, 5)):
        out = f'{folder}/{kind}'
        said = json.loads(run('quantize', model, '--to', kind, '--out', out, '--calibrate', text, '--quality', text, '--window', '64',
                              '--json'))
        assert said['quality']['kl'] < most and said['quality']['perplexity'] > 1 and said['bits_per_weight'] < bits, said
        there = json.loads(run('generate', out, '--prompt', PROMPT, '--max-tokens', '12', '--greedy', '--json'))
        again = json.loads(run('generate', out, '--prompt', PROMPT, '--max-tokens', '12', '--greedy', '--json'))
        assert there['ids'] == again['ids'] and len(there['ids']) == 12
    assert 'perplexity' in run('quantize', model, '--to', 'q8', '--out', f'{folder}/q8b', '--quality', text, '--window', '64')
    # What the file says has to be there.
    less = f'{folder}/q4-less'
    shutil.copytree(f'{folder}/q4', less)
    with open(f'{less}/model.safetensors', 'rb+') as f:
        data = f.read().replace(b'layers.0.qkv.weight.q4', b'layers.0.qkv.weight.q5')
        f.seek(0)
        f.write(data)
    error = run('generate', less, '--prompt', 'x', status=65)
    assert 'layers.0.qkv.weight' in error and 'model.safetensors' in error, error
    for words, said in ((('--to', 'q5', '--out', f'{folder}/q5'), 'q8_groups'), (('--out', f'{folder}/q4'), 'already holds'), ((), '--out')):
        assert said in run('quantize', model, *words, status=64), words
    assert 'already' in run('quantize', f'{folder}/q4', '--out', f'{folder}/twice', status=64)
    for command in ('serve', 'chat'):  # what is packed is not packed otherwise
        error = run(command, f'{folder}/q4', '--weights', 'q8', status=64)
        assert f'{folder}/q4 are packed already (q4)' in error and '--weights q8' in error, error
    assert run('chat', f'{folder}/q4', '--weights', 'q4', '--max-tokens', '2', text='hello\n')


def test_gguf(folder, model):
    os.environ['WELLSPRING_CACHE'] = f'{folder}/cache'
    for kind, weights in (('bf16', 'bf16'), ('q8_0', 'q8_groups'), ('q4_0', 'q4')):
        out = f'{folder}/model-{kind}.gguf'
        run('export', model, '--out', out, '--type', kind)
        words = ('--prompt', PROMPT, '--max-tokens', '12', '--greedy', '--json')
        first = json.loads(run('generate', out, *words))
        assert len(first['ids']) == 12 and json.loads(run('generate', out, *words))['ids'] == first['ids']
    run('quantize', model, '--to', 'bf16', '--out', f'{folder}/as-bf16')
    assert json.loads(run('generate', f'{folder}/as-bf16', *words))['ids'] == \
        json.loads(run('generate', f'{folder}/model-bf16.gguf', *words))['ids']
    kept = os.listdir(f'{folder}/cache/gguf')
    assert len(kept) == 3 and not [k for k in kept if k.endswith('.new')], kept
    with open(f'{folder}/model-bf16.gguf', 'rb') as f:
        data = f.read()
    with open(f'{folder}/cut.gguf', 'wb') as f:
        f.write(data[:len(data) // 2])
    assert 'cut.gguf' in run('generate', f'{folder}/cut.gguf', '--prompt', 'x', status=65)
    assert 'model-q4_0.gguf are packed already' in run('serve', f'{folder}/model-q4_0.gguf', '--weights', 'q8', status=64)
    del os.environ['WELLSPRING_CACHE']


def test_export_dtypes(folder, model):
    ids = list(range(20, 40))
    before = logits_of(folder, model, ids, '--dtype', 'f32')
    for dtype, name, bound in (('f32', 'float32', 0), ('bf16', 'bfloat16', 0.05), ('f16', 'float16', 0.005)):
        out = f'{folder}/{dtype}'
        said = run('export', model, '--out', out, '--dtype', dtype)
        assert out in said and dtype in said, said
        tensors = header_of(f'{out}/model.safetensors')
        assert {t['dtype'] for t in tensors.values()} == {dtype.upper()}, tensors
        assert {n: t['shape'] for n, t in tensors.items()} == {n: t['shape'] for n, t in header_of(f'{model}/model.safetensors').items()}
        with open(f'{out}/config.json') as f:
            config = json.load(f)
        assert config['torch_dtype'] == name and config['model_type'] == 'qwen2', config
        with open(f'{out}/tokenizer.json') as f, open(f'{model}/tokenizer.json') as g:
            assert f.read() == g.read()
        away = difference(before, logits_of(folder, out, ids, '--dtype', 'f32'))
        assert away <= bound and (away > 0) == (dtype != 'f32'), (dtype, away)
        assert 1 <= generate(out, '--prompt', PROMPT, '--max-tokens', '4')['tokens'] <= 4  # an end may be drawn


def test_export_shards(folder, model):
    wide, out = f'{folder}/wide', f'{folder}/out'
    write_model(wide, 20000)  # the embedding alone takes 2.4 MiB
    run('export', wide, '--out', out, '--shard-mb', '1')
    with open(f'{out}/model.safetensors.index.json') as f:
        places = json.load(f)['weight_map']
    assert set(places) == set(header_of(f'{wide}/model.safetensors')) and not os.path.exists(f'{out}/model.safetensors')
    assert len(set(places.values())) > 1 and set(places.values()) == {n for n in os.listdir(out) if n.endswith('.safetensors')}
    for name, file in places.items():
        assert name in header_of(f'{out}/{file}'), (name, file)
    ids = [5, 19999, 77]
    assert logits_of(folder, out, ids, '--dtype', 'f32') == logits_of(folder, wide, ids, '--dtype', 'f32')


def test_export_as_llama(folder, model):
    source = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../models/decoder/testdata/teleflm')
    ids = list(range(3, 30))
    before = logits_of(folder, source, ids, '--dtype', 'f32')
    for words, family in ((('--as', 'llama'), 'llama'), (('--as', 'same'), 'TeleFLM')):
        out = f'{folder}/{family}'
        run('export', source, '--out', out, *words)
        with open(f'{out}/config.json') as f:
            config = json.load(f)
        assert config['model_type'] == family and ('input_mult' in config) == (family == 'TeleFLM'), config
        assert difference(before, logits_of(folder, out, ids, '--dtype', 'f32')) < 1e-5, family


def test_export_refuses(folder, model):
    out = f'{folder}/out'
    for words, said in (((), '--out DIR'), (('--out', out, '--dtype', 'int8'), 'int8'), (('--out', out, '--as', 'gpt2'), 'gpt2'),
                        (('--out', out, '--shard-mb', '-1'), '--shard-mb'), (('--out', out, '--as', 'llama'), 'only Tele-FLM'),
                        (('--out', model), 'already holds a model')):
        error = run('export', model, *words, status=64)
        assert error.startswith('error: ') and said in error, (words, error)
        assert not os.path.exists(out), words
    assert 'nowhere' in run('export', f'{folder}/nowhere', '--out', out, status=74)


def make_model(folder):
    """A model with a tokenizer."""
    corpus = f'{folder}/corpus.txt'
    with open(corpus, 'w') as f:
        draw = random.Random(1)
        words = 'the a water of spring stone river runs over under and light long green 泉 水 hello there word more be short'.split()
        f.write('\n'.join(' '.join(draw.choice(words) for _ in range(12)) for _ in range(400)))
    model = f'{folder}/model'
    write_model(model, 384)
    run('text', 'train', corpus, '--vocab-size', '384', '--out', model)
    return model


def main(tests):
    """Runs the tests among a module's names."""
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(folder)
        for name, test in sorted(tests.items()):
            if not name.startswith('test_') or (len(sys.argv) > 2 and sys.argv[2] not in name):
                continue
            try:
                with tempfile.TemporaryDirectory(dir=folder) as own:
                    test(own, model)
                passed += 1
            except Exception as e:  # one test's failure does not hide the next
                failed += 1
                line = e.__traceback__
                while line.tb_next:
                    line = line.tb_next
                print(f'FAILED {name} (line {line.tb_lineno}): {type(e).__name__}: {str(e)[:1000]}')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(globals()))
