#!/usr/bin/env bash
# What happens on one host of a pod; launch/tpu_pod.sh copies this file there and calls it on every worker at once.
#
#   tpu_worker.sh install ARCHIVE    a checkout (tar.gz) and its locked packages, once per content, in ~/polaris/HASH
#   tpu_worker.sh start [--slices=0,2 --coordinator=ADDRESS] [--secret=VARIABLE=NAME]... COMMAND...
#                                    in the background with its output in ~/polaris/run/log, unless one is running; over
#                                    several slices these are there, and ADDRESS is the first worker of the first of them;
#                                    a secret's text comes from Secret Manager and is on no command line
#   tpu_worker.sh address            of the first worker of this slice
#   tpu_worker.sh status             `running PID`, `exited CODE`, or `idle` before the first start
#   tpu_worker.sh logs [LINES]       the end of that output
#   tpu_worker.sh stop [SECONDS]     SIGTERM (the run writes a checkpoint and exits 75), SIGKILL after SECONDS (90)
#
# POLARIS_HOME is the folder (~/polaris), UV the installer to use instead of a pinned one.
set -euo pipefail
HOME_FOLDER=${POLARIS_HOME:-$HOME/polaris}
RUN=$HOME_FOLDER/run
SELF=$(realpath "${BASH_SOURCE[0]}")

install() {
  local archive=$1 hash folder partial
  hash=$(sha256sum "$archive" | cut -c1-12)
  folder=$HOME_FOLDER/$hash
  if [[ ! -e $folder/installed ]]; then
    partial=$folder.partial
    rm -rf "$partial" "$folder"
    mkdir -p "$partial/source"
    tar -xzf "$archive" -C "$partial/source"
    mv "$partial" "$folder"
    packages "$folder"
    touch "$folder/installed"
  fi
  ln -sfn "$hash" "$HOME_FOLDER/current.new"
  mv -fT "$HOME_FOLDER/current.new" "$HOME_FOLDER/current" # in one step: a start sees the old one or the new one
  echo "installed $hash"
}

# The image of a TPU VM has an older Python; uv brings the one of the lock file.
packages() {
  local uv=${UV:-$HOME/.local/bin/uv}
  if [[ ! -x $uv ]]; then
    python3 -m pip install -q --user uv==0.13.9
  fi
  "$uv" venv -q --python 3.11 "$1/venv"
  "$uv" pip install -q --python "$1/venv/bin/python" --no-deps -r "$1/source/launch/requirements.lock"
  "$uv" pip install -q --python "$1/venv/bin/python" --no-deps "$1/source"
}

status() {
  if [[ -e $RUN/exit ]]; then
    echo "exited $(cat "$RUN/exit")"
  elif [[ ! -e $RUN/pid ]]; then
    echo idle
  elif alive; then
    echo "running $(cat "$RUN/pid")"
  else
    echo "exited 137" # killed together with the shell that would have written down its code
  fi
}

alive() { kill -0 "$(cat "$RUN/pid")" 2>/dev/null; }

