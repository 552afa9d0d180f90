"""The contract of `models/api.py`: what every family has to do, one part a function."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.config import AdapterConfig
from mmrec_jax.dora.adapted_model import adapt, adapter_rules, first_values
from mmrec_jax.models.api import Training
from mmrec_jax.optim.build import decay_mask
from mmrec_jax.tree import map_named, named_leaves
from tests.families import used
from tests.small_step import assert_close, mesh, moved, shard_params

_ROWS, _LENGTH = 3, 8
# Two documents and padding; one over the whole row; a border in the middle and padding.
_SEGMENTS = jnp.int32([[1, 1, 1, 2, 2, 2, 2, 0], [3] * 8, [4] * 4 + [5] * 3 + [0]])


class Case:
    """A model that "fsdp" and "tensor" 2 divide, away from its start, and what its tests share."""

    def __init__(self, model):
        self.model = model
        self.init = jax.jit(model.init)
        self.start = jax.device_get(self.init(jax.random.key(0)))
        self.params = jax.device_put(moved(self.start))
        rng = np.random.default_rng(0)
        self.tokens = jnp.int32(rng.integers(0, model.config.vocab_size, (_ROWS, _LENGTH)))

    @functools.cached_property
    def apply(self):
        """Compiled `model, params, tokens, state, segment_ids -> Output`."""
        return jax.jit(lambda model, *inputs: model.apply(*inputs))

    @functools.cached_property
    def whole(self):
        """Of the whole rows."""
        state = self.model.initial_state(_ROWS)
        return self.apply(self.model, self.params, self.tokens, state, _SEGMENTS)


def _start_is_that_of_its_key(case):
    again, other = (jax.device_get(case.init(jax.random.key(seed))) for seed in (0, 1))
    chex.assert_trees_all_equal(case.start, again)
    different = jax.tree.map(lambda a, b: not np.array_equal(a, b), case.start, other)
    assert any(jax.tree.leaves(different))


def _outputs_have_their_shapes(case):
    shape = (_ROWS, _LENGTH, case.model.config.vocab_size)
    chex.assert_shape(case.whole.logits, shape)
    chex.assert_type(case.whole.logits, jnp.float32)
    chex.assert_tree_all_finite(case.whole)
    before = case.model.initial_state(_ROWS)
    chex.assert_trees_all_equal_shapes_and_dtypes(case.whole.state, before)
    chex.assert_scalar_non_negative(case.model.mixing_flops(_LENGTH))
    assert all(np.shape(value) == () for value in case.whole.metrics.values())


def _tokens_see_their_document_up_to_themselves(case):
    """By gradients: d logits_t / d embedding_s is 0 for s > t and in other documents."""

    @jax.jit
    def influence(params):
        def logits(embedded):
            output = case.model.apply(
                params, case.tokens, None, _SEGMENTS, perturb=lambda x: x + embedded
            )
            return output.logits @ jnp.cos(jnp.arange(output.logits.shape[-1])), output.logits

        width = jax.eval_shape(lambda params: params["embed"]["embedding"], params).shape[1]
        zeros = jnp.zeros((_ROWS, _LENGTH, width))
        _, pullback, without_state = jax.vjp(logits, zeros, has_aux=True)
        rows = jnp.ones((_ROWS, 1))
        at = jax.vmap(lambda t: pullback(rows * jax.nn.one_hot(t, _LENGTH)[None])[0])
        return jnp.max(jnp.abs(at(jnp.arange(_LENGTH))), axis=-1), without_state  # [t, B, s]

    found, without_state = influence(case.params)
    assert_close(without_state, case.whole.logits, 1e-5)
    found = np.asarray(found).swapaxes(0, 1)
    real = np.asarray(_SEGMENTS > 0)
    same = np.asarray(_SEGMENTS[:, :, None] == _SEGMENTS[:, None]) & real[:, :, None]
    expected = same & np.tri(_LENGTH, dtype=bool)
    np.testing.assert_array_equal(found[:, ~np.tri(_LENGTH, dtype=bool)], 0)
    large = found > 1e-7 * np.max(found)
    np.testing.assert_array_equal(large[real], expected[real])


def _packed_documents_are_those_apart(case):
    logits = case.whole.logits[0]
    rows, ids = np.zeros((2, _ROWS, _LENGTH), np.int32)
    parts = [(0, 3), (3, 7)]
    for row, (begin, end) in enumerate(parts):
        rows[row, : end - begin] = case.tokens[0, begin:end]
        ids[row, : end - begin] = 9
    apart = case.apply(case.model, case.params, rows, case.model.initial_state(_ROWS), ids).logits
    for row, (begin, end) in enumerate(parts):
        assert_close(apart[row, : end - begin], logits[begin:end], 1e-5)


def _halves_with_the_state_are_the_whole(case):
    state = case.model.initial_state(_ROWS)
    if state is None:
        return
    half = _LENGTH // 2
    parts = []
    for now in (np.s_[:, :half], np.s_[:, half:]):
        inputs = case.tokens[now], state, _SEGMENTS[now]
        output = case.apply(case.model, case.params, *inputs)
        state = output.state
        parts.append(output.logits)
    real = _SEGMENTS > 0
    assert_close(jnp.concatenate(parts, axis=1)[real], case.whole.logits[real], 1e-5)
    states = (used(x, case.model.state_batch_axes) for x in (state, case.whole.state))
    assert_close(*states, 1e-5)


def _rows_of_the_state_are_where_it_says(case):
    few, many = (jax.eval_shape(lambda n=n: case.model.initial_state(n)) for n in (5, 7))

    def changed(few, many, axis):
        assert few.shape[axis] == 5
        assert few.shape == (*many.shape[:axis], 5, *many.shape[axis + 1 :])

    jax.tree.map(changed, few, many, case.model.state_batch_axes)


def _it_knows_which_tokens_continue_a_document(case):
    ids = _SEGMENTS
    state = case.model.initial_state(_ROWS)
    before = np.zeros(_ROWS, int)  # documents that the state is in the middle of
    if state is not None:
        state, before = case.whole.state, np.array([2, 3, 5])
        ids = np.int32([[2, 2, 3, 3, 0, 0, 0, 0], [4] * 8, [5] * 8])
    previous = np.concatenate([before[:, None], ids[:, :-1]], axis=1)
    found = case.model.continues(jnp.asarray(ids), state)
    np.testing.assert_array_equal(found, (ids > 0) & (ids == previous))


def _every_matrix_is_split_and_every_parameter_has_a_rule(case):
    decays = named_leaves(decay_mask(case.model.decays)(case.params))
    assert set(decays.values()) == {True, False}
    specs = case.model.partition_specs(case.params)
    chex.assert_trees_all_equal_structs(specs, case.params)
    placed = named_leaves(shard_params(case.params, case.model, mesh(2, 2, 2)))
    for name, leaf in placed.items():
        part = leaf.addressable_shards[0].data.size / leaf.size
        assert part == (1 / 4 if decays[name] else 1), name


def _adapters_change_nothing_until_they_are_trained(case):
    config = AdapterConfig(kind="dora", rank=2, embedding_rows="1-2")
    rules = adapter_rules(config, case.model)
    case_of = functools.partial(adapt, case.model, case.params, rules)
    adapted = case_of()
    whole = first_values(case.params, rules)
    start = jax.device_get(jax.jit(adapted.init)(jax.random.key(0)))
    start = map_named(lambda name, leaf: whole.get(name, leaf), start)
    inputs = case.tokens, case.model.initial_state(_ROWS), _SEGMENTS
    dropped = case_of(dropout=0.5)
    training = Training(jax.random.key(0), jnp.int32(0))

    @jax.jit
    def logits(adapters):
        inner, params = adapted.unwrap(adapters)
        outputs = (
            adapted.apply(adapters, *inputs),
            inner.apply(params, *inputs),
            dropped.apply(adapters, *inputs, training=training),
        )
        return [output.logits for output in outputs]

    for found in logits(start)[:2]:
        assert_close(found, case.whole.logits, 1e-5)
    intercepted, applied, one = logits(moved(start))
    assert np.max(np.abs(applied - case.whole.logits)) > 0.01 * np.max(np.abs(applied))
    assert_close(intercepted, applied, 1e-5)
    assert np.max(np.abs(one - applied)) > 0.001 * np.max(np.abs(applied))


CONTRACTS = (
    _start_is_that_of_its_key,
    _outputs_have_their_shapes,
    _tokens_see_their_document_up_to_themselves,
    _packed_documents_are_those_apart,
    _halves_with_the_state_are_the_whole,
    _rows_of_the_state_are_where_it_says,
    _it_knows_which_tokens_continue_a_document,
    _every_matrix_is_split_and_every_parameter_has_a_rule,
    _adapters_change_nothing_until_they_are_trained,
)
