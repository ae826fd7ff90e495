#!/usr/bin/python3
"""Bits per byte of a model beside xz and zstd on the same held-out files.

demo_table.py WELLSPRING MODEL TRAIN.txt OUT [--only-print] FILE...
Compressors: alone, and as what the file costs after the training text (xz: size of both together less
that of the training text; zstd: the training text as a dictionary, --patch-from). Writes OUT.md and
OUT.json. Exit status 1 when the model does not beat both compressors alone (a full run only).
"""
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

arguments = [a for a in sys.argv[1:] if a != '--only-print']
program, model, train, out, *files = arguments
full = '--only-print' not in sys.argv


def size(*command, data=None):
    return len(subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout)


def main():
    xz = ['xz', '-9e', '--lzma2=preset=9e,dict=192MiB', '-c']
    with open(train, 'rb') as f:
        text = f.read()
    files[:] = [f for f in files if os.path.exists(f)]
    # xz on one thread each: the training text alone, and with each file behind it.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        jobs = [pool.submit(size, *xz, data=text + tail) for tail in
                ([b''] + [open(f, 'rb').read() for f in files] if full else [])]
    packed_sizes = [job.result() for job in jobs]
    rows = []
    for i, path in enumerate(files):
        with open(path, 'rb') as f:
            document = f.read()
        n = len(document)
        answer = json.loads(subprocess.run([program, 'eval', 'bpb', model, path, '--json'], check=True,
                                           stdout=subprocess.PIPE).stdout)
        row = {'file': os.path.basename(path), 'bytes': n,
               'model': answer['bits_per_byte'],
               'xz -9e alone': size('xz', '-9e', '-c', data=document) * 8 / n,
               'zstd -19 alone': size('zstd', '-19', '-c', data=document) * 8 / n}
        if full:
            row['xz -9e after the training text'] = (packed_sizes[i + 1] - packed_sizes[0]) * 8 / n
            with tempfile.NamedTemporaryFile() as packed:
                subprocess.run(['zstd', '-19', '--long=27', '-q', '-f', '--patch-from', train, path,
                                '-o', packed.name], check=True, stderr=subprocess.DEVNULL)
                row['zstd -19 after the training text'] = os.path.getsize(packed.name) * 8 / n
        rows.append(row)
    columns = list(rows[0])[2:]
    lines = ['| held-out documents | bytes | ' + ' | '.join(columns) + ' |',
             '|---|---|' + '---|' * len(columns)]
    for row in rows:
        lines.append(f'| {row["file"]} | {row["bytes"]} | '
                     + ' | '.join(f'{row[c]:.3f}' for c in columns) + ' |')
    print('bits per byte, lower is better')
    print('\n'.join(lines))
    with open(out + '.md', 'w') as f:
        f.write('Bits per byte of held-out documents, lower is better.\n\n' + '\n'.join(lines) + '\n')
    with open(out + '.json', 'w') as f:
        json.dump({'rows': rows}, f, indent=1)
    beaten = all(r['model'] < r['xz -9e alone'] and r['model'] < r['zstd -19 alone'] for r in rows)
    print('the model beats both compressors alone' if beaten
          else 'the model does NOT beat both compressors alone')
    return 0 if beaten or not full else 1


sys.exit(main())
