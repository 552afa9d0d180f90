"""XLA flags that every program needs, set before JAX starts its backend.

jaxlib 0.10.2 compiles some fused CPU reductions to wrong code. With x [2049, 8] and C [2, 2049, 8]
`C * (x * C).sum(-1, keepdims=True)` is right for C[0] and off by 45 for C[1]; the batched
cotangents of `jax.vmap(pullback)` and `jax.jacrev` have that form. An empty
`xla_cpu_experimental_ynn_fusion_type` switches the fusions off. 0.10.0 and 0.10.1 are right with
and without the flag. XLA aborts on a flag that it does not know, so no other version is given it.
"""

import os
import sys
import warnings
from importlib import metadata
from pathlib import Path

_FUSION_FLAG = "xla_cpu_experimental_ynn_fusion_type"
_AFFECTED = ("0.10.2",)


def with_required(flags: str) -> str:
    """`flags`, the value of XLA_FLAGS, and those that this jaxlib needs; what is set there stays.

    A value that does not begin with "-" names a file of flags; its text is returned then, so that
    something can be added to it.
    """
    if metadata.version("jaxlib") not in _AFFECTED:
        return flags
    given = flags.strip()
    if given and not given.startswith("-"):
        if not Path(given).is_file():
            return flags  # XLA complains about it
        given = Path(given).read_text("utf-8").strip()
    return flags if _FUSION_FLAG in given else f"{given} --{_FUSION_FLAG}=".strip()


def set_required() -> None:
    """Adds the flags to this process's environment, which the processes it starts inherit.

    Warns where JAX has started its backend without them: it read the flags then, for good.
    """
    before = os.environ.get("XLA_FLAGS", "")
    flags = with_required(before)
    if flags == before:
        return
    os.environ["XLA_FLAGS"] = flags
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and bridge.backends_are_initialized():
        warnings.warn(
            f"jaxlib {metadata.version('jaxlib')} computes wrong numbers on the CPU in some fused "
            "reductions; JAX had started before mmrec_jax could switch them off. Import mmrec_jax "
            f"before the first computation, or set XLA_FLAGS=--{_FUSION_FLAG}=",
            stacklevel=3,
        )
