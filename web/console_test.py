#!/usr/bin/python3
"""The console in a real browser, against a real controller and nodes. Arguments: names of tests (all)."""
import os
import re
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 'web/testing'), os.path.join(ROOT, 'cluster/testing')]
import browser  # noqa: E402
import harness  # noqa: E402
from harness import Refused, until  # noqa: E402

VIEWS = {'pool': 'Pool', 'jobs': 'Jobs', 'queues': 'Queues and quotas', 'nodes': 'Nodes', 'teams': 'Teams and tokens', 'secrets': 'Secrets',
         'usage': 'Usage', 'events': 'Events', 'audit': 'Audit'}
EVIL = '<img src=x onerror=window.hacked=1>'
TRAIN = r'''
cd $WELLSPRING_RUN_FOLDER
echo '[{"steps": 200}]' > plan.json
for s in 1 2 3 4 5 6 7 8 9 10 6 7 8 20 40 60 80 100; do
  echo '{"step": '$s', "time": 1.0, "loss": '$((110-s))', "tokens_per_second": 1'$s'00, "seconds": 2}' >> metrics.jsonl
done
echo '{"step": 100, "eval_loss": 12.5}' >> metrics.jsonl
mkdir -p checkpoints/step-90
'''


class Fixture:
    """What all tests share: one cluster, some people, some jobs."""

    def __init__(self):
        self.c = c = harness.Cluster(leases=(20, 30), config={'web': os.path.join(ROOT, 'web')})
        c.up()
        c.node('n1', [{'chip': 'h100', 'count': 4}])
        c.node('n2', [{'chip': 'a100-80', 'count': 2}, {'chip': 'cpu-avx512', 'count': 24}])
        c.call('PUT', '/teams/vision', {'quotas': {'h100': {'devices': 3, 'hours': 100}}})
        c.call('PUT', '/teams/language', {'weight': 2})
        self.ada, self.bo = self.person('member', 'vision', 'ada'), self.person('viewer', 'vision', 'bo')
        self.lin = self.person('member', 'language', 'lin')
        self.runs = c.submit('echo it runs; sleep 600', self.ada, name='long-one', accepted=[{'chip': 'h100', 'count': 3}])
        self.waits = c.submit('true', self.ada, name='waiting-one', accepted=[{'chip': 'h100', 'count': 2}])
        self.lins = c.submit('sleep 600', self.lin, name='lins-job', accepted=[{'chip': 'a100-80'}])
        for job in (self.runs, self.lins):
            c.wait(job, 'running')
        self.browser = browser.Browser(c.url)

    def person(self, role, team, user):
        return self.c.call('POST', '/tokens', {'role': role, 'team': team, 'user': user})['token']

    def submit(self, command, name, token=None, **more):
        return self.c.submit(command, token or self.ada, name=name, accepted=[{'chip': 'cpu-avx512'}], **more)


f = None


def page(token=None, **options):
    return f.browser.page(f.c.token if token is None else token, **options)


def clean(p, *expected):
    faults = f.browser.faults(p, *expected)
    assert not faults, faults
    return p


def go(p, path, heading=None):
    f.browser.go(p, path, heading)


def sees(p, text, seconds=10):
    p.wait_for_function('text => document.querySelector("#app").innerText.includes(text)', arg=text, timeout=1000 * seconds)


def accessible(p, *where):
    """What axe-core, where there is one, says of the page as it stands."""
    if browser.axe():
        p.evaluate(browser.axe())
        found = p.evaluate('axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")))')
        assert not found, (*where, found)


def confirm(p, label):
    p.click(f'dialog button:has-text("{label}")')
    p.wait_for_selector('dialog', state='detached')


def test_login():
    p = f.browser.page()
    p.click('button[type=submit]')
    p.wait_for_selector('[role=alert]:has-text("Type or paste")')
    p.fill('#token', 'wst_0123456789ab_00')
    p.keyboard.press('Enter')
    p.wait_for_selector('[role=alert]:has-text("not known")')
    f.browser.login(p, f.ada)
    sees(p, 'ada')
    cookies = p.context.cookies()
    assert [(k['httpOnly'], k['sameSite']) for k in cookies] == [(True, 'Strict')], cookies
    assert not p.evaluate('document.cookie')
    kept = p.evaluate('JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + location.href')
    assert f.ada not in kept and f.ada not in p.content()
    p.reload()
    p.wait_for_selector('#nav')
    p.click('button[title="Log out"]')
    p.wait_for_selector('#token')
    p.context.add_cookies(cookies)  # as one who has kept it
    p.reload()
    p.wait_for_selector('#token')
    clean(p)


