#!/usr/bin/env bash
# Makes the sdist and from it the wheel, then does what a person does first: for each Python, in an empty environment
# outside the checkout, with an empty home. Needs a package index. Prints a line per command; the first failure ends it.
#
#   launch/check_wheel.sh PYTHON...      such as python3.11 python3.12 python3.13
#
# POLARIS_WHEEL_EXTRAS=serve,demo,tpu (default) are installed too.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/commands.sh
. "$ROOT/launch/commands.sh"
(($#)) || refuse "name the Pythons to try, such as python3.11 python3.13"
EXTRAS=${POLARIS_WHEEL_EXTRAS:-serve,demo,tpu}
make_scratch
export JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
unset PYTHONPATH

# A model of two layers with a tokenizer of its own, to build and convert with.
MODEL='
import jax
from importlib.resources import files
from polaris_jax.data import train_sentencepiece
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
novel = next(p for p in (files("polaris_jax") / "library" / "books").iterdir() if p.name.endswith(".txt")).read_text()
tokenizer = train_sentencepiece(novel.splitlines(), 1000)
sizes = dict(model_type="llama", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=tokenizer.vocab_size, max_position_embeddings=2048, rms_norm_eps=1e-5,
             rope_theta=1e4, tie_word_embeddings=True)
config = ModelConfig.from_hf(sizes)
save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), "model")
tokenizer.save("model")
open("novel.txt", "w").write(novel)
'

# Starts the server, asks for one completion and ends the server; fails when one of them fails.
SERVE='
import json, subprocess, sys, time, urllib.request
server = subprocess.Popen([sys.argv[1], "serve", "--checkpoint=demo/run", "--port=8977", "--slots=1"])
try:
    for _ in range(120):
        try:
            urllib.request.urlopen("http://127.0.0.1:8977/health").read()
            break
        except OSError:
            assert server.poll() is None, "the server has ended"
            time.sleep(1)
    name = json.load(urllib.request.urlopen("http://127.0.0.1:8977/v1/models"))["data"][0]["id"]
    body = json.dumps({"model": name, "prompt": "The sea", "max_tokens": 4}).encode()
    head = {"Content-Type": "application/json"}
    asked = urllib.request.Request("http://127.0.0.1:8977/v1/completions", body, head)
    assert json.load(urllib.request.urlopen(asked))["usage"]["completion_tokens"] > 0
finally:
    server.terminate()
    server.wait()
'

timed() {
  local begun=$SECONDS
  if ! "$@" >"$SCRATCH/out" 2>&1; then
    show "$@" >&2
    tail -n 20 "$SCRATCH/out" >&2
    exit 1
  fi
  printf '%5d s  %s\n' $((SECONDS - begun)) "$(show "${@:2:9}" | head -n 1)"
}

for python in "$@"; do
  place=$SCRATCH/$(basename "$python")-$RANDOM
  mkdir -p "$place/home" "$place/work" "$place/dist"
  export HOME=$place/home
  note "$("$python" --version)"
  "$python" -m venv "$place/venv"
  bin=$place/venv/bin
  cp -R "$ROOT/polaris_jax" "$ROOT/launch" "$ROOT/configs" "$ROOT"/{setup.py,pyproject.toml,MANIFEST.in} \
    "$ROOT"/{README,CHANGELOG,CONTRIBUTING}.md "$ROOT/LICENSE" "$place/dist"
  cd "$place/dist"
  timed "$bin/python" -m pip install -q --upgrade setuptools wheel  # venv of Python 3.11 brings an old one
  timed "$bin/python" setup.py -q sdist --dist-dir "$place"
  cd "$place/work"
  timed "$bin/python" -m pip wheel -q --no-deps --wheel-dir "$place" "$place"/polaris_jax-*.tar.gz
  timed "$bin/python" -m pip install -q "$(echo "$place"/polaris_jax-*.whl)[$EXTRAS]"
  "$bin/python" -m pip list 2>/dev/null | grep -E '^(jax|jaxlib|flax|numpy|polaris-jax) ' | tr -s ' ' | tr '\n' ';'
  echo
  timed "$bin/python" -m pip check
  timed "$bin/polaris" --version
  timed "$bin/polaris" demo --help
  timed "$bin/polaris" configs
  timed "$bin/polaris" evaluate story-quality --help
  timed "$bin/polaris" configs ministral3_14b_books_262k
  timed "$bin/polaris" doctor
  timed "$bin/polaris" plan --config=ministral3_14b_books_262k --topology=v6e-256 --estimate
  timed "$bin/polaris" launch tpu run --name=a --type=v6e-256 --zone=z --config=ministral3_14b_books_262k \
    --workdir=gs://b/r --dry-run
  timed "$bin/python" -c "$MODEL"
  timed "$bin/polaris" segment novel.txt
  timed "$bin/polaris" build --books=novel.txt --tokenizer=model --profile=mini --window=4096 --out=store
  timed "$bin/polaris" inspect store
  timed "$bin/polaris" convert model back
  timed "$bin/polaris" convert model gguf --to=gguf
  timed "$bin/polaris" demo --tiny --steps=4 --workdir=demo
  timed "$bin/polaris" train --config=smollm2_135m_demo --workdir=run --devices=4 --config.model.path=demo/model \
    --config.data.store=demo/store --config.train.steps=4 --config.optim.warmup=1
  timed "$bin/polaris" watch run --once
  timed "$bin/python" -c "$SERVE" "$bin/polaris"
done
