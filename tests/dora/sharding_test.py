import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmrec_jax import dora
from tests.dora.small_trees import adapters, base
from tests.small_step import assert_close, mesh, moved

_SPECS = {"dense/kernel": P("fsdp"), "blocks/out/kernel": P(None, "tensor", "fsdp")}
_SPECS |= {"blocks/norm/scale": P(None, "tensor")}


def test_adapters_lie_beside_their_kernels():
    trained = adapters(base())
    specs = dora.partition_specs(trained, _SPECS)
    assert jax.tree.structure(specs) == jax.tree.structure(trained)
    found = {name: node for name, node in dora.nodes(specs).items() if name.endswith("kernel")}
    assert {name: (node.a, node.b) for name, node in found.items()} == {
        "dense/kernel": (P("fsdp", None), P(None, None)),
        "blocks/out/kernel": (P(None, "tensor", None), P(None, None, "fsdp")),
    }
    assert all(node.m == node.b for node in found.values())
    assert specs["embed"]["embedding"].rows == P()
    assert specs["blocks"]["norm"]["scale"].value == P(None, "tensor")


@pytest.mark.parametrize("path", ["apply", "intercept"])
def test_a_sharded_product_and_its_gradients_are_the_unsharded_ones(rng, path):
    model, devices = nn.Dense(12, use_bias=False), mesh(2, 2, 2)
    params = {"kernel": jnp.asarray(rng.normal(size=(8, 12)), jnp.float32)}
    x = jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)
    start = jax.jit(lambda: dora.init(jax.random.key(0), params, dora.all_linear(3, 5.0)))()

    @jax.jit
    def value_and_gradients(params, trained, x):
        def loss(trained, x):
            if path == "apply":
                y = model.apply({"params": dora.apply(params, trained)}, x)
            else:
                with dora.intercept(params, trained) as variables:
                    y = model.apply(variables, x)
            return jnp.sum(jnp.sin(y)), y

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(trained, x)

    whole = (params, moved(start, 0.3), x)
    kernel = {"kernel": P("fsdp", "tensor")}
    parts = (kernel, dora.partition_specs(start, kernel), P("data"))
    put = jax.device_put(whole, jax.tree.map(lambda spec: NamedSharding(devices, spec), parts))
    assert put[1]["kernel"].b.addressable_shards[0].data.shape == (3, 6)
    assert_close(value_and_gradients(*put), value_and_gradients(*whole), 1e-5)
