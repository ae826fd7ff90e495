#!/bin/bash
# The demo as a benchmark: seconds of its stages, bits per byte beside compressors (a quarter of an hour).
exec "$(dirname "$(readlink -f "$0")")/../tools/demo.sh" --results "$(dirname "$(readlink -f "$0")")/results"
