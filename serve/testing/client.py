"""What users do with the `openai` package; a line "ok NAME" or "NAME: what went wrong" each."""
import asyncio
import json
import os
import sys

import openai

WANTED = json.loads(os.environ['WANTED'])
ASK = {'model': 'small', 'prompt': WANTED['prompt'], 'max_tokens': 12, 'temperature': 0}
CHAT = {'model': 'small', 'messages': [{'role': 'system', 'content': 'be short'}, {'role': 'user', 'content': 'hello'}],
        'max_tokens': 12, 'temperature': 0}
client = openai.OpenAI(max_retries=0)


def models():
    listed = client.models.list()
    assert [m.id for m in listed] == ['small'] and listed.data[0].object == 'model'
    assert client.models.retrieve('small').id == 'small'


def completions():
    r = client.completions.create(**ASK)
    assert r.choices[0].text == WANTED['text'] and r.choices[0].finish_reason == 'length', r
    assert r.object == 'text_completion' and r.model == 'small' and r.id and r.created > 1e9, r
    assert r.usage.completion_tokens == 12 and r.usage.prompt_tokens == WANTED['prompt_tokens'] and r.usage.total_tokens == 12 + r.usage.prompt_tokens
    assert client.completions.create(**{**ASK, 'prompt': WANTED['ids']}).choices[0].text == WANTED['text']


def completions_streamed():
    chunks = list(client.completions.create(**ASK, stream=True, stream_options={'include_usage': True}))
    assert ''.join(c.choices[0].text for c in chunks if c.choices) == WANTED['text']
    assert chunks[-1].usage.completion_tokens == 12 and not chunks[-1].choices
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == 'length'


def chat():
    r = client.chat.completions.create(**CHAT)
    assert r.object == 'chat.completion' and r.choices[0].message.role == 'assistant' and r.choices[0].message.content, r
    assert r.choices[0].finish_reason in ('stop', 'length') and r.usage.prompt_tokens > 0, r
    again = client.chat.completions.create(**{**CHAT, 'max_tokens': openai.NOT_GIVEN}, max_completion_tokens=12)
    assert again.choices[0].message.content == r.choices[0].message.content
    assert r.usage.prompt_tokens_details.cached_tokens >= 0


def chat_streamed():
    whole = client.chat.completions.create(**CHAT).choices[0]
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options={'include_usage': True}))
    assert chunks[0].choices[0].delta.role == 'assistant' and chunks[0].object == 'chat.completion.chunk'
    assert ''.join(c.choices[0].delta.content or '' for c in chunks if c.choices) == whole.message.content
    assert chunks[-1].usage.completion_tokens > 0 and len({c.id for c in chunks}) == 1
    at = whole.message.content[3:5]  # the helper that puts pieces together takes no answer that was cut by its length
    with client.chat.completions.stream(**CHAT, stop=at) as stream:
        text = stream.get_final_completion().choices[0].message.content
    assert text == whole.message.content[:whole.message.content.index(at)]


def logprobs():
    r = client.completions.create(**ASK, logprobs=2).choices[0].logprobs
    assert len(r.tokens) == len(r.token_logprobs) == 12 and len(r.top_logprobs[0]) <= 2 and max(r.token_logprobs) <= 0, r
    content = client.chat.completions.create(**CHAT, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert all(len(t.top_logprobs) == 3 and t.logprob <= 0 and t.bytes is not None for t in content)
    assert content[0].top_logprobs[0].token == content[0].token  # greedy: the likeliest itself


def stop():
    at = WANTED['text'][4:6]
    r = client.completions.create(**ASK, stop=[at, 'never seen']).choices[0]
    assert r.text == WANTED['text'][:WANTED['text'].index(at)] and r.finish_reason == 'stop', r
    pieces = client.completions.create(**ASK, stop=at, stream=True)
    assert ''.join(p.choices[0].text for p in pieces) == r.text


def seed():
    ask = {**ASK, 'temperature': 1}
    texts = [client.completions.create(**ask, seed=n).choices[0].text for n in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2], texts
    assert client.completions.create(**ask, seed=1, top_p=0.9, frequency_penalty=0.1, presence_penalty=0.1, logit_bias={'5': -100}, user='me')


def own_fields():
    r = client.completions.create(**{**ASK, 'max_tokens': 60}, extra_body={'ignore_eos': True, 'top_k': 5, 'min_p': 0.01, 'min_tokens': 4})
    assert r.usage.completion_tokens == 60


def fails(kind, status, said, call, **words):
    try:
        call(**words)
    except kind as e:
        assert e.status_code == status and said in str(e) and e.body, e
    else:
        raise AssertionError(f'{said}: nothing was raised')


def errors():
    make = client.completions.create
    fails(openai.NotFoundError, 404, 'other', make, **{**ASK, 'model': 'other'})
    fails(openai.NotFoundError, 404, 'other', client.models.retrieve, model='other')
    fails(openai.BadRequestError, 400, 'context', make, **{**ASK, 'prompt': 'word ' * WANTED['context']})
    fails(openai.BadRequestError, 400, 'context', make, **{**ASK, 'prompt': 'word ' * WANTED['context']}, stream=True)
    fails(openai.BadRequestError, 400, 'temperature', make, **{**ASK, 'temperature': -1})
    fails(openai.BadRequestError, 400, 'messages[0].role', client.chat.completions.create,
          **{**CHAT, 'messages': [{'role': 'robot', 'content': 'x'}]})


def leaves_in_the_middle():
    for _ in range(3):
        with client.completions.create(**{**ASK, 'max_tokens': 1500}, extra_body={'ignore_eos': True}, stream=True) as stream:
            next(iter(stream))
    assert client.completions.create(**ASK).choices[0].text == WANTED['text']


def asynchronous():
    async def all_of_them():
        async with openai.AsyncOpenAI(max_retries=0) as many:
            return await asyncio.gather(*(many.completions.create(**ASK) for _ in range(24)))
    assert {r.choices[0].text for r in asyncio.run(all_of_them())} == {WANTED['text']}


def raw_response():
    r = client.completions.with_raw_response.create(**ASK)
    assert r.status_code == 200 and r.parse().choices[0].text == WANTED['text']


bad = 0
for test in (models, completions, completions_streamed, chat, chat_streamed, logprobs, stop, seed, own_fields, errors,
             leaves_in_the_middle, asynchronous, raw_response):
    try:
        test()
        print('ok', test.__name__)
    except Exception as e:  # the others are run all the same
        bad += 1
        print(f'{test.__name__}: {type(e).__name__}: {e}'.replace('\n', ' ')[:1000])
sys.exit(bad > 0)