def test_views():
    if not browser.axe():
        print('note: without axe-core: npm could not get it')
    p = page()
    for scheme in ('light', 'dark'):
        p.emulate_media(color_scheme=scheme)
        for name, heading in {**VIEWS, f'jobs/{f.runs}': 'long-one', 'jobs/99999': 'Not found', 'nowhere': 'Not found'}.items():
            go(p, name, heading)
            if name in VIEWS:
                assert p.get_attribute(f'nav a[href="#/{name}"]', 'aria-current') == 'page'
            for table in p.query_selector_all('main table'):
                assert table.query_selector('caption').inner_text().strip(), name
            assert p.evaluate('document.querySelectorAll("main, header, nav").length') == 3
            accessible(p, scheme, name)
    assert p.title() == 'Not found – Wellspring'
    clean(p, 'status of 404')


def test_pool_says_what_runs_and_why_others_wait():
    p = page()
    for text in ('long-one', 'waiting-one', 'team vision may hold 3 h100 and holds 3', 'single trust', '4 of 30', '2 of 2'):
        sees(p, text)
    p.click('th button:has-text("Free")')
    assert p.get_attribute('th:has-text("Free")', 'aria-sort') == 'descending'
    assert p.inner_text('section[aria-label="Devices by chip"] tbody th') == 'cpu-avx512'
    assert p.get_attribute('.tile:has-text("n1") .squares', 'aria-label') == 'h100: 3 of 4 in use'
    p.click(f'a:has-text("#{f.waits}")')
    p.wait_for_selector('h1:has-text("waiting-one")')
    clean(p)


def test_live_log():
    job = f.submit('i=0; while [ $i -lt 400 ]; do i=$((i+1)); printf "\\033[31mline\\033[0m %d\\n" $i; sleep 0.05; done', 'talker')
    f.c.wait(job, 'running')
    p = page(f.ada)
    go(p, f'jobs/{job}', 'talker')
    lines = 'document.querySelectorAll(".log-text .line").length'
    p.wait_for_function(f'() => {lines} > 5')
    assert p.inner_text('.log-text .ansi-red >> nth=0') == 'line' and '\x1b' not in p.inner_text('.log-text')
    p.click('button:has-text("Pause")')
    before = p.evaluate(lines)
    p.wait_for_selector('.log-status:has-text("more lines have come")')
    time.sleep(0.3)
    assert p.evaluate(lines) == before
    p.click('button:has-text("Go on")')
    p.wait_for_function(f'() => {lines} > {before} + 5')
    assert p.evaluate('(e => e.scrollHeight - e.scrollTop - e.clientHeight < 30)(document.querySelector(".log-text"))')
    with p.expect_download() as download:
        p.click('a:has-text("Download")')
    assert download.value.suggested_filename == f'job-{job}-attempt-1-rank-0.txt'
    f.c.call('POST', f'/jobs/{job}/cancel')
    p.wait_for_selector('.log-status:has-text("the end")')
    clean(p)


def test_flood_of_lines_stays_bounded():
    job = f.submit('seq 1 300000; printf "10%%\\r50%%\\r100%%\\n"; head -c 100000 /dev/zero | tr "\\0" x; printf "\\n\\033]0;title\\007\\033[2Jlast words\\n"', 'flood')
    f.c.wait(job)
    p = page(f.ada)
    go(p, f'jobs/{job}', 'flood')
    p.wait_for_selector('.log-text:has-text("last words")')
    text = p.inner_text('.log-text')
    assert text.rstrip().endswith('last words') and 'title' not in text and '50%' not in text and '100%' in text, text[-300:]
    assert 'more characters' in text and p.evaluate('document.querySelectorAll(".log-text .line").length') <= 5000
    clean(p)


