#!/usr/bin/env bash
# A training run on Cloud TPU VMs by queued resources: asks for the slice, waits, installs, trains on every worker, and
# starts again from the newest checkpoint when the slice is preempted. Every verb may be repeated: what exists is kept.
#
#   launch/tpu_pod.sh VERB --name=NAME --type=v6e-256 --zone=ZONE [options] [-- --config.a.b=c ...]
#
# run      all of it: create, wait, install, start, follow; new slice after preemption; returns the run's exit code
# create   the queued resource, unless it is there          wait     until it is ACTIVE
# install  the committed checkout and its locked packages   start    `polaris train` on all workers, unless it runs
# status   one line per worker                              logs     the end of the first worker's output
# stop     checkpoint and exit on every worker              delete   the queued resource and its machines
#
# --project=ID           default: gcloud's own              --spot | --reserved   default: on demand
# --config=FILE          a configs/*.py of the checkout     --workdir=gs://...    checkpoints, metrics (for run, start)
# --service-account=MAIL --network=N --subnetwork=N --internal-ips    as for gcloud
# --restarts=100  --poll=30 (seconds)  --patience=86400 (seconds that `wait` waits); three failures in a row end a run
# --dry-run              prints every command and executes none; --assume=STATE is what `describe` would have said
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/commands.sh
. "$ROOT/launch/commands.sh"
# shellcheck source=launch/tpu_slice.sh
. "$ROOT/launch/tpu_slice.sh"
# shellcheck source=launch/tpu_flags.sh
. "$ROOT/launch/tpu_flags.sh"

NAME="" TYPE="" ZONE="" CONFIG="" WORKDIR="" RESTARTS=100 POLL=30 PATIENCE=86400 ASSUME=ABSENT
PLACE=() TIER=() MACHINE=() OVERRIDES=()
PREEMPTED=75 # the code of a run that wrote a checkpoint because it was told to go

read_arguments() {
  VERB=${1:-}
  [[ " run create wait install start status logs stop delete " == *" $VERB "* && -n $VERB ]] ||
    { sed -n '2,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
  shift
  while (($#)); do
    case $1 in
      --name=*) NAME=${1#*=} ;;
      --type=*) TYPE=${1#*=} ;;
      --zone=*) ZONE=${1#*=} ;;
      --project=*) PLACE+=("$1") ;;
      --config=*) CONFIG=${1#*=} ;;
      --workdir=*) WORKDIR=${1#*=} ;;
      --spot | --reserved) TIER=("$1") ;;
      --service-account=* | --network=* | --subnetwork=* | --internal-ips) MACHINE+=("$1") ;;
      --restarts=*) RESTARTS=${1#*=} ;;
      --poll=*) POLL=${1#*=} ;;
      --patience=*) PATIENCE=${1#*=} ;;
      --dry-run) DRY_RUN=1 ;;
      --assume=*) ASSUME=${1#*=} ;;
      --) shift; OVERRIDES=("$@"); break ;;
      *) refuse "$1: no such option; launch/tpu_pod.sh alone lists them" ;;
    esac
    shift
  done
  [[ $NAME =~ ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$ ]] || refuse "--name=$NAME: lower-case letters, digits and dashes"
  [[ -n $ZONE ]] || refuse "--zone: name one, such as us-east5-a"
  PLACE=("--zone=$ZONE" "${PLACE[@]}")
  if [[ $VERB == run || $VERB == create || $VERB == start ]]; then tpu_slice "$TYPE"; fi
  if [[ $VERB == run || $VERB == start ]]; then
    [[ -f $ROOT/$CONFIG ]] || refuse "--config=$CONFIG: no such file in the checkout"
    [[ $WORKDIR == gs://?* ]] || refuse "--workdir=$WORKDIR: give a gs:// folder; a preempted machine loses its disk"
  fi
}

queue() { run gcloud compute tpus queued-resources "$@"; }
everywhere() { queue ssh "$NAME" --node=all --worker=all "${PLACE[@]}" --quiet --command="$1"; }

# Sets STATE to that of the queued resource, or to ABSENT; one failed call decides nothing.
look() {
  local command=(describe "$NAME" "${PLACE[@]}" "--format=value(state.state)") attempt
  if [[ $DRY_RUN == 1 ]]; then
    queue "${command[@]}"
    STATE=$ASSUME
    return
  fi
  for attempt in 1 2 3 4 5; do
    if STATE=$(queue "${command[@]}" 2>"$SCRATCH/said"); then return; fi
    if grep -qi 'not.found' "$SCRATCH/said"; then STATE=ABSENT; return; fi
    ((attempt == 5)) || sleep "$POLL"
  done
  cat "$SCRATCH/said" >&2
  exit 1
}

create() {
  look
  case $STATE in
    SUSPENDED | SUSPENDING | FAILED) note "$NAME is $STATE: its machines are gone"; delete ;;
    ABSENT) ;;
    *) note "$NAME is $STATE"; return ;;
  esac
  queue create "$NAME" --node-id="$NAME" --accelerator-type="$TYPE" --runtime-version="$RUNTIME" "${PLACE[@]}" \
    "${TIER[@]}" "${MACHINE[@]}" --quiet
  ASSUME=ACTIVE
}

