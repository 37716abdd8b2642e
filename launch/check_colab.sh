#!/usr/bin/env bash
# Runs the notebooks' install cell over Colab's packages (launch/colab.txt), then the notebooks, in an empty
# environment outside the checkout. Needs a package index. Fails when the install replaces a package that a fresh kernel
# of Colab has loaded (it would ask for a restart), when `pip check` has more complaints than before, or when a notebook
# fails.
#
#   launch/check_colab.sh PYTHON         Colab's Python, such as python3.13
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/commands.sh
. "$ROOT/launch/commands.sh"
(($# == 1)) || refuse "name Colab's Python, such as python3.13"
make_scratch
export JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 HOME=$SCRATCH/home
unset PYTHONPATH
LOADED='^(numpy|pandas|protobuf|ipython|ipykernel|tornado|pyzmq|traitlets|requests|psutil|matplotlib|packaging)=='

RUN='
import sys, time
from pathlib import Path
import nbclient, nbformat
for path in sorted(Path(sys.argv[1]).glob("*.ipynb")):
    begun = time.time()
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    print(f"{time.time() - begun:5.0f} s  {path.name}", flush=True)
'

mkdir -p "$HOME" "$SCRATCH/work" "$SCRATCH/dist"
"$1" -m venv "$SCRATCH/venv"
python=$SCRATCH/venv/bin/python
"$python" -m pip install -q --no-deps -r "$ROOT/launch/colab.txt"
"$python" -m pip freeze | sort >"$SCRATCH/had"
"$python" -m pip check | sort >"$SCRATCH/complaints" || true
cp -R "$ROOT/polaris_jax" "$ROOT/launch" "$ROOT/configs" "$ROOT"/{setup.py,pyproject.toml,MANIFEST.in} \
  "$ROOT"/{README,CHANGELOG,CONTRIBUTING}.md "$ROOT/LICENSE" "$SCRATCH/dist"
begun=$SECONDS
# As the cell does it, from a folder instead of the repository's address.
"$python" -m pip install -q "$SCRATCH/dist" "$(grep '^numpy==' "$SCRATCH/had")" 2>"$SCRATCH/said" || {
  tail -n 20 "$SCRATCH/said" >&2
  exit 1
}
note "installed in $((SECONDS - begun)) s"
"$python" -m pip freeze | sort >"$SCRATCH/has"
comm -13 "$SCRATCH/had" "$SCRATCH/has" | grep -v '^polaris'
if comm -23 "$SCRATCH/had" "$SCRATCH/has" | grep -iE "$LOADED"; then
  refuse "the packages above were loaded and are replaced: Colab would ask for a restart"
fi
"$python" -m pip check | sort >"$SCRATCH/complains" || true
if comm -13 "$SCRATCH/complaints" "$SCRATCH/complains" | grep .; then refuse "the install broke the packages above"; fi
cd "$SCRATCH/work"
"$python" -c "$RUN" "$ROOT/notebooks"
