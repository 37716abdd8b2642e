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
# --slices=1             so many slices of this type in one request, joined by the data-centre network; when one is lost,
#                        the run goes on with the others
# --project=ID           default: gcloud's own              --spot | --reserved   default: on demand
# --config=NAME_OR_FILE  see polaris configs; a file of the checkout     --workdir=gs://...    checkpoints, metrics (for run, start)
# --service-account=MAIL --network=N --subnetwork=N --internal-ips    as for gcloud
# --verb=train           or rl; build and evaluate run on a slice of one host, with all their flags after the --
# --secret=VARIABLE=NAME an environment variable from Secret Manager, read on the worker; may be repeated
# --restarts=100  --poll=30 (seconds)  --patience=86400 (seconds that `wait` waits); three failures in a row end a run
# --delete-when-done     gives the machines back after a run that finished
# --dry-run              prints every command and executes none; --assume=STATE is what `describe` would have said
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CHECKOUT=$ROOT # stays, where a dry run shows paths relative to it
# shellcheck source=launch/commands.sh
. "$ROOT/launch/commands.sh"
# shellcheck source=launch/tpu_slice.sh
. "$ROOT/launch/tpu_slice.sh"
# shellcheck source=launch/tpu_flags.sh
. "$ROOT/launch/tpu_flags.sh"

NAME="" TYPE="" SLICES=1 ZONE="" CONFIG="" WORKDIR="" RESTARTS=100 POLL=30 PATIENCE=86400 ASSUME=ABSENT
PLACE=() TIER=() MACHINE=() OVERRIDES=() SECRETS=() POLARIS_VERB=train DELETE=0
PREEMPTED=75 # the code of a run that wrote a checkpoint because it was told to go

