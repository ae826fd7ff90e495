#!/usr/bin/python3
"""The HTTP API against those who may not, and against those who do not keep to the rules."""
import json
import os
import resource
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import quote

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../testing'))
from attack import Raw, expect, files_with, join_as, quickly  # noqa: E402
from harness import PROGRAM, Cluster, Refused, main, until  # noqa: E402

A100 = [{'chip': 'a100', 'count': 4}]


def new_token(c, role='member', team='default', user='ada', **more):
    return c.call('POST', '/tokens', {'role': role, 'team': team, 'user': user, **more})


def test_tokens():
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        made = new_token(c)
        member, viewer = made['token'], new_token(c, 'viewer')['token']
        assert c.call('GET', '/cluster', token=member)['you'] == {'user': 'ada', 'team': 'default', 'role': 'member'}
        # None, garbage, forged.
        for wrong in ('', 'x', 'wst_', 'wst__', 'Bearer', 'wst_' + made['id'] + '_' + '0' * 48, member[:-1], member + '0',
                      member.upper(), 'wst_' + made['id'] + '_', "wst_' OR 1=1 --_x", 'eyJhbGciOiJub25lIn0.e30.', 'wsn_00',
                      'a' * 8000):
            expect(401, c.call, 'GET', '/jobs', token=wrong)
            expect(401, c.call, 'POST', '/jobs', {'command': 'true'}, token=wrong)
        # A token never counts in a URL, nor by another scheme.
        expect(401, c.call, 'GET', f'/jobs?token={member}&access_token={member}', token='')
        expect(401, c.call, 'GET', '/jobs', token='', headers={'Authorization': f'Basic {member}'})
        expect(401, c.call, 'GET', '/jobs', token='', headers={'Cookie': f'wellspring_session={member}'})
        # The wrong role.
        job = c.submit('sleep 100', token=member)
        for method, path, body in (('POST', '/jobs', {'command': 'true'}), ('POST', f'/jobs/{job}/cancel', None),
                                   ('POST', f'/jobs/{job}/hold', None), ('POST', f'/jobs/{job}/retry', None),
                                   ('PUT', '/secrets/x', b'x'), ('GET', '/secrets', None),
                                   ('PUT', '/blobs/' + '0' * 64, b'x'), ('GET', f'/jobs/{job}/exec', None),
                                   ('GET', f'/jobs/{job}/forward', None)):
            expect(403, c.call, method, path, body, token=viewer)
        for method, path in (('PUT', '/teams/default'), ('PUT', '/queues/default'), ('GET', '/tokens'), ('POST', '/tokens'),
                             ('DELETE', f'/tokens/{made["id"]}'), ('GET', '/audit'), ('POST', '/cluster/backup'),
                             ('POST', '/cluster/pause'), ('POST', '/nodes/n1/drain'), ('DELETE', '/nodes/n1'),
                             ('POST', '/nodes/n1/lost'), ('PUT', '/reservations/x'), ('DELETE', '/reservations/x'),
                             ('DELETE', '/queues/default'), ('DELETE', '/teams/default')):
            expect(403, c.call, method, path, {'role': 'admin'} if method in ('POST', 'PUT') else None, token=member)
        # Every route of the document asks who comes, but those that say that they do not.
        document = c.call('GET', '/openapi.json', token='')
        for path, methods in document['paths'].items():
            for method, what in methods.items():
                if what['x-role'] != 'open':
                    expect(401, c.call, method.upper(), path[len('/api/v1'):].replace('{', '').replace('}', ''), token='')
        # What it says of bodies holds: an unknown field is refused with the near one named, another type with the field.
        for path, methods in document['paths'].items():
            for method, what in methods.items():
                fields = next(iter(what.get('requestBody', {}).get('content', {}).values()), {}).get('schema', {}).get('properties')
                if not fields or what['x-role'] == 'node':
                    continue
                name = next(iter(fields))
                where = path[len('/api/v1'):].replace('{name}', 'n1').replace('{id}', 'x')
                expect(400, c.call, method.upper(), where, {name + 'x': 1}, says=f"did you mean '{name}'?")
                expect(400, c.call, method.upper(), where, {name: [] if fields[name]['type'] != 'array' else 1}, says=f'{name}: expected')
        schema = document['components']['schemas']['Job']['properties']
        assert schema['kind']['enum'] == ['batch', 'service', 'interactive'] and schema['accepted']['items']['properties']['chip'], schema
        # A node's key and an invitation are no tokens of users, and the other way round.
        key = join_as(c, 'n2')
        expect(401, c.call, 'GET', '/jobs', token=key)
        expect(401, c.call, 'GET', '/jobs', token=key, headers={'Wellspring-Node': 'n2'})
        invitation = c.call('POST', '/tokens', {'role': 'join'})['token']
        expect(403, c.call, 'GET', '/jobs', token=invitation)
        expect(401, c.call, 'GET', '/link', token=c.token, headers={'Wellspring-Node': 'n2'})
        expect((401, 403), c.call, 'POST', '/join', {'token': c.token, 'name': 'n3'}, token='')
        expect((401, 403), c.call, 'POST', '/session', {'token': invitation}, token='')
        # Expired.
        brief = new_token(c, seconds=0.6)['token']
        c.call('GET', '/jobs', token=brief)
        time.sleep(0.8)
        expect(401, c.call, 'GET', '/jobs', token=brief, says='expired')
        # Revoked: also for answers that are on their way, and for sessions of the console.
        with Raw(c.port) as raw, Raw(c.port) as tunnel:
            raw.send(f'GET /api/v1/jobs/{job}/log?follow=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {member}\r\n\r\n')
            assert raw.head()[0] == 200
            c.wait(job, 'running')
            tunnel.send(f'GET /api/v1/jobs/{job}/exec?command=cat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n'
                        f'Upgrade: wellspring-tunnel\r\nAuthorization: Bearer {member}\r\n\r\n')
            assert tunnel.head()[0] == 101
            cookie = session(c, member)
            with_cookie(c, 'GET', '/jobs', cookie)
            c.call('DELETE', f'/tokens/{made["id"]}')
            expect(401, c.call, 'GET', '/jobs', token=member, says='revoked')
            expect(401, with_cookie, c, 'GET', '/jobs', cookie)
            begin = time.monotonic()
            for connection in (raw, tunnel):
                connection.socket.settimeout(10)
                while connection.socket.recv(4096):
                    pass
            assert time.monotonic() - begin < 8
        # Hashes are shown to nobody, and are all that is kept.
        shown = json.dumps(c.call('GET', '/tokens'))
        assert 'hash' not in shown and made['id'] in shown
        for token in (member, viewer, c.token, invitation, key):
            secret = token.split('_')[-1]
            assert secret not in shown
            c.call('POST', '/cluster/backup')
            kept = [p for p in files_with(c.folder, secret) if not p.endswith(('login.json', 'node.json'))]
            assert not kept, kept
        with sqlite3.connect(f'file:{c.folder}/controller/state.db?mode=ro', uri=True) as db:
            row = json.loads(db.execute('SELECT doc FROM ws_tokens WHERE id = ?', (made['id'],)).fetchone()[0])
            assert len(row['hash']) == 64 and row['hash'] not in member
        # What must not be read by others on the machine.
        for name in ('login.json', 'controller/state.db', 'controller/state.db-wal', 'n1/node.json'):
            mode = stat.S_IMODE(os.stat(f'{c.folder}/{name}').st_mode)
            assert mode & 0o077 == 0, f'{name}: {mode:o}'
        for name in ('keys', 'blobs', 'backups', 'records'):
            mode = stat.S_IMODE(os.stat(f'{c.folder}/controller/{name}').st_mode)
            assert mode == 0o700, f'{name}: {mode:o}'
        for name in ('n1/spool', 'n1/services'):
            assert stat.S_IMODE(os.stat(f'{c.folder}/{name}').st_mode) == 0o700, name
        with open(f'/proc/{c.nodes["n1"].pid}/cmdline', 'rb') as f:
            assert b'wsj_' not in f.read()  # the invitation on its command line


