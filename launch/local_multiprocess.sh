#!/usr/bin/env bash
# A multi-host run on one machine: N processes over loopback, each with its own host devices, joined by jax.distributed
# with gloo collectives. It does on a small scale what a pod does: for tests, and to find faults before they cost chips.
#
#   launch/local_multiprocess.sh [--processes=2] [--devices=4] [options] -- COMMAND...
#   launch/local_multiprocess.sh --processes=2 --devices=4 -- polaris train --config=... --workdir=...
#
# --slices=1      groups of processes that act as slices; when a process of one is killed, the run goes on with the
#                 others (with --restarts), and a later call of the same command takes all of them again
# --logs=DIR      output of every process (default: runs/processes); the first one's also appears here
# --restarts=0    start all again when a process was killed or asked for it (exit code 75)
# --grace=60      seconds to end by themselves: for the others after a failure of one, for all after a stop
# --port=N        of the coordinator (default: a free one)         --dry-run    prints the commands only
#
# Every process sees JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, with several slices also
# MEGASCALE_NUM_SLICES and MEGASCALE_SLICE_ID, as Cloud TPU sets them. SIGTERM and SIGINT go to all of
# them. Exit code: 0 when all succeed, else that of the first to fail. The same command again resumes a training run.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/commands.sh
. "$ROOT/launch/commands.sh"

PROCESSES=2 SLICES=1 DEVICES=4 LOGS=runs/processes RESTARTS=0 GRACE=60 PORT=""
RUNNING=()
declare -A SLICE_OF LOST # by process id; by number of the slice

read_arguments() {
  while (($#)); do
    case $1 in
      --processes=*) PROCESSES=${1#*=} ;;
      --slices=*) SLICES=${1#*=} ;;
      --devices=*) DEVICES=${1#*=} ;;
      --logs=*) LOGS=${1#*=} ;;
      --restarts=*) RESTARTS=${1#*=} ;;
      --grace=*) GRACE=${1#*=} ;;
      --port=*) PORT=${1#*=} ;;
      --dry-run) DRY_RUN=1 ;;
      --) shift; break ;;
      *) refuse "$1: no such option; the command to run comes after --" ;;
    esac
    shift
  done
  local name
  for name in PROCESSES SLICES DEVICES; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || refuse "--${name,,}=${!name}: give a whole number, at least 1"
  done
  ((PROCESSES % SLICES == 0)) || refuse "--slices=$SLICES: must divide --processes=$PROCESSES"
  (($#)) || refuse "nothing to run: give a command after --"
  COMMAND=("$@")
}

environment() { # of process $1
  ENVIRONMENT=(
    JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="$DEVICES" JAX_CPU_COLLECTIVES_IMPLEMENTATION=gloo
    JAX_COORDINATOR_ADDRESS="127.0.0.1:$PORT" JAX_NUM_PROCESSES="$PROCESSES" JAX_PROCESS_ID="$1"
  )
  if ((ALL_SLICES > 1)); then
    ENVIRONMENT+=(MEGASCALE_NUM_SLICES="$SLICES" MEGASCALE_SLICE_ID="$(slice_of "$1")")
  fi
}

slice_of() { echo $(($1 * SLICES / PROCESSES)); } # of process $1

start_all() {
  local index
  RUNNING=() SLICE_OF=() LOST=()
  if [[ $DRY_RUN != 1 ]]; then # what the first process says goes to its log and here
    exec {FIRST}> >(exec tee -a "$LOGS/process-0.log" 9>&-)
    TEE=$!
  fi
  for ((index = 0; index < PROCESSES; index++)); do
    environment "$index"
    if [[ $DRY_RUN == 1 ]]; then
      run env "${ENVIRONMENT[@]}" "${COMMAND[@]}"
      continue
    elif ((index == 0)); then
      env "${ENVIRONMENT[@]}" "${COMMAND[@]}" >&"$FIRST" 2>&1 9>&- &
    else
      env "${ENVIRONMENT[@]}" "${COMMAND[@]}" >>"$LOGS/process-$index.log" 2>&1 9>&- &
    fi
    RUNNING+=("$!")
    SLICE_OF[$!]=$(slice_of "$index")
  done
}

signal_all() {
  local pid
  for pid in "${RUNNING[@]}"; do kill "-$1" "$pid" 2>/dev/null || true; done
}

# Sets CODE to the first failure's code, or to 0, when all have ended. (`wait -n` loses those that end together.)
wait_all() {
  local pid ended kept watchdog=""
  CODE=0
  while ((${#RUNNING[@]})); do
    sleep 0.1 || true
    kept=()
    for pid in "${RUNNING[@]}"; do
      if kill -0 "$pid" 2>/dev/null; then
        kept+=("$pid")
        continue
      fi
      wait "$pid" 2>/dev/null && ended=0 || ended=$?
      if ((ended && !CODE)); then CODE=$ended; fi
      # Killed, and not by the watchdog, which is gone when it has sent its last signal.
      if ((ended == 137 && ALL_SLICES > 1)) && { [[ -z $watchdog ]] || kill -0 "$watchdog" 2>/dev/null; }; then
        LOST[${SLICE_OF[$pid]}]=1
      fi
    done
    RUNNING=("${kept[@]}")
    if ((${#RUNNING[@]})) && [[ -z $watchdog && $CODE$STOPPED != 0 ]]; then
      note "${STOPPED:-a process ended with $CODE}; the others have $GRACE s"
      end_after_grace 9>&- &
      watchdog=$!
    fi
  done
  if [[ -n $watchdog ]]; then kill "$watchdog" 2>/dev/null || true; fi
  exec {FIRST}>&-
  wait "$TEE"
}

end_after_grace() {
  local second
  for ((second = 0; second < GRACE; second++)); do sleep 1; done
  signal_all TERM
  for ((second = 0; second < 10; second++)); do sleep 1; done
  signal_all KILL
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

read_arguments "$@"
ALL_SLICES=$SLICES
if [[ $DRY_RUN == 1 ]]; then
  PORT=${PORT:-PORT}
  start_all
  exit 0
fi
mkdir -p "$LOGS"
exec 9>"$LOGS/lock"
flock -n 9 || refuse "--logs=$LOGS: another run is writing there"
STOPPED=""
trap 'STOPPED="told to stop"; signal_all TERM' TERM INT
for ((attempt = 0; ; attempt++)); do
  CHOSEN=$PORT
  PORT=${PORT:-$(free_port)}
  start_all
  wait_all
  PORT=$CHOSEN
  # Failures of processes on other slices that follow the death of a slice do not count.
  if ((${#LOST[@]})); then CODE=137; fi
  case $CODE in
    75 | 137 | 143) [[ -z $STOPPED ]] && ((attempt < RESTARTS)) || exit "$CODE" ;;
    *) exit "$CODE" ;;
  esac
  if ((${#LOST[@]} && ${#LOST[@]} < SLICES)); then
    PROCESSES=$((PROCESSES * (SLICES - ${#LOST[@]}) / SLICES))
    SLICES=$((SLICES - ${#LOST[@]}))
    note "slices lost: ${#LOST[@]}; going on with $SLICES of $ALL_SLICES"
  fi
  note "start $((attempt + 2))"
done
