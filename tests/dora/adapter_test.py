import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.family import MMRec
from mmrec_jax.tree import named_leaves
from tests.small_run import small_model


def _shapes(**changes):
    return jax.eval_shape(small_model(**changes).build().init, jax.random.key(0))


def _init(params, *rules):
    return jax.eval_shape(lambda params: dora.init(jax.random.key(0), params, rules), params)


def test_all_linear_takes_every_matrix_but_embedding_and_decays():
    made = _init(_shapes(), *dora.all_linear(4, 8.0, exclude=MMRec.not_adaptable))
    names = ["ffn/down", "ffn/gate_value", "out", "project/fused", "qk"]
    assert list(dora.nodes(made)) == [f"blocks/{name}/kernel" for name in names]
    assert {name.rsplit("/", 1)[-1] for name in named_leaves(made)} == {"a", "b", "m"}
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    node = made["blocks"]["ffn"]["down"]["kernel"]
    assert (node.a.shape, node.b.shape, node.m.shape) == ((2, 64, 4), (2, 4, 16), (2, 1, 16))
    assert node.scale == 2.0


def test_the_first_rule_takes_a_kernel_and_scales_are_those_of_their_kind():
    rules = [
        dora.AdapterRule("ffn/down", 4, 6.0, "rslora"),
        *dora.all_linear(2, 6.0, "lora", MMRec.not_adaptable),
    ]
    found = dora.nodes(_init(_shapes(), *rules))
    assert found["blocks/ffn/down/kernel"].scale == 3.0
    assert found["blocks/qk/kernel"].scale == 3.0
    assert [found[f"blocks/{name}/kernel"].a.shape[-1] for name in ("ffn/down", "qk")] == [4, 2]


def test_a_starts_in_its_bounds_by_key_and_path_alone():
    params = {name: {"kernel": np.zeros((400, 30), np.float32)} for name in ("one", "two")}
    rule = dora.AdapterRule("kernel", 20, 1.0, "lora")
    init = jax.jit(lambda params: dora.init(jax.random.key(5), params, [rule]))
    both = init(params)
    a = np.asarray(both["one"]["kernel"].a)
    bound = 400**-0.5
    assert np.max(np.abs(a)) < bound
    np.testing.assert_allclose(np.std(a), bound / 3**0.5, rtol=0.02)
    assert not np.any(np.asarray(both["one"]["kernel"].b))
    assert not np.array_equal(a, both["two"]["kernel"].a)
    alone = init({"one": params["one"]})
    np.testing.assert_array_equal(alone["one"]["kernel"].a, a)


def test_kernels_narrower_than_the_rank_are_skipped_by_the_preset_alone():
    shapes, rules = _shapes(use_hem=False), dora.all_linear(4, 8.0, exclude=MMRec.not_adaptable)
    narrow = {f"blocks/project/{name}/kernel" for name in ("alpha", "beta")}
    excluded = {f"blocks/dpg_{name}/kernel" for name in ("up", "down")}
    kernels = {name for name in named_leaves(shapes) if name.endswith("kernel")}
    left = kernels - narrow - excluded
    assert dora.nodes(_init(shapes, *rules)).keys() == left
    more = dora.AdapterRule("alpha/kernel", 2, 8.0)
    assert dora.nodes(_init(shapes, *rules, more)).keys() == left | {"blocks/project/alpha/kernel"}
    with pytest.raises(UserError, match="rank 99"):  # narrower than which all of them are
        _init(shapes, *dora.all_linear(99, 8.0))


def test_what_is_whole_has_no_adapter_and_the_dtype_that_is_asked_for():
    some = dora.all_linear(4, 8.0, exclude=MMRec.not_adaptable)
    rules = dora.WholeRule("final_norm"), dora.WholeRule("ffn/down", "bfloat16"), *some
    found = dora.nodes(_init(_shapes(), *rules))
    assert found["final_norm/scale"].value.dtype == jnp.float32
    assert found["blocks/ffn/down/kernel"].value.dtype == jnp.bfloat16
    assert isinstance(found["blocks/qk/kernel"], dora.Adapter)


def test_rows_are_trained_in_each_table():
    params = {name: {"embedding": jnp.ones((9, 2), jnp.bfloat16)} for name in ("embed", "head")}
    found = dora.nodes(_init(params, dora.RowRule(((3, 4),), dtype="bfloat16")))
    assert {name: node.rows.shape for name, node in found.items()} == {
        "embed/embedding": (2, 2),
        "head/embedding": (2, 2),
    }
    assert {node.rows.dtype for node in found.values()} == {jnp.dtype(jnp.bfloat16)}


_MISTAKES = {
    "no match": (dora.AdapterRule("attention", 2, 1.0), ["attention", "ffn/down/kernel"]),
    "a norm": (dora.AdapterRule("final_norm", 2, 1.0), ["final_norm/scale"]),
    "the embedding": (dora.AdapterRule("embed", 2, 1.0), ["embed/embedding"]),
    "a stacked vector": (
        dora.AdapterRule("blocks/b_gamma", 1, 1.0, exclude=""),
        ["blocks/b_gamma", "only matrices"],
    ),
    "too large a rank": (
        dora.AdapterRule("ffn/down", 17, 1.0),
        ["rank 17", "blocks/ffn/down/kernel", "[64, 16]", "at most 16"],
    ),
    "rows": (dora.RowRule(((49, 50),)), ["embed/embedding", "0 to 49", "49-50"]),
    "a kernel of three axes": (dora.AdapterRule("^join", 2, 1.0), ["join/kernel [2, 3, 5]"]),
    "nothing left": (
        (dora.AdapterRule("qk|out", 1, 1.0), dora.AdapterRule("qk", 2, 1.0)),
        ["'qk'"],
    ),
    "no rows": (dora.RowRule(((0, 1),), "table"), ["'table'"]),
    "no whole": (dora.WholeRule("table"), ["'table'", "final_norm/scale"]),
    "twice": ((dora.RowRule(((0, 1),)), dora.WholeRule("embedding")), ["embed/embedding", "two"]),
}


@pytest.mark.parametrize(("rule", "named"), _MISTAKES.values(), ids=_MISTAKES)
def test_a_rule_that_does_not_fit_is_one_clear_error(rule, named):
    params = {**_shapes(use_hem=False), "join": {"kernel": jnp.zeros((2, 3, 5))}}
    with pytest.raises(UserError) as caught:
        _init(params, *(rule if isinstance(rule, tuple) else (rule,)))
    assert [x for x in named if x not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [{"rank": 0}, {"kind": "ia3"}])
def test_a_rule_checks_its_own_fields(fields):
    (value,) = fields.values()
    with pytest.raises(UserError) as caught:
        dora.AdapterRule(**{"pattern": "x", "rank": 1, "alpha": 1.0, **fields})
    assert str(value) in str(caught.value)
