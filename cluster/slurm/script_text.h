#pragma once
// The two scripts that run inside Slurm, for POSIX sh.

namespace wellspring::cluster {

// Places of the form @{NAME} are filled in.
inline constexpr const char* kSlurmScript = R"script(#!/bin/sh
# One attempt of a Wellspring job, or of each element of an array: starts a task for each rank, and writes what
# became of it to slurm.status, which is what counts.
list=@{list}
scripts=@{scripts}
folder=$(sed -n "$((${SLURM_ARRAY_TASK_ID:-0} + 1))p" "$list")
if [ -z "$folder" ] || ! cd "$folder" || ! . ./slurm.vars; then
  echo "the run folders cannot be seen on $(uname -n): $list"
  exit 78
fi
umask 022
job=$SLURM_JOB_ID
shown=$job
[ -z "$SLURM_ARRAY_TASK_ID" ] || shown=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
list=$SLURM_JOB_NODELIST
group=1
while [ "$group" -lt "${SLURM_HET_SIZE:-0}" ]; do
  list=$list,$(eval "echo \"\$SLURM_JOB_NODELIST_HET_GROUP_$group\"")
  group=$((group + 1))
done
# Once and for all: a job that was requeued, or submitted twice, does not run again.
if ! (set -C && echo "$shown $list" >slurm.job) 2>/dev/null; then
  [ -e slurm.job ] || { echo "$folder cannot be written"; exit 74; }
  echo "this attempt has begun before, as job $(cat slurm.job)"
  echo "$shown" >slurm.again
  exit 0
fi

cpu_seconds() {  # of all ranks, or nothing: a part of it would say too little
  awk -v world="$world" '
    FNR == 2 { ranks++; gsub(/,/, "."); for (i = 1; i <= NF; i++) { split($i, part, /[ms]/); sum += 60 * part[1] + part[2] } }
    END { if (ranks == world) printf "%.3f", sum }' slurm.used.* 2>/dev/null
}
finish() {  # STATUS RANK OUTCOME REASON
  rm -rf secrets secrets.env slurm.took.*
  printf 'status %s\nrank %s\noutcome %s\nreason %s\ncpu %s\n' "$@" "$(cpu_seconds)" >slurm.status.part &&
    mv slurm.status.part slurm.status
  rm -f slurm.used.*
  # Tasks that were killed have left their secrets in the memory of their nodes.
  [ -z "$secret" ] || [ "$1" = 0 ] || timeout 30 srun --input=none @{sweep} 2>/dev/null
  exit "$1"
}
by_slurm=
trap 'by_slurm=yes' TERM
[ ! -e slurm.stop ] || finish 143 -1 stopped 'stopped before it began'
echo "$token" >"$run/owner.$job" && mv "$run/owner.$job" "$run/owner"

hosts() {  # NODELIST SLOTS CHIP
  { scontrol show hostnames "$1"; echo; [ "$nodes" = 1 ] || scontrol -o show node "$1"; } | awk -v slots="$2" -v chip="$3" '
    NF == 0 { more = 1; next }
    !more { order[++n] = $1; next }
    { for (i = 1; i <= NF; i++) if ($i ~ /^NodeName=/) name = substr($i, 10)
                                else if ($i ~ /^NodeAddr=/) address[name] = substr($i, 10) }
    END { for (i = 1; i <= n; i++) print (more > 0 && order[i] in address ? address[order[i]] : order[i]), "slots=" slots, "type=" chip }'
}
{
@{hosts}} >hostfile
if [ "$nodes" = 1 ]; then
  sed 's/^[^ ]*/127.0.0.1/' hostfile >hostfile.part && mv hostfile.part hostfile
fi
WS_MASTER=$(sed -n '1s/ .*//p' hostfile)
WS_PORT=$((20000 + serial % 10000))
while grep -qs ":$(printf %04X "$WS_PORT") [0:]* 0A" /proc/net/tcp /proc/net/tcp6; do WS_PORT=$((WS_PORT + 1)); done
export WS_MASTER WS_PORT
printf '%s,"slurm":"%s","nodes":[%s]}\n' "${placement%?}" "$shown" \
  "$(scontrol show hostnames "$list" | sed 's/.*/"&"/' | paste -sd, -)" >placement.json

setup='@{setup}'
if [ -n "$setup" ]; then
  srun $setup --relative=0 --input=none sh "$scripts/slurm.task" "$folder" "$scripts" setup &
  step=$!
  status=0
  while :; do wait "$step"; status=$?; kill -0 "$step" 2>/dev/null || break; done
  [ ! -e slurm.stop ] || finish 143 -1 stopped 'stopped in the setup'
  [ -z "$by_slurm" ] || finish 143 -1 ask 'Slurm sent SIGTERM'
  [ "$status" = 0 ] || finish "$status" -1 setup_failed "setup: ended with status $status"
fi

signal_tasks() {  # SECONDS-OF-GRACE
  scancel --signal=TERM "$job"
  sleep "$1"
  scancel --signal=KILL "$job.@{step}"
}
: >slurm.begun
srun --kill-on-bad-exit=1 --input=none @{srun} &
step=$!
watchers=
if [ -n "$limit" ]; then
  (sleep "$limit"; : >slurm.limit; signal_tasks "$grace") &
  watchers=$!
fi
if [ -n '@{watch}' ]; then
  (while [ ! -e slurm.stop ]; do sleep 0.5; done; signal_tasks "$(cat slurm.stop)") &
  watchers="$watchers $!"
fi
status=0
while :; do wait "$step"; status=$?; kill -0 "$step" 2>/dev/null || break; done
[ -z "$watchers" ] || kill $watchers 2>/dev/null

rank=-1
reason=
if [ -s slurm.failed ]; then
  read -r status rank <slurm.failed
  reason="rank $rank ended with status $status"
fi
outcome=exited
if [ -e slurm.limit ]; then
  outcome=time_limit
  reason="its time limit of $limit s has passed"
elif [ -e slurm.stop ]; then
  outcome=stopped
elif [ -n "$by_slurm" ]; then
  outcome=ask
  reason='Slurm sent SIGTERM'
elif [ "$status" != 0 ] && { [ "$rank" = -1 ] || [ "$status" = 75 ] || [ "$status" -ge 128 ]; }; then
  outcome=ask
fi
finish "$status" "$rank" "$outcome" "$reason"
)script";