def test_curve_and_progress():
    job = f.submit(TRAIN + f"echo '{{\"step\": 120, \"loss\": \"{EVIL}\", \"checkpoint_by\": 1}}' >> metrics.jsonl; sleep 600", 'trainer')
    f.c.wait(job, 'running')
    p = page(f.ada)
    go(p, f'jobs/{job}', 'trainer')
    p.wait_for_selector('.chart svg path.curve')
    sees(p, '120 of 200 (60 %)')
    assert p.get_attribute('[role=progressbar]', 'aria-valuenow') == '60'
    label = p.get_attribute('.chart svg >> nth=0', 'aria-label')
    assert 'held out 12.5' in label and 'most 109' in label, label  # 110 - 1
    # Steps 9 and 10 of the attempt that went back are rolled back: 8 is the last before 20.
    steps = p.get_attribute('.chart svg path.curve.s0 >> nth=0', 'd').count('L') + 1
    assert steps == 13, steps
    p.focus('.chart >> nth=0')
    p.keyboard.press('Home')
    assert 'step 1: training 109' in p.inner_text('.chart figcaption >> nth=0')
    sees(p, 'step 90')
    f.c.call('POST', f'/jobs/{job}/cancel')
    sees(p, 'cancelled')
    clean(p)


def test_cancel_hold_release_retry():
    job = f.submit('sleep 600', 'victim')
    f.c.wait(job, 'running')
    p = page(f.ada)
    go(p, f'jobs/{job}', 'victim')
    p.click('button:has-text("Cancel job")')
    confirm(p, 'Back')
    assert f.c.state(job) == 'running'
    p.click('button:has-text("Cancel job")')
    confirm(p, 'Cancel job')
    p.wait_for_selector('.why .badge.cancelled')
    until(5, 'it is said aloud', lambda: f'Job {job} is now cancelled' in p.inner_text('#said'))
    p.click('button:has-text("Retry")')
    confirm(p, 'Retry')
    p.wait_for_selector('.why .badge.running')
    f.c.call('POST', f'/jobs/{job}/cancel')
    go(p, f'jobs/{f.waits}', 'waiting-one')
    p.click('button:has-text("Hold")')
    confirm(p, 'Hold')
    p.wait_for_selector('.why .badge.held')
    p.click('button:has-text("Release")')
    confirm(p, 'Release')
    p.wait_for_selector('.why .badge.queued')
    # What the state does not allow is told in the dialog.
    go(p, f'jobs/{f.waits}', 'waiting-one')
    p.click('button:has-text("Hold")')
    p.wait_for_selector('dialog')
    f.c.call('POST', f'/jobs/{f.waits}/cancel')
    p.click('dialog button:has-text("Hold")')
    p.wait_for_selector('dialog [role=alert]:has-text("ended")')
    p.keyboard.press('Escape')
    f.c.call('POST', f'/jobs/{f.waits}/retry')
    clean(p, 'status of 409')


def test_arrays():
    job = f.submit('[ $WELLSPRING_ARRAY_INDEX != 120 ]', 'sweep', array='0-149', array_at_once=20)
    f.c.wait(job, 'failed', seconds=60)
    p = page(f.ada)
    go(p, f'jobs/{job}', 'sweep')
    sees(p, '150 elements · 149 succeeded · 1 failed')
    assert p.evaluate('document.querySelectorAll("tr[data-row]").length') == 100
    p.click('button:has-text("More")')
    sees(p, f'{job}_149')
    p.select_option('select:near(:text("Elements"))', 'failed')
    p.wait_for_function('() => document.querySelectorAll("tr[data-row]").length === 1')
    p.click(f'a:has-text("{job}_120")')
    p.wait_for_selector('h1:has-text("sweep")')
    p.wait_for_selector('.why .badge.failed')
    sees(p, f'job {job}')
    clean(p)


def test_member_and_viewer():
    p = page(f.ada)
    sees(p, 'long-one')
    assert not p.query_selector('nav a[href="#/audit"]') and 'lins-job' not in p.inner_text('main')
    go(p, f'jobs/{f.lins}', 'Not allowed')
    go(p, 'audit', 'Not allowed')
    go(p, 'teams', 'Teams and tokens')
    assert p.inner_text('section[aria-label=Teams] tbody th') == 'vision' and not p.query_selector('section[aria-label=Tokens]')
    go(p, 'nodes', 'Nodes')
    assert not p.query_selector('button:has-text("Drain")')
    clean(p, 'status of 403')
    v = page(f.bo)
    go(v, f'jobs/{f.runs}', 'long-one')
    sees(v, 'it runs')
    assert not v.query_selector('.actions')
    clean(v)