attribute() {
  curl --silent --fail --max-time 10 --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

# The workers of a slice, from the machine's metadata; a list of addresses, or of name:id:address in older images.
workers() {
  local found
  found=$(attribute worker-network-endpoints) || return 1
  IFS=, read -ra WORKERS <<<"$found"
}

address() {
  workers && echo "${WORKERS[0]##*:}"
}

# The settings of libtpu for several slices, from when the machine was made: lines NAME: 'VALUE'.
tpu_environment() {
  attribute tpu-env | sed -n "s/^ *$1 *: *'\{0,1\}\([^']*\)'\{0,1\} *\$/\1/p"
}

# Joins the processes of all slices ($1, "" for one slice) at the first worker ($2) of the first.
join() {
  local number mine place slices
  workers && number=$(attribute agent-worker-number) || return 0
  if [[ -n $1 ]]; then
    IFS=, read -ra slices <<<"$1"
    mine=$(tpu_environment MEGASCALE_SLICE_ID)
    for ((place = 0; place < ${#slices[@]}; place++)); do [[ ${slices[place]} != "${mine:-0}" ]] || break; done
    export MEGASCALE_NUM_SLICES=${#slices[@]} MEGASCALE_SLICE_ID=$place MEGASCALE_COORDINATOR_ADDRESS=$2
    export JAX_COORDINATOR_ADDRESS=$2:8476 JAX_NUM_PROCESSES=$((${#slices[@]} * ${#WORKERS[@]}))
    export JAX_PROCESS_ID=$((place * ${#WORKERS[@]} + number))
  elif ((${#WORKERS[@]} > 1)); then
    export JAX_COORDINATOR_ADDRESS=${WORKERS[0]##*:}:8476 JAX_NUM_PROCESSES=${#WORKERS[@]} JAX_PROCESS_ID=$number
  fi
}

start() {
  local there="" coordinator=""
  if [[ ${1:-} == --slices=* ]]; then there=${1#*=} coordinator=${2#*=} && shift 2; fi
  if [[ $(status) == running* ]]; then
    status
    return
  fi
  mkdir -p "$RUN"
  rm -f "$RUN/exit" "$RUN/pid"
  cd "$HOME_FOLDER/current/source"
  export PATH=$HOME_FOLDER/current/venv/bin:$PATH
  while [[ ${1:-} == --secret=* ]]; do
    secret "${1#--secret=}"
    shift
  done
  join "$there" "$coordinator"
  unlock
  # A session of its own: the job outlives the connection that started it.
  setsid --fork bash "$SELF" job "$@" </dev/null >/dev/null 2>&1
  until [[ -e $RUN/exit || -e $RUN/pid ]]; do sleep 0.1; done
  status
}

# Exports VARIABLE=text of the newest version of a secret.
secret() {
  local text
  text=$(gcloud secrets versions access latest --secret="${1#*=}") ||
    { echo "secret ${1#*=} cannot be read: the machine's account needs roles/secretmanager.secretAccessor" >&2; exit 2; }
  export "${1%%=*}=$text"
}

# A process that was killed leaves libtpu's lock behind, and the next one would wait for chips that nobody uses.
unlock() {
  local lock=${LIBTPU_LOCK:-/tmp/libtpu_lockfile}
  [[ -e $lock ]] || return 0
  if command -v fuser >/dev/null && fuser -s "$lock" 2>/dev/null; then return 0; fi
  rm -f "$lock" 2>/dev/null || sudo -n rm -f "$lock" 2>/dev/null || echo "cannot remove $lock" >&2
}

# Runs the command, passes SIGTERM on to it, and writes down its exit code.
job() {
  local child code told=""
  trap 'told=1; kill -TERM "$child" 2>/dev/null' TERM
  "$@" >>"$RUN/log" 2>&1 &
  child=$!
  echo $$ >"$RUN/pid.new"
  mv "$RUN/pid.new" "$RUN/pid"
  wait "$child" && code=0 || code=$?
  if [[ -n $told ]]; then # the signal ended `wait`, not the child
    wait "$child" && code=0 || code=$?
  fi
  echo "$code" >"$RUN/exit.new"
  mv "$RUN/exit.new" "$RUN/exit"
}

stop() {
  local seconds=${1:-90} waited=0
  if [[ $(status) == running* ]]; then
    kill -TERM "$(cat "$RUN/pid")"
    while alive && ((waited < 10 * seconds)); do
      sleep 0.1
      waited=$((waited + 1))
    done
    if alive; then kill -KILL -- "-$(cat "$RUN/pid")"; fi # the whole session
  fi
  status
}

case ${1:-} in
  install) install "$2" ;;
  start | job) "$@" ;;
  address) address ;;
  status) status ;;
  logs) tail -n "${2:-50}" "$RUN/log" ;;
  stop) stop "${2:-90}" ;;
  *) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
