import jax
import jax.numpy as jnp
from jax.sharding import AbstractDevice, AbstractMesh

from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import resolve_backend
from mmrec_jax.models.partition import device_kind

TPU = AbstractMesh((2,), ("data",), abstract_device=AbstractDevice("TPU v5 lite", 1, "tpu"))


def test_the_devices_are_those_of_the_mesh_in_use_not_those_that_are_here():
    assert device_kind() == ("cpu", "cpu")
    with jax.sharding.use_abstract_mesh(TPU):
        assert device_kind() == ("tpu v5 lite", "tpu")


def test_auto_scans_are_chosen_for_the_devices_of_the_mesh():
    def iterations():
        x, w = jnp.full((1, 64, 4), 0.5), jnp.ones(4)
        return gated_scan(x, x, w, w)[2]["iterations"]

    assert iterations() == 0  # stepped through
    assert resolve_backend("auto", 8, 256) == "sequential"
    with jax.sharding.use_abstract_mesh(TPU):
        assert iterations() > 0  # Newton's method
        assert resolve_backend("auto", 8, 256) == "associative"