def test_admin():
    p = page()
    go(p, 'teams', 'Teams and tokens')
    p.click('button:has-text("New token")')
    p.select_option('dialog [name=role]', 'viewer')
    p.select_option('dialog [name=team]', 'vision')
    p.click('dialog button:has-text("Make")')
    p.wait_for_selector('dialog [role=alert]:has-text("user")')  # without one it is refused
    p.fill('dialog [name=user]', 'eve')
    p.fill('dialog [name=note]', EVIL)
    p.click('dialog button:has-text("Make")')
    token = p.inner_text('dialog .once code >> nth=0')
    confirm(p, 'Done')
    assert f.c.call('GET', '/cluster', token=token)['you']['user'] == 'eve'
    sees(p, EVIL)
    assert token not in p.content()
    e = page(token)
    go(e, 'jobs?name=long', 'Jobs')
    p.click('button[aria-label*="of eve"]')
    confirm(p, 'Revoke')
    e.wait_for_selector('#token')  # the session ends where one looks
    e.wait_for_selector('main:has-text("no longer valid")')
    f.browser.login(e, f.ada)
    assert e.evaluate('location.hash') == '#/jobs?name=long'
    clean(e)
    go(p, 'queues', 'Queues and quotas')
    p.click('button:has-text("New queue")')
    p.fill('dialog [name=name]', 'night')
    p.fill('dialog [name=priority]', '-5')
    p.uncheck('dialog [name=open]')
    confirm(p, 'Make')
    sees(p, 'closed')
    p.click('button[aria-label="Change the quota of vision, h100"]')
    p.fill('dialog [name=devices]', '4')
    confirm(p, 'Save')
    sees(p, '3 of 4')
    p.click('button[aria-label="Change the quota of vision, h100"]')
    p.fill('dialog [name=devices]', '3')
    confirm(p, 'Save')
    go(p, 'nodes', 'Nodes')
    sees(p, 'Single trust:')
    p.click('button[aria-label="Drain: node n2"]')
    p.fill('dialog [name=note]', EVIL)
    confirm(p, 'Drain')
    p.wait_for_selector('.badge.drained')
    sees(p, EVIL)
    p.click('button[aria-label="Resume: node n2"]')
    confirm(p, 'Resume')
    p.wait_for_selector('.badge.drained', state='detached')
    f.c.wait(f.lins, 'running')
    go(p, 'audit', 'Audit')
    for text in ('POST /nodes/n2/drain', 'PUT /queues/night'):
        sees(p, text)
    assert not p.evaluate('window.hacked')
    clean(p, 'status of 400')


def test_keyboard_alone():
    p = f.browser.page()
    assert p.evaluate('document.activeElement.id') == 'token'
    p.keyboard.type(f.ada)
    p.keyboard.press('Enter')
    p.wait_for_selector('#nav')
    p.keyboard.press('Tab')
    assert p.evaluate('document.activeElement.className') == 'skip'
    p.keyboard.press('Enter')
    assert p.evaluate('document.activeElement.id') == 'main'
    for key in 'gj':
        p.keyboard.press(key)
    p.wait_for_selector('h1:has-text("Jobs")')
    assert p.evaluate('document.activeElement.tagName') == 'H1'
    p.keyboard.press('/')
    assert p.evaluate('document.activeElement.type') == 'search'
    p.keyboard.type('long-one')
    p.wait_for_function('() => document.querySelectorAll("tr[data-row]").length === 1')
    assert p.evaluate('document.activeElement.value') == 'long-one'  # drawing anew left it alone
    p.keyboard.press('Control+a')
    p.keyboard.press('Delete')
    p.wait_for_function('() => document.querySelectorAll("tr[data-row]").length > 1')
    p.keyboard.press('Tab')
    p.evaluate('document.activeElement.blur()')
    for key in 'jjk':
        p.keyboard.press(key)
    first = p.inner_text('tr[data-row] a >> nth=0')
    assert p.evaluate('document.activeElement.innerText') == first
    outline = p.evaluate('getComputedStyle(document.activeElement).outlineStyle')
    assert outline == 'solid', outline
    go(p, f'jobs/{f.runs}', 'long-one')
    p.focus('button:has-text("Cancel job")')
    p.keyboard.press('Enter')
    p.wait_for_selector('dialog')
    assert p.evaluate('document.activeElement.innerText') == 'Back'  # what does no harm
    p.keyboard.press('Escape')
    p.wait_for_selector('dialog', state='detached')
    assert p.evaluate('document.activeElement.innerText') == 'Cancel job'
    p.keyboard.press('?')
    p.wait_for_selector('dialog')
    p.uncheck('dialog [name=on]')
    confirm(p, 'Keep')
    for key in 'gp':
        p.keyboard.press(key)
    time.sleep(0.2)
    assert p.evaluate('location.hash') == f'#/jobs/{f.runs}'
    clean(p)


