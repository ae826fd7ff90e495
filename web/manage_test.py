#!/usr/bin/python3
"""The console in a real browser: reservations, secrets, usage, what is searched, more than one console. Arguments: names of tests (all)."""
import hashlib
import json
import os
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import console_test
from console_test import EVIL, ROOT, accessible, browser, clean, confirm, go, harness, page, sees, until


def field(seconds):
    return time.strftime('%Y-%m-%dT%H:%M', time.localtime(seconds))


def opened(p, button, fields):
    """A dialog with its fields filled in, which axe-core has looked at in light and dark."""
    p.click(f'button:has-text("{button}")')
    p.wait_for_selector('dialog')
    for scheme in ('light', 'dark'):
        p.emulate_media(color_scheme=scheme)
        accessible(p, button, scheme)
    for name, text in fields.items():
        select = p.query_selector(f'dialog select[name={name}]')
        select.select_option(text) if select else p.fill(f'dialog [name={name}]', text)


def test_reservations():
    f, now = console_test.f, time.time()
    m = page(f.ada)
    go(m, 'nodes', 'Nodes')
    sees(m, 'n2')
    assert not m.query_selector('section[aria-label=Reservations]')
    p = page()
    go(p, 'nodes', 'Nodes')
    sees(p, 'No node is reserved.')
    fields = {'name': 'demo-day', 'node': 'n2', 'team': 'language', 'from': field(now - 60), 'until': field(now - 120), 'note': EVIL}
    opened(p, 'New reservation', fields)
    p.click('dialog button:has-text("Reserve")')
    p.wait_for_selector('dialog [role=alert]:has-text("until")')  # it would end before it begins
    p.fill('dialog [name=until]', field(now + 7200))
    confirm(p, 'Reserve')
    p.wait_for_selector('section[aria-label=Reservations] tr:has-text("demo-day"):has-text("now")')
    made, = f.c.call('GET', '/reservations')['reservations']
    assert (made['id'], made['node'], made['team'], made['note']) == ('demo-day', 'n2', 'language', EVIL), made
    assert abs(made['from'] - now + 60) < 61 and abs(made['until'] - now - 7200) < 61, made
    assert 'reserved for language until' in p.inner_text('section[aria-label=Nodes] tr:has-text("n2")')
    opened(p, 'New reservation', {**fields, 'until': field(now + 7200)})  # nobody's is replaced by mistake
    p.click('dialog button:has-text("Reserve")')
    p.wait_for_selector('dialog [role=alert]:has-text("already")')
    p.keyboard.press('Escape')
    # Others see that it is reserved, but not for whom; there is nothing to press.
    m.wait_for_selector('section[aria-label=Reservations] tr:has-text("demo-day"):has-text("another team")')
    assert EVIL not in m.inner_text('main') and 'language' not in m.inner_text('main') and not m.query_selector('main button:has-text("Remove")')
    m.set_viewport_size({'width': 360, 'height': 740})
    assert m.evaluate('document.documentElement.scrollWidth') <= 360 and m.is_visible('td[data-label="For team"]')
    p.click('button[aria-label="Remove reservation demo-day"]')
    confirm(p, 'Remove')
    sees(p, 'No node is reserved.')
    assert not f.c.call('GET', '/reservations')['reservations'] and not p.evaluate('window.hacked')
    clean(p, 'status of 400')
    clean(m)


