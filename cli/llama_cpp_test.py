#!/usr/bin/python3
"""GGUF files that we write, run by llama.cpp itself: its distributions of the next token beside ours.

    LLAMA_CPP=FOLDER cli/llama_cpp_test.py [BUILD] [FAMILY]

FOLDER holds llama.cpp's program llama-server; without it the test is left out (status 77). For each family and type of
weights llama-server continues a prompt of ids greedily and says the log-probabilities of the whole vocabulary at each
place; ours are those of the Hugging Face folder in f32, so what differs is the type's rounding. What we read back from
the same file is compared as well.
"""
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

FOLDER = os.environ.get('LLAMA_CPP', '')
SERVER = os.path.join(FOLDER, 'llama-server')
if not FOLDER or not os.path.exists(SERVER):
    print('note: no llama-server here (LLAMA_CPP=FOLDER names one): GGUF files are read by transformers and the package gguf only')
    sys.exit(77)
import use_model_test as small  # noqa: E402

VOCAB, WIDTH, FFN, LAYERS, HEADS, CONTEXT, TOKENS = 384, 64, 96, 2, 4, 256, 24
# Most difference of log-probabilities, as a share of how far they spread: what rounding of weights and of what they are multiplied with makes.
TYPES = {'f32': 0.002, 'f16': 0.01, 'bf16': 0.06, 'q8_0': 0.12, 'q4_0': 0.6}


def llama_shapes(family):
    kv = WIDTH // 2
    shapes = {'model.embed_tokens.weight': (VOCAB, WIDTH), 'model.norm.weight': (WIDTH,), 'lm_head.weight': (VOCAB, WIDTH)}
    for i in range(LAYERS):
        at = f'model.layers.{i}.'
        for name, rows in (('q', WIDTH), ('k', kv), ('v', kv)):
            shapes[f'{at}self_attn.{name}_proj.weight'] = (rows, WIDTH)
            if family == 'qwen2':
                shapes[f'{at}self_attn.{name}_proj.bias'] = (rows,)
        shapes[f'{at}self_attn.o_proj.weight'] = (WIDTH, WIDTH)
        shapes[f'{at}mlp.gate_proj.weight'] = shapes[f'{at}mlp.up_proj.weight'] = (FFN, WIDTH)
        shapes[f'{at}mlp.down_proj.weight'] = (WIDTH, FFN)
        shapes[f'{at}input_layernorm.weight'] = shapes[f'{at}post_attention_layernorm.weight'] = (WIDTH,)
    config = {'model_type': family, 'architectures': ['LlamaForCausalLM' if family == 'llama' else 'Qwen2ForCausalLM'], 'hidden_act': 'silu',
              'hidden_size': WIDTH, 'intermediate_size': FFN, 'num_hidden_layers': LAYERS, 'num_attention_heads': HEADS, 'num_key_value_heads': HEADS // 2,
              'vocab_size': VOCAB, 'max_position_embeddings': CONTEXT, 'rms_norm_eps': 1e-5, 'rope_theta': 10000.0, 'tie_word_embeddings': False}
    return config, shapes


def gpt2_shapes():
    shapes = {'transformer.wte.weight': (VOCAB, WIDTH), 'transformer.wpe.weight': (CONTEXT, WIDTH)}
    for i in range(LAYERS):
        at = f'transformer.h.{i}.'
        for name, rows, columns in (('attn.c_attn', WIDTH, 3 * WIDTH), ('attn.c_proj', WIDTH, WIDTH), ('mlp.c_fc', WIDTH, FFN), ('mlp.c_proj', FFN, WIDTH)):
            shapes[f'{at}{name}.weight'], shapes[f'{at}{name}.bias'] = (rows, columns), (columns,)
        for name in ('ln_1', 'ln_2'):
            shapes[f'{at}{name}.weight'] = shapes[f'{at}{name}.bias'] = (WIDTH,)
    shapes['transformer.ln_f.weight'] = shapes['transformer.ln_f.bias'] = (WIDTH,)
    return {'model_type': 'gpt2', 'architectures': ['GPT2LMHeadModel'], 'activation_function': 'gelu_new', 'n_embd': WIDTH, 'n_inner': FFN, 'n_layer': LAYERS,
            'n_head': HEADS, 'n_positions': CONTEXT, 'vocab_size': VOCAB, 'layer_norm_epsilon': 1e-5, 'tie_word_embeddings': True}, shapes


