"""The groups of a run: types, ranges, overrides and files."""

import argparse
import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.cli import main
from mmrec_jax.config import (
    AdapterConfig,
    Config,
    MeshConfig,
    NoiseConfig,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
    TurkishConfig,
)
from mmrec_jax.config_file import (
    parse_with_overrides,
    read_any_config,
    read_config,
    with_overrides,
)
from mmrec_jax.config_tree import from_dict, leaves, to_dict
from mmrec_jax.data.kinds.instructions import TreebankInstructionsConfig
from mmrec_jax.data.kinds.tasks import KHopConfig, MqarConfig, ParityConfig
from mmrec_jax.data.kinds.text import ManualConfig, PreparedConfig, TextConfig, TreebankConfig
from mmrec_jax.dora.adapted_model import adapter_rules
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig
from tests.refused import refused
from tests.small_run import ROOT

_SHIPPED = sorted((ROOT / "configs").glob("*.py"))
_TINY = str(ROOT / "configs" / "tiny.py")


# One of each kind of check, and every check of several fields at once. Those of data, tokenizers
# and models are with them.
_WRONG = {
    Config: [
        {"plugins": "a"},
        {"objectives": {}},
        {"objectives": Objectives(cross_entropy=None)},
        {"init_from": 5},
    ],
    MMRecConfig: [{"vocab_size": 0}, {"num_memories": 3}, {"use_hem": 1}, {"gate": "lstm"}],
    OptimConfig: [
        *({"lr": math.inf}, {"lr": math.nan}, {"lr": 0.0}, {"lr": "fast"}, {"b2": 1.0}),
        *({"estimator_batch": 0.0}, {"clip_norm": -1.0}, {"final_lr_fraction": 1.1}),
        {"warmup_steps": 0, "name": "sophia_g"},
    ],
    TrainConfig: [
        *({"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": True}, {"steps": "100"}),
        *({"seed": -1}, {"seed": 2**32}, {"target_loss": math.nan}, {"accumulate": 3}),
        {"epochs": -1.0, "steps": None},
        *({"state_passing": x} for x in (1.5, ((5, 0.1), (5, 0.2)), ((0, 0.5), (9, 1.1)))),
        {"state_passing": 0.5, "carry_state": True},
        *({name: 1, "target_bits_per_byte": 2.0} for name in ("target_loss", "eval_batches")),
    ],
    MeshConfig: [{"tensor": 0}, {"fsdp": -2}, {"fsdp": -1}],
    NoiseConfig: [{"schedule": "linear"}, {"table": "factors.json"}],
    TokenizerConfig: [{"vocab_size": 0}, {"path": "a.model"}],
    AdapterConfig: [
        *({"dropout": 0.1, "kind": "none"}, {"pattern": "("}),
        *({"embedding_rows": rows} for rows in ("3-", "5-3", "5-9,7")),
        {"embedding_rows": "3", "kind": "none"},
        {"train": "norm", "kind": "none"},
        {"train": "("},
        {"dropout": 0.1, "kind": "whole"},
    ],
    UBOOConfig: [{"weight": x} for x in (-0.1, (), ((5, 0.1), (5, 0.2)), ((0, 0.1, 3),))],
    ParityConfig: [{"eval_lengths": x} for x in (40, (40, 2.5), ())],
}


@pytest.mark.parametrize(("group", "fields"), [(g, each) for g in _WRONG for each in _WRONG[g]])
def test_a_value_of_another_type_or_out_of_range_is_refused_by_name(group, fields):
    base = {"train": {"steps": 1}, "adapters": {"kind": "dora"}}.get(group.group, {})
    name = ".".join(part for part in ("config", group.group, next(iter(fields))) if part)
    refused(lambda: group(**base | fields), f"{name} is {next(iter(fields.values()))!r}")


@pytest.mark.parametrize("lengths", [{}, {"steps": 1, "tokens": 5}, {"epochs": 1.0, "steps": 2}])
def test_the_length_is_given_in_exactly_one_unit(lengths):
    refused(lambda: TrainConfig(**lengths), "config.train.steps/epochs/tokens", *lengths)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"adapters": AdapterConfig(kind="dora")}, "config.init_from is ''"),
        (
            {
                "init_from": "runs/a",
                "adapters": AdapterConfig(kind="lora"),
                "optim": OptimConfig(name="muon"),
            },
            "config.optim.name is 'muon'",
        ),
    ],
)
def test_groups_that_do_not_fit_each_other_are_refused(fields, name):
    refused(lambda: Config(**fields), name)