def session(c, token, **headers):
    """The cookie that a token is traded for."""
    with Raw(c.port) as raw:
        body = json.dumps({'token': token})
        more = ''.join(f'{k.replace("_", "-")}: {v}\r\n' for k, v in headers.items())
        raw.send(f'POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1:{c.port}\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}')
        status, answer = raw.head()
        if status != 200:
            raise Refused(status, '')
        flags = answer['set-cookie']
        assert 'HttpOnly' in flags and 'SameSite=Strict' in flags and 'Path=/' in flags, flags
        return flags.split(';')[0]


def with_cookie(c, method, path, cookie, body=None, **headers):
    named = {k.replace('_', '-'): v for k, v in headers.items()}
    return c.call(method, path, body, token='', headers={'Cookie': cookie, **named})


def test_browsers():
    """Pages of other origins, names that lead here by mistake, texts that would like to be pages."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        here = f'http://127.0.0.1:{c.port}'
        member = new_token(c)['token']
        for host in ('evil.example', f'evil.example:{c.port}', '127.0.0.1.evil.example', '', 'localhost.', '[::2]',
                     '127.0.0.1@evil.example'):
            for path in ('/api/v1/jobs', '/api/v1/openapi.json', '/', '/index.html', '/metrics'):
                with Raw(c.port) as raw:
                    raw.send(f'GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {c.token}\r\n\r\n')
                    status, _ = raw.head()
                    assert status in (421, 400), f'{host} {path}: {status}'
        c.call('GET', '/jobs', headers={'Host': 'LOCALHOST:1'})
        cookie = session(c, member)
        with_cookie(c, 'GET', '/jobs', cookie)
        spec = {'name': 'a', 'command': 'true'}
        # Another origin, no origin, the same host at another port or scheme.
        for origin in ('http://evil.example', 'null', f'http://127.0.0.1:{c.port + 1}', f'https://127.0.0.1:{c.port}', 'file://'):
            expect(403, with_cookie, c, 'POST', '/jobs', cookie, spec, Origin=origin)
            expect(403, with_cookie, c, 'GET', '/jobs', cookie, Origin=origin)
            expect(403, session, c, member, Origin=origin)  # logging somebody else in
        expect(403, with_cookie, c, 'POST', '/jobs', cookie, spec)
        expect(403, with_cookie, c, 'DELETE', '/session', cookie)
        for site in ('cross-site', 'same-site', 'other'):
            expect(403, with_cookie, c, 'GET', '/jobs', cookie, Sec_Fetch_Site=site)
        job = with_cookie(c, 'POST', '/jobs', cookie, spec, Origin=here, Sec_Fetch_Site='same-origin')['id']
        c.wait(job)
        expect(403, with_cookie, c, 'GET', f'/jobs/{job}/exec?command=true', cookie)  # no way in by a page
        # One cookie is one session, and there are not endlessly many of them.
        name, value = cookie.split('=')
        assert name.endswith(f'_{c.port}'), name  # consoles on other ports of this host have another
        for wrong in ('wellspring_session', f'wellspring_session_{c.port + 1}'):
            expect(401, with_cookie, c, 'GET', '/jobs', f'{wrong}={value}')
        other = session(c, member, Origin=here)
        with_cookie(c, 'DELETE', '/session', other, Origin=here)
        expect(401, with_cookie, c, 'GET', '/jobs', other)
        with_cookie(c, 'GET', '/jobs', cookie)
        expect(401, with_cookie, c, 'GET', '/jobs', f'{name}={value.split("_")[0]}_{"0" * 48}')
        # Somebody else's session does not end by its public part.
        c.call('DELETE', '/session', token=member, headers={'Cookie': f'{name}={value.split("_")[0]}_0'})
        with_cookie(c, 'GET', '/jobs', cookie)
        for _ in range(25):
            last = session(c, member)
        with_cookie(c, 'GET', '/jobs', last)
        assert sum(t['role'] == 'session' for t in c.call('GET', '/tokens')['tokens']) <= 20
        # Names are names; what a log says is text.
        for name in ('<script>alert(1)</script>', 'a"onload=x', "a'b", 'a&lt;', 'javascript:x'):
            expect(400, c.submit, 'true', name=name)
        evil = '</script><img src=x onerror=alert(1)>'
        job = c.submit(f"echo '{evil}'; exit 3", env={'X': evil}, workdir=evil)
        until(10, 'it has failed', lambda: c.state(job) == 'failed')
        for path in (f'/api/v1/jobs/{job}/log', f'/api/v1/jobs/{job}', '/api/v1/events', '/api/v1/nothing', '/api/v1/jobs/' + quote(evil.replace('/', ''))):
            with Raw(c.port) as raw:
                raw.send(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {c.token}\r\nAccept: text/html\r\n\r\n')
                _, headers = raw.head()
                assert headers['content-type'].split(';')[0] in ('text/plain', 'application/json'), (path, headers)
                if 'nothing' not in path:
                    assert headers['x-content-type-options'] == 'nosniff', (path, headers)
                    assert "default-src 'none'" in headers['content-security-policy'], (path, headers)
        with Raw(c.port) as raw:
            raw.send('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
            status, headers = raw.head()
            if status == 200:  # the console is beside the program
                policy = headers['content-security-policy']
                assert "script-src 'self'" in policy and 'unsafe' not in policy and "frame-ancestors 'none'" in policy
                assert headers['x-content-type-options'] == 'nosniff'
        for path in ('/../cluster.yaml', '/..%2f..%2fetc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '//etc/passwd', '/.git/config',
                     '/%00', '/index.html%00.png', '/js/../../README.md', '/' + 'a/' * 3000):
            with Raw(c.port) as raw:
                raw.send(f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n')
                assert raw.head()[0] in (400, 404, 431), path


def test_other_teams():
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        for team in ('alpha', 'beta'):
            c.call('PUT', f'/teams/{team}', {'roots': [f'/data/{team}-only'], 'quotas': {'a100': {'devices': 4}}})
        a, b = new_token(c, team='alpha')['token'], new_token(c, team='beta', user='eve')['token']
        c.call('PUT', '/queues/alphas', {'teams': ['alpha']})
        now = time.time()
        c.call('PUT', '/reservations/r', {'node': 'n1', 'team': 'alpha', 'from': now + 5000, 'until': now + 6000,
                                          'note': 'alpha-note'})
        c.call('PUT', '/secrets/key?team=alpha', b'secret of alpha')
        job = c.submit('echo alpha-log; sleep 100', token=a, name='alpha-job', secrets=[{'name': 'key'}])
        c.wait(job, 'running')
        until(10, 'it says something', lambda: 'alpha-log' in c.logs(job))
        # Its job, log, progress, terminal, ports.
        for method, path in (('GET', ''), ('GET', '/log'), ('GET', '/log?follow=1'), ('GET', '/log?wait=1'), ('GET', '/curve'),
                             ('GET', '/exec?command=id'), ('GET', '/forward?port=22'), ('POST', '/cancel'), ('POST', '/hold'),
                             ('POST', '/release'), ('POST', '/retry')):
            text = expect(403, c.call, method, f'/jobs/{job}{path}', token=b)
            assert 'alpha' not in text, text
        # As a dependency, by its team, by its secrets and archives.
        assert 'alpha' not in expect(403, c.submit, 'true', token=b, after=[{'job': int(job), 'kind': 'afterany'}])
        expect(403, c.submit, 'true', token=b, team='alpha')
        expect(403, c.submit, 'true', token=b, queue='alphas')
        expect(400, c.submit, 'true', token=b, secrets=[{'name': 'key'}])
        for method, path, body in (('GET', '/secrets?team=alpha', None), ('PUT', '/secrets/key?team=alpha', b'x'),
                                   ('DELETE', '/secrets/key?team=alpha', None)):
            expect(403, c.call, method, path, body, token=b)
        blob = b'archive of alpha'
        import hashlib
        name = hashlib.sha256(blob).hexdigest()
        c.call('PUT', f'/blobs/{name}', blob, token=a)
        assert c.call('GET', f'/blobs/{name}', token=a)['have']
        assert not c.call('GET', f'/blobs/{name}?team=alpha', token=b)['have']
        expect(400, c.submit, 'true', token=b, snapshot=name)
        # Lists show nothing of it.
        c.call('POST', f'/jobs/{job}/cancel')
        until(10, 'it is cancelled', lambda: c.state(job) == 'cancelled')
        for path in ('/jobs?state=all', '/jobs?state=all&team=alpha', '/usage', '/events', '/teams', '/queues', '/reservations',
                     '/nodes', '/secrets', '/cluster', '/metrics'):
            text = c.call('GET', path, token=b, raw=True)
            assert 'alpha' not in text.replace('alphas', ''), f'{path}: {text}'
            assert 'alpha' in c.call('GET', path, token=a, raw=True) or path in ('/nodes', '/cluster'), path
        expect(403, c.call, 'GET', '/audit', token=b)
        held = c.submit('sleep 100', token=a)
        c.wait(held, 'running')
        assert not c.call('GET', '/nodes', token=b)['nodes'][0]['jobs']
        assert c.call('GET', '/nodes', token=a)['nodes'][0]['jobs'] == [held]
        # Two teams are never one user; no team is root.
        c.call('PUT', '/teams/alpha', {'system_user': 'daemon'})
        expect(409, c.call, 'PUT', '/teams/beta', {'system_user': 'daemon'})
        expect(400, c.call, 'PUT', '/teams/beta', {'system_user': 'root'})
        expect(403, c.call, 'PUT', '/teams/beta', {'system_user': 'bin'}, token=b)
        # A job file cannot set a user.
        expect(400, c.submit, 'true', token=b, system_user='daemon')
        expect(400, c.submit, 'true', token=b, user='daemon')
        # What was tried stands in the audit log, with who it was and without what they hold.
        audit = json.dumps(c.call('GET', '/audit'))
        assert 'eve (beta)' in audit and 'refused' in audit and b.split('_')[2] not in audit


TRICKS = ['../x', '..', '.', '/etc/passwd', 'a/../../b', 'a/b', '.hidden', '-rf', '$(touch pwned)', '`id`', ';id', 'a b', 'a\nb',
          'a\x00b', "a'b", 'a"b', 'a\\b', '%2e%2e', 'a%00', 'ä', 'a' * 65, '\u202egnp', 'con:', '*', '~root', 'a\r\nX: y', '{id}']


def test_names():
    """Paths and shells in every name."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        for bad in TRICKS:
            for field in ('name', 'team', 'queue', 'project', 'snapshot'):
                expect((400, 403), c.submit, 'true', **{field: bad})
            expect(400, c.submit, 'true', accepted=[{'chip': bad}])
            expect(400, c.submit, 'true', secrets=[{'name': bad}])
            expect(400, c.submit, 'true', secrets=[{'name': 'x', 'variable': bad}])
            expect(400, c.submit, 'true', env={bad + '=': 'x'})
            expect((400, 401), c.call, 'POST', '/join', {'token': c.call('POST', '/tokens', {'role': 'join'})['token'],
                                                         'name': bad}, token='')
            expect(400, c.call, 'POST', '/tokens', {'role': 'member', 'team': 'default', 'user': bad})
            expect((400, 404), c.call, 'POST', '/tokens', {'role': 'member', 'team': bad, 'user': 'x'})
            expect(400, c.call, 'PUT', '/teams/t', {'system_user': bad})
            expect((400, 404), c.call, 'PUT', '/teams/default', {'quotas': {bad: {'devices': 1}}})
            part = quote(bad, safe='')
            for method, path, body in (('PUT', f'/teams/{part}', {}), ('PUT', f'/queues/{part}', {}),
                                       ('PUT', f'/secrets/{part}', b'x'), ('PUT', f'/blobs/{part}', b'x'),
                                       ('GET', f'/blobs/{part}', None), ('GET', f'/jobs/{part}', None),
                                       ('PUT', f'/reservations/{part}', {'node': 'n1', 'team': 'default', 'until': 9e9}),
                                       ('POST', f'/nodes/{part}/drain', {}), ('DELETE', f'/tokens/{part}', None),
                                       ('DELETE', f'/secrets/{part}', None), ('GET', f'/jobs?team={part}&name={part}', None)):
                try:
                    c.call(method, path, body)
                    assert method == 'GET' and '?' in path, f'{method} {path} was taken'
                except Refused as e:
                    assert e.status in (400, 404, 405), f'{method} {path}: {e}'
            expect((400, 404), c.call, 'PUT', f'/secrets/x?team={part}', b'x')
            expect((400, 404), c.call, 'PUT', f'/blobs/{"0" * 64}?team={part}', b'x')
        for variable in ('WELLSPRING_TOKEN', 'WELLSPRING_X', 'AIRS_X', 'RANK', 'MASTER_ADDR', 'CUDA_VISIBLE_DEVICES', '1A', '', 'A-B'):
            expect(400, c.submit, 'true', env={variable: 'x'})
        for image in ('-x', '--bind=/etc:/mnt'):
            expect(400, c.submit, 'true', image=image)
        for root in ('relative', '/a/../b', '/..', ''):
            expect(400, c.call, 'PUT', '/teams/default', {'roots': [root]})
        # Whatever stands in a command, an environment or a folder's name stays what it is.
        marks = tempfile.mkdtemp(dir=c.folder)
        work = os.path.join(marks, "w'o$(touch pwned)r`touch pwned`k; touch pwned #")
        os.makedirs(work)
        with open(os.path.join(work, "it's $(here).txt"), 'w') as f:
            f.write('content')
        with open(os.path.join(marks, 'job.yaml'), 'w') as f:
            json.dump({'name': 'a', 'workdir': work, 'setup': "echo 'made by setup' > \"se't up\"",
                       'run': 'cat it*; cat se*; echo "$ODD"', 'env': {'ODD': "'; $(touch pwned) `id` \\ \" %s"}}, f)
        r = c.run('job', 'run', os.path.join(marks, 'job.yaml'))
        assert r.returncode == 0 and r.stdout == "contentmade by setup\n'; $(touch pwned) `id` \\ \" %s\n", r
        assert not [p for p, _, names in os.walk(c.folder) if 'pwned' in names]


