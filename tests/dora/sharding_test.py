import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mmrec_jax import dora
from tests.dora.small_trees import adapters, base

_SPECS = {
    "dense/kernel": P("fsdp", "tensor"),
    "join/kernel": P(None, "tensor"),
    "turned/kernel": P("tensor", "fsdp"),
    "blocks/heads/kernel": P(None, "fsdp", "tensor", None),
}


@pytest.mark.parametrize("kind", ["dora", "lora"])
def test_adapters_lie_beside_their_kernels(kind):
    params = base()
    trained = adapters(params, kind)
    specs = dora.partition_specs(trained, _SPECS)
    assert jax.tree.structure(specs) == jax.tree.structure(trained)
    found = {name: node for name, node in dora.nodes(specs).items() if name in _SPECS}
    m = {
        "dense/kernel": P(None, "tensor"),
        "join/kernel": P(None, None),
        "turned/kernel": P(None, "tensor"),
        "blocks/heads/kernel": P(None, None, None),  # two axes of outputs: whole
    }
    assert {name: node.b for name, node in found.items()} == m
    assert {name: node.a for name, node in found.items()} == {
        "dense/kernel": P("fsdp", None),
        "join/kernel": P(None, None),
        "turned/kernel": P("fsdp", None),
        "blocks/heads/kernel": P(None, "fsdp", None),
    }
    assert specs["embed"]["embedding"].rows == P()
    squares = dora.squares_specs(specs)
    assert jax.tree.structure(squares) == jax.tree.structure(dora.squares(params, trained))
    if kind == "dora":
        assert {name: node.m for name, node in found.items()} == m
        assert squares["turned"]["kernel"] == m["turned/kernel"]


@pytest.mark.parametrize("path", ["apply", "intercept"])
def test_a_sharded_product_and_its_gradients_are_the_unsharded_ones(rng, path):
    mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2, 2), ("data", "fsdp", "tensor"))
    model = nn.Dense(12, use_bias=False)
    params = {"kernel": jnp.asarray(rng.normal(size=(8, 12)), jnp.float32)}
    x = jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)
    start = dora.init(jax.random.key(0), params, dora.all_linear(3, 5.0))
    trained = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(x.dtype), start)

    @jax.jit
    def value_and_gradients(params, squares, trained, x):
        def loss(trained, x):
            if path == "apply":
                y = model.apply({"params": dora.apply(params, trained)}, x)
            else:
                with dora.intercept(params, trained, squares=squares) as variables:
                    y = model.apply(variables, x)
            return jnp.sum(jnp.sin(y)), y

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(trained, x)

    whole = (params, dora.squares(params, trained), trained, x)
    kernel = {"kernel": P("fsdp", "tensor")}
    specs = dora.partition_specs(trained, kernel)
    parts = (kernel, dora.squares_specs(specs), specs, P("data"))
    put = jax.tree.map(lambda spec, x: jax.device_put(x, NamedSharding(mesh, spec)), parts, whole)
    assert put[2]["kernel"].b.addressable_shards[0].data.shape == (3, 6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        value_and_gradients(*put),
        value_and_gradients(*whole),
    )