def test_phone():
    p = page(width=360, height=740, has_touch=True, is_mobile=True)
    for name, heading in {**VIEWS, f'jobs/{f.runs}': 'long-one'}.items():
        go(p, name, heading)
        wide = p.evaluate('document.documentElement.scrollWidth')
        assert wide <= 360, (name, wide)
    assert not p.is_visible('nav')
    p.click('button.menu')
    assert p.is_visible('nav') and p.get_attribute('button.menu', 'aria-expanded') == 'true'
    p.click('nav a:has-text("Jobs")')
    p.wait_for_selector('h1:has-text("Jobs")')
    assert not p.is_visible('nav')
    clean(p)


def test_dark():
    p = page(scheme='dark')
    background = 'getComputedStyle(document.body).backgroundColor'
    dark = p.evaluate(background)
    assert sum(map(int, re.findall(r'\d+', dark))) < 100, dark
    p.click('button[title^="Dark or light"]')
    assert p.evaluate(background) != dark
    p.reload()
    p.wait_for_selector('#nav')
    assert p.evaluate(background) != dark
    p.keyboard.press('d')
    assert p.evaluate(background) == dark
    clean(p)


def test_nothing_becomes_markup():
    job = f.submit(f"echo '{EVIL}<script>window.hacked=1</script>'; printf '\\033]8;;javascript:window.hacked=1\\007link\\n'; exit 3", 'evil',
                   env={'X': EVIL}, workdir=EVIL)
    f.c.wait(job, 'failed')
    p = page()
    go(p, f'jobs/{job}', 'evil')
    p.wait_for_selector('.log-text:has-text("</script> link")')
    p.click('summary')
    for path in (f'jobs/{EVIL}', EVIL, f'jobs?name={EVIL}', f'events?text={EVIL}', 'events', 'audit', 'jobs?state=<b>'):
        p.evaluate('path => { location.hash = "#/" + path; }', path)
        p.wait_for_timeout(250)
        assert p.evaluate('[!window.hacked, document.querySelectorAll("#app img, #app script").length]') == [True, 0], path
    for path in (f'/jobs/{job}/log', '/cluster'):
        request = urllib.request.Request(f'{f.c.url}/api/v1{path}', headers={'Authorization': f'Bearer {f.c.token}'})
        with urllib.request.urlopen(request) as answer:
            assert answer.headers['X-Content-Type-Options'] == 'nosniff' and 'html' not in answer.headers['Content-Type']
    clean(p, 'status of 40[04]')


def test_other_origins_are_refused():
    for headers, status in (({'Origin': 'http://evil.example'}, 403), ({'Host': 'evil.example'}, 421), ({}, 200)):
        request = urllib.request.Request(f'{f.c.url}/api/v1/session', f'{{"token": "{f.ada}"}}'.encode(), headers, method='POST')
        try:
            with urllib.request.urlopen(request) as answer:
                got = answer.status
        except urllib.error.HTTPError as error:
            got = error.code
        assert got == status, (headers, got)
    for path in ('/../cluster.yaml', '/%2e%2e/console_test.py', '/.git/config', '/lib/../../LICENSE', '/lib'):
        connection = harness.http.client.HTTPConnection('127.0.0.1', f.c.port)
        connection.request('GET', path)
        assert connection.getresponse().status in (400, 404), path
        connection.close()
    secret = f.c.call('POST', '/tokens', {'role': 'member', 'team': 'vision', 'user': 'x'})['token'].rsplit('_', 1)[1]
    try:
        f.c.call('GET', '/cluster', token=f'wst_0_{secret}')
        raise AssertionError('a forged token was taken')
    except Refused as refused:
        assert refused.status == 401


