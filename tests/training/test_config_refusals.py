"""A config with an unknown field or a value of the wrong type is refused in one line that names the right one."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.rl.config import default_rl_config, rl_config
from polaris_jax.training import apply_overrides, default_config, load_config, train_config
from polaris_jax.training.config import flatten


def refused(override):
    with pytest.raises(InputError) as caught:
        apply_overrides(default_config(), [override])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("optim.learning_rat=1", "optim.learning_rate"),
        ("optim.lr=1e-4", "optim.learning_rate"),
        ("window=4", "data.window"),
        ("data.batchsize=4", "data.batch_size"),
        ("train.learning_rate=1", "optim.learning_rate"),
        ("model.rematt=full", "model.remat"),
        ("mesh.contxt=2", "mesh.context"),
        ("optm.warmup=2", "optim.warmup"),
    ],
)
def test_a_field_that_does_not_exist_names_the_nearest(wrong, meant):
    assert f"did you mean config.{meant}?" in refused(wrong)


def test_a_name_like_no_other_gets_the_list():
    said = refused("zzz=1")
    assert "optim.learning_rate" in said
    assert "did you mean" not in said


@pytest.mark.parametrize(
    "wrong",
    [
        "data.window=long",
        "data.window=8192.5",
        "data.window=True",
        "data.window=[1]",
        "model.offload=1",
        "model.offload=yes",
        "optim.learning_rate=fast",
        "optim.groups=muon",
        "train.steps=None",
        "data.window",
        "optim=3",
    ],
)
def test_a_value_of_another_kind_is_refused(wrong):
    assert "config" in refused(wrong)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optim.learning_rate=1", 1.0),
        ("optim.learning_rate=1e-4", 1e-4),
        ("model.path=123", "123"),
        ("model.offload=True", True),
        ("optim.groups=(('embed', 'frozen'),)", (("embed", "frozen"),)),
        ("seed=7", 7),
        ("data.store=gs://bucket/a=b", "gs://bucket/a=b"),
    ],
)
def test_values_are_read_as_python_and_kept_in_their_kind(override, value):
    config = apply_overrides(default_config(), [override])
    for part in override.partition("=")[0].split("."):
        config = config[part]
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def get_config(:\n", "line 1: SyntaxError"),
        ("x = 1\n", "no get_config"),
        (
            "from polaris_jax.training import default_config\ndef get_config():\n    c = default_config()\n"
            "    c.data.window = 'long'\n    return c\n",
            "line 4: TypeError",
        ),
        ("import no_such_module\n", "line 1: ModuleNotFoundError"),
        ("def get_config():\n    pass\n", "returns nothing"),
    ],
)
def test_a_config_file_that_fails_says_where(tmp_path, body, says):
    file = tmp_path / "run.py"
    file.write_text(body)
    with pytest.raises(InputError, match="--config") as caught:
        load_config(file)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ((("embed", "froze"),), "muon"),
        (("embed", "frozen"), "muon"),
        (((1, "frozen"),), "muon"),
    ],
)
def test_rules_of_groups_are_checked_before_anything_runs(groups, says):
    config = default_config()
    config.model.path = config.data.store = "here"
    config.optim.groups = groups
    with pytest.raises(InputError, match=r"config\.optim\.groups.*" + says):
        train_config(config)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.segments=0", "positive"),
        ("optim.learning_rate=-1e-4", "positive"),
        ("optim.learning_rate=1e999", "positive"),
        ("optim.clip_norm=-1", "negative"),
        ("optim.weight_decay=-0.1", "negative"),
        ("model.mlp_chunk=-1", "negative"),
        ("eval.every=-1", "negative"),
        ("optim.momentum=1.0", "below 1"),
        ("optim.b2=1.5", "below 1"),
    ],
)
def test_numbers_that_no_run_can_use_are_refused(override, says):
    name = override.partition("=")[0]
    for config, check in ((default_config(), train_config), (default_rl_config(), rl_config)):
        config.model.path = "here"
        config.data.update({"store": "here"} if check is train_config else {"train": "here"})
        if name in flatten(config):
            with pytest.raises(InputError, match=rf"config\.{name}.*{says}"):
                check(apply_overrides(config, [override]))


def test_a_file_may_not_bring_fields_of_its_own():
    config = default_config()
    config.model.path = config.data.store = "here"
    config.data.windw = 3
    with pytest.raises(InputError, match=r"did you mean config\.data\.window"):
        train_config(config)
