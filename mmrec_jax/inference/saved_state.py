"""A text's state in a file: to continue it later, on another machine, or in several ways.

What comes back is bit for bit what was saved, logits included; what is computed from it is the
same wherever the same program runs on the same kind of device.
"""

import os
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmrec_jax.checkpoints.identity import difference, identity
from mmrec_jax.checkpoints.tensor_file import TensorFormat, Tensors
from mmrec_jax.errors import UserError
from mmrec_jax.inference.prefill import TextState
from mmrec_jax.inference.rereading import state_shapes, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import map_named, named_leaves

STATE_FORMAT = TensorFormat("saved state", key="mmrec_jax saved state")
_FACTS = {"model": dict, "tokenizer": str, "tokens_read": int, "draws": int, "pending": int}
_OWN = ("logits", "seen", "tail")


def save_state(
    path: str | os.PathLike[str],
    state: TextState,
    model: LanguageModel,
    params: Params,
    tokenizer: Tokenizer,
    *,
    step: int | None = None,
) -> int:
    """Writes a state, in one step; a file of the same name is replaced.

    `state` is what `generate` gave to `on_state`; with it go a hash of each parameter, the
    tokenizer's fingerprint and the training step, for the message to who loads it with others.

    Returns:
      The file's size in bytes.

    Raises:
      UserError: the state holds NaN or infinity, or the file cannot be written.
    """
    kept = named_leaves(with_room(state.state, 0))
    tensors = {
        **{_tensor(name): np.asarray(leaf) for name, leaf in kept.items()},
        "logits": state.logits,
        "seen": state.seen,
        "tail": np.asarray(state.tail, np.int32),
    }
    if found := _not_finite(tensors):
        raise UserError(f"{path}: the state is not saved: {found}")
    facts = {
        "model": identity(model.config, params),
        "tokenizer": tokenizer.fingerprint,
        "step": step,
        "tokens_read": state.length,
        "draws": state.draws,
        "pending": state.pending,
    }
    return STATE_FORMAT.write(path, tensors, facts)


def load_state(
    path: str | os.PathLike[str], model: LanguageModel, params: Params, tokenizer: Tokenizer
) -> TextState:
    """The state in a file, for `generate`; nothing is compiled.

    Raises:
      UserError: the file is missing, damaged, cut off, no saved state or from a newer version; or
        its state belongs to another model, other parameters or another tokenizer, has a wrong
        shape, or holds NaN or infinity.
    """
    tensors, facts = STATE_FORMAT.read(path)
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise UserError(f"{path}: the state is damaged: {name} is {facts.get(name)!r}")
    if differing := difference(facts["model"], identity(model.config, params)):
        saved_at = facts.get("step")
        step = "" if saved_at is None else f" (it was saved at training step {saved_at})"
        raise UserError(f"{path}: the state belongs to another model{step}: {differing}")
    if facts["tokenizer"] != tokenizer.fingerprint:
        raise UserError(
            f"{path}: the state belongs to another tokenizer ({facts['tokenizer'][:12]} in the "
            f"file, {tokenizer.fingerprint[:12]} here): its tokens mean something else"
        )
    shapes = state_shapes(with_state(model), facts["tokens_read"])
    _require_shapes(tensors, named_leaves(shapes), model.config.vocab_size, path)
    if found := _not_finite(tensors):
        raise UserError(f"{path}: the state cannot be continued: {found}")
    return TextState(
        state=map_named(lambda name, _: jnp.asarray(tensors[_tensor(name)]), shapes),
        logits=tensors["logits"],
        seen=tensors["seen"],
        length=facts["tokens_read"],
        draws=facts["draws"],
        tail=tuple(tensors["tail"].tolist()),
        pending=facts["pending"],
    )


def _tensor(name: str) -> str:
    """What a leaf of the model's state is called in the file: as its path, if that is free."""
    return name if name and name not in _OWN else f"state/{name}"


def _require_shapes(
    tensors: Tensors, state: dict[str, Any], vocab_size: int, path: str | os.PathLike[str]
) -> None:
    expected = {_tensor(name): (leaf.shape, leaf.dtype) for name, leaf in state.items()}
    expected["logits"] = ((1, vocab_size), np.dtype(np.float32))
    expected["seen"] = ((1, vocab_size), np.dtype(bool))
    expected["tail"] = ((tensors.get("tail", np.zeros(0)).size,), np.dtype(np.int32))
    for name, (shape, dtype) in expected.items():
        found = tensors.get(name)
        if found is None:
            raise UserError(f"{path}: the state lacks {name}")
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"{path}: {name} is {found.dtype} {list(found.shape)} in the file; this model's is "
                f"{dtype} {list(shape)}"
            )


def _not_finite(tensors: Tensors) -> str:
    """The first tensor with values that are NaN or infinite, in words; empty if there is none."""
    for name, values in tensors.items():
        if jnp.issubdtype(values.dtype, jnp.floating) and not np.isfinite(values).all():
            return f"{name} holds {'NaN' if np.isnan(values).any() else 'infinity'}"
    return ""
