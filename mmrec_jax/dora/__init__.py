"""Low-rank adapters of frozen weights: DoRA (arXiv 2402.09353), LoRA (arXiv 2106.09685), rsLoRA.

    V  = W + s A B                    s = alpha / rank   (rsLoRA: alpha / sqrt(rank))
    W' = V                            LoRA
    W' = m V / norm(V)                DoRA, the norm of each output feature over its inputs

`params` is any tree of arrays, such as a Flax model's; `adapters` is a tree beside it whose leaves
are float arrays named `a`, `b`, `m` (`rows`, of an embedding; `value`, of what is trained whole),
and all functions are pure:

    rules = dora.all_linear(rank=8, alpha=16.0)
    adapters = dora.init(key, params, rules)
    logits = model.apply({"params": dora.apply(params, adapters)}, tokens)

    with dora.intercept(params, adapters, dropout=0.1) as variables:   # never forms A B
        logits = model.apply(variables, tokens, rngs={"dropout": key})

    merged, norms = dora.merge(params, adapters)
    params = dora.unmerge(merged, adapters, norms)
"""

from mmrec_jax.dora.adapter import Adapter, Rows, Whole, init, nodes, partition_specs
from mmrec_jax.dora.interception import intercept
from mmrec_jax.dora.peft_format import read_peft, write_peft
from mmrec_jax.dora.rules import AdapterRule, RowRule, WholeRule, all_linear
from mmrec_jax.dora.transform import apply, merge, squares, unmerge

__all__ = [
    "Adapter",
    "AdapterRule",
    "RowRule",
    "Rows",
    "Whole",
    "WholeRule",
    "all_linear",
    "apply",
    "init",
    "intercept",
    "merge",
    "nodes",
    "partition_specs",
    "read_peft",
    "squares",
    "unmerge",
    "write_peft",
]