def test_secrets():
    f, content = console_test.f, ' line one\n{"not": "json for us"}\n\n'
    v = page(f.bo)
    assert not v.query_selector('nav a[href="#/secrets"]')
    go(v, 'secrets', 'Not allowed')
    clean(v)
    p = page(f.ada)
    for key in 'gs':
        p.keyboard.press(key)
    p.wait_for_selector('h1:has-text("Secrets")')
    sees(p, 'This team has no secrets.')
    opened(p, 'New secret', {'name': 'a b', 'content': content})
    p.click('dialog button:has-text("Set")')
    p.wait_for_selector('dialog [role=alert]:has-text("secret")')  # the name is none
    p.fill('dialog [name=name]', 'api-key')
    confirm(p, 'Set')
    p.wait_for_selector('tr:has-text("api-key")')
    assert 'line one' not in p.content() and 'line one' not in p.evaluate('JSON.stringify(localStorage) + location.href')
    read = 'cat $WELLSPRING_SECRETS/api-key; echo -n .'
    job = f.submit(read, 'reader', secrets=[{'name': 'api-key'}])
    f.c.wait(job)
    assert f.c.logs(job) == content + '.', f.c.logs(job)  # not a space more or less
    opened(p, 'New secret', {'name': 'api-key', 'content': 'x'})
    p.click('dialog button:has-text("Set")')
    p.wait_for_selector('dialog [role=alert]:has-text("already")')
    p.keyboard.press('Escape')
    opened(p, 'Replace', {'content': 'second'})
    confirm(p, 'Replace')
    job = f.submit(read, 'reader', secrets=[{'name': 'api-key'}])
    f.c.wait(job)
    assert f.c.logs(job) == 'second.', f.c.logs(job)
    # An administrator looks at one team after the other.
    a = page()
    go(a, 'secrets?team=vision', 'Secrets')
    a.wait_for_selector('tr:has-text("api-key")')
    a.select_option('select:near(:text("Team"))', 'language')
    sees(a, 'Secrets of team language')
    sees(a, 'This team has no secrets.')
    opened(a, 'New secret', {'name': 'lins-key', 'content': 'x'})
    confirm(a, 'Set')
    a.wait_for_selector('tr:has-text("lins-key")')
    assert [s['name'] for s in f.c.call('GET', '/secrets?team=language')['secrets']] == ['lins-key']
    assert 'lins-key' not in p.inner_text('main')
    p.click('button[aria-label="Remove secret api-key"]')
    confirm(p, 'Remove')
    sees(p, 'This team has no secrets.')
    assert not f.c.call('GET', '/secrets', token=f.ada)['secrets']
    clean(p, 'status of 400')
    clean(a)


def test_usage_by_project():
    f = console_test.f

    def heads(p):
        return [h.inner_text().strip(' ▾▴\n') for h in p.query_selector_all('thead th') if h.is_visible()]
    p = page()
    go(p, 'usage', 'Usage')
    p.wait_for_selector('tbody tr:has-text("vision")')
    assert heads(p) == ['Team', 'User', 'Chip', 'Share', 'Device-hours', 'Attempts'], heads(p)  # nobody uses projects
    assert 'project' not in p.inner_text('.tools')
    f.c.wait(f.submit('true', 'of-a-project', project='street-scenes'))
    go(p, 'usage?by=', 'Usage')
    p.wait_for_selector('tr:has-text("street-scenes")')
    assert heads(p) == ['Team', 'User', 'Project', 'Chip', 'Share', 'Device-hours', 'Attempts'], heads(p)
    phone = page(width=360, height=740)
    go(phone, 'usage', 'Usage')
    phone.wait_for_selector('tr:has-text("ada · street-scenes · cpu-avx512")')
    for q in (p, phone):
        assert q.evaluate('[...document.querySelectorAll("thead th")].filter(h => h.offsetParent && h.scrollWidth > h.clientWidth).map(h => h.innerText)') == []
    phone.select_option('select:near(:text("By"))', 'project')
    phone.wait_for_selector('thead th:has-text("Project")')
    assert heads(phone) == ['Project', 'Device-hours'], heads(phone)
    clean(p)
    clean(phone)


def test_mounts_of_nodes():
    f = console_test.f
    f.c.node('n3', [{'chip': 'a100', 'count': 1}], mounts=['/data', '/scratch'])
    f.c.node('n4', [{'chip': 'a100', 'count': 1}], mounts=['/data', '/scratch'])
    f.c.node('n5', [{'chip': 'a100', 'count': 1}], mounts=[f'/folder-{i}' for i in range(5)])
    p = page(f.ada)
    go(p, 'nodes', 'Nodes')
    p.wait_for_selector('tr:has-text("n3"):has-text("mounts: /data, /scratch")')
    assert '/folder-4' not in p.inner_text('main')
    p.focus('summary:has-text("5 mounts")')
    p.keyboard.press('Enter')
    sees(p, '/folder-4')
    time.sleep(1.2)  # it stays open when the page is drawn again
    assert '/folder-4' in p.inner_text('main')
    accessible(p)
    clean(p)
    shown = f.c.run('cluster', 'nodes').stdout
    assert 'jobs on n3, n4 may mount /data, /scratch\n' in shown, shown


