"""Debian's Chromium for the console's test and pictures, driven by Playwright from a small environment of its own."""
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
CACHE = os.path.join(ROOT, '.cache/console')
VENV = os.path.join(CACHE, 'venv')
PLAYWRIGHT = 'playwright==1.65.2'
AXE = 'axe-core@4.14.1'


def skip(why):
    print(f'note: the console is not tested: {why}')
    print('0 passed, 0 failed, 1 skipped')
    sys.exit(77)


@contextlib.contextmanager
def alone():
    """While no other script fills the cache."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def chromium():
    return shutil.which('chromium')


def enter():
    """Goes on in the environment with Playwright, making it first when PyPI answers; else ends with status 77."""
    if not chromium():
        skip('there is no chromium (./dev setup)')
    python = os.path.join(VENV, 'bin/python')
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    with alone():
        install(python)
    os.execv(python, [python, *sys.argv])


def install(python):
    works = [python, '-c', 'import playwright.sync_api']
    if not os.path.exists(python) or subprocess.run(works, capture_output=True).returncode:
        try:
            subprocess.run(['/usr/bin/python3', '-m', 'venv', '--clear', VENV], check=True, capture_output=True)
            subprocess.run([python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--retries', '1', PLAYWRIGHT], check=True, capture_output=True,
                           timeout=300)
            subprocess.run(works, check=True, capture_output=True)
        except (subprocess.SubprocessError, OSError) as error:
            shutil.rmtree(VENV, ignore_errors=True)
            skip(f'Playwright could not be installed from PyPI ({error})')


def axe():
    """The source of axe-core, which looks for faults of accessibility; None when npm cannot get it."""
    path = os.path.join(CACHE, 'axe.min.js')
    with alone():
        return axe_in(path)


def axe_in(path):
    if not os.path.exists(path):
        if not shutil.which('npm'):
            return None
        try:
            name = subprocess.run(['npm', 'pack', '--silent', AXE], cwd=CACHE, check=True, capture_output=True, text=True,
                                  timeout=120).stdout.strip().splitlines()[-1]
            with tarfile.open(os.path.join(CACHE, name)) as tar, open(path + '.part', 'wb') as out:
                out.write(tar.extractfile('package/axe.min.js').read())
            os.rename(path + '.part', path)
        except (subprocess.SubprocessError, OSError, KeyError, IndexError):
            return None
    with open(path) as f:
        return f.read()


class Browser:
    """Pages, each logged in anew, which write down what goes wrong in them."""

    def __init__(self, url):
        from playwright.sync_api import sync_playwright
        self.url = url
        self.playwright = sync_playwright().start()
        self.chromium = self.playwright.chromium.launch(executable_path=chromium(), args=['--no-sandbox', '--disable-dev-shm-usage'])
        self.contexts = []

    def page(self, token=None, width=1280, height=900, scheme='light', url=None, ready='#token', **options):
        context = self.chromium.new_context(viewport={'width': width, 'height': height}, color_scheme=scheme, locale='en-GB', **options)
        context.set_default_timeout(10000)
        self.contexts.append(context)
        page = context.new_page()
        page.faults = []
        page.on('pageerror', lambda error: page.faults.append(f'error: {error}'))
        page.on('console', lambda message: page.faults.append(f'console: {message.text} {message.location.get("url", "")}')
                if message.type in ('error', 'warning') else None)
        page.goto(url or self.url)
        page.wait_for_selector(ready)
        if token:
            self.login(page, token)
        return page

    def login(self, page, token):
        page.fill('#token', token)
        page.click('button[type=submit]')
        page.wait_for_selector('#nav', state='attached')
        page.wait_for_selector('main h1')

    def go(self, page, path, heading=None):
        """To a view, drawn from the API's answers."""
        page.evaluate('path => { location.hash = "#/" + path; }', path)
        if heading:
            page.wait_for_selector(f'main h1:has-text("{heading}")')
        else:
            page.wait_for_function('''path => location.hash === "#/" + path && document.querySelector("main h1")''', arg=path)

    def faults(self, page, *expected):
        """What went wrong, but for what is told as expected; not being logged in yet is no fault."""
        known = [r'status of 401', *expected]
        return [f for f in page.faults if not any(re.search(k, f) for k in known)]

    def close(self):
        for context in self.contexts:
            context.close()
        self.contexts = []

    def end(self):
        self.close()
        self.chromium.close()
        self.playwright.stop()
