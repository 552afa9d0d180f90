import dataclasses
import json

import pytest

from mmrec_jax.config import Config, DataConfig, TokenizerConfig, TrainConfig
from mmrec_jax.config_tree import from_config_dict, to_config_dict, to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.instruction_config import InstructionConfig
from mmrec_jax.models.mmrec.config import ModelConfig
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.task_config import TaskConfig


def test_a_config_survives_the_editable_form_and_json():
    config = Config(
        model=ModelConfig(model_dim=64, mem_dim=8, memory_slots=4),
        task=TaskConfig(eval_lengths=(3, 4, 5)),
        train=TrainConfig(epochs=1.5, target_loss=2.0),
    )
    assert from_config_dict(to_config_dict(config)) == config
    as_json = json.loads(json.dumps(to_dict(config)))
    assert as_json == to_dict(config)
    assert from_config_dict(as_json) == config


def test_derived_sizes_follow_the_model_specification():
    model = ModelConfig(model_dim=320, num_memories=4)
    assert (model.D, model.E, model.H, model.S, model.K) == (320, 320, 4, 80, 80)
    assert model.F == 896  # 8 * 320 / 3 = 853.3, up to a multiple of 64
    assert model.R == 20
    assert ModelConfig(model_dim=128).R == 16
    assert ModelConfig(memory="none").H == 0


def test_sizes_that_are_set_win_over_derived_ones():
    sizes = {"recurrent_dim": 7, "memory_slots": 5, "mem_dim": 6, "ffn_dim": 9, "dpg_rank": 3}
    model = ModelConfig(model_dim=10, num_memories=3, **sizes)
    assert (model.E, model.S, model.K, model.F, model.R) == (7, 5, 6, 9, 3)


def test_configs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.dropout = 0.5


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        (ModelConfig, "vocab_size", 0),
        (ModelConfig, "num_memories", 3),
        (ModelConfig, "mem_dim", 0),
        (ModelConfig, "dropout", 1.0),
        (ModelConfig, "lambda_p", -0.1),
        (ModelConfig, "gamma_halflife_min", 0.0),
        (ModelConfig, "alpha_halflife_min", 5000.0),
        (DataConfig, "seq_len", 0),
        (DataConfig, "packing_windows", 0),
        *((DataConfig, "seed", seed) for seed in (-1, 2**32, 2**63)),
        (DataConfig, "validation_fraction", 1.0),
        (DataConfig, "train", "a.txt"),
        (TaskConfig, "min_length", 0),
        (TaskConfig, "max_length", 0),
        (TaskConfig, "eval_sequences", 0),
        (TaskConfig, "eval_lengths", ()),
        (TaskConfig, "eval_lengths", (8, 0)),
        (TaskConfig, "eval_lengths", (8, 8)),
        (TaskConfig, "vocab_size", 3),
        (TaskConfig, "vocab_size", 20_001),
        (TaskConfig, "pairs", 0),
        (TaskConfig, "modulus", 1),
        (TaskConfig, "modulus", 20_001),
        (TaskConfig, "hops", 0),
        (InstructionConfig, "template", ""),
        (TokenizerConfig, "vocab_size", 0),
        (TokenizerConfig, "path", "a.model"),
        (OptimConfig, "lr", 0.0),
        (OptimConfig, "lr", float("nan")),
        (OptimConfig, "b2", 1.0),
        (OptimConfig, "eps", 0.0),
        (OptimConfig, "clip_norm", -1.0),
        (OptimConfig, "final_lr_fraction", 1.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(group, field, value):
    with pytest.raises(UserError, match=rf"config\.\w+\.{field} is .*; it must be"):
        group(**{field: value})


@pytest.mark.parametrize("field", ["batch_size", "log_every", "eval_every", "keep_last", "devices"])
def test_a_training_number_below_one_is_refused_by_name(field):
    with pytest.raises(UserError, match=rf"config\.train\.{field} is 0"):
        TrainConfig(steps=1, **{field: 0})


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63])
def test_a_seed_that_would_be_another_one_is_refused_by_name(seed):
    assert TrainConfig(steps=1, seed=2**32 - 1).seed == 2**32 - 1
    with pytest.raises(UserError, match=rf"config\.train\.seed is {seed}"):
        TrainConfig(steps=1, seed=seed)


def test_accumulation_must_divide_the_batch():
    with pytest.raises(UserError, match=r"config\.train\.accumulate is 3.* divisor .*= 8"):
        TrainConfig(steps=1, batch_size=8, accumulate=3)


