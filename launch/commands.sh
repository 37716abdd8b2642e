# shellcheck shell=bash
# Sourced by the launch scripts. `run COMMAND...` shows a command and executes it; with DRY_RUN=1 it only shows it.
DRY_RUN=${DRY_RUN:-0}

# A command line as it would be typed: only what the shell would change is quoted.
show() {
  local word line=""
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+="$word "
  done
  printf '%s\n' "${line% }"
}

run() {
  if [[ $DRY_RUN == 1 ]]; then
    show "$@"
  else
    show "$@" >&2
    "$@"
  fi
}

# One clear line on standard error, exit code 2: the caller's mistake.
refuse() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

# whole --flag VALUE [LEAST]: refuses a value that is not a whole number, or a smaller one.
whole() {
  if [[ ! $2 =~ ^[0-9]+$ ]] || ((10#$2 < ${3:-0})); then refuse "$1=$2: give a whole number${3:+, $3 or more}"; fi
}

# Whether a config is a file of the checkout, or the name of one in the package.
has_config() { [[ -n $1 && (-f $ROOT/$1 || ($1 != */* && -f $ROOT/polaris_jax/configs/$1.py)) ]]; }

# A comment: between the commands of a dry run, else on standard error.
note() {
  if [[ $DRY_RUN == 1 ]]; then
    printf '# %s\n' "$*"
  else
    printf '# %s\n' "$*" >&2
  fi
}

# Sets SCRATCH to a folder that goes away with the script; a dry run writes nothing and shows paths relative to ROOT.
# shellcheck disable=SC2034 # read by the scripts
make_scratch() {
  if [[ $DRY_RUN == 1 ]]; then
    SCRATCH=/tmp ROOT=.
  else
    SCRATCH=$(mktemp -d)
    trap 'rm -rf "$SCRATCH"' EXIT
  fi
}
