#!/usr/bin/python3
"""The demo: seconds of each stage, and bits per byte of held-out text beside compressors

demo_figures.py --stages STAGES.tsv --table BPB.json --out FILE.json [--quick]. Writes FILE.json and FILE.md in the
form of bench/results. Goals: 900 s in all, 480 s of training, fewer bits than each compressor alone; none of a
miniature (--quick).
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../bench'))
import common  # noqa: E402

SECONDS = {'training': 480, 'in all': 900}


def arguments(parser):
    parser.add_argument('--stages', required=True)
    parser.add_argument('--table', required=True)


def main():
    bench = common.Bench('demo', __doc__, arguments)
    full = not bench.args.quick
    with open(bench.args.stages, encoding='utf-8') as f:
        for line in f:
            name, seconds = line.rstrip('\n').split('\t')
            most = SECONDS.get(name) if full else None
            bench.row(f'demo: {name}', 's', int(seconds), ratio=most and most / max(int(seconds), 1), goal=most and 1.0)
    with open(bench.args.table, encoding='utf-8') as f:
        rows = json.load(f)['rows']
    for row in rows:
        for peer in [k for k in row if k not in ('file', 'bytes', 'model')]:
            bench.row(f'demo: {row["file"]} beside {peer}', 'bits/byte', row['model'], row[peer], peer, ratio=row[peer] / row['model'],
                      goal=1.0 if full and peer.endswith(' alone') else None)
    bench.write()


main()
