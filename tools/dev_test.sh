#!/bin/bash
# ./dev as one meets it: help, wrong words, and a setup that finds everything installed and says and does nothing.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
passed=0 failed=0
check() {  # WHAT STATUS PATTERN COMMAND...: the status, and the whole output against the pattern
  local what=$1 status=$2 pattern=$3 said got=0
  said=$("${@:4}" 2>&1 </dev/null) || got=$?
  if [[ $got -eq $status && $said =~ $pattern ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '%s: status %s, output:\n%s\n' "$what" "$got" "$said"
  fi
}
check 'help with an example' 0 'usage: ./dev COMMAND.*Example: ./dev test' ./dev --help
check 'an unknown command' 64 'usage: ./dev' ./dev biuld
check 'an unknown option' 1 "unknown option '--lnog'" ./dev test --lnog
check 'a benchmark that is not there' 1 'no benchmark bench/nothing' ./dev bench nothing
check 'a second setup' 0 '^$' ./dev setup
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
