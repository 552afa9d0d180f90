"""The whole model with the parallel solvers equals the one that steps through time."""

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.nn.model import MMRecLM, forward
from tests.nn.loops import assert_close, relative_error
from tests.nn.small_model import config, named_leaves, random_parameters, random_tokens


@pytest.mark.parametrize("gate", ["state", "input"])
def test_parallel_equals_sequential(gate):
    results = {}
    for scan in ("sequential", "parallel"):
        settings = config(gate=gate, scan=scan)
        params = random_parameters(settings)
        tokens = random_tokens()

        model = MMRecLM(settings)

        def loss(params, model=model, tokens=tokens):
            logits, _, intermediates = forward(model, params, tokens)
            return jnp.mean(jnp.square(logits)), intermediates

        (value, info), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        results[scan] = value, gradients, info
    assert relative_error(results["parallel"][0], results["sequential"][0]) <= 1e-6
    gradients = [named_leaves(results[scan][1]) for scan in ("parallel", "sequential")]
    assert_close(*gradients, 1e-4)
    if gate == "state":
        assert float(results["parallel"][2]["newton_iterations"]) >= 1
        assert float(results["parallel"][2]["newton_fell_back"]) == 0