_RUN = {
    "data": ParityConfig(),
    "tokenizer": TokenizerConfig(kind="char"),
    "train": TrainConfig(steps=1, sample_tokens=0),
}


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"train": TrainConfig(steps=1)}, ["config.train.sample_tokens is 64", "parity"]),
        ({"tokenizer": TokenizerConfig()}, ["config.tokenizer.kind is 'unigram'", "parity"]),
        ({"data": ParityConfig(seq_len=39)}, ["config.data.max_length is 40", "39"]),
        ({"data": KHopConfig(vocab_size=8)}, ["config.data.min_length is 1", "17"]),
        (
            {"objectives": Objectives(vowel_harmony=VowelHarmonyConfig())},
            ["config.objectives.vowel_harmony", "parity"],
        ),
        ({"turkish": TurkishConfig(suffix_weight=2.0)}, ["config.turkish.suffix_weight is 2.0"]),
        ({"turkish": TurkishConfig(scored_samples=2)}, ["config.turkish.scored_samples is 2"]),
        (
            {"data": TreebankConfig(), "turkish": TurkishConfig(scored_samples=2)},
            ["config.turkish.scored_samples is 2", "config.train.sample_tokens"],
        ),
        (
            {"data": TreebankInstructionsConfig(), "train": TrainConfig(steps=1)},
            ["config.train.sample_prompt is ''", "treebank_instructions"],
        ),
        (
            {
                "data": TreebankInstructionsConfig(),
                "train": TrainConfig(steps=1, sample_tokens=0, carry_state=True),
            },
            ["config.train.carry_state is True", "treebank_instructions"],
        ),
        (
            {"data": PreparedConfig(train="a"), "turkish": TurkishConfig(suffix_weight=2.0)},
            ["config.turkish.suffix_weight is 2.0", "prepared"],
        ),
    ],
)
def test_what_does_not_suit_the_data_is_refused(fields, parts):
    Config(**_RUN).data.check(Config(**_RUN))
    config = Config(**{**_RUN, **fields})
    refused(lambda: config.data.check(config), *parts)


def test_whole_numbers_become_floats_and_lists_tuples():
    optim, task = OptimConfig(lr=1), ParityConfig(eval_lengths=[3, 4])
    assert (optim.lr, type(optim.lr)) == (1.0, float)
    assert task.eval_lengths == (3, 4)
    assert UBOOConfig(weight=[[0, 0], [5, 1]]).weight == ((0, 0.0), (5, 1.0))


def test_configs_cannot_be_changed_and_are_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.dropout = 0.5
    assert hash(Config()) == hash(Config())
    assert Config() != Config(objectives=Objectives(uboo=UBOOConfig()))


def test_derived_sizes_follow_the_model_specification():
    model = MMRecConfig(model_dim=320, num_memories=4)
    assert (model.D, model.E, model.H, model.S, model.K) == (320, 320, 4, 80, 80)
    assert model.F == 1216  # 11 * 320 / 3 = 1173.3, up to a multiple of 64
    tokens = dataclasses.replace(model, addresses="tokens")
    assert tokens.F == dataclasses.replace(model, memory="none").F == 896  # 8 * 320 / 3 = 853.3
    assert model.R == 20
    assert MMRecConfig(model_dim=128).R == 16
    assert MMRecConfig(memory="none").H == 0
    sizes = {"recurrent_dim": 7, "memory_slots": 5, "mem_dim": 6, "ffn_dim": 9, "dpg_rank": 3}
    model = MMRecConfig(model_dim=10, num_memories=3, **sizes)
    assert (model.E, model.S, model.K, model.F, model.R) == (7, 5, 6, 9, 3)
    assert model.resolved() == sizes


def test_the_adapters_become_rules():
    model = MMRecConfig().build()
    assert adapter_rules(AdapterConfig(), model) == ()
    (rule,) = adapter_rules(AdapterConfig(kind="rslora", rank=4, alpha=8.0), model)
    assert rule.exclude == model.not_adaptable
    assert (rule.rank, rule.scale, rule.kind) == (4, 4.0, "rslora")
    kernels, rows = adapter_rules(
        AdapterConfig(kind="dora", pattern="ffn|out", embedding_rows="3,7-9"), model
    )
    assert kernels.pattern == "ffn|out"
    assert rows.ranges == ((3, 3), (7, 9))


# --- Files and command lines ---


