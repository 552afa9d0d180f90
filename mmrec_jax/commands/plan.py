"""`mmrec plan`: whether a run fits into the memory of devices that need not be here."""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrec_jax.plan.program import Program

_DESCRIPTION = """Compiles the training step of a config for a slice of a TPU or for
CUDA cards, without them, without weights and without data, and prints what it takes of each device.
The exit status is 0 where it fits and 1 where it does not. The numbers are the compiler's own, of
the program alone: the driver and other processes need memory besides."""
_GIB = 2**30
_JAX_SHARE = 0.75  # of a GPU's memory that JAX takes by default


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser(
        "plan",
        help="whether a run fits into the memory of devices that are not here",
        description=_DESCRIPTION,
    )
    parser.add_argument("--config", required=True, help="the run: a file, or a name such as tiny")
    parser.add_argument(
        "--target",
        required=True,
        help="v5e:2x4, v5p:2x2x2, v6e:2x2 and the like (extra plan-tpu); cuda:rtx4070 and other "
        "cards, or cuda:FILE, a description (extra plan-cuda)",
    )
    parser.add_argument("--devices", type=int, metavar="N", help="so many cards, or chips of it")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compiles and prints; the status comes as `SystemExit`."""
    from mmrec_jax.config_file import read_config

    config = read_config(options.config, options.overrides)
    import jax

    jax.config.update("jax_platforms", "cpu")  # nothing is run, here least of all on accelerators
    from mmrec_jax.plan.program import compile_program
    from mmrec_jax.plan.step import lower_steps
    from mmrec_jax.plan.target import find_target
    from mmrec_jax.train.mesh import memory_remedy

    target = find_target(options.target, options.devices)
    count = config.train.devices or len(target.devices)
    programs: dict[str, Program] = {}
    for name, lowered in lower_steps(config, target):
        print(f"compiling the {name} for {count} x {target.kind}", file=sys.stderr, flush=True)
        programs[name] = compile_program(lowered)
    needed = max(program.total for program in programs.values())
    fits = needed <= target.memory
    if options.json:
        record = {
            "config": options.config,
            "overrides": options.overrides,
            "target": options.target,
            "device": target.kind,
            "devices": count,
            "bytes_per_device": needed,
            "memory_per_device": target.memory,
            "fits": fits,
            "programs": {name: dataclasses.asdict(each) for name, each in programs.items()},
            "versions": _versions(),
        }
        print(json.dumps(record, indent=2))
    else:
        for name, program in programs.items():
            print("\n".join(_report(name, program)))
        share = f"{needed / target.memory:.0%} of the {target.memory / _GIB:.2f} GiB"
        print(f"{'fits' if fits else 'does not fit'}: {share} of each {target.kind}")
        if not fits:
            print(f"to make it fit: {memory_remedy(config)}")
        elif target.platform == "gpu" and needed > _JAX_SHARE * target.memory:
            print(
                f"JAX takes {_JAX_SHARE:.0%} of a GPU's memory at most, unless the environment has "
                "XLA_PYTHON_CLIENT_MEM_FRACTION=0.95"
            )
    raise SystemExit(0 if fits else 1)


def _report(name: str, program: "Program") -> Iterator[str]:
    """The lines of one program."""
    yield f"{name}, compiled in {program.seconds:.0f} s; of each device:"
    if program.arguments is None or program.temporaries is None:
        yield f"  total        {_gib(program.total)} (the compiler refused it: no parts are known)"
        return
    yield f"  arguments    {_gib(program.arguments)}"
    yield f"  temporaries  {_gib(program.temporaries)}"
    yield f"  total        {_gib(program.total)}"
    for kind, (count, size) in (program.collectives or {}).items():
        if count:
            yield f"  {kind:18} {count:4} in the program (in a loop: once), {_gib(size)}"


def _gib(size: int) -> str:
    return f"{size / _GIB:8.3f} GiB ({size:,} bytes)"


def _versions() -> dict[str, str]:
    """Of what compiles, as far as it is installed."""
    found = {}
    for name in ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
