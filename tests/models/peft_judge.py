"""Logits of adapters by PEFT, in a process of its own: ``python peft_judge.py < asked.json``.

The input is ``{"adapters": [...], "tokens": [[...]]}``; each adapter names its ``base`` and its ``folder``. The answer
has the logits of each. Beside each folder PEFT also writes an adapter of its own (``made``); its logits follow.
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM


def main() -> None:
    asked, found = json.load(sys.stdin), []
    tokens = torch.tensor(asked["tokens"])
    for one in asked["adapters"]:
        base = AutoModelForCausalLM.from_pretrained(one["base"], dtype=torch.float32).eval()
        model = PeftModel.from_pretrained(base, one["folder"]).eval()
        unread = [name for name, x in model.named_parameters() if "lora_" in name and not x.any()]
        with torch.no_grad():
            answer = {"logits": model(tokens).logits.tolist(), "unread": unread}
        if one.get("made"):
            own = AutoModelForCausalLM.from_pretrained(one["base"], dtype=torch.float32).eval()
            torch.manual_seed(0)
            made = get_peft_model(own, LoraConfig(r=3, lora_alpha=5, init_lora_weights=False, **one["made"])).eval()
            made.save_pretrained(one["folder"] + "-made")
            with torch.no_grad():
                answer["made"] = made(tokens).logits.tolist()
        found.append(answer)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
