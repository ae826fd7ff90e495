#!/bin/bash
# The wheel as a user gets it: built from the sources, under 40 MB, installed into an empty environment, computing there.
# wheel_test.sh [WHEEL]: of a wheel that is there already.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
most=$((40 * 1000 * 1000))
source tools/steps.sh
wheel=${1:-}
if [[ -z $wheel ]]; then
  /usr/bin/python3 -m venv "$work/builder"
  try build "$work/builder/bin/pip" --disable-pip-version-check wheel ./python --no-deps -w "$work/wheel" \
    --config-settings=build-dir="$work/build"
  ((failed)) && finish
  wheel=$(ls "$work"/wheel/wellspring-*.whl)
fi
size=$(stat -c %s "$wheel")
echo "note: the wheel has $((size / 1000)) kB"
try "under $most bytes, not $size" test "$size" -lt "$most"
/usr/bin/python3 -m venv "$work/empty"
try install "$work/empty/bin/pip" --disable-pip-version-check install --no-deps "$wheel"
((failed)) && finish
cat >"$work/compute.py" <<'PYTHON'
import wellspring as w

assert w.__file__.startswith(__import__("sys").prefix), w.__file__
x = w.ones([64, 64])
assert w.sum(w.matmul(x, x)).item() == 64 ** 3
assert abs(w.softmax(x, -1).sum().item() - 64) < 1e-4
PYTHON
try compute env -C "$work" -u PYTHONPATH "$work/empty/bin/python" compute.py
finish
