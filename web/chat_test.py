#!/usr/bin/python3
"""The chat page of wellspring serve in a real browser. Arguments: names of tests (all), or picture FILE.png for docs/serving.md."""
import json
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path[:0] = [os.path.join(ROOT, path) for path in ('web/testing', 'cluster/testing', 'cli')]
os.environ.setdefault('WELLSPRING_BINARY', os.path.join(ROOT, 'build/bin/wellspring'))
import browser  # noqa: E402
import harness  # noqa: E402
import use_model_test  # noqa: E402

KEY = 'a-key-of-sufficient-length'
SIZES = {'light': {'scheme': 'light'}, 'dark': {'scheme': 'dark'}, 'phone': {'scheme': 'light', 'width': 360, 'height': 740}}
SAID = '''The hidden matrices take **4.5 bits** a weight: 16 levels, and a scale for each 32 columns.

```
wellspring quantize runs/demo/run --to q4 --out q4
wellspring serve q4
```

The result is mapped at the start, so the server answers within a second.'''
b = None


class Fixture:
    """A server with a key, one without, and a browser."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        model = use_model_test.make_model(self.folder.name)
        self.model = model
        self.open = use_model_test.Server(model, '--name', 'small')
        self.closed = use_model_test.Server(model, '--name', 'small', key=KEY)
        self.browser = browser.Browser('')

    def page(self, server=None, **options):
        return self.browser.page(url=f'http://127.0.0.1:{(server or self.open).port}/', ready='#draft', **options)

    def close(self):
        self.browser.end()
        self.open.stop()
        self.closed.stop()
        self.folder.cleanup()


def clean(p, *expected):
    faults = b.browser.faults(p, *expected)
    assert not faults, faults


def ready(p):
    p.wait_for_function('() => document.querySelector("#model").value === "small"')


def ask(p, text):
    p.fill('#draft', text)
    p.keyboard.press('Enter')


def settings(p, **values):
    p.click('button:has-text("Settings")')
    for name, value in values.items():
        p.fill(f'#{name}', value)
        p.dispatch_event(f'#{name}', 'change')
    p.click('button:has-text("Settings")')


def scripted(p, text=SAID, pieces=3):
    """Answers as a model would that has learned something."""
    def events(route):
        words = text.split(' ')
        chunks = [{'choices': [{'index': 0, 'delta': {'content': w if i == 0 else ' ' + w}, 'finish_reason': None}]} for i, w in enumerate(words)]
        chunks.append({'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})
        chunks.append({'choices': [], 'usage': {'completion_tokens': len(words)}})
        body = ''.join(f'data: {json.dumps(c)}\n\n' for c in chunks) + 'data: [DONE]\n\n'
        route.fulfill(status=200, content_type='text/event-stream', body=body)
    p.route('**/v1/chat/completions', events)


def test_a_conversation():
    p = b.page()
    ready(p)
    sent = []
    p.on('request', lambda r: sent.append(r.post_data_json) if r.method == 'POST' else None)
    settings(p, system='be short', max='12', temperature='0')
    ask(p, 'hello')
    p.wait_for_selector('article.assistant .note:has-text("tokens")')
    first = p.inner_text('article.assistant p')
    assert p.input_value('#draft') == ''
    assert first and sent[0]['messages'] == [{'role': 'system', 'content': 'be short'}, {'role': 'user', 'content': 'hello'}], sent
    assert sent[0]['max_tokens'] == 12 and sent[0]['temperature'] == 0 and sent[0]['model'] == 'small'
    ask(p, 'and more')
    p.wait_for_selector('article:nth-of-type(4) .note:has-text("tokens")')
    assert [m['role'] for m in sent[1]['messages']] == ['system', 'user', 'assistant', 'user']
    p.click('button:has-text("Again")')
    p.wait_for_function('() => document.querySelectorAll("article").length === 4 && !document.querySelector(".caret")')
    assert sent[2] == sent[1]
    p.click('button:has-text("New chat")')
    assert p.is_visible('.empty') and p.evaluate('document.activeElement.id') == 'draft'
    p.reload()
    ready(p)
    assert p.input_value('#system') == 'be short', 'kept until the tab closes'
    clean(p)


def test_stop():
    server = use_model_test.Server(use_model_test.patient_model(b.folder.name, b.model), '--name', 'small')
    p = b.page(server)
    ready(p)
    for how in (lambda: p.click('button:has-text("Stop")'), lambda: p.keyboard.press('Escape')):
        settings(p, max='100000')
        ask(p, 'hello')
        p.wait_for_function('() => document.querySelector("article.assistant:last-of-type p")')
        how()
        p.wait_for_selector('.note:has-text("stopped")')
        assert p.is_visible('button:has-text("Send")')
        p.click('button:has-text("New chat")')
    end = use_model_test.time.monotonic() + 10
    while server.good('/health')['requests']:
        assert use_model_test.time.monotonic() < end, 'the server works on'
    clean(p)
    server.stop()


def test_key():
    p = b.page(b.closed)
    p.wait_for_selector('[role=alert]:has-text("needs a key")')
    assert p.evaluate('document.activeElement.id') == 'key'
    p.keyboard.type('wrong-key-wrong-key')
    p.keyboard.press('Tab')
    p.wait_for_selector('[role=alert]:has-text("not known")')
    p.fill('#key', KEY)
    p.keyboard.press('Tab')
    ready(p)
    p.fill('#max', '4')
    ask(p, 'hello')
    p.wait_for_selector('.note:has-text("tokens")')
    assert KEY not in p.content() and KEY not in p.evaluate('JSON.stringify(localStorage) + document.cookie + location.href')
    assert KEY in p.evaluate('JSON.stringify(sessionStorage)')
    clean(p)


def test_a_refusal_leaves_the_question():
    p = b.page()
    ready(p)
    ask(p, 'word ' * 3000)
    p.wait_for_selector('[role=alert]:has-text("context")')
    assert p.input_value('#draft').startswith('word word') and not p.query_selector('article')
    settings(p, max='3')
    ask(p, 'hello')
    p.wait_for_selector('.note:has-text("tokens")')
    assert not p.query_selector('[role=alert]')
    clean(p, 'status of 400')


def test_nothing_becomes_markup():
    p = b.page()
    ready(p)
    evil = '<img src=x onerror=window.hacked=1> <b>bold</b>'
    scripted(p, evil + '\n\n```html\n' + evil + '\n```\nend')
    ask(p, evil)
    p.wait_for_selector('.note:has-text("tokens")')
    assert not p.evaluate('window.hacked') and not p.query_selector('article img, article b')
    for where in ('article.assistant pre', 'article.user p'):
        assert p.inner_text(where).strip() == evil, (where, p.inner_text(where))
    clean(p)


def test_keyboard_alone():
    p = b.page()
    ready(p)
    p.focus('#model')
    seen = []
    for _ in range(4):
        p.keyboard.press('Tab')
        seen.append(p.evaluate('document.activeElement.textContent || document.activeElement.id'))
    assert seen == ['Settings', 'New chat', 'draft', 'Send'] or seen[:3] == ['Settings', 'New chat', 'draft'], seen
    p.focus('#draft')
    p.keyboard.type('one')
    p.keyboard.press('Shift+Enter')
    p.keyboard.type('two')
    assert p.input_value('#draft') == 'one\ntwo' and not p.query_selector('article')
    clean(p)


def test_looks():
    if not browser.axe():
        print('note: without axe-core: npm could not get it')
    for name, options in SIZES.items():
        for opened in (False, True):
            p = b.page(**options)
            ready(p)
            scripted(p)
            ask(p, 'How many bits does a weight take?')
            p.wait_for_selector('article.assistant pre')
            if opened:
                p.click('button:has-text("Settings")')
            assert not opened or p.evaluate('''() => { const box = document.querySelector("#key").getBoundingClientRect();
              return document.elementFromPoint(box.x + 5, box.y + 5).id === "key"; }'''), (name, 'the settings are not in view')
            assert p.evaluate('document.documentElement.scrollWidth <= innerWidth'), (name, 'scrolls sideways')
            if browser.axe():
                p.evaluate(browser.axe())
                found = p.evaluate('axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")))')
                assert not found, (name, opened, found)
            if os.environ.get('WELLSPRING_PICTURES'):
                p.screenshot(path=f'{os.environ["WELLSPRING_PICTURES"]}/chat-{name}{"-settings" if opened else ""}.png')
            clean(p, "script.*axe", 'unsafe-eval')


def picture(path):
    p = b.page(width=900, height=560)
    ready(p)
    scripted(p)
    ask(p, 'How many bits does a weight take?')
    p.wait_for_selector('article.assistant pre')
    p.screenshot(path=path)


def run(test):
    def one():
        try:
            return test()
        finally:
            b.browser.close()
    return one


def main():
    global b
    browser.enter()
    b = Fixture()
    try:
        if sys.argv[1:2] == ['picture']:
            return picture(sys.argv[2])
        return harness.main({name: run(test) for name, test in globals().items() if name.startswith('test_')})
    finally:
        b.close()


if __name__ == '__main__':
    sys.exit(main())
