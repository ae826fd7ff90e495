#!/bin/bash
# Sanitizer builds: sanitize.sh quick|full|thread|fuzz [JOBS]. Own build folders, kept between runs.
#   quick  parsers, and one case of every operator on one instruction set, address + undefined
#   full   every test under address + undefined
#   thread base, tensor, data, ops and serve, and the server with its clients, under the thread sanitizer, with std::thread
#   fuzz   every fuzz target for FUZZ_SECONDS (60), from seeds() and with tools/fuzz.dict
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
what=${1:?quick, full, thread or fuzz}
jobs=${2:-2}
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1
passed=0 failed=0

try() {  # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$folder/$name.log" 2>&1 </dev/null; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    tail -60 "$folder/$name.log"
    echo "$name failed under $what ($folder/$name.log)"
  fi
}

configure() {  # PRESET FOLDER OPTION...
  folder=$2
  mkdir -p "$folder"
  cmake --preset "$1" "${@:3}" >"$folder/configure.log" 2>&1 || { cat "$folder/configure.log"; exit 1; }
}

# The sanitizer's own dlopen does not follow the program's run path.
program() { env LD_LIBRARY_PATH="$PWD/$folder/lib" "$folder/bin/wellspring" "$@"; }

make_targets() {
  ninja -C "$folder" -j"$jobs" --quiet "$@" || { echo "the build in $folder failed"; exit 1; }
}

existing() {  # names of NAME_test targets that this build has
  local all
  all=$(ninja -C "$folder" -t targets all | sed -n 's/^\([a-z_]*_test\): phony$/\1/p')
  for t in "$@"; do grep -qx "${t}_test" <<<"$all" && echo "${t}_test"; done || true
}

