r"""What the devices of a mesh send each other in one training step.

    XLA_FLAGS="--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0" \
        python -m benchmarks.collectives

Compiles the step of `--size` (AdamW, one microbatch of `--rows` rows) for each mesh (data, fsdp,
tensor) of simulated devices and counts the collective operations in the compiled program, with the
bytes of their results on one device. Operations in a loop over layers or chunks of time are counted
once, as they stand in the program. Prints a Markdown table.
"""

import argparse

import jax
from jax.sharding import Mesh

from benchmarks.markdown import header, row
from benchmarks.workload import plain_objectives
from mmrec_jax.config import Config, MeshConfig, OptimConfig, TrainConfig
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.plan.program import KINDS, count_collectives
from mmrec_jax.train.compiled_steps import lower_step
from mmrec_jax.train.mesh import abstract_on, make_mesh, state_shardings
from mmrec_jax.train.state import initial_state
from mmrec_jax.tree import num_bytes


def step_of(config: Config, mesh: Mesh) -> tuple[str, float]:
    """The compiled step, and the share of parameters and optimizer state that a device holds."""
    model = config.model.fitted(config.train.batch_size, "cpu").build()
    objectives = plain_objectives()
    optimizer = build_optimizer(config.optim, 10, model.decays)
    state = jax.eval_shape(lambda: initial_state(model, objectives, optimizer, 0))
    state = abstract_on(state, state_shardings(state, model, mesh))
    held = (state.params, state.opt_state)
    own = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.sharding.shard_shape(x.shape), x.dtype), held
    )
    program = lower_step(config, mesh, model, objectives, optimizer, state).compile()
    text = program.as_text()
    assert text is not None  # the compiler of every platform here gives it
    return text, num_bytes(own) / num_bytes(held)


def main() -> None:
    """Compiles the step for each mesh and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mesh", nargs="+", default=["8,1,1", "1,8,1", "1,1,8", "2,2,2"])
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--rows", type=int, default=8)
    options = parser.parse_args()
    print("\n".join(header(("data, fsdp, tensor", "share per device", *KINDS))))
    for text in options.mesh:
        data, fsdp, tensor = map(int, text.split(","))
        config = Config(
            model=SIZES[options.size],
            optim=OptimConfig(),
            mesh=MeshConfig(data=data, fsdp=fsdp, tensor=tensor),
            train=TrainConfig(steps=1, batch_size=options.rows, devices=data * fsdp * tensor),
        )
        program, share = step_of(config, make_mesh(config))
        found = count_collectives(program).values()
        cells = (f"{count}, {size / 2**20:.2f} MiB" if count else "-" for count, size in found)
        print(row((text, f"{share:.3f}", *cells)), flush=True)


if __name__ == "__main__":
    main()