class Peer:
    """llama-server over one file."""

    def __init__(self, file):
        with socket.create_server(('127.0.0.1', 0)) as s:
            self.port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([SERVER, '-m', file, '-t', '1', '-c', str(CONTEXT), '-np', '1', '--port', str(self.port), '--no-webui', '-ctk', 'f32',
                                         '-ctv', 'f32', '-fa', 'off'], stdout=self.log, stderr=self.log)

    def ask(self, path, body=None):
        request = urllib.request.Request(f'http://127.0.0.1:{self.port}{path}', json.dumps(body).encode() if body else None, {'Content-Type': 'application/json'})
        with urllib.request.urlopen(request, timeout=60) as r:
            return json.loads(r.read())

    def said(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def __enter__(self):
        end = time.monotonic() + 60
        while True:
            try:
                self.ask('/health')
                return self
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None or time.monotonic() > end:
                    self.__exit__()
                    raise AssertionError(f'llama-server does not start: {self.said()}') from None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


def log_softmax(row):
    most = max(row)
    total = most + math.log(sum(math.exp(x - most) for x in row))
    return [x - total for x in row]


def difference(theirs, ours):
    """Of log-probabilities by id, over how far ours spread."""
    top = 0
    spread = 0
    mean = sum(ours) / len(ours)
    for token, value in theirs.items():
        top += (value - ours[token]) ** 2
        spread += (ours[token] - mean) ** 2
    return (top / spread) ** 0.5


def compare(folder, source, kind, bound):
    file = f'{folder}/{kind}.gguf'
    small.run('export', source, '--out', file, '--type', kind)
    prompt = [5, 77, 300, 12, 45, 200, 9, 150, 33, 64]
    with Peer(file) as peer:
        answer = peer.ask('/completion', {'prompt': prompt, 'n_predict': TOKENS, 'temperature': 0, 'n_probs': VOCAB, 'return_tokens': True, 'ignore_eos': True,
                                          'cache_prompt': False})
    tokens, places = answer['tokens'], answer['completion_probabilities']
    assert len(tokens) == TOKENS and len(set(tokens)) > 3, tokens
    ids, worst, same = prompt + tokens, {}, {}
    for what, model in (('folder', source), ('file', file)):
        rows = small.logits_of(folder, model, ids, *(('--dtype', 'f32') if what == 'folder' else ()))[len(prompt) - 1:-1]
        worst[what], same[what], left = 0, 0, list(places)
        for row, token in zip(rows, tokens):
            if not left or left[0]['id'] != token:  # it says nothing of a token that is part of a character
                continue
            place = left.pop(0)
            ours = log_softmax(row)
            theirs = {p['id']: p['logprob'] for p in place['top_logprobs'] if p['logprob'] > -60}
            assert len(theirs) > VOCAB // 2, place
            worst[what] = max(worst[what], difference(theirs, ours))
            same[what] += small.argmax(ours) == token
        assert not left and len(places) >= TOKENS // 3, (len(left), len(places))
    print(f'note: {os.path.basename(source)} {kind}: log-probabilities differ by {100 * worst["folder"]:.2f} % from the folder\'s, by {100 * worst["file"]:.2f} % '
          f'from those of the file as we read it; {same["folder"]} and {same["file"]} of {len(places)} tokens are the likeliest', flush=True)
    assert worst['folder'] < bound and worst['file'] < max(bound, 0.08), (kind, worst)
    assert kind not in ('f32', 'f16') or same['folder'] == len(places), (kind, same)


def family_test(config, shapes):
    def test(folder, model):
        os.environ['WELLSPRING_CACHE'] = f'{folder}/cache'
        source = f'{folder}/{config["model_type"]}'
        small.write_folder(source, config, shapes, 0.2 if config['model_type'] == 'gpt2' else 0.1)
        for name in ('tokenizer.json', 'tokenizer_config.json'):
            if os.path.exists(f'{model}/{name}'):
                with open(f'{model}/{name}') as f, open(f'{source}/{name}', 'w') as to:
                    to.write(f.read())
        for kind, bound in TYPES.items():
            compare(folder, source, kind, bound)
    return test


test_llama, test_qwen2, test_gpt2 = family_test(*llama_shapes('llama')), family_test(*llama_shapes('qwen2')), family_test(*gpt2_shapes())

if __name__ == '__main__':
    sys.exit(small.main(globals()))
