"""The groups of a run: types, ranges, overrides and files."""

import argparse
import dataclasses
import math
import subprocess
import sys

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
from mmrec_jax.config_file import parse_with_overrides, read_config, with_overrides
from mmrec_jax.config_tree import from_dict, leaves, to_dict
from mmrec_jax.data.kinds.instructions import InstructionsConfig, TreebankInstructionsConfig
from mmrec_jax.data.kinds.prepared import PreparedConfig
from mmrec_jax.data.kinds.tasks import KHopConfig, ModularConfig, MqarConfig, ParityConfig
from mmrec_jax.data.kinds.text import (
    ManualConfig,
    TextConfig,
    TreebankConfig,
)
from mmrec_jax.dora.adapted_model import adapter_rules
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig
from tests.refused import refused
from tests.small_run import ROOT

_SHIPPED = sorted((ROOT / "configs").glob("*.py"))
_TINY = str(ROOT / "configs" / "tiny.py")


def _group(group, **fields):
    """A valid group with these fields."""
    base = {"train": {"steps": 1}, "adapters": {"kind": "dora"}}.get(group.group, {})
    if group in (TextConfig, InstructionsConfig):
        base = {"train": "a"}
    return group(**{**base, **fields})


_OUT_OF_RANGE = [
    (MMRecConfig, {"vocab_size": 0}),
    (MMRecConfig, {"num_memories": 3}),
    (MMRecConfig, {"mem_dim": 0}),
    (MMRecConfig, {"dropout": 1.0}),
    (OptimConfig, {"lr": math.inf}),
    (TrainConfig, {"target_loss": math.nan}),
    (MMRecConfig, {"gamma_halflife_min": 0.0}),
    (MMRecConfig, {"alpha_halflife_min": 5000.0}),
    (TreebankConfig, {"seq_len": 0}),
    (TreebankConfig, {"packing_windows": 0}),
    (TextConfig, {"validation_fraction": 1.0}),
    (TextConfig, {"max_record_mb": 0}),
    (TextConfig, {"train": ""}),
    (PreparedConfig, {"train": ""}),
    (InstructionsConfig, {"train": ""}),
    (InstructionsConfig, {"template": ""}),
    (InstructionsConfig, {"prompt_field": "", "response_field": "b"}),
    (TextConfig, {"memory_mb": 0}),
    (ParityConfig, {"min_length": 0}),
    (ParityConfig, {"max_length": 0}),
    (ParityConfig, {"eval_sequences": 0}),
    (ParityConfig, {"eval_lengths": ()}),
    (ParityConfig, {"eval_lengths": (8, 0)}),
    (ParityConfig, {"eval_lengths": (8, 8)}),
    (ModularConfig, {"modulus": 1}),
    (MqarConfig, {"vocab_size": 3}),
    (MqarConfig, {"vocab_size": 20_001}),
    (MqarConfig, {"pairs": 0}),
    (MqarConfig, {"pairs": 128}),
    (MqarConfig, {"min_pairs": 9}),
    (KHopConfig, {"hops": 0}),
    (TokenizerConfig, {"vocab_size": 0}),
    (TokenizerConfig, {"path": "a.model"}),
    (OptimConfig, {"lr": 0.0}),
    (OptimConfig, {"lr": float("nan")}),
    (OptimConfig, {"b2": 1.0}),
    (OptimConfig, {"eps": 0.0}),
    (OptimConfig, {"gamma": 0.0}),
    (OptimConfig, {"hessian_every": 0}),
    (OptimConfig, {"estimator_batch": 0.0}),
    (OptimConfig, {"estimator_batch": 1.5}),
    (OptimConfig, {"clip_norm": -1.0}),
    (OptimConfig, {"final_lr_fraction": 1.1}),
    (OptimConfig, {"warmup_steps": 0, "name": "sophia_g"}),
    (TrainConfig, {"batch_size": 0}),
    (TrainConfig, {"log_every": 0}),
    (TrainConfig, {"seed": -1}),
    (TrainConfig, {"seed": 2**32}),
    (TrainConfig, {"eval_every": 0}),
    (TrainConfig, {"keep_last": 0}),
    (TrainConfig, {"devices": 0}),
    (TrainConfig, {"accumulate": 3}),
    (TrainConfig, {"steps": 0}),
    (TrainConfig, {"epochs": -1.0, "steps": None}),
    (TrainConfig, {"tokens": 0, "steps": None}),
    (MeshConfig, {"tensor": 0}),
    (MeshConfig, {"fsdp": -2}),
    (MeshConfig, {"fsdp": -1}),
    (NoiseConfig, {"alpha": -1.0}),
    (NoiseConfig, {"schedule": "linear"}),
    (NoiseConfig, {"table": "factors.json"}),
    (TurkishConfig, {"suffix_weight": 0.0}),
    (TurkishConfig, {"scored_samples": -1}),
    (AdapterConfig, {"rank": 0}),
    (AdapterConfig, {"alpha": 0.0}),
    (AdapterConfig, {"dropout": 1.0}),
    (AdapterConfig, {"dropout": 0.1, "path": "apply"}),
    (AdapterConfig, {"dropout": 0.1, "kind": "none"}),
    (AdapterConfig, {"pattern": "("}),
    (AdapterConfig, {"embedding_rows": "3-"}),
    (AdapterConfig, {"embedding_rows": "5-3"}),
    (AdapterConfig, {"embedding_rows": "5-9,7"}),
    (AdapterConfig, {"embedding_rows": "3", "kind": "none"}),
    (UBOOConfig, {"weight": -0.1}),
    (UBOOConfig, {"weight": ()}),
    (UBOOConfig, {"weight": ((5, 0.1), (5, 0.2))}),
    (UBOOConfig, {"weight": ((0, 0.1), (5, -0.2))}),
    # Values of another type.
    (TrainConfig, {"batch_size": 2.5}),
    (TrainConfig, {"batch_size": True}),
    (TrainConfig, {"steps": "100"}),
    (OptimConfig, {"lr": "fast"}),
    (MMRecConfig, {"use_hem": 1}),
    (MMRecConfig, {"gate": "lstm"}),
    (TextConfig, {"train": None}),
    (ParityConfig, {"eval_lengths": 40}),
    (ParityConfig, {"eval_lengths": (40, 2.5)}),
    (UBOOConfig, {"weight": ((0, 0.1, 3),)}),
    (Config, {"plugins": "a"}),
    (Config, {"objectives": {}}),
    (Config, {"objectives": Objectives(cross_entropy=None)}),
    (Config, {"init_from": 5}),
]


