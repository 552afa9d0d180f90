"""The whole model with the parallel solvers equals the one that steps through time."""

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.mmrec import scan
from mmrec_jax.models.mmrec.family import MMRec
from tests.models.mmrec.loops import assert_close, relative_error
from tests.models.mmrec.small_model import config, named_leaves, random_parameters, random_tokens


@pytest.mark.parametrize(("gate", "passes"), [("state", 16), ("state", 1), ("input", 16)])
def test_parallel_equals_sequential(gate, passes):
    """Also where one pass over the three chunks is all that the solver of the state gate gets."""
    results = {}
    for backend in ("sequential", "parallel"):
        settings = config(gate=gate, scan=backend, newton_passes=passes)
        params = random_parameters(settings)

        def loss(params, settings=settings):
            output = MMRec(settings).apply(params, random_tokens())
            return jnp.mean(jnp.square(output.logits)), output.metrics

        (value, info), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        results[backend] = value, gradients, info
    assert relative_error(results["parallel"][0], results["sequential"][0]) <= 1e-6
    gradients = [named_leaves(results[backend][1]) for backend in ("parallel", "sequential")]
    assert_close(*gradients, 1e-4)
    if gate == "state":
        assert float(results["parallel"][2]["newton_iterations"]) >= 1
        assert float(results["parallel"][2]["newton_fell_back"]) == (passes == 1)


def test_auto_of_a_linear_gate_is_looked_up_by_shape(monkeypatch):
    settings = config(gate="input", scan="auto")
    params, tokens = random_parameters(settings), random_tokens()
    asked = []

    def fastest(table, kinds, channels, length):
        asked.append((channels, length))
        return "chunked"

    monkeypatch.setattr(scan, "fastest", fastest)
    jax.eval_shape(lambda params: MMRec(settings).apply(params, tokens).logits, params)
    batch, length = tokens.shape
    assert set(asked) == {(batch * settings.E, length)}
