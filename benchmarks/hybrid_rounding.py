"""bfloat16 arithmetic of tiny random Qwen3.5 checkpoints, ours and that of transformers, against float32.

    python benchmarks/hybrid_rounding.py PATH/OF/parity --seeds 0 3 5 7 8 9 10 11

Shape, weights and tokens are those of the parity data's generator (``make_golden.py`` there; needs torch and
transformers). Printed per seed: the root mean square of the difference of logits from transformers in float32.
"""

import argparse
import importlib.util
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

from polaris_jax.models import from_pretrained, hidden, unembed

jax.config.update("jax_default_matmul_precision", "highest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parity", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 3, 5, 7, 8, 9, 10, 11])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("make_golden", asked.parity / "make_golden.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    family = json.loads((asked.parity / "spec_public.json").read_text())["families"]["qwen3_5"]
    for seed in asked.seeds:
        model = make.bf16_round(make.build(family, seed))
        ids = make.tokens(seed, "len17", (2, 17), model.config.vocab_size, model.config.pad_token_id)
        low = make.build(family, seed)
        low.load_state_dict(model.state_dict())
        with torch.no_grad():
            exact, theirs = (make.run(m, ids).numpy() for m in (model, low.to(torch.bfloat16)))
        with tempfile.TemporaryDirectory() as folder:
            make.write_ckpt(f"{folder}/c", make.disk_state(model, True), make.flat_config(model, True))
            decoder = from_pretrained(f"{folder}/c", dtype=jnp.float32)
            found = {"transformers bfloat16": theirs}
            for dtype in (jnp.float32, jnp.bfloat16):
                x = hidden(decoder.params, decoder.config, jnp.asarray(ids.numpy(), jnp.int32), compute_dtype=dtype)
                found[f"ours {jnp.dtype(dtype).name}"] = np.asarray(unembed(decoder.params, decoder.config, x))
        errors = {name: float(np.sqrt(np.mean((x - exact) ** 2))) for name, x in found.items()}
        print(json.dumps({"seed": seed, **{name: float(f"{x:.3g}") for name, x in errors.items()}}), flush=True)


if __name__ == "__main__":
    main()
