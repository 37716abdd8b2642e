"""``polaris serve --adapter NAME=FOLDER``: the name chooses, and the text is that of the merged model."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from serving_process import running
from small_adapters import drawn_adapter

from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.cli import main
from polaris_jax.models.lora import Lora
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions

LORAS = {"poems": Lora(4, 6.0), "letters": Lora(2, 9.0, ("q_proj", "mlp.up"), ranks=(("up", 3),))}
NAMES = ("tide", *LORAS)


@pytest.fixture(scope="module")
def folders(checkpoint, tmp_path_factory):
    """The adapters' folders, with the tokenizer of their base."""
    root, config = tmp_path_factory.mktemp("adapters"), find_model_folder(checkpoint).config
    found = {}
    for seed, (name, lora) in enumerate(LORAS.items(), start=1):
        found[name] = drawn_adapter(config, lora, checkpoint, root / name, size=1.0, seed=seed)
    return found


@pytest.fixture(scope="module")
def client(checkpoint, folders):
    flags = ["--window=512", "--slots=3", "--cache-tokens=1536", "--speculate=2"]
    given = [f"{name}={folder}" for name, folder in folders.items()]
    with running(checkpoint, *flags, "--adapter", given[0], "--adapter", given[1]) as server:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def complete(client, model, **how):
    how = {"prompt": "The keeper of the tide book", "max_tokens": 16, "temperature": 0} | how
    return client.completions.create(model=model, **{"extra_body": {"ignore_eos": True}} | how)


def test_base_and_adapters_are_listed(client, checkpoint, folders):
    listed = {model.id: model for model in client.models.list()}
    assert tuple(listed) == NAMES
    assert (listed["tide"].parent, listed["tide"].root) == (None, str(checkpoint))
    for name in LORAS:
        assert client.models.retrieve(name) == listed[name]
        assert (listed[name].parent, listed[name].root) == ("tide", str(folders[name]))
    with pytest.raises(openai.NotFoundError, match="'tide' or 'poems' or 'letters'"):
        complete(client, "prose")


def test_each_name_writes_what_its_merged_model_writes(client, checkpoint, folders):
    texts = {}
    for name in NAMES:
        sampler = open_sampler(folders.get(name, checkpoint), 512)
        prompt = sampler.tokenizer.encode("The keeper of the tide book")
        options = SamplingOptions(temperature=0.0)
        request = GenerationRequest([sampler.tokenizer.bos_id, *prompt], options, max_tokens=16, ignore_eos=True)
        texts[name] = Engine(sampler, 1).generate([request])[0].text
    assert len(set(texts.values())) == 3
    with ThreadPoolExecutor(6) as callers:
        replies = list(callers.map(lambda name: complete(client, name), NAMES * 2))
    for name, reply in zip(NAMES * 2, replies, strict=True):
        assert (reply.model, reply.choices[0].text) == (name, texts[name])
    streamed = list(complete(client, "poems", stream=True))
    assert {chunk.model for chunk in streamed} == {"poems"}
    assert "".join(chunk.choices[0].text for chunk in streamed) == texts["poems"]


def test_choices_chats_and_scores_are_the_adapters_own(client):
    drawn = [complete(client, name, n=2, temperature=1.0, seed=4) for name in NAMES]
    texts = [[choice.text for choice in reply.choices] for reply in drawn]
    assert len({text for pair in texts for text in pair}) == 6
    scores = [complete(client, name, echo=True, logprobs=0, max_tokens=0).choices[0].logprobs for name in NAMES]
    assert len({sum(one.token_logprobs[1:]) for one in scores}) == 3
    chat = {"messages": [{"role": "user", "content": "How high?"}], "max_tokens": 12, "temperature": 0}
    said = {client.chat.completions.create(model=name, **chat).choices[0].message.content for name in NAMES}
    assert len(said) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["poems"], "use NAME=FOLDER"),
        (["=poems"], "use NAME=FOLDER"),
        (["poems="], "use NAME=FOLDER"),
        (["poems=a", "poems=b"], "poems is given twice"),
        (["tide=a"], "tide is the model's own name"),
        (["poems=/nowhere"], "has no adapter_config.json"),
    ],
)
def test_a_wrong_adapter_is_refused_in_one_line(checkpoint, capsys, given, says):
    assert main(["serve", "--checkpoint", str(checkpoint), "--adapter", *given]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "--adapter" in said[0]
    assert says in said[0]


def test_an_adapter_without_weights_is_refused(checkpoint, folders, tmp_path, capsys):
    shutil.copytree(folders["poems"], tmp_path / "poems", ignore=shutil.ignore_patterns("*.safetensors"))
    assert main(["serve", "--checkpoint", str(checkpoint), "--lora-modules", f"poems={tmp_path / 'poems'}"]) == 2
    assert "adapter_model.safetensors" in capsys.readouterr().err