read_arguments() {
  VERB=${1:-}
  [[ " run create wait install start status logs stop delete " == *" $VERB "* && -n $VERB ]] ||
    { sed -n '2,25s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
  shift
  while (($#)); do
    case $1 in
      --name=*) NAME=${1#*=} ;;
      --type=*) TYPE=${1#*=} ;;
      --slices=*) SLICES=${1#*=} ;;
      --zone=*) ZONE=${1#*=} ;;
      --project=*) PLACE+=("$1") ;;
      --config=*) CONFIG=${1#*=} ;;
      --workdir=*) WORKDIR=${1#*=} ;;
      --spot | --reserved)
        [[ ${#TIER[@]} == 0 || ${TIER[0]} == "$1" ]] || refuse "$1: ${TIER[0]} was given too; a slice is one or the other"
        TIER=("$1")
        ;;
      --verb=*) POLARIS_VERB=${1#*=} ;;
      --secret=*) SECRETS+=("$1") ;;
      --delete-when-done) DELETE=1 ;;
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
  [[ $SLICES =~ ^[1-9][0-9]*$ ]] || refuse "--slices=$SLICES: give a whole number, at least 1"
  [[ -n $ZONE ]] || refuse "--zone: name one, such as us-east5-a"
  PLACE=("--zone=$ZONE" "${PLACE[@]}")
  whole --restarts "$RESTARTS"
  whole --poll "$POLL"
  whole --patience "$PATIENCE"
  if [[ $VERB == run || $VERB == create || $VERB == start ]]; then tpu_slice "$TYPE"; fi
  if [[ $VERB == run || $VERB == start ]]; then check_run; fi
}

check_run() {
  local secret
  case $POLARIS_VERB in
    train | rl)
      has_config "$CONFIG" || refuse "--config=$CONFIG: no such file in the checkout, and no config of that name"
      [[ $WORKDIR == gs://?* ]] || refuse "--workdir=$WORKDIR: give a gs:// folder; a preempted machine loses its disk"
      ;;
    build | evaluate)
      [[ $HOSTS == 1 ]] || refuse "--verb=$POLARIS_VERB runs on one host, --type=$TYPE has $HOSTS; take v5p-8 or v6e-4"
      ((${#OVERRIDES[@]})) || refuse "--verb=$POLARIS_VERB: give its flags after --"
      ;;
    *) refuse "--verb=$POLARIS_VERB: train, rl, build or evaluate" ;;
  esac
  for secret in "${SECRETS[@]}"; do
    [[ $secret =~ ^--secret=[A-Za-z_][A-Za-z0-9_]*=[A-Za-z0-9_-]+$ ]] ||
      refuse "$secret: write --secret=VARIABLE=NAME, the name of a secret of Secret Manager"
  done
}

queue() { run gcloud compute tpus queued-resources "$@"; }
everywhere() { queue ssh "$NAME" --node="$NODES" --worker=all "${PLACE[@]}" --quiet --command="$1"; }

# Sets NODES to the slices that are there: "all" of one, or their numbers, such as 0,2.
look_at_slices() {
  local number state command found=()
  NODES=all
  ((SLICES > 1)) || return 0
  for ((number = 0; number < SLICES; number++)); do
    command=(gcloud compute tpus tpu-vm describe "$NAME-$number" "${PLACE[@]}" "--format=value(state)")
    if [[ $DRY_RUN == 1 ]]; then
      run "${command[@]}"
      state=READY
    else
      state=$(run "${command[@]}" 2>"$SCRATCH/said") || state=GONE
    fi
    [[ $state != READY ]] || found+=("$number")
  done
  ((${#found[@]})) || mapfile -t found < <(seq 0 $((SLICES - 1))) # none: whatever follows says so
  NODES=$(IFS=,; echo "${found[*]}")
}

# Sets ADDRESS to that of the first worker of the first slice that is there.
look_for_address() {
  local command=(ssh "$NAME" --node="${NODES%%,*}" --worker=0 "${PLACE[@]}" --quiet --command="bash tpu_worker.sh address")
  if [[ $DRY_RUN == 1 ]]; then
    queue "${command[@]}"
    ADDRESS=ADDRESS
  else
    ADDRESS=$(queue "${command[@]}" | tail -n 1)
  fi
}

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
  local nodes=(--node-id="$NAME")
  if ((SLICES > 1)); then nodes=(--node-count="$SLICES" --node-prefix="$NAME"); fi
  queue create "$NAME" "${nodes[@]}" --accelerator-type="$TYPE" --runtime-version="$RUNTIME" "${PLACE[@]}" \
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
  local pack=(git -C "$ROOT" archive --format=tar.gz --output="$archive" HEAD)
  if [[ ! -e $CHECKOUT/.git ]]; then # put together by `polaris launch` from an installed package
    pack=(tar --create --gzip --file="$archive" --directory="$ROOT" --sort=name --mtime=@0 .)
  elif [[ $DRY_RUN != 1 && -n $(git -C "$ROOT" status --porcelain) ]]; then
    note "uncommitted changes are not sent"
  fi
  run "${pack[@]}" &&
    queue scp "$archive" "$ROOT/launch/tpu_worker.sh" "$NAME:" --node="$NODES" --worker=all "${PLACE[@]}" --quiet &&
    everywhere "bash tpu_worker.sh install polaris_jax.tar.gz"
}

start() {
  local command=() slices="" line
  if ((SLICES > 1)); then
    look_for_address
    slices=" --slices=$NODES --coordinator=$ADDRESS"
  fi
  command=(env LIBTPU_INIT_ARGS="$(tpu_flags "$TYPE")")
  if [[ -n $WORKDIR ]]; then command+=("JAX_COMPILATION_CACHE_DIR=$WORKDIR/xla_cache"); fi
  command+=(polaris "$POLARIS_VERB")
  if [[ $POLARIS_VERB == train || $POLARIS_VERB == rl ]]; then command+=("--config=$CONFIG" "--workdir=$WORKDIR"); fi
  line=$(show "${SECRETS[@]}" "${command[@]}" "${OVERRIDES[@]}")
  everywhere "bash tpu_worker.sh start$slices $line"
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
    look_at_slices
    if ((${#NODES} > ${#STARTED})); then
      note "slices $NODES are there again: taking them in"
      NODES=$STARTED
      everywhere "bash tpu_worker.sh stop" || true
      CODE=$PREEMPTED
      return
    fi
    # A failed connection decides nothing: the state of the resource does.
    if lines=$(everywhere "bash tpu_worker.sh status" 2>"$SCRATCH/said") && [[ $lines != *running* ]]; then
      if grep -qx 'exited 2' <<<"$lines"; then
        CODE=2
      elif grep -qx 'exited 137' <<<"$lines" && still_there; then
        CODE=1 # killed on a machine that stays: most often the host's memory was not enough
      elif grep -qxE 'idle|exited (75|137|143)' <<<"$lines"; then
        CODE=$PREEMPTED # told to go, or gone with its machine; its neighbours may have failed for want of it
      elif grep -qvx 'exited 0' <<<"$lines"; then
        CODE=1
      else
        CODE=0
      fi
      # Failures of other slices that follow the loss of a slice do not count.
      if ((CODE == 1)) && [[ $STARTED != "$NODES" ]]; then CODE=$PREEMPTED; fi
      return
    fi
    sleep "$POLL"
  done
  CODE=$PREEMPTED
}

# Whether the machines stay: a preemption is announced a little after its workers are gone.
still_there() {
  local attempt
  for attempt in 1 2; do
    sleep "$POLL"
    look
    [[ $STATE == ACTIVE ]] || return 1
  done
}

running() { [[ $DRY_RUN != 1 ]] && everywhere "bash tpu_worker.sh status" 2>"$SCRATCH/said" | grep -q running; }

whole_run() {
  local attempt failures=0
  for ((attempt = 0; attempt <= RESTARTS; attempt++)); do
    create
    wait_active || continue
    look_at_slices
    STARTED=$NODES
    if running || { install && start; }; then
      follow
    else
      CODE=1
      note "the workers could not be started"
    fi
    case $CODE in
      0)
        if [[ $DELETE == 1 ]]; then
          note "finished; the machines are given back"
          delete
        else
          note "finished; launch/tpu_pod.sh delete gives the machines back"
        fi
        return
        ;;
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

logs() {
  look_at_slices
  local first=()
  if ((SLICES > 1)); then first=(--node="${NODES%%,*}"); fi
  queue ssh "$NAME" "${first[@]}" --worker=0 "${PLACE[@]}" --quiet --command="bash tpu_worker.sh logs 200"
}

delete() {
  if [[ $VERB == delete ]]; then
    look
    if [[ $STATE == ABSENT && $DRY_RUN != 1 ]]; then note "$NAME does not exist"; return; fi
  fi
  queue delete "$NAME" "${PLACE[@]}" --force --quiet
}

read_arguments "$@"
make_scratch
NODES=all STARTED=all
case $VERB in install | start | status | stop) look_at_slices ;; esac
case $VERB in
  run) whole_run ;;
  wait) wait_active ;;
  status) everywhere "bash tpu_worker.sh status" ;;
  stop) everywhere "bash tpu_worker.sh stop" ;;
  *) "$VERB" ;;
esac
