#!/usr/bin/env bash
# A training run on a TPU slice of a GKE cluster: as a JobSet with kubectl, or by XPK. Every verb may be repeated.
#
#   launch/gke/gke.sh VERB --name=NAME [options] [-- --config.a.b=c ...]
#
# image    build launch/Dockerfile and push it       render   the manifest on standard output
# apply    create the JobSet, unless it runs         status   its state and its pods
# logs     the end of the first worker's output      delete   the JobSet
# xpk      the same run as an XPK workload           xpk-delete
#
# --type=v6e-256 --image=REGISTRY/polaris:TAG --config=FILE --workdir=gs://...       (render, apply, xpk)
# --cluster=NAME --zone=ZONE --project=ID                                            (xpk, xpk-delete)
# --slices=1   so many slices of this type, joined by the data-centre network         (render, apply, xpk)
# --namespace=default --service-account=polaris --restarts=10 --dry-run --verb=train (or rl)
# --secret=VARIABLE=NAME   an environment variable: the key VARIABLE of the cluster's Secret NAME; may be repeated (render, apply)
# shellcheck disable=SC2034  # `render` reads variables by their names
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=launch/commands.sh
. "$ROOT/launch/commands.sh"
# shellcheck source=launch/tpu_slice.sh
. "$ROOT/launch/tpu_slice.sh"
# shellcheck source=launch/tpu_flags.sh
. "$ROOT/launch/tpu_flags.sh"

NAME="" TYPE="" SLICES=1 IMAGE="" CONFIG="" WORKDIR="" CLUSTER="" ZONE="" PROJECT=""
NAMESPACE=default SERVICE_ACCOUNT=polaris RESTARTS=10 OVERRIDES=() GIVEN=() SECRETS=() POLARIS_VERB=train
GRACE=120 # seconds from the notice of a preemption to the end; longer than train.grace_seconds

read_arguments() {
  VERB=${1:-}
  [[ " image render apply status logs delete xpk xpk-delete " == *" $VERB "* && -n $VERB ]] ||
    { sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
  shift
  local word
  for word in "$@"; do [[ $word == --dry-run ]] || GIVEN+=("$word"); done
  while (($#)); do
    case $1 in
      --name=*) NAME=${1#*=} ;;
      --type=*) TYPE=${1#*=} ;;
      --slices=*) SLICES=${1#*=} ;;
      --image=*) IMAGE=${1#*=} ;;
      --config=*) CONFIG=${1#*=} ;;
      --workdir=*) WORKDIR=${1#*=} ;;
      --cluster=*) CLUSTER=${1#*=} ;;
      --zone=*) ZONE=${1#*=} ;;
      --project=*) PROJECT=${1#*=} ;;
      --namespace=*) NAMESPACE=${1#*=} ;;
      --service-account=*) SERVICE_ACCOUNT=${1#*=} ;;
      --restarts=*) RESTARTS=${1#*=} ;;
      --verb=*) POLARIS_VERB=${1#*=} ;;
      --secret=*) SECRETS+=("${1#*=}") ;;
      --dry-run) DRY_RUN=1 ;;
      --) shift; OVERRIDES=("$@"); break ;;
      *) refuse "$1: no such option; launch/gke/gke.sh alone lists them" ;;
    esac
    shift
  done
  if [[ $VERB != image ]]; then
    # The name becomes part of the pods' host names, which end at 63 letters.
    [[ $NAME =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]] || refuse "--name=$NAME: at most 40 small letters, digits, dashes"
  fi
  case $VERB in
    image) [[ -n $IMAGE ]] || refuse "--image: name it, such as us-docker.pkg.dev/project/repository/polaris:1" ;;
    render | apply | xpk) check_run ;;
  esac
  if [[ $VERB == xpk* && (-z $CLUSTER || -z $ZONE || -z $PROJECT) ]]; then
    refuse "XPK needs --cluster, --zone and --project"
  fi
}