def test_bodies():
    """Too much, too deep, without end, not what it says that it is."""
    with Cluster(config={'archives': {'most_gb': 0.02, 'team_gb': 0.03}, 'most_jobs': 1000}) as c:
        c.up()
        c.node('n1', A100)
        member = new_token(c)['token']

        def memory():
            with open(f'/proc/{c.controller.pid}/status') as f:
                return int(f.read().split('VmRSS:')[1].split()[0]) / 1000

        before = memory()
        for text in (b'', b'{', b'[]', b'"x"', b'1', b'null', b'{"command": 1}', b'{"command": "\xff\xfe"}', b'{"command": "a\\u0000"}',
                     b'[' * 100_000, b'{"a":' * 100_000, b'{"env": ' + b'{"a":' * 600 + b'1' + b'}' * 600 + b'}',
                     b'{"priority": 1e999}', b'{"priority": 99999999999999999999}', b'{"accepted": [{"count": -1}]}',
                     b'{"accepted": [{"count": 2.5}]}', b'{"array": "0-99999999999"}', b'{"array": "0-999999,5"}',
                     b'{"command": "x", "command": "y", "nam": "z"}', b'\x00' * 1000, b'{"time_limit": NaN}'):
            expect(400, c.call, 'POST', '/jobs', text, token=member)
        # By how much who asks is allowed: nothing much without a token, a job's size with one, archives by parts.
        expect((413, 401), c.call, 'POST', '/jobs', b'x' * 100_000, token='')
        expect(413, c.call, 'POST', '/session', b'x' * 100_000, token='')
        expect(413, c.call, 'POST', '/jobs', b'x' * (5 << 20), token=member)
        expect(413, c.call, 'PUT', '/blobs/' + '0' * 64, b'x' * (13 << 20), token=member)
        expect(413, c.call, 'PUT', '/secrets/big', b'x' * (65 << 10), token=member)
        # Bodies without end, announced and not.
        for credentials in ('', f'Authorization: Bearer {member}\r\n'):
            for kind in ('Transfer-Encoding: chunked', 'Content-Length: 99999999999999'):
                with Raw(c.port) as raw:
                    raw.send(f'POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n{credentials}{kind}\r\n\r\n')
                    sent = 0
                    try:
                        while sent < 1 << 30:
                            raw.send(b'10000\r\n' + b'x' * 65536 + b'\r\n')
                            sent += 65536
                    except OSError:
                        pass
                    assert sent < 512 << 20, f'{kind}: it took {sent} bytes'  # what is read is dropped
        # Headers: too long, too many, without end; requests that could be two.
        for text in ('GET /' + 'a' * 20_000 + ' HTTP/1.1\r\nHost: localhost\r\n\r\n',
                     'GET / HTTP/1.1\r\nHost: localhost\r\n' + 'X: y\r\n' * 5000 + '\r\n',
                     'GET / HTTP/1.1\r\nHost: localhost\r\nX: ' + 'y' * 30_000 + '\r\n\r\n'):
            with Raw(c.port) as raw:
                try:
                    raw.send(text)
                except OSError:
                    pass
                assert raw.head()[0] in (431, 400, 0)
        for text in ('POST /api/v1/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n',
                     'POST /api/v1/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}',
                     'POST /api/v1/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n',
                     'POST /api/v1/join HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n',
                     'GET / HTTP/1.1\r\n\r\n', 'GET /api/v1/jobs\r\n\r\n', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', '\x00' * 100):
            with Raw(c.port, timeout=15) as raw:
                raw.send(text.encode('latin-1'))
                raw.socket.shutdown(socket.SHUT_WR)
                status, _ = raw.head()
                assert status in (400, 408, 413, 0), f'{text!r}: {status}'
        # Archives: a hash that is another one, parts outside, limits of one and of all.
        import hashlib
        for size, status in ((21 << 20, 413), (1 << 20, None)):
            blob = os.urandom(size)
            name = hashlib.sha256(blob).hexdigest()
            part = blob[:1 << 20]
            if status:
                expect(status, c.call, 'PUT', f'/blobs/{name}?offset=0&total={size}', part, token=member)
            else:
                expect(400, c.call, 'PUT', f'/blobs/{name}', blob[:-1] + b'?', token=member, says='another SHA-256')
                expect(400, c.call, 'PUT', f'/blobs/{name}?offset=5&total=4', b'', token=member)
                expect(400, c.call, 'PUT', f'/blobs/{name}?offset=9223372036854775807&total=9', part, token=member)
                half = len(blob) // 2
                threads = []
                for _ in range(4):  # several send the same at once
                    threads.append(threading.Thread(target=lambda: [
                        c.call('PUT', f'/blobs/{name}?offset=0&total={size}', blob[:half], token=member),
                        c.call('PUT', f'/blobs/{name}?offset={half}&total={size}', blob[half:], token=member)]))
                    threads[-1].start()
                for thread in threads:
                    thread.join()
                assert c.call('GET', f'/blobs/{name}', token=member)['have']
        for _ in range(2):
            full = None
            blob = os.urandom(15 << 20)
            name = hashlib.sha256(blob).hexdigest()
            try:
                c.call('PUT', f'/blobs/{name}?offset=0&total={len(blob)}', blob[:8 << 20], token=member)
            except Refused as e:
                full = e
        assert full and full.status == 413 and 'together' in full.message, full
        # As many jobs as may wait.
        expect(409, c.submit, 'true', token=member, array='0-1999', says='most_jobs')
        c.submit('sleep 100', token=member, array='0-899')
        expect(409, c.submit, 'true', token=member, array='0-199')
        assert c.answers() and memory() < before + 150, f'{before:.0f} MB, then {memory():.0f} MB'


def test_slow_clients():
    """Some hundred (WELLSPRING_SLOW_CLIENTS: a thousand) that send a byte now and then: whoever behaves is answered meanwhile."""
    with Cluster() as c:
        c.up()
        slow = []
        stop = threading.Event()
        try:
            for i in range(int(os.environ.get('WELLSPRING_SLOW_CLIENTS', 300))):
                s = socket.create_connection(('127.0.0.1', c.port), timeout=5)
                s.setblocking(False)
                s.send(b'POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n' +
                       (b'Content-Length: 1000\r\n\r\n{' if i % 3 else b'X-Slow: '))
                slow.append(s)

            def drip():
                while not stop.wait(0.5):
                    for s in slow:
                        try:
                            s.send(b'x')
                        except OSError:
                            pass

            thread = threading.Thread(target=drip)
            thread.start()
            for _ in range(15):
                quickly(1, c.call, 'GET', '/health', token='')
                quickly(1, c.call, 'GET', '/jobs')
                time.sleep(0.1)
        finally:
            stop.set()
            thread.join()
            for s in slow:
                s.close()
        quickly(1, c.call, 'GET', '/jobs')


def test_streams_of_one_user():
    """Who opens as many logs as may be keeps nobody else from them."""
    with Cluster() as c:
        c.up()
        c.node('n1', A100)
        greedy, other = new_token(c, 'viewer')['token'], new_token(c, 'viewer', user='bob')['token']
        job = c.submit('echo here; sleep 300')
        c.wait(job, 'running')
        held, refused = [], 0
        try:
            for i in range(300):
                raw = Raw(c.port)
                held.append(raw)
                path = f'/jobs/{job}/log?follow=1' if i % 10 == 0 else '/events?wait=60&after=999999'
                raw.send(f'GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {greedy}\r\n\r\n')
            time.sleep(0.3)
            for raw in held:
                raw.socket.settimeout(0.01)
                try:
                    refused += raw.head()[0] == 503
                except TimeoutError:
                    pass  # it waits for an event
            assert 30 <= refused <= 60, refused
            expect(503, c.call, 'GET', f'/jobs/{job}/log?follow=1', token=greedy)
            quickly(1, c.call, 'GET', f'/jobs/{job}/log', token=greedy, raw=True)
            quickly(2, c.call, 'GET', '/events?wait=1&after=999999', token=other)
        finally:
            for raw in held:
                raw.socket.close()
        time.sleep(1.5)  # they are given back
        c.call('GET', '/events?wait=1&after=999999', token=greedy)


BOMB = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]\n' for i in range(1, 12))


