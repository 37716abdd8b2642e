"""The same cache in a bucket: TensorStore's own Cloud Storage driver against an emulated server."""

import json

from servers import completion

CLIENT = """
import json, sys
from polaris_jax.llm import ClientSpec, Request, open_client
spec = ClientSpec("openai", "m", base_url=sys.argv[1], cache="gs://library/replies")
with open_client(spec) as client:
    replies = client.ask_all([Request((("user", f"Mood {n}"),)) for n in range(4)])
print(json.dumps({"calls": client.usage.calls, "cached": client.usage.cached, "texts": [r.text for r in replies]}))
"""


def test_a_rerun_on_another_machine_makes_no_calls(bucket_client, stub):
    stub.always = {"Mood": completion("Calm.")}

    def run():
        return json.loads(bucket_client(CLIENT, stub.base_url))

    assert run() == {"calls": 4, "cached": 0, "texts": ["Calm."] * 4}
    assert run() == {"calls": 0, "cached": 4, "texts": ["Calm."] * 4}
    assert stub.calls == 4
