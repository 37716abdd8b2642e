# shellcheck shell=bash
# Sourced by the launch scripts: make_venv EXTRAS installs this checkout into .venv, once per state of setup.py and of the
# lock file of its Python (launch/lock.py), to which it keeps; POLARIS_NEWEST=1 takes the newest versions instead.
make_venv() {
  local extras=$1 python=${PYTHON:-python3} stamp version lock locked=()
  if [[ ! -x .venv/bin/python ]]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      { echo "polaris_jax needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 2; }
    "$python" -m venv .venv
  fi
  version=$(.venv/bin/python -c 'import sys; print("{}.{}".format(*sys.version_info))')
  lock=launch/requirements-$version.lock
  if [[ $version == 3.11 ]]; then lock=launch/requirements.lock; fi
  if [[ -f $lock && ${POLARIS_NEWEST:-0} != 1 ]]; then locked=(--constraint "$lock"); fi
  stamp=".venv/installed-$extras-$(cat setup.py "${locked[@]:1}" | sha256sum | cut -c1-12)"
  if [[ ! -e $stamp ]]; then
    .venv/bin/python -m pip install -q --disable-pip-version-check "${locked[@]}" -e ".[$extras]"
    touch "$stamp"
  fi
}
