"""flash-linear-attention's chunked gated delta rule on a card: seconds, forward and backward.

    python -m benchmarks.peers.fla_delta '{"rows": 8, "length": 4096, "heads": 8, "size": 128}'

Prints a JSON line. Needs torch with CUDA, and `fla`; no JAX.
"""

import json
import sys
import time

import torch
from fla.ops.gated_delta_rule import chunk_gated_delta_rule
from torch.nn import functional

_REPEATS = 10


def main() -> None:
    """Measures the shape that the first argument describes."""
    shape = json.loads(sys.argv[1])
    leading = shape["rows"], shape["length"], shape["heads"]
    torch.manual_seed(0)
    options = {"device": "cuda", "dtype": torch.bfloat16}
    q, k, v = (torch.randn(*leading, shape["size"], **options) for _ in range(3))
    q, k = (functional.normalize(x, dim=-1) for x in (q, k))
    decay = functional.logsigmoid(torch.randn(leading, device="cuda") + 4)
    inputs = [q, k, v, decay, torch.rand(leading, **options)]
    for x in inputs:
        x.requires_grad_()
    best = float("inf")
    for _ in range(_REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        read, _ = chunk_gated_delta_rule(*inputs)
        torch.autograd.grad(read.float().sum(), inputs)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    print(json.dumps({"seconds": best}), flush=True)


if __name__ == "__main__":
    main()
