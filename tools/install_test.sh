#!/bin/bash
# Installs the build into a fresh folder, compiles each installed header alone, builds examples/
# against the tree by CMake and one by pkg-config, and runs them.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
build=${1:-build}
source tools/steps.sh
try install cmake --install "$build" --prefix "$work/tree"
try program "$work/tree/bin/wellspring" --version
try console test -f "$work/tree/share/wellspring/web/views/pool.js" -a ! -e "$work/tree/share/wellspring/web/testing"
try engine "$work/tree/bin/wellspring" ops list
try configure cmake -G Ninja -S examples -B "$work/examples" -DCMAKE_PREFIX_PATH="$work/tree" \
  -DCMAKE_BUILD_TYPE=Release
try build ninja -C "$work/examples"
((failed)) && finish
for source in examples/*.cpp; do
  name=$(basename "$source" .cpp)
  try "$name" timeout 120 "$work/examples/$name"
done
export PKG_CONFIG_PATH="$work/tree/lib/pkgconfig:$work/tree/lib/$(gcc -print-multiarch)/pkgconfig"
flags=$(pkg-config --cflags --libs wellspring-engine)
# Every header alone, with no flags but those of the package.
alone() {
  # shellcheck disable=SC2086  # flags are words
  g++ -std=c++20 -fsyntax-only $flags -include "$1" -x c++ /dev/null || echo "$1 does not compile alone"
}
export -f alone
export flags
headers=$(cd "$work/tree/include/wellspring" && find . -name '*.h' -printf '%P\n')
for folder in base tensor ops nn models text data train serve eval; do
  try "headers of $folder" bash -c "find '$work/tree/include/wellspring/$folder' -name '*.h' | grep ."
done
xargs -P "$(nproc)" -I{} bash -c 'alone {}' <<<"$headers" >"$work/alone.log" 2>&1
try "each header alone" test ! -s "$work/alone.log"
[[ ! -s $work/alone.log ]] || cat "$work/alone.log"
# shellcheck disable=SC2086  # flags are words
try pkg_config g++ -std=c++20 examples/tensor_gradient.cpp -o "$work/by_pkg_config" $flags
try pkg_config_run env LD_LIBRARY_PATH="$(pkg-config --variable=libdir wellspring-engine)" \
  "$work/by_pkg_config"
finish
