from types import SimpleNamespace

import numpy as np

from benchmarks.adapters import Method, table


def _method(seconds, size, numbers):
    state = SimpleNamespace(
        params={"a": np.zeros(numbers, np.float32)}, opt_state=np.zeros(2 * numbers, np.float32)
    )
    return Method(step=lambda *_: None, state=state, bytes=size, seconds=seconds)


def test_ratios_are_those_of_each_round_to_lora_on_the_same_path():
    methods = {
        "lora intercept": _method([1.0, 2.0, 4.0], 2**30, 2**18),
        "dora intercept": _method([1.5, 2.4, 4.0], 2**30 + 2**27, 2**18),
        "lora apply": _method([2.0, 2.0, 2.0], 2**31, 2**18),
        "all parameters": _method([9.0, 9.0, 9.0], 2**31, 2**20),
    }
    lines = table(methods)
    assert lines[2] == (
        "| lora intercept | 262,144 | 2.0 | 2.00 (1.00 to 4.00) | 1.00 | 1,024 | 1.00 |"
    )
    assert lines[3].endswith("| 2.40 (1.50 to 4.00) | 1.20 | 1,152 | 1.12 |")
    assert lines[4].endswith("| 1.00 | 2,048 | 1.00 |")
    assert lines[5].endswith("| 9.00 (9.00 to 9.00) |  | 2,048 |  |")
