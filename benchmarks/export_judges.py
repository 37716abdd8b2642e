"""What another engine makes of an export: run by that engine's Python, without this project, one process per engine.

    PYTHON export_judges.py transformers|vllm|llama < models.json

``models.json`` has a list of ``export_models.Made``; the answer is one line of JSON, a list of findings: ``class`` of
the tokenizer, ``ids`` and ``chat`` (token ids), ``greedy`` (end tokens ignored), ``stopped`` (the same, ending by
itself), ``logits`` after the prompt where the engine gives them, or ``error``.
"""

import contextlib
import json
import os
import sys
import traceback
import urllib.request


def judge_transformers(made: dict, transcript: str, chat: list) -> dict:
    """``AutoTokenizer`` and ``AutoModelForCausalLM``, which use mistral-common where it is installed."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = _tokenizer(AutoTokenizer.from_pretrained(made["folder"]), transcript, chat, made)
    model = AutoModelForCausalLM.from_pretrained(made["folder"], dtype=torch.float32).eval()
    prompt, steps = torch.tensor([made["prompt"]]), len(made["greedy"])
    with torch.no_grad():
        logits = model(prompt).logits[0, -1]
        ends = {"eos_token_id": None, "pad_token_id": 0}
        free = model.generate(prompt, max_new_tokens=steps, do_sample=False, **ends)
        own = model.generate(prompt, max_new_tokens=steps, do_sample=False, pad_token_id=0)
    begin = prompt.shape[1]
    return found | {"greedy": free[0, begin:].tolist(), "stopped": own[0, begin:].tolist(), "logits": logits.tolist()}


def _tokenizer(tokenizer, transcript: str, chat: list, made: dict) -> dict:
    found = {"class": type(tokenizer).__name__}
    found["ids"] = tokenizer.encode(transcript, add_special_tokens=False)
    if made["chat"]:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)
        found["chat"] = list(ids["input_ids"] if hasattr(ids, "keys") else ids)
    return found


def judge_vllm(made: dict, transcript: str, chat: list) -> dict:
    """vLLM on the CPU, in this process."""
    from vllm import LLM, SamplingParams

    engine = LLM(made["folder"], dtype="float32", enforce_eager=True, max_model_len=256, max_num_seqs=2)
    found = _tokenizer(engine.get_tokenizer(), transcript, chat, made)
    prompt, steps = [{"prompt_token_ids": made["prompt"]}], len(made["greedy"])
    free = engine.generate(prompt, SamplingParams(temperature=0, max_tokens=steps, ignore_eos=True))
    own = engine.generate(prompt, SamplingParams(temperature=0, max_tokens=steps))
    greedy, stopped = (list(answer[0].outputs[0].token_ids) for answer in (free, own))
    return found | {"greedy": greedy, "stopped": stopped}


def judge_llama(made: dict, transcript: str, chat: list) -> dict:
    """llama.cpp's server over ``made["gguf"]``."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port, params.verbosity = made["gguf"], ["127.0.0.1"], 0, 0
    params.n_ctx, params.n_parallel, params.warmup = 512, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)

    def ask(path: str, **body) -> dict:
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(server.listening_address + path, data, kind)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def tokens(text: str, add_special: bool = False) -> list[int]:
        return ask("/tokenize", content=text, parse_special=True, add_special=add_special)["tokens"]

    found = {"class": "llama.cpp", "ids": tokens(transcript)}
    if made["chat"]:
        found["chat"] = tokens(ask("/apply-template", messages=chat)["prompt"], add_special=True)
    plain = {"prompt": made["prompt"], "temperature": 0, "return_tokens": True, "cache_prompt": False}
    # The server gives scores only with a token of whole characters, so one is forced; scores are those before the bias.
    forced = [[tokens("a")[0], 1e4]]
    first = ask("/completion", **plain, n_predict=1, n_probs=len(made["logits"]), logit_bias=forced)
    scores = {entry["id"]: entry["logprob"] for entry in first["completion_probabilities"][0]["top_logprobs"]}
    found["logits"] = [scores.get(number) for number in range(len(made["logits"]))]
    # ``ignore_eos`` would forbid the end tokens, so the free text is asked for token by token.
    greedy: list[int] = []
    while len(greedy) < len(made["greedy"]):
        best = ask("/completion", **plain | {"prompt": made["prompt"] + greedy}, n_predict=1)
        if best["stop_type"] == "eos":  # an unnamed end token: the expected one if that ends the text
            expected = made["greedy"][len(greedy)]
            if expected not in made["ends"]:
                greedy.append(-1)
                break
            greedy.append(expected)
        else:
            greedy.append(best["tokens"][0])
    own = ask("/completion", **plain, n_predict=len(made["greedy"]))
    written = {
        name: ask("/completion", prompt=[1], temperature=0, n_predict=24, grammar=grammar)["content"]
        for name, grammar in made.get("grammars", {}).items()
    }
    return found | {"greedy": greedy, "stopped": own["tokens"], "written": written}


def main() -> None:
    engine = {"transformers": judge_transformers, "vllm": judge_vllm, "llama": judge_llama}[sys.argv[1]]
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false"}
    # Threads that wait for each other by spinning stand still where the machine has other work.
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    job, findings = json.load(sys.stdin), []
    for made in job["models"]:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                findings.append(engine(made, job["transcript"], job["chat"]))
        except Exception as error:
            traceback.print_exc()
            findings.append({"error": f"{type(error).__name__}: {error}"[:200]})
        told = {name: value for name, value in findings[-1].items() if name in ("class", "greedy", "stopped", "error")}
        print(made["family"], json.dumps(told), file=sys.stderr, flush=True)
    print("\n" + json.dumps(findings), flush=True)
    os._exit(0)  # engines with threads of their own do not always let a process end


if __name__ == "__main__":
    main()