seeds() {  # NAME FOLDER: good inputs for a fuzz target to begin with
  local i=0 body
  case $1 in
    tokenizer_fuzz) cp text/testdata/{digits,gpt2,llama2,llama3,qwen2}.json "$2" ;;
    chat_template_fuzz) cp text/template/testdata/templates/*.jinja "$2" ;;
    safetensors_fuzz) for body in models/decoder/testdata/*/golden.safetensors; do cp "$body" "$2/$((++i))"; done ;;
    job_file_fuzz) sed -n '/^```yaml/,/^```/{/^```/d;p}' docs/job-file.md | csplit -sz -f "$2/job-" - '/^name:/' '{*}' ;;
    spec_fuzz) printf '%s' '{"name": "a", "team": "t", "command": "true", "accepted": [{"chip": "a100", "count": 2}], "array": "0-9,12"}' >"$2/spec" ;;
    frames_fuzz) printf '\0\0\0\2M\0\0\0\0{}\0\0\0\1D\0\0\0\1x' >"$2/frames" ;;
    launch_spec_fuzz | slurm_fuzz) head -c 300 README.md >"$2/any" ;;
    config_fuzz) cp train/presets/*.yaml ops/schema/*.yaml "$2" ;;
    html_fuzz)  # the first byte is the format
      { printf '\0'; printf '<html><head><title>A &amp; B</title></head><body><p>x<br>y<pre> z </pre><!-- c --></body></html>'; } >"$2/html"
      { printf '\1'; printf '.TH LS 1\n.SH NAME\nls \\- list\n.B \\-a\n.Sh X\n.Fl v\n'; } >"$2/man"
      { printf '\2'; printf '=head1 NAME\n\nB<x> and C<< y >>\n\n=over\n\n=item z\n\n=back\n\n=cut\n'; } >"$2/pod"
      { printf '\3'; cat README.md; } >"$2/markdown" ;;
    grammar_fuzz)  # the first byte is the kind
      { printf '\0'; printf '{"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$", "maxLength": 4}, "b": {"$ref": "#"}}}'; } >"$2/schema"
      { printf '\1'; printf '[a-c]{2,30}(x|y.*)?'; } >"$2/regex"
      { printf '\2'; printf 'root ::= (x y | "a"){1,30}\nx ::= "b" root? | [^a-c]{2,400}\ny ::= x* "d"\n'; } >"$2/gbnf" ;;
    shard_fuzz)
      program data prepare README.md docs --tokenizer bytes --eval-share 0.2 --out "$folder/seed-data" --force >/dev/null
      cp "$folder"/seed-data/*.tokens "$2" ;;
    api_request_fuzz | http_fuzz)
      for body in '{"prompt": "a b", "max_tokens": 5, "stop": ["x", "y"], "stream": true, "stream_options": {"include_usage": true}}' \
        '{"prompt": [1, 2, 3], "temperature": 0.5, "top_p": 0.9, "seed": 7, "n": 1, "model": "m"}' \
        '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}], "stop": "z"}'; do
        printf '%s' "$body" >"$2/$((++i))"
        [[ $1 == api_request_fuzz ]] ||
          printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body" >"$2/request$i"
      done ;;
    *)
      grep -q "^WS_FAMILY(${1%_fuzz}," ops/random_families.inc ||
        { echo "$1 has no seeds: add a line to seeds() in tools/sanitize.sh" >&2; exit 1; }
      gzip -9nc README.md | split -b 64 - "$2/choices-" ;;  # choices: any bytes
  esac
}

case $what in
  quick)
    isa=portable
    grep -qw avx2 /proc/cpuinfo && isa=avx2
    configure asan-quick build-asan-quick -DWELLSPRING_ISAS="$isa"
    mapfile -t tests < <(existing base text text_grammar text_template data cluster_policy tensor serve models_decoder)
    begin=$SECONDS
    make_targets "${tests[@]}" wellspring wellspring_engine
    echo "note: built in $((SECONDS - begin)) s"
    # The slow cases (threads that spin, long data) belong to the full run.
    for t in "${tests[@]}"; do
      try "$t" timeout 240 "$folder/tests/$t" --gtest_brief=1 \
        --gtest_filter='*Json*:*Config*:*Args*:*Http*:*Text*:*Token*:*Html*:*Shard*:*Document*:*Safetensors*:*Charset*:*Man*:*Jsonl*:*Source*:*Tensor*:*File*:Folder*:ApiRequest*:*StopStringsAndErrors:Policy*:GrammarMatcher*:GrammarRegex*:GrammarErrors*:ToolCallReader*:ToolFormat*:Guesses*'
    done
    WELLSPRING_ISA=$isa try operators program ops check --isa "$isa" --first
    ;;
  full)
    configure asan build-asan
    make_targets all
    for t in "$folder"/tests/*_test; do try "$(basename "$t")" timeout 3600 "$t" --gtest_brief=1; done
    ;;
  thread)
    configure tsan build-tsan
    mapfile -t tests < <(existing base data tensor ops serve)
    make_targets "${tests[@]}" wellspring wellspring_engine
    for t in "${tests[@]}"; do
      WELLSPRING_SCHEDULES=14 try "$t" timeout 3600 "$folder/tests/$t" --gtest_brief=1 --gtest_filter='-*Fork*:*fork*'
    done
    # The server ends with another status after a race; what was found stands in FOLDER/race.PID.
    export TSAN_OPTIONS="$TSAN_OPTIONS:log_path=$PWD/$folder/race"
    export LD_LIBRARY_PATH=$PWD/$folder/lib WELLSPRING_BINARY=$PWD/$folder/bin/wellspring
    rm -f "$folder"/race.*
    try serve_front timeout 3600 /usr/bin/python3 cli/serve_front_test.py "$folder"
    for name in vanish sigterm many_connections; do
      try "serve_load_$name" timeout 3600 /usr/bin/python3 serve/load_test.py "$folder" "$name"
    done
    cat "$folder"/race.* 2>/dev/null || true
    ;;
  fuzz)
    configure fuzz build-fuzz -DWELLSPRING_ISAS=portable  # one set of kernels: every line of theirs is reached on it
    make_targets all
    for target in "$folder"/fuzz/*_fuzz; do
      name=$(basename "$target")
      mkdir -p "$folder/corpus/$name" "$folder/seeds/$name"
      seeds "$name" "$folder/seeds/$name"
      try "$name" "$target" -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=4096 -dict=tools/fuzz.dict \
        -artifact_prefix="$folder/$name-" "$folder/corpus/$name" "$folder/seeds/$name"
    done
    ;;
  *) echo "what is '$what'?" >&2; exit 64 ;;
esac
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