check_run() {
  tpu_slice "$TYPE"
  [[ $SLICES =~ ^[1-9][0-9]*$ ]] || refuse "--slices=$SLICES: give a whole number, at least 1"
  ((SLICES == 1 || HOSTS > 1)) || refuse "--slices=$SLICES: GKE joins slices of several hosts only, and $TYPE has one"
  [[ -n $IMAGE ]] || refuse "--image: name the one that \`gke.sh image\` pushed"
  has_config "$CONFIG" || refuse "--config=$CONFIG: no such file in the checkout, hence none in the image, and no such name"
  [[ $WORKDIR == gs://?* ]] || refuse "--workdir=$WORKDIR: give a gs:// folder; a pod loses its disk"
  whole --restarts "$RESTARTS"
  [[ $POLARIS_VERB == train || $POLARIS_VERB == rl ]] || refuse "--verb=$POLARIS_VERB: train or rl"
  local secret
  for secret in "${SECRETS[@]}"; do
    [[ $secret =~ ^[A-Za-z_][A-Za-z0-9_]*=[a-z0-9.-]+$ ]] || refuse "--secret=$secret: write VARIABLE=NAME of a Secret"
  done
  if [[ $VERB == xpk && ${#SECRETS[@]} != 0 ]]; then
    refuse "--secret: XPK would put its text on a command line; use apply, which refers to the cluster's Secret"
  fi
}

image() {
  run docker build --file="$ROOT/launch/Dockerfile" --tag="$IMAGE" "$ROOT"
  run docker push "$IMAGE"
}

render() {
  local text name
  ARGUMENTS=$(json "$POLARIS_VERB" --config="$CONFIG" --workdir="$WORKDIR" "${OVERRIDES[@]}")
  FLAGS=$(tpu_flags "$TYPE")
  ENVIRONMENT=$(secrets)
  text=$(cat "$ROOT/launch/gke/jobset.yaml")
  for name in NAMESPACE NAME RESTARTS SLICES HOSTS SERVICE_ACCOUNT ACCELERATOR TOPOLOGY IMAGE ARGUMENTS FLAGS WORKDIR \
    GRACE ENVIRONMENT; do
    text=${text//"@$name@"/"${!name}"}
  done
  printf '%s\n' "$text"
}

# Environment variables that refer to the cluster's secrets, at the indentation of the manifest.
secrets() {
  local secret
  for secret in "${SECRETS[@]}"; do
    printf '\n                    - name: %s\n                      valueFrom:\n' "${secret%%=*}"
    printf '                        secretKeyRef: {name: %s, key: %s}' "${secret#*=}" "${secret%%=*}"
  done
}

json() { # a JSON array of strings
  local word line=""
  for word in "$@"; do
    word=${word//\\/\\\\}
    line+="${line:+, }\"${word//\"/\\\"}\""
  done
  printf '[%s]\n' "$line"
}

kube() { run kubectl --namespace="$NAMESPACE" "$@"; }

# A JobSet that has ended stays and would block the next `apply`, so it is removed first.
apply() {
  local ended manifest=$SCRATCH/$NAME.yaml
  if [[ $DRY_RUN == 1 ]]; then
    kube get jobset "$NAME" --ignore-not-found --output='jsonpath={.status.terminalState}'
    note "a JobSet that has ended is deleted first:"
    kube delete jobset "$NAME" --ignore-not-found --wait
    printf '%s >%s\n' "$(show launch/gke/gke.sh render "${GIVEN[@]}")" "$manifest"
  else
    ended=$(kube get jobset "$NAME" --ignore-not-found --output='jsonpath={.status.terminalState}')
    if [[ -n $ended ]]; then kube delete jobset "$NAME" --ignore-not-found --wait; fi
    render >"$manifest"
  fi
  kube apply --filename="$manifest"
}

status() {
  kube get jobset "$NAME" --ignore-not-found
  kube get pods --selector="jobset.sigs.k8s.io/jobset-name=$NAME" --output=wide
}

logs() {
  kube logs --selector="jobset.sigs.k8s.io/jobset-name=$NAME,batch.kubernetes.io/job-completion-index=0" --tail=200
}

# XPK names workloads itself and refuses a second one of the same name.
xpk_create() {
  local command known
  command=$(show polaris "$POLARIS_VERB" --config="$CONFIG" --workdir="$WORKDIR" "${OVERRIDES[@]}")
  if [[ $DRY_RUN == 1 ]]; then
    run xpk workload list --cluster="$CLUSTER" --zone="$ZONE" --project="$PROJECT" --filter-by-job="^$NAME\$"
  else
    known=$(run xpk workload list --cluster="$CLUSTER" --zone="$ZONE" --project="$PROJECT" --filter-by-job="^$NAME\$")
    if grep -q "^ *$NAME " <<<"$known"; then note "$NAME is there"; return; fi
  fi
  run xpk workload create --workload="$NAME" --cluster="$CLUSTER" --zone="$ZONE" --project="$PROJECT" \
    --tpu-type="$TYPE" --num-slices="$SLICES" --docker-image="$IMAGE" --max-restarts="$RESTARTS" \
    --restart-on-exit-codes=75 --termination-grace-period-seconds="$GRACE" \
    --env="LIBTPU_INIT_ARGS=$(tpu_flags "$TYPE")" --env="JAX_COMPILATION_CACHE_DIR=$WORKDIR/xla_cache" \
    --command="$command"
}

read_arguments "$@"
make_scratch
case $VERB in
  render) (cd "$(dirname "${BASH_SOURCE[0]}")/../.." && ROOT=. render) ;;
  delete) kube delete jobset "$NAME" --ignore-not-found --wait ;;
  xpk) xpk_create ;;
  xpk-delete)
    run xpk workload delete --workload="$NAME" --cluster="$CLUSTER" --zone="$ZONE" --project="$PROJECT" --force ;;
  *) "$VERB" ;;
esac