def test_filters_search_all_that_happened():
    f = console_test.f
    f.c.call('PUT', '/queues/closed', {'open': False})

    def come_and_go(i):
        f.c.call('POST', f'/jobs/{f.submit("true", f"passing-{i}", queue="closed")}/cancel')
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(110)))
    p = page()
    for view, heading, rare, text, common in (('events', 'Events', 'JOINED', 'joined', 'cancelled'), ('audit', 'Audit', 'put /TEAMS/language', 'PUT /teams/language', '/cancel')):
        go(p, view, heading)
        p.wait_for_selector('.pages:has-text("100 shown")')
        assert text not in p.inner_text('tbody')  # it is on a page further back
        p.fill('main [type=search]', rare)
        p.wait_for_selector(f'tbody tr:has-text("{text}")')
        assert all(text in row for row in p.eval_on_selector_all('tbody tr', 'rows => rows.map(r => r.innerText)'))
        p.fill('main [type=search]', common)  # pages of what fits
        p.wait_for_selector('.pages:has-text("100 shown")')
        p.click('button:has-text("Older")')
        p.wait_for_selector('.pages:has-text("older")')
        rows = p.eval_on_selector_all('tbody tr', 'rows => rows.map(r => r.innerText)')
        assert 10 <= len(rows) < 100 and all(common in row for row in rows), rows
    go(p, 'events?kind=node', 'Events')
    p.wait_for_selector('tbody tr:has-text("joined")')
    assert set(p.eval_on_selector_all('tbody tr td:nth-child(2)', 'cells => cells.map(c => c.innerText)')) == {'node'}
    go(p, f'events?text=%23{f.runs}', 'Events')
    p.wait_for_selector(f'tbody tr:has-text("#{f.runs}")')
    # A member's search finds nothing of others.
    m = page(f.ada)
    go(m, 'events?text=language', 'Events')
    sees(m, 'No event fits.')
    clean(p)
    clean(m)


def test_two_consoles_on_one_host():
    f = console_test.f
    with harness.Cluster(config={'web': os.path.join(ROOT, 'web')}) as other:
        other.up()
        p = page()
        q = p.context.new_page()
        q.goto(other.url)
        q.wait_for_selector('#token')
        f.browser.login(q, other.token)
        p.reload()
        p.wait_for_selector('#nav')  # still logged in
        q.click('button[title="Log out"]')
        q.wait_for_selector('#token')
        p.reload()
        p.wait_for_selector('#nav')
        clean(p)


def test_hints_of_a_cluster_with_tls():
    with harness.Cluster(config={'address': '0.0.0.0', 'web': os.path.join(ROOT, 'web')}) as c:
        c.up(wait=False)
        until(20, 'the first login', lambda: os.path.exists(f'{c.folder}/login.json'))
        until(20, 'the command line works', lambda: c.run('cluster', 'status').returncode == 0)
        with open(f'{c.folder}/login.json') as login:
            known = json.load(login)
        token, fingerprint = known['token'], hashlib.sha256(ssl.PEM_cert_to_DER_cert(known['ca'])).hexdigest()
        p, plain = page(token, url=f'https://127.0.0.1:{c.port}', ignore_https_errors=True), page()
        for q, expected in ((p, f'https://127.0.0.1:{c.port} --ca-fingerprint {fingerprint}'), (plain, console_test.f.c.url)):
            go(q, 'teams', 'Teams and tokens')
            opened(q, 'New token', {'user': 'eve'})
            q.click('dialog button:has-text("Make")')
            hint = q.inner_text('dialog .once code >> nth=1')
            assert hint == f'wellspring cluster login {expected}', hint
        # As it says.
        made = p.inner_text('dialog .once code >> nth=0')
        words = p.inner_text('dialog .once code >> nth=1').split()[1:]
        read, write = os.pipe()
        os.write(write, made.encode() + b'\n')
        os.close(write)
        c.environment['WELLSPRING_LOGIN'] = f'{c.folder}/eve.json'
        r = c.run(*words, stdin=read)
        os.close(read)
        assert r.returncode == 0 and 'you are eve' in r.stdout, r


if __name__ == '__main__':
    sys.exit(console_test.main(globals()))