@pytest.mark.parametrize("path", _SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_its_model_has_the_shapes_it_promises(path):
    config = read_any_config(str(path))
    if not isinstance(config, Config):
        return  # of an adaptation: tests/adapt
    tokens = jax.ShapeDtypeStruct((config.train.batch_size, config.data.seq_len), jnp.int32)
    model = config.model.build()
    params = jax.eval_shape(model.init, jax.random.key(0))
    hidden, head, state, *_ = jax.eval_shape(model.apply, params, tokens)
    logits = jax.eval_shape(lambda head, hidden: head(hidden), head, hidden)
    assert logits.shape == (*tokens.shape, config.model.vocab_size)
    if config.model.family == "mmrec":
        assert state.h.shape == (config.model.num_layers, config.train.batch_size, config.model.E)


def test_reading_a_config_does_not_start_jax():
    code = (
        "import sys; from mmrec_jax.config_file import read_any_config, read_config; "
        f"read_config({_TINY!r}, ['--config.optim.lr=1']); "
        "assert not {'jax', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


_VALUES = [
    ("optim.lr=1", 1.0),
    ("optim.b2=0.5", 0.5),
    ("optim.b2=None", None),
    ("model.dpg_rank=8", 8),
    ("model.use_hem=false", False),
    ("train.eval_first", True),
    ("train.batch_size=1_000", 1000),
    ("train.batch_size=0x10", 16),
    ("train.steps=1e3", 1000),
    ("train.sample_prompt=", ""),
    ("train.sample_prompt='a=b", "'a=b"),
    ("objectives.uboo.weight=0.2", 0.2),
    ("objectives.vowel_harmony.weight=[(0,0.0),(500,0.1)]", ((0, 0.0), (500, 0.1))),
    ("plugins=json,argparse", ("json", "argparse")),
    ("data.eval_lengths=7", (7,)),
    ("data.eval_lengths=40,4096", (40, 4096)),
    ("data.eval_lengths=[40,4096]", (40, 4096)),
]


@pytest.mark.parametrize(("override", "expected"), _VALUES)
def test_an_override_changes_its_field_and_nothing_else(override, expected):
    # The file gives some of the values, so that each is a change.
    plain = Config(
        data=ParityConfig(),
        optim=OptimConfig(b2=0.7),
        train=TrainConfig(steps=5, sample_prompt="x"),
    )
    changed = with_overrides(plain, [f"--config.{override}"])
    path = override.partition("=")[0]
    now, before = ({name: x for name, x, _ in leaves(side)} for side in (changed, plain))
    assert (now[path], type(now[path])) == (expected, type(expected))
    differing = {name for name in now | before if now.get(name) != before.get(name)}
    related = "objectives.uboo", "objectives.vowel_harmony", "model.use_uboo", "model.lambda_p"
    assert {name for name in differing if not name.startswith(related)} <= {path}


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("optim.learning_rate=1", ["config.optim.learning_rate", "mean config.optim.lr?"]),
        ("optim.warmup=1", ["config.optim.warmup", "mean config.optim.warmup_steps?"]),
        ("optim.bath_size=1", ["config.optim.bath_size", "mean config.train.batch_size?"]),
        ("optim.lr.peak=1", ["config.optim.lr.peak is not"]),
        ("optim.lr", ["config.optim.lr"]),
        ("optim=4", ["config.optim is a group"]),
        ("model.family=lstm", ["config.model.family is 'lstm'", "mmrec"]),
        ("objectives.ubo.weight=1", ["config.objectives", "'ubo'", "uboo"]),
        ("objectives.uboo=1", ["config.objectives.uboo is a group"]),
        ("objectives.uboo.scale=1", ["config.objectives.uboo.scale", "weight"]),
        ("train.batch_size=many", ["config.train.batch_size is 'many'", "int"]),
        ("train.batch_size=2.5", ["config.train.batch_size is '2.5'", "int"]),
        ("train.steps=None", ["config.train.steps/epochs/tokens"]),
        ("model.gate=lstm", ["config.model.gate is 'lstm'", "'state', 'input', 'none'"]),
        ("optim.lr=-1", ["config.optim.lr is -1.0", "above 0"]),
        ("model.use_hem=perhaps", ["config.model.use_hem is 'perhaps'", "true"]),
        ("plugins=no_such_module", ["config.plugins", "no_such_module"]),
        ("data.source=books", ["config.data.source is 'books'", "treebank"]),
        ("data.pairs=4", ["config.data.pairs is not", "source treebank", "source mqar"]),
    ],
)
def test_a_bad_override_names_the_field_and_what_is_expected(override, parts):
    refused(lambda: read_config(_TINY, [f"--config.{override}"]), *parts)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs=2", (None, 2.0, None)),
        ("train.tokens=900", (None, None, 900)),
        ("train.steps=7", (7, None, None)),
        ("train.batch_size=4", (1500, None, None)),
    ],
)
def test_a_length_on_the_command_line_replaces_the_files_unit(override, expected):
    train = read_config(_TINY, [f"--config.{override}"]).train
    assert (train.steps, train.epochs, train.tokens) == expected


