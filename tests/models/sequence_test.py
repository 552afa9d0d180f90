"""Recurrences over a row that devices share are those of the whole row, with their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mmrec_jax.models import sequence
from mmrec_jax.models.layout import layout
from mmrec_jax.models.mmrec.delta_parts import delta_scan_of_row
from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.models.mmrec.state import MMRecState
from tests.small_step import mesh

_DEVICES, _ROWS, _LENGTH = 4, 2, 20  # five tokens of each row on a device: no power of two


def _linear(a, b, h0, reset):
    return linear_scan(jax.nn.sigmoid(a), b, h0, reset=reset, backend="associative")


def _gated(backend, passes=None):
    def scan(gamma, b, wc, h0, reset):
        w, c = 3 * wc
        options = {"reset": reset, "backend": backend, "passes": passes}
        return gated_scan(jax.nn.sigmoid(gamma), b, w, c, h0, **options)[:2]

    return scan


def _delta(error_correction):
    def scan(q, k, v, alpha, beta, m0, reset):
        k = k / jnp.linalg.norm(k, axis=-1, keepdims=True)
        rates = jax.nn.sigmoid(alpha + 2), jax.nn.sigmoid(beta)
        options = {"chunk": 4, "error_correction": error_correction}
        return delta_scan_of_row(q, k, v, *rates, m0, reset=reset, **options)

    return scan


_T, _E, _HS, _HK = (_ROWS, _LENGTH), (3,), (2, 4), (2, 3)
_GATED = (_T + _E, _T + _E, (2, *_E), (_ROWS, *_E))
_DELTA = (_T + _HS, _T + _HS, _T + _HK, (*_T, 2), (*_T, 2), (_ROWS, 2, 4, 3))
# name: the recurrence, and the shapes of what it is differentiated by
_CASES = {
    "linear": (_linear, (_T + _E, _T + _E, (_ROWS, *_E))),
    "newton": (_gated("newton"), _GATED),
    "newton gives up": (_gated("newton", 1), _GATED),
    "sequential": (_gated("sequential"), _GATED),
    "delta": (_delta(True), _DELTA),
    "decay": (_delta(False), _DELTA),
}


def _weighted_gradient(scan, weight, weight_last, *inputs):
    """The gradient of a sum over all tokens, and of the last state, which all devices have."""

    def value(*inputs):
        h, last = scan(*inputs[:-1], inputs[-1])
        ours = sequence.at_begin(jnp.sum(weight_last * jnp.tanh(last)))
        return jnp.sum(weight * jnp.sin(h)) + ours, (h, last)

    differentiated = tuple(range(len(inputs) - 1))
    gradients, (h, last) = jax.grad(value, differentiated, has_aux=True)(*inputs)
    return h, last, gradients


@pytest.mark.parametrize("name", _CASES)
@pytest.mark.usefixtures("x64")
def test_four_devices_are_one_in_values_and_gradients(name, rng):
    scan, shapes = _CASES[name]
    inputs = [rng.normal(size=shape) for shape in shapes]
    reset = rng.random(_T) < 0.15
    reset[0, :] = False  # a row through which the first state passes to the end
    tokens, copy = P(None, sequence.SEQUENCE), P()
    specs = [tokens if shape[:2] == _T else copy for shape in shapes]
    h, last = jax.eval_shape(scan, *inputs, reset)
    weight, weight_last = rng.normal(size=h.shape), rng.normal(size=last.shape)
    arguments = weight, weight_last, *inputs, reset
    expected = jax.jit(_weighted_gradient, static_argnums=0)(scan, *arguments)

    def by_device(*arguments):
        h, last, gradients = _weighted_gradient(scan, *arguments)
        pairs = zip(specs, gradients, strict=True)
        gradients = [sequence.total(g) if spec == copy else g for spec, g in pairs]
        return h, last, tuple(gradients)

    with jax.set_mesh(mesh(sequence=_DEVICES)):
        found = jax.jit(
            jax.shard_map(
                by_device,
                in_specs=(tokens, copy, *specs, tokens),
                out_specs=(tokens, copy, tuple(specs)),
                axis_names={sequence.SEQUENCE},
                check_vma=False,
            )
        )(*arguments)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-11 * np.max(np.abs(one)))


def test_documents_begin_where_they_do_in_the_whole_row(rng):
    block, length = 3, 20  # of 5 tokens on a device: blocks of 12 and 8 tokens
    order = sequence.order(length, _DEVICES, block)
    assert order[:5].tolist() == [0, 1, 2, 12, 13]
    assert sorted(order.tolist()) == list(range(length))
    ids = rng.integers(0, 3, (4, length))
    ids[0] = 0
    before = np.array([1, 1, 2, 0]), np.array([3, 1, 4, 0])
    state = MMRecState(h=jnp.zeros(()), m=jnp.zeros(()), segment=before[0], position=before[1])
    expected = layout(jnp.asarray(ids), state, ids.shape)

    def by_device(ids):
        found = layout(ids, state, ids.shape, block)
        assert found.real.shape == (4, 5)
        row = (sequence.whole(x, block) for x in (found.real, found.start, found.positions))
        return *row, found.segment, found.position

    with jax.set_mesh(mesh(sequence=_DEVICES)):
        tokens = P(None, sequence.SEQUENCE)
        found = jax.jit(sequence.by_device(by_device, tokens))(ids[:, order])
    for one, other in zip(jax.tree.leaves(expected), found, strict=True):
        np.testing.assert_array_equal(other, one)
