import argparse
import dataclasses

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.config_file import parse_with_overrides, read_config
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.model import MMRecLM
from tests.small_run import ROOT

_SHIPPED = sorted((ROOT / "configs").glob("*.py"))
_TINY = str(ROOT / "configs" / "tiny.py")


@pytest.mark.parametrize("path", _SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_its_model_has_the_shapes_it_promises(path):
    config = read_config(str(path))
    tokens = jax.ShapeDtypeStruct((config.train.batch_size, config.data.seq_len), jnp.int32)
    model = MMRecLM(config.model)
    variables = jax.eval_shape(model.init, jax.random.key(0), tokens)
    logits, state, _ = jax.eval_shape(model.apply, variables, tokens)
    assert logits.shape == (*tokens.shape, config.model.vocab_size)
    assert state.h.shape == (config.model.num_layers, config.train.batch_size, config.model.E)


def test_there_are_shipped_configs():
    assert _SHIPPED


def test_the_turkish_run_is_that_of_tiny_with_its_own_group():
    tiny, turkish = read_config(_TINY), read_config(str(ROOT / "configs" / "turkish.py"))
    assert turkish.turkish != tiny.turkish
    assert dataclasses.replace(turkish, turkish=tiny.turkish) == tiny


def test_overrides_change_their_fields_and_nothing_else():
    config = read_config(
        _TINY,
        ["--config.optim.lr=0.5", "--config.model.dpg_rank=8", "--config.model.use_hem=false"],
    )
    plain = read_config(_TINY)
    assert (config.optim.lr, config.model.dpg_rank, config.model.use_hem) == (0.5, 8, False)
    model = dataclasses.replace(config.model, dpg_rank=None, use_hem=True)
    optim = dataclasses.replace(config.optim, lr=plain.optim.lr)
    assert dataclasses.replace(config, model=model, optim=optim) == plain


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.train.epochs=2", (None, 2.0, None)),
        ("--config.train.tokens=900", (None, None, 900)),
        ("--config.train.steps=7", (7, None, None)),
    ],
)
def test_a_length_on_the_command_line_replaces_the_files_unit(override, expected):
    train = read_config(_TINY, [override]).train
    assert (train.steps, train.epochs, train.tokens) == expected


@pytest.mark.parametrize(("text", "lengths"), [("7", (7,)), ("40,4096", (40, 4096))])
def test_a_list_is_written_with_commas(text, lengths):
    override = f"--config.task.eval_lengths={text}"
    assert read_config(_TINY, [override]).task.eval_lengths == lengths


def test_two_lengths_on_the_command_line_are_refused():
    with pytest.raises(UserError, match="exactly one of the three"):
        read_config(_TINY, ["--config.train.epochs=2", "--config.train.tokens=900"])


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("--config.optim.learning_rate=1", r"config\.optim\.learning_rate is not .*\blr\b"),
        ("--config.optimizer.lr=1", r"config\.optimizer is not a field; .*\boptim\b"),
        ("--config.optim.lr.peak=1", r"config\.optim\.lr\.peak is not a field"),
        ("--config.train.batch_size=many", "batch_size"),
        ("--config.train.batch_size=2.5", "batch_size"),
        ("--config.train.epochs=long", "epochs"),
        ("--config.model.gate=lstm", "gate"),
        ("--config.optim.lr=-1", "lr"),
        ("--config.model.use_hem=perhaps", "use_hem"),
        ("--config.task.eval_lengths=40,long", "eval_lengths"),
        ("--config.task.eval_lengths=40,2.5", "eval_lengths"),
    ],
)
def test_a_bad_override_is_one_line_that_names_the_field(override, name):
    with pytest.raises(UserError, match=name) as caught:
        read_config(_TINY, [override])
    assert "\n" not in str(caught.value)


def _file(folder, body):
    path = folder / "some_config.py"
    path.write_text(body, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import no_such_package", "no_such_package"),
        ("x = 1", "get_config"),
        ("def get_config(): return 5", "returns a ConfigDict"),
        ("def get_config(): return {'model': {'width': 5}}", r"config\.model\.width"),
        ("def get_config(): raise ValueError('told\\nin two lines')", "told"),
    ],
)
def test_a_broken_file_is_one_line_that_says_what_is_wrong(tmp_path, body, expected):
    with pytest.raises(UserError, match=expected) as caught:
        read_config(_file(tmp_path, body))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.py: there is no such file"):
        read_config("nowhere.py")


def test_fields_left_out_of_a_file_have_their_defaults(tmp_path):
    body = (
        "from ml_collections import ConfigDict\n"
        "def get_config(): return ConfigDict({'train': {'steps': 3}})\n"
    )
    config = read_config(_file(tmp_path, body))
    assert config.train.steps == 3
    assert config.optim.B2 == 0.95


@pytest.mark.parametrize(
    ("body", "override", "expected"),
    [
        ("{'train': {'steps': 3}}", "--config.train.steps=5", {"steps": 5}),
        ("{'train': {'steps': 3}}", "--config.train.epochs=2", {"epochs": 2.0}),
        ("{'train': {'epochs': 3.0}}", "--config.train.batch_size=4", {"epochs": 3.0}),
        ("{}", "--config.train.batch_size=4", {"steps": 1000}),
        ("{}", "--config.train.tokens=400", {"tokens": 400}),
        ("{'train': {'steps': 3}}", "--config.model.dpg_rank=4", {"steps": 3}),
    ],
)
def test_fields_that_a_file_leaves_out_can_be_overridden(tmp_path, body, override, expected):
    config = read_config(_file(tmp_path, f"def get_config(): return {body}"), [override])
    train = dataclasses.asdict(config.train)
    assert {n: train[n] for n in ("steps", "epochs", "tokens") if train[n] is not None} == expected
    name, value = override.removeprefix("--config.").split("=")
    group, field = name.split(".")
    assert float(getattr(getattr(config, group), field)) == float(value)


def test_files_do_not_see_each_other(tmp_path):
    first = _file(tmp_path, "def get_config(): return {}")
    read_config(first)
    with pytest.raises(UserError, match="must define get_config"):
        read_config(_file(tmp_path, "x = 1"))


def test_overrides_are_collected_and_other_unknown_arguments_refused(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    options = parse_with_overrides(parser, ["--config=a.py", "--config.optim.lr=1"])
    assert (options.config, options.overrides) == ("a.py", ["--config.optim.lr=1"])
    with pytest.raises(SystemExit):
        parse_with_overrides(parser, ["--config=a.py", "--fast"])
    assert "unrecognised argument --fast" in capsys.readouterr().err