@pytest.mark.parametrize(("group", "fields"), _OUT_OF_RANGE)
def test_a_value_of_another_type_or_out_of_range_is_refused_by_name(group, fields):
    name = ".".join(part for part in ("config", group.group, next(iter(fields))) if part)
    refused(lambda: _group(group, **fields), f"{name} is {next(iter(fields.values()))!r}")


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
    assert model.F == 896  # 8 * 320 / 3 = 853.3, up to a multiple of 64
    assert model.R == 20
    assert MMRecConfig(model_dim=128).R == 16
    assert MMRecConfig(memory="none").H == 0
    sizes = {"recurrent_dim": 7, "memory_slots": 5, "mem_dim": 6, "ffn_dim": 9, "dpg_rank": 3}
    model = MMRecConfig(model_dim=10, num_memories=3, **sizes)
    assert (model.E, model.S, model.K, model.F, model.R) == (7, 5, 6, 9, 3)
    assert model.resolved() == sizes


def test_each_optimizer_has_its_own_defaults():
    def numbers(name):
        config = with_overrides(Config(), [f"--config.optim.name={name}"]).optim
        return (config.B1, config.B2, config.EPS, config.GAMMA)

    assert numbers("adamw") == (0.9, 0.95, 1e-8, 0.0)
    assert numbers("sophia_g") == (0.965, 0.99, 1e-12, 0.05)
    assert numbers("sophia_h") == (0.965, 0.99, 1e-12, 0.01)
    chosen = OptimConfig(name="sophia_g", b1=0.5, b2=0.6, eps=0.7, gamma=0.8)
    assert (chosen.B1, chosen.B2, chosen.EPS, chosen.GAMMA) == (0.5, 0.6, 0.7, 0.8)


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
    config = read_config(str(path))
    tokens = jax.ShapeDtypeStruct((config.train.batch_size, config.data.seq_len), jnp.int32)
    model = config.model.build()
    params = jax.eval_shape(model.init, jax.random.key(0))
    logits, state, *_ = jax.eval_shape(model.apply, params, tokens)
    assert logits.shape == (*tokens.shape, config.model.vocab_size)
    assert state.h.shape == (config.model.num_layers, config.train.batch_size, config.model.E)