# Returns 1 when the request cannot become ACTIVE any more.
wait_active() {
  local waited=0
  while look; [[ $STATE != ACTIVE ]]; do
    [[ $DRY_RUN == 1 ]] && { note "again every $POLL s until ACTIVE"; ASSUME=ACTIVE; return; }
    case $STATE in SUSPENDED | SUSPENDING | FAILED | ABSENT) note "$NAME is $STATE"; return 1 ;; esac
    ((waited < PATIENCE)) || { note "$NAME is still $STATE after $PATIENCE s"; exit 1; }
    sleep "$POLL"
    waited=$((waited + POLL))
  done
}

install() {
  local archive=$SCRATCH/polaris_jax.tar.gz
  if [[ $DRY_RUN != 1 && -n $(git -C "$ROOT" status --porcelain) ]]; then note "uncommitted changes are not sent"; fi
  run git -C "$ROOT" archive --format=tar.gz --output="$archive" HEAD &&
    queue scp "$archive" "$ROOT/launch/tpu_worker.sh" "$NAME:" --node=all --worker=all "${PLACE[@]}" --quiet &&
    everywhere "bash tpu_worker.sh install polaris_jax.tar.gz"
}

start() {
  local command
  command=$(show env LIBTPU_INIT_ARGS="$(tpu_flags "$TYPE")" JAX_COMPILATION_CACHE_DIR="$WORKDIR/xla_cache" \
    polaris train --config="$CONFIG" --workdir="$WORKDIR" "${OVERRIDES[@]}")
  everywhere "bash tpu_worker.sh start $command"
}

# Waits until no worker runs. Sets CODE: 0 finished, 2 the caller's mistake, 75 preempted, 1 failed.
follow() {
  local lines
  if [[ $DRY_RUN == 1 ]]; then
    everywhere "bash tpu_worker.sh status"
    note "again every $POLL s while a worker is running"
    CODE=0
    return
  fi
  while look; [[ $STATE == ACTIVE ]]; do
    # A failed connection decides nothing: the state of the resource does.
    if lines=$(everywhere "bash tpu_worker.sh status" 2>"$SCRATCH/said") && [[ $lines != *running* ]]; then
      if grep -qx 'exited 2' <<<"$lines"; then
        CODE=2
      elif grep -qxE 'idle|exited (75|137|143)' <<<"$lines"; then
        CODE=$PREEMPTED # told to go, or killed; its neighbours may have failed for want of it
      elif grep -qvx 'exited 0' <<<"$lines"; then
        CODE=1
      else
        CODE=0
      fi
      return
    fi
    sleep "$POLL"
  done
  CODE=$PREEMPTED
}

running() { [[ $DRY_RUN != 1 ]] && everywhere "bash tpu_worker.sh status" 2>"$SCRATCH/said" | grep -q running; }

whole_run() {
  local attempt failures=0
  for ((attempt = 0; attempt <= RESTARTS; attempt++)); do
    create
    wait_active || continue
    if running || { install && start; }; then
      follow
    else
      CODE=1
      note "the workers could not be started"
    fi
    case $CODE in
      0) note "finished; launch/tpu_pod.sh delete gives the machines back"; return ;;
      "$PREEMPTED") failures=0 ;;
      *) failures=$((failures + 1)) ;;
    esac
    if ((CODE == 2 || failures == 3)); then
      logs || true
      exit "$CODE"
    fi
    note "start $((attempt + 2)), from the newest checkpoint of $WORKDIR"
  done
  note "given up after $RESTARTS restarts"
  exit 1
}

logs() { queue ssh "$NAME" --worker=0 "${PLACE[@]}" --quiet --command="bash tpu_worker.sh logs 200"; }

delete() {
  if [[ $VERB == delete ]]; then
    look
    if [[ $STATE == ABSENT && $DRY_RUN != 1 ]]; then note "$NAME does not exist"; return; fi
  fi
  queue delete "$NAME" "${PLACE[@]}" --force --quiet
}

read_arguments "$@"
make_scratch
case $VERB in
  run) whole_run ;;
  wait) wait_active ;;
  status) everywhere "bash tpu_worker.sh status" ;;
  stop) everywhere "bash tpu_worker.sh stop" ;;
  *) "$VERB" ;;
esac