def test_two_lengths_on_the_command_line_are_refused():
    two = ["--config.train.epochs=2", "--config.train.tokens=900"]
    refused(lambda: read_config(_TINY, two), "config.train", "epochs")


def test_another_kind_keeps_the_fields_that_both_have_and_has_its_own_defaults():
    given = ["--config.model.family=attention"]
    model = with_overrides(Config(model=MMRecConfig(vocab_size=77)), given).model
    assert (model.vocab_size, model.ffn_dim) == (77, 384)
    given = ["--config.data.train=a.txt", "--config.data.source=text", "--config.data.seed=3"]
    config = with_overrides(Config(data=ManualConfig(seq_len=7)), given)
    assert config.data == TextConfig(train="a.txt", seq_len=7, seed=3)
    config = with_overrides(config, ["--config.data.source=mqar", "--config.data.pairs=4"])
    assert config.data == MqarConfig(seq_len=7, seed=3, pairs=4)
    back = with_overrides(config, ["--config.data.source=manual"])
    assert back.data == ManualConfig(seq_len=7, seed=3)
    refused(lambda: with_overrides(Config(), ["--config.data.source=text"]), "config.data.train")


def test_objectives_are_switched_on_and_off():
    on = with_overrides(Config(), ["--config.objectives.uboo.orthogonal=true"])
    assert dict(on.objectives) == {**Config().objectives, "uboo": UBOOConfig(orthogonal=True)}
    assert on.objectives.uboo.weight == 0.1
    off = ["--config.objectives.uboo=None", "--config.objectives.cross_entropy.weight=0.5"]
    (name,) = with_overrides(on, off).objectives
    assert name == "cross_entropy"
    only = Objectives(cross_entropy=None, vowel_harmony=VowelHarmonyConfig())
    assert [*only] == ["vowel_harmony"]
    assert from_dict(to_dict(Config(objectives=only))).objectives == only


def _file(folder, body):
    path = folder / "some_config.py"
    path.write_text(body, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import no_such_package", "no_such_package"),
        ("x = 1", "get_config"),
        ("def get_config(): return 5", "Config"),
        ("def get_config(): raise ValueError('told\\nin two lines')", "told"),
        ("from mmrec_jax.config import OptimConfig\nOptimConfig(lr='fast')", "config.optim.lr"),
        ("from mmrec_jax.config import OptimConfig\nOptimConfig(rate=1)", "rate"),
    ],
)
def test_a_broken_file_is_one_line_that_says_what_is_wrong(tmp_path, body, part):
    path = _file(tmp_path, body)
    refused(lambda: read_config(path), part, path)


@pytest.mark.parametrize("name", ["tiny", "configs/tiny.py"])
def test_a_shipped_config_is_found_by_name_unless_a_file_has_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_config(name) == read_config(_TINY)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("def get_config(): raise ValueError('mine')", "utf-8")
    refused(lambda: read_config(name), name, "mine")


@pytest.mark.parametrize("name", ["tinny", "configs/tinny.py", "configs/tiny", "tiny.py", ""])
def test_what_is_neither_a_file_nor_a_name_is_told_with_the_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(lambda: read_config(name), f"--config {name}: ", "tiny", "adapt_smollm2")


def test_overrides_are_collected_and_other_unknown_arguments_refused(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    parser.add_argument("name", nargs="?")
    overrides = ["--config.optim.lr=1", "--config.stages=[{'step': 1}]"]
    options = parse_with_overrides(parser, ["--config=a.py", *overrides])
    assert (options.config, options.name, options.overrides) == ("a.py", None, overrides)
    with pytest.raises(SystemExit):
        parse_with_overrides(parser, ["--config=a.py", "--fast"])
    assert "--fast" in capsys.readouterr().err


def test_every_field_is_printed_with_its_value_and_meaning(capsys):
    pytest.importorskip("mmrec_jax.models.attention")
    main(["config", f"--config={_TINY}", "--config.optim.lr=0.123"])
    printed = capsys.readouterr().out
    for path, value, field in leaves(read_config(_TINY, ["--config.optim.lr=0.123"])):
        if field is not None:
            assert f"--config.{path}={value!r}  [" in printed, path
            assert field.metadata.get("comment", "--").split()[0] in printed
    for name in ("family=attention", "objectives.uboo.isolate", "objectives.vowel_harmony"):
        assert name in printed