def test_the_turkish_run_is_that_of_tiny_with_what_is_turkish():
    tiny, turkish = read_config(_TINY), read_config(str(ROOT / "configs" / "turkish.py"))
    assert turkish.turkish != tiny.turkish
    assert "vowel_harmony" in turkish.objectives
    same = {"turkish": tiny.turkish, "objectives": tiny.objectives}
    assert dataclasses.replace(turkish, **same) == tiny


def test_reading_a_config_does_not_start_jax():
    code = (
        "import sys; from mmrec_jax.config_file import read_config; "
        f"read_config({_TINY!r}, ['--config.optim.lr=1']); "
        "assert not {'jax', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


_VALUES = [
    ("optim.lr=0.5", 0.5),
    ("optim.lr=1", 1.0),
    ("optim.b2=0.5", 0.5),
    ("optim.b2=None", None),
    ("model.dpg_rank=8", 8),
    ("model.use_hem=false", False),
    ("model.use_hem=0", False),
    ("train.eval_first=True", True),
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
    ("data.eval_lengths=(40, 4096)", (40, 4096)),
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
        ("optimizer.lr=1", ["config.optimizer is not", " optim"]),
        ("optim.lr.peak=1", ["config.optim.lr.peak is not"]),
        ("optim.lr", ["config.optim.lr"]),
        ("optim=4", ["config.optim is a group"]),
        ("model=4", ["config.model is a group"]),
        ("model.family=lstm", ["config.model.family is 'lstm'", "mmrec"]),
        ("objectives.ubo.weight=1", ["config.objectives", "'ubo'", "uboo"]),
        ("objectives.uboo=1", ["config.objectives.uboo is a group"]),
        ("objectives.uboo.scale=1", ["config.objectives.uboo.scale", "weight"]),
        ("objectives.uboo.weight=many", ["config.objectives.uboo.weight is 'many'"]),
        ("train.batch_size=many", ["config.train.batch_size is 'many'", "int"]),
        ("train.batch_size=2.5", ["config.train.batch_size is '2.5'", "int"]),
        ("train.steps=None", ["config.train.steps/epochs/tokens"]),
        ("train.epochs=long", ["config.train.epochs is 'long'", "float"]),
        ("model.gate=lstm", ["config.model.gate is 'lstm'", "'state', 'input', 'none'"]),
        ("optim.lr=-1", ["config.optim.lr is -1.0", "above 0"]),
        ("model.use_hem=perhaps", ["config.model.use_hem is 'perhaps'", "true"]),
        ("plugins=no_such_module", ["config.plugins", "no_such_module"]),
        ("data.source=books", ["config.data.source is 'books'", "treebank"]),
        ("data.pairs=4", ["config.data.pairs is not", "source treebank", "source mqar"]),
        ("data.train=a.txt", ["config.data.train is not", "source treebank", "text"]),
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


def test_another_kind_of_data_keeps_the_fields_that_both_have():
    given = ["--config.data.train=a.txt", "--config.data.source=text", "--config.data.seed=3"]
    config = with_overrides(Config(data=ManualConfig(seq_len=7)), given)
    assert config.data == TextConfig(train="a.txt", seq_len=7, seed=3)
    config = with_overrides(config, ["--config.data.source=prepared", "--config.data.weights=1"])
    assert config.data == PreparedConfig(train="a.txt", seq_len=7, seed=3, weights=(1.0,))
    config = with_overrides(config, ["--config.data.source=mqar", "--config.data.pairs=4"])
    assert config.data == MqarConfig(seq_len=7, seed=3, pairs=4)
    back = with_overrides(config, ["--config.data.source=manual"])
    assert back.data == ManualConfig(seq_len=7, seed=3)
    refused(lambda: with_overrides(Config(), ["--config.data.source=text"]), "config.data.train")


def test_another_family_has_its_own_defaults():
    config = with_overrides(
        Config(model=MMRecConfig(vocab_size=77)), ["--config.model.family=attention"]
    )
    assert (config.model.vocab_size, config.model.ffn_dim) == (77, 384)


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


def test_a_missing_file_is_named():
    refused(lambda: read_config("nowhere.py"), "nowhere.py")


def test_files_do_not_see_each_other(tmp_path):
    head = "from mmrec_jax.config import Config\n"
    read_config(_file(tmp_path, f"{head}def get_config(): return Config()"))
    refused(lambda: read_config(_file(tmp_path, "x = 1")), "get_config")


def test_overrides_are_collected_and_other_unknown_arguments_refused(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    options = parse_with_overrides(parser, ["--config=a.py", "--config.optim.lr=1"])
    assert (options.config, options.overrides) == ("a.py", ["--config.optim.lr=1"])
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
