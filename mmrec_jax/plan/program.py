"""What a compiled program takes of each device, and what its devices tell each other."""

import collections
import dataclasses
import math
import re
import time

import jax

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_OPERATION = re.compile(rf"^\s*\S.* = (.*?) ({'|'.join(KINDS)})(?:-start)?\(", re.MULTILINE)
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")  # f8e4m3fn[4,16] too
# What the compilers say of a program that does not fit: "(20.62G)" or "Used 16.84G of 15.75G".
_NEEDED = re.compile(r"(?:Used |\()([\d.]+)([KMGT])(?:\) exceeds| of )")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

Collectives = dict[str, tuple[int, int]]  # operations of a kind, bytes of their results


@dataclasses.dataclass(frozen=True)
class Program:
    """Bytes of one device; None where the compiler refused the program and said its total alone."""

    total: int
    arguments: int | None
    temporaries: int | None  # with the program's own code, and outputs that are no argument again
    collectives: Collectives | None
    seconds: float  # to compile


def compile_program(lowered: jax.stages.Lowered) -> Program:
    """Compiles a program for the devices that it was lowered for.

    Memory is the compiler's own account of a program that runs alone: arguments, which stay where
    they are, and one block for all that is made on the way.
    """
    begun = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = _NEEDED.search(str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or needed is None:
            raise
        total = int(float(needed[1]) * _UNITS[needed[2]])
        return Program(total, None, None, None, time.monotonic() - begun)
    seconds = time.monotonic() - begun
    memory, text = compiled.memory_analysis(), compiled.as_text()
    assert memory is not None  # every compiler here gives both
    assert text is not None
    arguments = memory.argument_size_in_bytes
    temporaries = memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    temporaries += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Program(
        arguments + temporaries, arguments, temporaries, count_collectives(text), seconds
    )


def count_collectives(program: str) -> Collectives:
    """The operations between devices in a compiled program, and the bytes of their results.

    Those in a loop over layers or chunks of time are counted once, as they stand in the program.
    """
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    for result, kind in _OPERATION.findall(program):
        counts[kind] += 1
        sizes[kind] += sum(
            int(bits or 8) * math.prod(int(n) for n in shape.split(",") if n) // 8
            for bits, shape in _ARRAY.findall(result)
        )
    return {kind: (counts[kind], sizes[kind]) for kind in KINDS}
