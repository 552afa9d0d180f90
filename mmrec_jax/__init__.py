"""MM-Rec (Multi-Memory Recurrence): language models whose context is a state of fixed size.

model, params, tokenizer = mmrec_jax.load("runs/tiny")
print(mmrec_jax.generate(model, params, tokenizer, "Bir gün")[0])

A text can be stopped, kept in a file, and continued, more than once:

states = []
mmrec_jax.generate(model, params, tokenizer, "Bir gün", on_state=states.append)
mmrec_jax.save_state("text.state", states[0], model, params, tokenizer)
state = mmrec_jax.load_state("text.state", model, params, tokenizer)
print(mmrec_jax.generate(model, params, tokenizer, " Sonra", state=state)[0])

A model that was trained on conversations (`configs/finetune.py`) responds:

print(mmrec_jax.reply(model, params, tokenizer, "Bu cümleyi tamamla: Bir gün")[0])

What the model predicts after each token of some rows, [B, T, V]:

mmrec_jax.logits(model, params, tokenizer.encode("Bir gün")[None])
"""

import importlib
from typing import TYPE_CHECKING, Any

from mmrec_jax.xla_flags import set_required

if TYPE_CHECKING:
    from mmrec_jax.checkpoints.load import load
    from mmrec_jax.inference.chat import reply
    from mmrec_jax.inference.generate import generate
    from mmrec_jax.inference.prefill import logits
    from mmrec_jax.inference.saved_state import load_state, save_state

__all__ = ["generate", "load", "load_state", "logits", "reply", "save_state"]

_HOMES = {
    "generate": "mmrec_jax.inference.generate",
    "load": "mmrec_jax.checkpoints.load",
    "load_state": "mmrec_jax.inference.saved_state",
    "logits": "mmrec_jax.inference.prefill",
    "reply": "mmrec_jax.inference.chat",
    "save_state": "mmrec_jax.inference.saved_state",
}

set_required()


def __getattr__(name: str) -> Any:
    # Imported on first use: `import mmrec_jax` alone must not wait for JAX to start.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
