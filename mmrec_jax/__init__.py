"""MM-Rec (Multi-Memory Recurrence): language models whose context is a state of fixed size.

model, params, tokenizer = mmrec_jax.load("runs/tiny")
print(mmrec_jax.generate(model, params, tokenizer, "Bir gün")[0])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrec_jax.generation import generate
    from mmrec_jax.loading import load

__all__ = ["generate", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import mmrec_jax` alone must not wait for JAX to start.
    if name == "load":
        from mmrec_jax.loading import load

        return load
    if name == "generate":
        from mmrec_jax.generation import generate

        return generate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
