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
RESPOND = {'model': 'small', 'instructions': 'be short', 'input': 'hello', 'max_output_tokens': 12, 'temperature': 0}
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
    assert r.system_fingerprint.startswith('ws-') and r.system_fingerprint == again.system_fingerprint, r


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
    assert len(r.tokens) == len(r.token_logprobs) == 12 and max(r.token_logprobs) <= 0, r
    # two tokens may have one text, and the token itself stands there, too
    assert all(1 <= len(top) <= 3 and top[token] == p for top, token, p in zip(r.top_logprobs, r.tokens, r.token_logprobs)), r
    assert r.text_offset[0] == 0 and r.text_offset == sorted(r.text_offset), r
    alone = client.completions.create(**ASK, logprobs=0).choices[0].logprobs
    assert alone.top_logprobs == [{t: p} for t, p in zip(alone.tokens, alone.token_logprobs)], alone
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


def fails(kind, status, said, call, code=None, param=None, **words):
    try:
        call(**words)
    except kind as e:
        assert e.status_code == status and said in str(e) and e.body, e
        assert code in (None, e.code) and param in (None, e.param) and e.type, e
    else:
        raise AssertionError(f'{said}: nothing was raised')


def errors():
    make = client.completions.create
    fails(openai.NotFoundError, 404, 'other', make, 'model_not_found', 'model', **{**ASK, 'model': 'other'})
    fails(openai.NotFoundError, 404, 'other', client.models.retrieve, model='other')
    fails(openai.BadRequestError, 400, 'context', make, 'context_length_exceeded', 'prompt',
          **{**ASK, 'prompt': 'word ' * WANTED['context']})
    fails(openai.BadRequestError, 400, 'context', make, **{**ASK, 'prompt': 'word ' * WANTED['context']}, stream=True)
    fails(openai.BadRequestError, 400, 'temperature', make, 'invalid_value', 'temperature', **{**ASK, 'temperature': -1})
    fails(openai.BadRequestError, 400, 'not offered', make, 'unsupported_parameter', 'suffix', **ASK, suffix='x')
    fails(openai.BadRequestError, 400, 'messages[0].role', client.chat.completions.create,
          **{**CHAT, 'messages': [{'role': 'robot', 'content': 'x'}]})


def responses():
    r = client.responses.create(**RESPOND)
    assert r.id.startswith('resp_') and r.object == 'response' and r.model == 'small', r
    assert r.output_text and r.output[0].type == 'message' and r.output[0].role == 'assistant', r
    assert r.status == 'incomplete' and r.incomplete_details.reason == 'max_output_tokens' and r.error is None, r
    assert r.usage.output_tokens == 12 and r.usage.total_tokens == 12 + r.usage.input_tokens and r.usage.output_tokens_details.reasoning_tokens == 0
    assert r.usage.input_tokens_details.cached_tokens >= 0 and r.instructions == 'be short' and r.temperature == 0 and r.tools == [], r
    type(r).model_validate(r.model_dump(by_alias=True))  # every field that the types need
    if hasattr(client.responses, 'input_tokens'):
        count = client.responses.input_tokens.count(**{k: RESPOND[k] for k in ('model', 'instructions', 'input')})
        assert count.input_tokens == r.usage.input_tokens, count
    same = client.chat.completions.create(**CHAT)
    assert r.output_text == same.choices[0].message.content


def responses_streamed():
    whole = client.responses.create(**RESPOND)
    events = list(client.responses.create(**RESPOND, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert {type(e).__name__ for e in events} == {
        'ResponseCreatedEvent', 'ResponseInProgressEvent', 'ResponseOutputItemAddedEvent', 'ResponseContentPartAddedEvent',
        'ResponseTextDeltaEvent', 'ResponseTextDoneEvent', 'ResponseContentPartDoneEvent', 'ResponseOutputItemDoneEvent',
        'ResponseIncompleteEvent'}, events
    for e in events:
        type(e).model_validate(e.model_dump(by_alias=True))
    assert ''.join(e.delta for e in events if e.type == 'response.output_text.delta') == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    at = whole.output_text[3:5]
    with client.responses.stream(**RESPOND, extra_body={'stop': at}) as stream:  # puts the pieces together by itself
        final = stream.get_final_response()
    assert final.status == 'completed' and final.output_text == whole.output_text[:whole.output_text.index(at)], final


def responses_carried_on():
    first = client.responses.create(**RESPOND)
    second = client.responses.create(**{**RESPOND, 'input': 'more'}, previous_response_id=first.id)
    said = [{'role': 'user', 'content': 'hello'}, *first.output, {'role': 'user', 'content': 'more'}]
    assert client.responses.create(**{**RESPOND, 'input': said}, store=False).output_text == second.output_text
    assert client.responses.retrieve(second.id).output_text == second.output_text
    items = list(client.responses.input_items.list(second.id, order='asc', limit=2))  # in two pages
    assert [i.role for i in items] == ['user', 'assistant', 'user'] and items[2].content[0].text == 'more', items
    client.responses.delete(first.id)
    fails(openai.NotFoundError, 404, 'no response', client.responses.retrieve, response_id=first.id)
    fails(openai.NotFoundError, 404, 'no response', client.responses.create, **RESPOND, previous_response_id=first.id)
    fails(openai.BadRequestError, 400, 'background', client.responses.create, **RESPOND, background=True)


def responses_tools():
    schema = {'type': 'object', 'properties': {'days': {'type': 'integer', 'minimum': 1, 'maximum': 9}}, 'required': ['days'],
              'additionalProperties': False}
    ask = {**RESPOND, 'max_output_tokens': 200, 'tool_choice': 'required', 'parallel_tool_calls': False,
           'tools': [{'type': 'function', 'name': 'get_weather', 'description': 'of a place', 'parameters': schema, 'strict': True}]}
    r = client.responses.create(**ask)
    call = r.output[0]
    assert call.type == 'function_call' and call.name == 'get_weather' and 1 <= json.loads(call.arguments)['days'] <= 9, r
    type(r).model_validate(r.model_dump(by_alias=True))
    events = list(client.responses.create(**ask, stream=True))
    assert ''.join(e.delta for e in events if e.type == 'response.function_call_arguments.delta') == call.arguments
    for e in events:
        type(e).model_validate(e.model_dump(by_alias=True))
    back = [{'type': 'function_call_output', 'call_id': call.call_id, 'output': '12 C'}]
    assert client.responses.create(**{**RESPOND, 'input': back}, previous_response_id=r.id).output[0].type == 'message'
    form = {'format': {'type': 'json_schema', 'name': 'x', 'schema': schema, 'strict': True}}
    assert 1 <= json.loads(client.responses.create(**{**RESPOND, 'max_output_tokens': 200}, text=form).output_text)['days'] <= 9


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
             responses, responses_streamed, responses_carried_on, responses_tools,
             leaves_in_the_middle, asynchronous, raw_response):
    try:
        test()
        print('ok', test.__name__)
    except Exception as e:  # the others are run all the same
        bad += 1
        print(f'{test.__name__}: {type(e).__name__}: {e}'.replace('\n', ' ')[:1000])
sys.exit(bad > 0)