@pytest.mark.parametrize("lengths", [{}, {"steps": 1, "tokens": 5}, {"epochs": 1.0, "steps": 2}])
def test_the_length_is_given_in_exactly_one_unit(lengths):
    with pytest.raises(UserError, match="exactly one of the three"):
        TrainConfig(**lengths)


@pytest.mark.parametrize("lengths", [{"steps": 0}, {"epochs": -1.0}, {"tokens": 0}])
def test_a_length_is_above_zero(lengths):
    with pytest.raises(UserError, match="must be above 0"):
        TrainConfig(**lengths)


@pytest.mark.parametrize("source", ["text", "jsonl", "instructions"])
def test_the_users_own_source_needs_files(source):
    with pytest.raises(UserError, match=r"config\.data\.train"):
        DataConfig(source=source)


_FILTERS = {"clean": True, "language": "tr", "min_chars": 5, "max_chars": 5}


@pytest.mark.parametrize("name", _FILTERS)
def test_the_stream_alone_filters_documents_as_it_reads_them(name):
    filters = {name: _FILTERS[name]}
    DataConfig(source="stream", train="a.txt", **filters)
    refusal = rf"config\.data\.{name} is .* with data\.source"
    with pytest.raises(UserError, match=rf'{refusal} "text": only "stream" filters'):
        DataConfig(source="text", train="a.txt", **filters)
    with pytest.raises(UserError, match=rf'{refusal} "prepared": mmrec data prepare has cleaned'):
        DataConfig(source="prepared", train="a", **filters)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"min_chars": -1}, "min_chars is -1; it must be at least 0"),
        ({"max_chars": 0}, "max_chars is 0; it must be at least 1, or None"),
        (
            {"min_chars": 9, "max_chars": 8},
            r"max_chars is 8; it must be at least 9, data\.min_chars, or None",
        ),
    ],
)
def test_limits_of_a_document_that_leave_none_are_refused(filters, said):
    with pytest.raises(UserError, match=said):
        DataConfig(source="stream", train="a.txt", **filters)


def test_an_unknown_field_is_refused_with_the_known_ones():
    tree = to_dict(Config())
    tree["optim"]["learning_rate"] = 1.0
    with pytest.raises(UserError, match=r"config\.optim\.learning_rate is not a field; .*\blr\b"):
        from_config_dict(tree)


@pytest.mark.parametrize(
    ("group", "field", "value", "expected"),
    [
        ("train", "batch_size", 2.5, "type int"),
        ("train", "batch_size", True, "type int"),
        ("train", "steps", "100", "type int"),
        ("optim", "lr", "fast", "type float"),
        ("model", "use_hem", 1, "type bool"),
        ("model", "gate", "lstm", r"one of \['state', 'input', 'none'\]"),
        ("data", "train", None, "type str"),
        ("task", "eval_lengths", 40, "a list"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(group, field, value, expected):
    tree = to_dict(Config())
    tree[group][field] = value
    with pytest.raises(UserError, match=rf"config\.{group}\.{field} is {value!r}; .*{expected}"):
        from_config_dict(tree)


def test_each_item_of_a_list_has_its_type():
    tree = to_dict(Config())
    tree["task"]["eval_lengths"] = [40, 2.5]
    with pytest.raises(UserError, match=r"config\.task\.eval_lengths is 2\.5; .* type int"):
        from_config_dict(tree)


def test_a_group_must_be_a_group():
    with pytest.raises(UserError, match=r"config\.model is 5; it must be a group"):
        from_config_dict({"model": 5})


def test_a_whole_number_is_accepted_for_a_float():
    config = from_config_dict({"optim": {"lr": 1}, "train": {"epochs": 2}})
    assert (config.optim.lr, type(config.optim.lr)) == (1.0, float)
    assert (config.train.epochs, type(config.train.epochs)) == (2.0, float)


@pytest.mark.parametrize(
    "fields", [{"neftune_schedule": "linear"}, {"neftune_table": "factors.json"}]
)
def test_fields_of_noise_are_refused_where_there_is_none(fields):
    (name,) = fields
    with pytest.raises(UserError, match=rf"config\.train\.{name} is .* train\.neftune_alpha is 0"):
        TrainConfig(steps=1, **fields)
    TrainConfig(steps=1, neftune_alpha=5.0, **fields)
