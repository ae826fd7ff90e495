"""What the tests break: a network, a disk, a clock, a database server."""
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from harness import free_port, until


class Proxy:
    """Forwards connections to a port of this machine; cut() swallows everything, as a broken cable does."""

    def __init__(self, port):
        self.target = port
        self.pairs = []
        self.cut_off = False
        self.lock = threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        while self.cut_off:  # nobody answers
            time.sleep(0.05)
        try:
            server = socket.create_connection(('127.0.0.1', self.target))
        except OSError:
            client.close()
            return
        with self.lock:
            self.pairs.append((client, server))
        threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
        self._forward(server, client)

    def _forward(self, source, sink):
        try:
            while data := source.recv(65536):
                while self.cut_off:
                    time.sleep(0.02)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for s in (source, sink):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self):
        self.cut_off = True

    def mend(self):
        """What was on its way arrives late; connections go on."""
        self.cut_off = False

    def close(self):
        self.listener.close()
        self.cut_off = False
        with self.lock:
            for pair in self.pairs:
                for s in pair:
                    s.close()


def is_root():
    return os.geteuid() == 0


class SmallDisk:
    """A file system of so many MB (root only)."""

    def __init__(self, megabytes):
        self.folder = tempfile.mkdtemp(prefix='ws-disk-')
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m,mode=0755', 'tmpfs', self.folder], check=True)

    def fill(self):
        with open(f'{self.folder}/filler', 'ab', buffering=0) as f:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        f.write(b'x' * size)
                except OSError:
                    pass

    def free(self):
        os.remove(f'{self.folder}/filler')

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        subprocess.run(['umount', '-l', self.folder], check=False)
        os.rmdir(self.folder)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* Seconds that the wall clock is off, from a file that the test changes. */
static volatile long *shift;
__attribute__((constructor)) static void begin(void) {
  int fd = open(getenv("TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
  if (fd < 0) abort();
  shift = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
}
int clock_gettime(clockid_t clock, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, t);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) t->tv_sec += *shift;
  return result;
}
time_t time(time_t *out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec, t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
"""


class Clock:
    """A wall clock that jumps, for the processes that start with its environment."""

    def __init__(self, folder):
        self.file = f'{folder}/clock'
        self.jump(0)
        source, library = f'{folder}/clock.c', f'{folder}/clock.so'
        with open(source, 'w') as f:
            f.write(CLOCK)
        subprocess.run(['cc', '-O1', '-shared', '-fPIC', '-o', library, source, '-ldl'], check=True)
        self.environment = {'LD_PRELOAD': library, 'TEST_CLOCK': self.file}

    def jump(self, seconds):
        with open(self.file, 'r+b' if os.path.exists(self.file) else 'wb') as f:
            f.write(int(seconds).to_bytes(8, 'little', signed=True))


class Postgres:
    """A PostgreSQL server of the test's own, in a temporary folder, gone with the test."""

    @staticmethod
    def programs():
        found = sorted(glob.glob('/usr/lib/postgresql/*/bin/postgres'))
        return os.path.dirname(found[-1]) if found else None

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='ws-postgres-')
        self.port = free_port()
        self.server = None
        self.switch = []
        if is_root():
            user = pwd.getpwnam('postgres')
            self.switch = ['setpriv', f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}', '--clear-groups']
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        with open(f'{self.folder}/password', 'w') as f:
            f.write('secret')
        os.chmod(f'{self.folder}/password', 0o644)
        subprocess.run([*self.switch, f'{self.programs()}/initdb', f'--pgdata={self.folder}/data', '--username=wellspring',
                        '--encoding=UTF8', '--locale=C.UTF-8', '--auth=scram-sha-256',
                        f'--pwfile={self.folder}/password', '--no-sync'], check=True, stdout=subprocess.DEVNULL, cwd='/')
        self.url = f'postgresql://wellspring:secret@127.0.0.1:{self.port}/postgres'
        self.start()

    def start(self):
        settings = [f'port={self.port}', 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=40',
                    'shared_buffers=16MB', 'autovacuum=off']
        command = [*(self.switch or ['setpriv']), '--pdeathsig=QUIT', f'{self.programs()}/postgres',
                   *(word for s in settings for word in ('-c', s)), '-D', f'{self.folder}/data']
        with open(f'{self.folder}/log', 'ab') as log:
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd='/')
        until(30, 'PostgreSQL is ready', self.ready)

    def ready(self):
        if self.server.poll() is not None:
            with open(f'{self.folder}/log') as f:
                raise AssertionError('PostgreSQL ended: ' + f.read()[-2000:])
        try:
            with open(f'{self.folder}/data/postmaster.pid') as f:
                lines = f.read().split('\n')
        except OSError:
            return False
        return lines[0] == str(self.server.pid) and 'ready' in ' '.join(lines[1:])

    def kill(self):
        """As a crash: connections break, nothing is tidied up; all of its processes."""
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.server.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