inline constexpr const char* kSlurmTask = R"script(#!/bin/sh
# One rank of an attempt, or its setup: slurm.task FOLDER SCRIPTS run|setup, under srun.
folder=$1 scripts=$2 what=$3
cd "$folder" && . ./slurm.vars || exit 78
stopped=
trap 'stopped=yes' TERM
log=log.$SLURM_PROCID.txt
[ "$what" = run ] || log=log.setup.txt
exec >>"$log" 2>&1
path=$PATH
memory= variables=
if [ -d secrets ]; then
  memory=$(mktemp -d "/dev/shm/wellspring.$token.XXXXXXXXXX") && cp secrets/* "$memory/" && chmod 0400 "$memory"/* &&
    variables=$(cat secrets.env) || { rm -rf "$memory"; exit 78; }
  if [ "$what" = run ]; then  # whoever comes last takes them off the disk
    touch "slurm.took.$SLURM_PROCID"
    set -- slurm.took.*
    [ "$#" -lt "$world" ] || rm -rf secrets secrets.env
  fi
fi
ended() {  # STATUS
  PATH=$path
  [ "$what" != run ] || command times >"$folder/slurm.used.$SLURM_PROCID"
  [ -z "$memory" ] || rm -rf "$memory"
  [ "$1" = 0 ] || [ "$what" != run ] || (set -C && echo "$1 $SLURM_PROCID" >"$folder/slurm.failed") 2>/dev/null
  exit "$1"
}
. ./slurm.env
eval "$variables"
PATH=${PATH:-$path}
[ -z "$memory" ] || export WELLSPRING_SECRETS="$memory"
export WELLSPRING_RANK="$SLURM_PROCID" RANK="$SLURM_PROCID"
export WELLSPRING_LOCAL_RANK="$SLURM_LOCALID" LOCAL_RANK="$SLURM_LOCALID"
export WELLSPRING_NODE_RANK="$SLURM_NODEID" WELLSPRING_WORLD_SIZE="$world" WORLD_SIZE="$world" AIRS_SIZE="$nodes"
export WELLSPRING_RENDEZVOUS="$WS_MASTER:$WS_PORT" MASTER_ADDR="$WS_MASTER" MASTER_PORT="$WS_PORT"
export WELLSPRING_DEVICES="${SLURM_STEP_GPUS:-$SLURM_JOB_GPUS}"
unset WS_MASTER WS_PORT
cd "$work" || ended 78
[ ! -e "$folder/slurm.stop" ] && [ -z "$stopped" ] || ended 143
script=slurm.exec
[ "$what" = run ] || script=slurm.setup
# The shell's own words on a signal are no part of the log.
exec 3>&2 2>/dev/null
sh "$scripts/$script" 2>&3 3>&-
ended $?
)script";

}  // namespace wellspring::cluster
