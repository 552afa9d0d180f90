from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmrec_jax.plan.program import compile_program, count_collectives
from mmrec_jax.train.mesh import arrange


class Refused:
    def __init__(self, message):
        self._message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self._message)


def test_what_a_program_takes_of_one_device():
    mesh = arrange(jax.devices(), fsdp=4)
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["fsdp"], []))
    x = jax.ShapeDtypeStruct((4096, 64), jnp.float32, sharding=split)
    program = compile_program(jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=whole).lower(x))
    assert program.arguments == 4096 * 64 * 4 / 4
    assert program.total == program.arguments + program.temporaries
    assert program.collectives["all-reduce"] == (1, 64 * 4)
    assert program.collectives["all-gather"] == (0, 0)


def test_an_output_in_the_place_of_an_argument_takes_no_memory():
    sizes = {"argument": 100, "output": 50, "alias": 47, "temp": 10, "generated_code": 1}
    memory = SimpleNamespace(**{f"{name}_size_in_bytes": n for name, n in sizes.items()})
    compiled = SimpleNamespace(memory_analysis=lambda: memory, as_text=lambda: "")
    program = compile_program(SimpleNamespace(compile=lambda: compiled))
    assert (program.arguments, program.temporaries, program.total) == (100, 14, 114)


@pytest.mark.parametrize(
    ("words", "total"),
    [
        ("the total memory required for HLO temporaries (20.62G) exceeds available HBM", 20.62),
        ("Ran out of memory in memory space hbm. Used 16.84G of 15.75G hbm.", 16.84),
    ],
)
def test_a_program_that_the_compiler_refuses_has_a_total_alone(words, total):
    program = compile_program(Refused(f"RESOURCE_EXHAUSTED: {words}"))
    assert program.total == int(total * 2**30)
    assert program.arguments is program.temporaries is program.collectives is None
    with pytest.raises(jax.errors.JaxRuntimeError):
        compile_program(Refused("INTERNAL: (20.62G) exceeds"))


def test_collectives_of_a_text():
    text = """
      %a = (f32[4,8]{1,0}, bf16[3]{0}) all-gather-start(%x, %y), dimensions={0}
      %b = (f32[4,8]{1,0}, bf16[3]{0}) all-gather-done(%a)
      %d = pred[8]{0} fusion(%all-gather.1), calls=%all-gather
      %e = s64[2]{0} all-reduce(%b), to_apply=%sum
      ROOT %c = f8e4m3fn[] all-reduce(%b), to_apply=%sum
    """
    found = count_collectives(text)
    assert found.pop("all-gather") == (1, 4 * 8 * 4 + 3 * 2)
    assert found.pop("all-reduce") == (2, 2 * 8 + 1)
    assert set(found.values()) == {(0, 0)}