def test_thousands_of_jobs():
    f.c.call('PUT', '/queues/shut', {'open': False})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: f.c.submit('true', f.lin, name=f'bulk-{i}', queue='shut', accepted=[{'chip': 'cpu-avx512'}]), range(2000)))
    p = page()
    begin = time.monotonic()
    go(p, 'jobs?name=bulk', 'Jobs')
    p.wait_for_function('() => document.querySelectorAll("tr[data-row]").length === 50')
    took = time.monotonic() - begin
    names = p.eval_on_selector_all('tr[data-row] .name', 'rows => rows.map(r => r.innerText)')
    p.click('button:has-text("Older")')
    p.wait_for_function('name => document.querySelector("tr[data-row] .name").innerText !== name', arg=names[0])
    older = p.eval_on_selector_all('tr[data-row] .name', 'rows => rows.map(r => r.innerText)')
    assert len(older) == 50 and not set(older) & set(names)
    p.click('button:has-text("Newer")')
    p.wait_for_function('name => document.querySelector("tr[data-row] .name").innerText === name', arg=names[0])
    go(p, 'pool', 'Pool')
    sees(p, 'queue shut is closed')
    assert took < 2, took
    print(f'note: a page of 2,000 queued jobs: {took * 1000:.0f} ms')
    oldest = f.c.call('GET', '/jobs?state=queued,held&order=oldest&limit=3&name=bulk')
    more = f.c.call('GET', f'/jobs?state=queued&order=oldest&limit=3&name=bulk&after={oldest["after"]}')
    ids = [int(j['id']) for j in oldest['jobs'] + more['jobs']]
    assert ids == sorted(set(ids)) and len(ids) == 6, ids
    clean(p)
    for job in f.c.call('GET', '/jobs?state=queued&limit=1')['jobs']:
        f.c.call('POST', f'/jobs/{job["id"]}/cancel')


def test_a_hidden_page_rests():
    job = f.submit('while :; do echo tick; sleep 0.2; done', 'hider')
    f.c.wait(job, 'running')
    p = page(f.ada)
    go(p, f'jobs/{job}', 'hider')
    asked = []
    p.on('request', lambda request: asked.append(request.url))
    p.evaluate('''hidden => {
      window.hide = hidden => {
        Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event("visibilitychange"));
      };
      window.hide(true);
    }''', True)
    p.wait_for_timeout(500)
    before = len(asked)
    p.wait_for_timeout(3500)
    assert len(asked) == before, asked[before:]
    f.c.call('POST', f'/jobs/{job}/cancel')
    f.c.wait(job, 'cancelled')
    assert p.is_visible('.why .badge.running')
    p.evaluate('window.hide(false)')
    p.wait_for_selector('.why .badge.cancelled')
    clean(p, 'ERR_ABORTED')


def test_a_lost_controller_is_told_and_comes_back():
    job = f.submit('i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done', 'ticker')
    f.c.wait(job, 'running')
    p = page(f.ada)
    go(p, f'jobs/{job}', 'ticker')
    p.wait_for_selector('.log-text:has-text("tick")')
    f.c.kill_controller()
    p.wait_for_selector('[role=alert]:has-text("not reachable since")')
    assert 'not reachable' in p.title() and p.is_visible('h1:has-text("ticker")')
    f.c.up()
    p.wait_for_selector('[role=alert]:has-text("not reachable since")', state='detached', timeout=20000)
    assert 'not reachable' not in p.title()  # and the session has outlived it
    p.wait_for_selector('.log-text:has-text("tick")')  # it is read anew
    last = p.inner_text('.log-text').split()[-1]
    p.wait_for_function('last => Number(document.querySelector(".log-text").innerText.trim().split(" ").pop()) > Number(last)', arg=last, timeout=20000)
    f.c.call('POST', f'/jobs/{job}/cancel')
    clean(p, 'ERR_CONNECTION_REFUSED', 'ERR_INCOMPLETE_CHUNKED', 'ERR_EMPTY_RESPONSE', 'ERR_CONNECTION_RESET', 'status of 50')


def main(names):
    """Runs the tests among a module's names."""
    global f
    browser.enter()
    f = Fixture()
    tests = {name: wrapped(test) for name, test in list(names.items()) if name.startswith('test_')}
    try:
        return harness.main(tests)
    finally:
        f.browser.end()
        f.c.close()


def wrapped(test):
    def run():
        try:
            return test()
        finally:
            f.browser.close()
    return run


if __name__ == '__main__':
    sys.exit(main(globals()))
