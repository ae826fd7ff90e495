#!/bin/bash
# The main job on real text, from Debian's documentation to a model that answers over HTTP.
#   tools/demo.sh [--mini] [--seconds N] [--results DIR]
# N seconds of training (450); --mini: all of it in a minute (runs/demo-mini; status 77 where Debian's
# packages cannot be had). Everything is kept under .cache/demo (sources) and runs/demo (results); a
# second run makes anew only what has changed, and the training. What was measured stands in
# runs/demo/run/demo.json and .md, in the form of bench/results, and in DIR as well. Status 1 when the
# model does not beat the compressors.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="/usr/bin:$PATH"
wellspring=$PWD/build/bin/wellspring
mini=0 seconds=450 results=""
while [[ $# -gt 0 ]]; do
  case $1 in
    --mini) mini=1 seconds=20 ;;
    --seconds) seconds=${2:?--seconds wants a number}; shift ;;
    --results) results=${2:?--results wants a folder}; shift ;;
    *) echo "error: unknown option '$1'" >&2; exit 64 ;;
  esac
  shift
done
[[ -x $wellspring ]] || { echo "error: build first: ./dev build" >&2; exit 69; }
cache=$PWD/.cache/demo
out=$PWD/runs/demo
((mini)) && out=$PWD/runs/demo-mini
mkdir -p "$cache" "$out"
begin=$SECONDS
: >"$out/stages.tsv"
finish() { tools/demo_cluster.py stop --out "$out" || true; }
trap finish EXIT

stage() {
  [[ -z ${stage_name:-} ]] || printf '%s\t%d\n' "$stage_name" $((SECONDS - stage_begin)) >>"$out/stages.tsv"
  stage_name=$1 stage_begin=$SECONDS
  printf '\n\033[1m== %s\033[0m\n' "$1"
}

stage "text from Debian's packages"
tools/demo_corpus.py "$cache/corpus" --cache "$cache/packages" || {
  status=$?
  ((mini && status == 69)) || exit $status
  echo "note: Debian's packages cannot be fetched: the miniature is left out"
  exit 77
}
sources=("$cache/corpus/en" "$cache/corpus/zh")
vocabulary=16384
share=0.02
if ((mini)); then
  sources=("$cache"/corpus/en/{debian-faq,maint-guide,fortunes} "$cache"/corpus/zh/{debian-faq-zh-cn,maint-guide-zh-cn,fortunes-zh})
  vocabulary=2048
fi

stage "cleaning and splitting"
"$wellspring" data clean "${sources[@]}" --eval-share $share --out "$out/text" --force
stage "tokenizer"
"$wellspring" text train "$out/text/train.txt" --vocab-size $vocabulary --pattern llama3 \
  --special '<|endoftext|>' --out "$out/tokenizer"
stage "shards of tokens"
"$wellspring" data prepare "${sources[@]}" --eval-share $share --tokenizer "$out/tokenizer" \
  --out "$out/data" --force

stage "training"
tools/demo_cluster.py train --out "$out" --preset "$( ((mini)) && echo mini || echo demo)" --seconds "$seconds"
model=$(find "$out/run/checkpoints/" -maxdepth 1 -name 'step-*' | sort -V | tail -1)
[[ -n $model ]] || { echo "error: no checkpoint in $out/run/checkpoints" >&2; exit 1; }

stage "held-out documents beside compressors"
judge=("$out"/text/eval-en.txt "$out"/text/eval-zh.txt)
rm -f "$out/bpb.json"
beaten=0  # the status at the end: a model that loses is asked all the same
/usr/bin/python3 tools/demo_table.py "$wellspring" "$model" "$out/text/train.txt" "$out/bpb" \
  $( ((mini)) && echo --only-print) "${judge[@]}" || beaten=$?
stage "two continuations"
for prompt in "The Debian project is" "软件包是"; do
  "$wellspring" generate "$model" --prompt "$prompt" --max-tokens 60 --temperature 0.7 --top-k 40 --seed 7
  echo
done

stage "one question over HTTP"
tools/demo_cluster.py ask --out "$out" \
  --question '{"prompt": "How do I install a package? ", "max_tokens": 40, "temperature": 0.7, "seed": 1}'

stage "done"
printf '%s\t%d\n' "in all" $((SECONDS - begin)) >>"$out/stages.tsv"
((beaten > 1)) && exit "$beaten"  # no table
/usr/bin/python3 tools/demo_figures.py $( ((mini)) && echo --quick) --stages "$out/stages.tsv" --table "$out/bpb.json" \
  --out "$out/run/demo.json"
if [[ -n $results ]]; then
  mkdir -p "$results"
  cp "$out"/run/demo.{json,md} "$results"
fi
echo "report:  $out/run/report.html"
echo "figures: $out/run/demo.md"
echo "chat:    build/bin/wellspring chat ${out#"$PWD"/}/run"
exit "$beaten"
