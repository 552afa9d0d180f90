"""Chunks of logits against whole ones: values, gradients, second derivatives, memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from mmrec_jax.models import logits as logits_module
from mmrec_jax.models.api import Output
from mmrec_jax.models.logits import by_chunks
from mmrec_jax.objectives.cross_entropy import output_nll, token_nll
from mmrec_jax.optim.hessian import gnb, hutchinson
from tests.small_step import assert_close

_ROWS, _LENGTH, _WIDTH, _OLD, _NEW = 2, 11, 5, 13, 4


def _head(tables, hidden):
    """Two tables, the old one in whole numbers with a scale; the last id is padding."""
    old = tables["codes"].astype(hidden.dtype) * tables["scale"]
    parts = [jnp.dot(hidden, x.T, preferred_element_type=jnp.float32) for x in (old, tables["new"])]
    logits = jnp.concatenate(parts, axis=-1)
    return logits.at[..., -1].set(-jnp.inf)


@pytest.fixture
def case(rng):
    """Trained parameters, frozen ones, and a batch with weights of 0."""
    trained = {"hidden": rng.normal(size=(_ROWS, _LENGTH, _WIDTH))}
    trained |= {"new": rng.normal(size=(_NEW, _WIDTH)), "scale": np.ones((1, 1)) / 8}
    codes = jnp.int8(rng.integers(-8, 8, (_OLD, _WIDTH)))
    weights = rng.choice([0.0, 0.25, 1.0, 3.0], (_ROWS, _LENGTH))
    weights[0, :2], weights[0, 2:4] = 0, 1
    targets = rng.integers(0, _OLD + _NEW - 1, weights.shape)
    batch = {"targets": jnp.int32(targets), "weights": jnp.float32(weights)}
    return jax.tree.map(jnp.float32, trained), codes, batch


def _output(trained, codes):
    tables = {"codes": codes, "scale": trained["scale"], "new": trained["new"]}
    # A nonlinear way in, so that second derivatives go through it too.
    return Output(jnp.sin(trained["hidden"]), Partial(_head, tables), None, {}, {})


def _loss(chunk, codes):
    def loss(trained, batch):
        weight = jnp.maximum(jnp.sum(batch["weights"]), 1e-9)
        output = _output(trained, codes)
        return output_nll(output, batch["targets"], batch["weights"], chunk) / weight

    return loss


@pytest.mark.parametrize(
    ("dtype", "chunk"), [("float32", 1), ("float32", 3), ("float32", 10), ("bfloat16", 5)]
)
def test_value_and_gradients_are_those_of_whole_logits(case, chunk, dtype):
    trained, codes, batch = case
    trained = jax.tree.map(lambda x: x.astype(dtype), trained)
    whole, cut = (jax.jit(jax.value_and_grad(_loss(n, codes))) for n in (_LENGTH, chunk))
    (value, gradient), (other, found) = whole(trained, batch), cut(trained, batch)
    exact = dtype == "float32"
    np.testing.assert_allclose(other, value, rtol=1e-6)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(found))
    assert_close(*(jax.tree.map(np.float32, x) for x in (found, gradient)), 1e-6 if exact else 2e-2)


@pytest.mark.parametrize("chunk", [4, _LENGTH])
def test_where_nothing_counts_nothing_is_spoilt(case, chunk):
    trained, codes, batch = case
    run = jax.jit(jax.value_and_grad(_loss(chunk, codes)))
    expected = run(trained, batch)
    broken = trained | {"hidden": jnp.where(batch["weights"][..., None] > 0, trained["hidden"], 9)}
    assert_close(run(broken, batch), expected, 1e-6)
    nothing = batch | {"weights": jnp.zeros_like(batch["weights"])}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(run(trained, nothing)))

    def spoilt(hidden):
        output = _output(trained, codes)._replace(hidden=hidden)
        return output_nll(output, batch["targets"], batch["weights"], chunk)

    hidden = jnp.where(batch["weights"][..., None] > 0, jnp.sin(trained["hidden"]), jnp.nan)
    value, gradient = jax.jit(jax.value_and_grad(spoilt))(hidden)
    np.testing.assert_allclose(value / jnp.sum(batch["weights"]), expected[0], rtol=1e-6)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_curvature_is_that_of_whole_logits(case, accumulate):
    """Labels do not depend on the chunks; Hutchinson's estimate goes through them twice."""
    trained, codes, batch = case
    batch |= {"hidden": trained.pop("hidden")}

    def apply(trained, batch):
        return _output(trained | {"hidden": batch["hidden"] * trained["scale"][None]}, codes)

    @jax.jit
    def both(key):
        found = []
        for chunk in (_LENGTH, 4, 1):

            def loss(trained, batch, chunk=chunk):
                weight = jnp.maximum(jnp.sum(batch["weights"]), 1e-9)
                output = apply(trained, batch)
                return output_nll(output, batch["targets"], batch["weights"], chunk) / weight

            options = {"accumulate": accumulate}
            sampled = gnb(key, apply, trained, batch, chunk=chunk, **options)
            found.append((sampled, hutchinson(key, loss, trained, batch, **options)))
        plain = gnb(key, lambda *inputs: apply(*inputs).logits, trained, batch)
        return [*found, (plain, found[0][1])]

    whole, *others = both(jax.random.key(5))
    for found in others:
        assert_close(found, whole, 1e-5)


def test_values_of_tokens_are_those_of_whole_logits(case, monkeypatch):
    trained, codes, batch = case
    output = _output(trained, codes)

    def scores(logits, targets):
        return jnp.zeros(()), {"nll": token_nll(logits, targets), "best": jnp.argmax(logits, -1)}

    def found_by_chunks(output):
        return by_chunks(scores, output, batch["targets"])[1]

    whole = jax.jit(lambda output: found_by_chunks(output))(output)
    monkeypatch.setitem(logits_module._BYTES, "cpu", 5 * _ROWS * (_OLD + _NEW) * 4)
    program = jax.jit(found_by_chunks).trace(output)
    assert "length=2" in str(program.jaxpr)  # chunks of 4 tokens, and one of 3
    found = program.lower().compile()(output)
    np.testing.assert_array_equal(found["best"], whole["best"])
    np.testing.assert_allclose(found["nll"], whole["nll"], rtol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_no_array_is_as_large_as_all_logits(frozen):
    """Nor as a frozen head, which has no gradient."""
    rows, length, width, vocabulary = 2, 64, 3, 1009
    tables = {"embedding": jnp.ones((vocabulary, width))}

    def loss(hidden, tables, targets):
        head = Partial(lambda tables, hidden: hidden @ tables["embedding"].T, tables)
        output = Output(hidden, head, None, {}, {})
        return output_nll(output, targets, jnp.ones(targets.shape), 8)

    inputs = jnp.ones((rows, length, width)), tables, jnp.ones((rows, length), int)
    gradient = jax.grad(loss, argnums=0 if frozen else (0, 1))
    program = jax.jit(gradient).lower(*inputs).compile().as_text()
    shapes = re.findall(r"[a-z]+\d+\[([\d,]+)\]", program)
    sizes = {np.prod([int(n) for n in shape.split(",")]) for shape in shapes}
    assert max(sizes) == rows * 8 * vocabulary
    made = rf":f32\[{vocabulary},{width}\] = "
    assert bool(re.search(made, str(jax.make_jaxpr(gradient)(*inputs)))) != frozen
