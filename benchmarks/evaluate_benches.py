"""Every writing benchmark from end to end against one small real server, and what its answers are worth.

    python benchmarks/evaluate_benches.py [OUT] [--limit=1] [--judge=openai:NAME@http://host/v1]

Starts llama.cpp's server with the packaged SmolLM2-135M (or takes ``--judge``), lets it write a story of at most
``--tokens`` for the first prompts of our sets as two models (temperature 0.8 and 0.2), and runs ``polaris evaluate`` of
each benchmark over them with the same server as judge. Prints one JSON object: CPU seconds of all processes (seconds
by the clock depend on what else the machine does), and per benchmark the seconds, calls, tokens, answers that counted
and those that failed by kind, and its first table. The numbers say that the machinery works, not what a model of 135
million parameters writes or judges.
"""

import argparse
import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from polaris_jax.cli import main as polaris
from polaris_jax.commands.evaluating.judge_flags import judge_spec
from polaris_jax.evals.generations import Generation, write_generations
from polaris_jax.evals.prompts import Prompt, read_prompts
from polaris_jax.llm import CallFailed, ClientSpec, Request, open_client

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

# Benchmark → its prompts and further flags.
BENCHES = {
    "story-quality": ("smoke", ["--rubric=brief"]),
    "eqbench-longform": ("eqbench-longform", []),
    "eqbench-creative": ("eqbench-creative", []),
    "writingbench": ("writingbench-d4", []),
    "longbench-write": ("longbench-write", []),
    "pairwise": ("eqbench-creative", []),
    "length": ("smoke", None),
}


@contextlib.contextmanager
def judge_of(given: str | None) -> Iterator[str]:
    """Yields the judge's flag: of a running server, or of one that is started here and ends with the block."""
    if given:
        yield given
        return
    from servers import MODEL, model_server

    from polaris_jax.models.gguf import packaged_gguf

    with model_server(packaged_gguf()) as address:
        yield f"openai:{MODEL}@{address}/v1"


def write_stories(
    spec: ClientSpec, prompts: list[Prompt], name: str, temperature: float, tokens: int
) -> list[Generation]:
    """One story per prompt; an empty one where the server gave none."""
    requests = [
        Request((("user", prompt.text),), temperature=temperature, max_tokens=tokens, seed=n, purpose="story")
        for n, prompt in enumerate(prompts)
    ]
    with open_client(spec) as client:
        replies = client.ask_all(requests)
    return [
        Generation(
            prompt.id,
            prompt.text,
            "" if isinstance(reply, CallFailed) else reply.text,
            prompt.target_words,
            name,
            prompt.meta,
        )
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


def run_bench(bench: str, judge: str, folder: Path, limit: int, tokens: int) -> dict:
    """One benchmark with two models of ``limit`` stories each."""
    prompt_set, more = BENCHES[bench]
    spec = judge_spec(judge, {"concurrency": 2, "timeout": 900.0}, str(folder / "stories"))
    prompts = read_prompts(prompt_set)[0][:limit]
    files = []
    begun = time.perf_counter()
    for name, temperature in (("warm", 0.8), ("cool", 0.2)):
        write_generations(
            folder / f"{prompt_set}-{name}.jsonl", write_stories(spec, prompts, name, temperature, tokens)
        )
        files.append(f"--generations={name}={folder / f'{prompt_set}-{name}.jsonl'}")
    written = time.perf_counter()
    out = folder / bench
    flags = [f"--out={out}", f"--limit={limit}", *files]
    if more is not None:
        flags += [f"--judge={judge}", "--judge-max-tokens=240", "--concurrency=2", "--timeout=900", *more]
    code = polaris(["evaluate", bench, *flags])
    found = {
        "exit_code": code,
        "writing_s": round(written - begun, 1),
        "judging_s": round(time.perf_counter() - written, 1),
    }
    if more is not None:
        records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
        [ledger] = (json.loads(file.read_text()) for file in (out / "ledgers").iterdir())
        kinds = [record["error"]["kind"] for record in records if "error" in record]
        found |= {
            "questions": len(records),
            "answered": len(records) - len(kinds),
            "failed": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
            "calls": ledger["calls"],
            "tokens": ledger["tokens"],
        }
    content = json.loads((out / "evaluation.json").read_text())
    first = next(part for section in content["sections"] for part in section["parts"] if part["kind"] == "table")
    return found | {"first_table": first["rows"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--limit", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--judge")
    parser.add_argument("--bench", action="append", choices=BENCHES)
    a = parser.parse_args()
    folder = a.out or Path(tempfile.mkdtemp(prefix="benches-"))
    folder.mkdir(parents=True, exist_ok=True)
    results: dict = {}
    begun = time.perf_counter()
    with judge_of(a.judge) as judge, contextlib.redirect_stdout(sys.stderr):
        for bench in a.bench or BENCHES:
            results[bench] = run_bench(bench, judge, folder, a.limit, a.tokens)
            print(f"{bench}: {json.dumps(results[bench])}", flush=True)
    # The server has ended: its CPU time counts among that of the children.
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = {
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in spent), 1),
    }
    print(json.dumps({"limit": a.limit, **seconds, "benches": results}, indent=1))
    return 0 if all(found["exit_code"] == 0 for found in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
