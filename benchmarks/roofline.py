"""Launches, bytes and modelled time of a training step on devices that are not here.

    python -m benchmarks.roofline --target=cuda:h200
    python -m benchmarks.roofline --target=cuda:h200 --no-kernels

From the optimised program: every kernel that a step executes, loops as often as they turn, takes
max(bytes / bandwidth, operations / rate) and a launch: 5 us on a GPU, 1 us on a TPU. A kernel reads
its operands and writes its results once; of an array that it slices, the slice. What a TPU keeps in
VMEM is free. Operations are those of matrix products: what is inside a Pallas kernel is not seen,
nor that its steps wait for each other. The roofline is max(operations / rate, bytes / bandwidth) of
the model's own operations, and of parameters, AdamW's moments and the blocks' inputs moved once.
"""

import argparse
import dataclasses
import functools
import json
import math
import re

from benchmarks.floor import abstract_parameters
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.mmrec.kernels import kernels_for
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import find_target
from mmrec_jax.train.monitor import training_flops_per_token
from mmrec_jax.tree import count

# Bytes a second, dense bfloat16 operations a second, seconds a launch; from data sheets.
_CHIPS = {"cuda:h200": (4.8e12, 989e12, 5e-6), "v5e:2x2": (819e9, 197e12, 1e-6)}
_PASSES = 4  # of Newton's method on a trained language model (README.md), one before its loop
_WIDTHS = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\](\{[^}]*\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%([\w.-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.+?) ([a-z][\w-]*)\((.*)$")
_CALLED = re.compile(r"(?:calls|to_apply|body)=%([\w.-]+)")
_BRANCHES = re.compile(r"(?:branch_computations=\{|(?:true|false)_computation=)([^}]*?)(?:\}|,|$)")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
_FREE |= {"partition-id", "replica-id", "optimization-barrier", "add-dependency"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    result: str
    operation: str
    operands: list[str]
    rest: str  # what is in and after the parentheses

    @property
    def dimensions(self) -> list[int]:
        """Of the first array of the result."""
        found = _ARRAY.search(self.result)
        return _numbers(found[2]) if found else []

    @property
    def size(self) -> int:
        """Bytes of the result that are not in a TPU's VMEM."""
        return sum(
            _bytes(dtype, shape)
            for dtype, shape, layout in _ARRAY.findall(self.result)
            if "S(1)" not in layout
        )

    def numbers(self, name: str) -> list[int]:
        """Those of an attribute."""
        found = re.search(rf'{name}"?[=:][{{\[]([\d,"]*)[}}\]]', self.rest)
        return _numbers(found[1].replace('"', "")) if found else []


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a step, or of a part of it."""

    launches: int = 0
    bytes: int = 0
    operations: int = 0
    seconds: float = 0.0

    def plus(self, other: "Cost", times: int = 1) -> "Cost":
        """This and the other, so many times."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Cost(*(a + times * b for a, b in pairs))


class Program:
    """An optimised program as text, on a chip."""

    def __init__(self, text: str, chip: tuple[float, float, float]) -> None:
        self._chip, self._entry = chip, ""
        self._computations: dict[str, Computation] = {}
        current: Computation = {}
        for line in text.splitlines():
            if head := _COMPUTATION.match(line):
                current = self._computations[head[2]] = {}
                self._entry = head[2] if head[1] else self._entry
            elif found := _INSTRUCTION.match(line):
                name, result, operation, rest = found.groups()
                operands = re.findall(r"%([\w.-]+)", rest.partition(")")[0])
                current[name] = Instruction(result, operation, operands, rest)

    def cost(self, name: str | None = None) -> Cost:
        """Of a computation; of the whole program when None."""
        total, computation = Cost(), self._computations[name or self._entry]
        for each in computation.values():
            called = _CALLED.search(each.rest)
            if each.operation in _FREE or each.operation.endswith("-done"):
                continue
            if each.operation == "while" and called:
                total = total.plus(self.cost(called[1]), self._turns(each))
            elif each.operation == "conditional":  # Newton's fall-back, which is not taken
                names = re.findall(r"%([\w.-]+)", " ".join(_BRANCHES.findall(each.rest)))
                total = total.plus(min((self.cost(x) for x in names), key=lambda x: x.seconds))
            elif each.operation == "call" and called:
                total = total.plus(self.cost(called[1]))
            else:
                total = total.plus(self._kernel(each, computation))
        return total

    def _turns(self, loop: Instruction) -> int:
        """Of a loop that counts to a constant; of Newton's, which does not, `_PASSES`."""
        if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(known[1])
        named = re.search(r"condition=%([\w.-]+)", loop.rest)
        assert named is not None
        condition = self._computations[named[1]].values()
        limits = [x.rest.partition(")")[0] for x in condition if x.operation == "constant"]
        counts = {x.operation for x in condition} <= {*_FREE, "compare"} and len(limits) == 1
        return int(limits[0]) if counts else _PASSES

    def _kernel(self, each: Instruction, around: Computation) -> Cost:
        bandwidth, rate, launch = self._chip
        if each.operation.endswith("-start"):  # of a copy, beside the kernels: what it copies
            arrays = [_bytes(dtype, shape) for dtype, shape, _ in _ARRAY.findall(each.result)]
            return Cost(0, min(arrays[:2]), 0, min(arrays[:2]) / bandwidth)
        inside = self._inside(each)
        moved = _moved(each, around, inside)
        operations = self._operations(each, around)
        return Cost(1, moved, operations, max(moved / bandwidth, operations / rate) + launch)

    def _inside(self, each: Instruction) -> Computation:
        called = _CALLED.search(each.rest) if each.operation == "fusion" else None
        return self._computations[called[1]] if called else {}

    def _operations(self, each: Instruction, around: Computation) -> int:
        """Multiplications and additions of matrix products."""
        inside = self._inside(each)
        if inside:
            return sum(self._operations(x, inside) for x in inside.values())
        gemm = each.operation == "custom-call" and "dot_dimension_numbers" in each.rest
        if each.operation == "dot" or gemm:
            name = "lhs_contracting_dim" + ("ensions" if gemm else "s")
            left = around[each.operands[0]].dimensions
            return 2 * math.prod(each.dimensions) * math.prod(left[i] for i in each.numbers(name))
        if each.operation == "convolution":  # what a product is to a TPU's compiler
            labels = re.search(r"dim_labels=\w+_(\w+)->(\w+)", each.rest)
            assert labels is not None
            kernel, result = around[each.operands[1]].dimensions, each.dimensions
            # Axes that are summed: the features, and any other that the result does not have.
            summed = [
                size
                for size, label in zip(kernel, labels[1], strict=True)
                if label == "i" or (label.isdigit() and result[labels[2].index(label)] == 1)
            ]
            return 2 * math.prod(result) * math.prod(summed)
        return 0


def _moved(each: Instruction, around: Computation, inside: Computation) -> int:
    """Bytes that a kernel reads and writes."""
    if each.operation == "dynamic-slice":
        return 2 * each.size
    if each.operation == "dynamic-update-slice":
        return 2 * around[each.operands[1]].size
    read = [around[x].size if x in around else 0 for x in each.operands]
    written = each.size
    for name, part in inside.items():
        users = [x for x in inside.values() if name in x.operands]
        sliced = [x for x in users if x.operands[0] == name]
        slices = [x for x in sliced if x.operation in ("dynamic-slice", "gather")]
        updates = [x for x in sliced if x.operation == "dynamic-update-slice"]
        if part.operation == "parameter" and users and len(slices) + len(updates) == len(users):
            read[int(part.rest.partition(")")[0])] = sum(x.size for x in slices)
        elif part.operation == "dynamic-update-slice":  # in place
            written += inside[part.operands[1]].size - part.size
    return sum(read) + max(written, 0)


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _bytes(dtype: str, shape: str) -> int:
    return _WIDTHS.get(dtype, 1) * math.prod(_numbers(shape))


def main() -> None:
    """Prints a JSON line: what the program does, and the roofline."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", choices=_CHIPS, required=True)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--no-kernels", action="store_true")
    options = parser.parse_args()
    chip = bandwidth, rate, _ = _CHIPS[options.target]
    model = dataclasses.replace(SIZES[options.size], dtype="bfloat16")
    config = Config(
        model=model,
        data=TreebankConfig(seq_len=options.length),
        train=TrainConfig(steps=1000, batch_size=options.rows, devices=1),
    )
    target = find_target(options.target, 1)
    lower = functools.partial(lower_steps, config, target)
    if options.no_kernels:
        with kernels_for(None):
            [(_, lowered)] = lower()
    else:
        [(_, lowered)] = lower()
    text = lowered.compile().as_text()
    assert text is not None
    cost = Program(text, chip).cost()
    parameters, tokens = count(abstract_parameters(model)), options.rows * options.length
    operations = tokens * training_flops_per_token(model.build(), parameters, 0, options.length)
    least = 12 * parameters + 2 * tokens * model.D * model.num_layers
    roofline = max(operations / rate, least / bandwidth)
    found = vars(options) | dataclasses.asdict(cost)
    found |= {"roofline_seconds": roofline, "ratio": cost.seconds / roofline}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
