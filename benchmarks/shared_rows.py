r"""Memory of a device where several share one long row, by the compiler's account.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m benchmarks.shared_rows

Compiles the training step of `--size` (AdamW, one row) at each of `--lengths` for one simulated CPU
device and for `--devices` on the mesh axis "sequence", runs nothing, and prints a Markdown table.
"""

import argparse

import jax

from benchmarks.markdown import header, row
from mmrec_jax.config import Config, MeshConfig, TrainConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.objectives.config import CrossEntropyConfig, Objectives
from mmrec_jax.plan.program import compile_program
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import Target

# Of logits at once on a device, for both: else they take as much as the whole share of a row.
_CHUNK = 256


def bytes_of_a_device(size: str, length: int, devices: int) -> int:
    """What the step of one row of so many tokens takes of each device."""
    config = Config(
        model=SIZES[size],
        objectives=Objectives(cross_entropy=CrossEntropyConfig(chunk=_CHUNK)),
        data=TextConfig(train="none.txt", seq_len=length),
        train=TrainConfig(steps=1, batch_size=1),
        mesh=MeshConfig(sequence=devices),
    )
    target = Target(tuple(jax.devices()[:devices]), 0)
    ((_, lowered),) = lower_steps(config, target)
    return compile_program(lowered).total


def main() -> None:
    """Compiles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--lengths", type=int, nargs="+", default=[8_192, 32_768, 131_072])
    options = parser.parse_args()
    columns = "tokens", "one device, MiB", f"each of {options.devices}, MiB", "one / each"
    print("\n".join(header(columns)))
    for length in options.lengths:
        one, each = (bytes_of_a_device(options.size, length, n) for n in (1, options.devices))
        cells = (f"{x / 2**20:.1f}" for x in (one, each))
        print(row((f"{length:,}", *cells, f"{one / each:.2f}")), flush=True)


if __name__ == "__main__":
    main()
