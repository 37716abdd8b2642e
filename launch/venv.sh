# shellcheck shell=bash
# Sourced by the launch scripts: make_venv EXTRAS installs this checkout into .venv, once per state of setup.py.
make_venv() {
  local extras=$1 python=${PYTHON:-python3} stamp
  if [[ ! -x .venv/bin/python ]]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      { echo "polaris_jax needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 2; }
    "$python" -m venv .venv
  fi
  stamp=".venv/installed-$extras-$(sha256sum setup.py | cut -c1-12)"
  if [[ ! -e $stamp ]]; then
    .venv/bin/python -m pip install -q --disable-pip-version-check -e ".[$extras]"
    touch "$stamp"
  fi
}