def test_yaml_bombs():
    with Cluster() as c:
        c.up()
        c.node('n1', A100)

        def limited():
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

        for text in (BOMB + 'run: "true"\n', BOMB + 'name: *a11\nrun: "true"\n', BOMB + 'env: {A: *a11}\nrun: "true"\n',
                     'a: &a\n  b: *a\nrun: "true"\n', '[' * 50_000, '{a: ' * 50_000, '- ' * 100_000, 'run: &x {<<: *x}\n',
                     '!!python/object/apply:os.system ["touch pwned"]\n', 'run: !!binary ' + 'A' * 10 + '\nname: !!set {a}\n'):
            path = f'{c.folder}/bomb.yaml'
            with open(path, 'w') as f:
                f.write(text)
            begin = time.monotonic()
            r = subprocess.run([PROGRAM, 'job', 'submit', path], env=c.environment, capture_output=True, text=True,
                               preexec_fn=limited, timeout=20)
            assert r.returncode not in (0, -11, -6, 134, 139), f'{text[:40]!r}: {r}'
            assert 'bomb.yaml' in r.stderr, f'{text[:40]!r}: {r.stderr[:200]}'
            assert time.monotonic() - begin < 5
        # As a run file it is a job's own matter: the controller takes it as a text.
        job = c.call('POST', '/jobs', {'name': 'bomb', 'train': BOMB})['id']
        until(20, 'it has failed', lambda: c.state(job) == 'failed')
        quickly(1, c.call, 'GET', '/jobs')


if __name__ == '__main__':
    sys.exit(main(globals()))
