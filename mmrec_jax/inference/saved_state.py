"""A text's state in a file: to continue it later, on another machine, or in several ways.

What comes back is bit for bit what was saved, logits included; what is computed from it is the
same wherever the same program runs on the same kind of device.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.checkpoints.identity import difference, identity
from mmrec_jax.checkpoints.tensor_file import TensorFormat, Tensors
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.inference.text_state import TextState
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.models.mmrec.state import MMRecState, zero_state

STATE_FORMAT = TensorFormat("saved state", key="mmrec_jax saved state")
_FACTS = {"model": dict, "tokenizer": str, "draws": int, "pending": int}
_MEMORY = ("h", "m", "segment", "position")


def save_state(
    path: str | os.PathLike[str],
    state: TextState,
    model: MMRecLM,
    params: Any,
    tokenizer: Tokenizer,
    *,
    step: int | None = None,
) -> int:
    """Writes a state, in one step; a file of the same name is replaced.

    Args:
      path: the file (safetensors; `checkpoints/tensor_file.py`).
      state: what `generate` gave to `on_state`.
      model: the model that read it.
      params: its parameters; a hash of each goes with the state.
      tokenizer: its tokenizer; its fingerprint goes with the state.
      step: the training step of the parameters, for the message to who loads it with others.

    Returns:
      The file's size in bytes.

    Raises:
      UserError: the state holds NaN or infinity, or the file cannot be written.
    """
    tensors = {
        **{name: np.asarray(getattr(state.memory, name)) for name in _MEMORY},
        "logits": state.logits,
        "seen": state.seen,
        "tail": np.asarray(state.tail, np.int32),
    }
    if where := _not_finite(tensors):
        raise UserError(f"{path}: the state is not saved: {where}")
    facts = {
        "model": identity(model.config, params),
        "tokenizer": tokenizer.fingerprint,
        "step": step,
        "tokens_read": state.tokens_read,
        "draws": state.draws,
        "pending": state.pending,
    }
    return STATE_FORMAT.write(path, tensors, facts)


def load_state(
    path: str | os.PathLike[str], model: MMRecLM, params: Any, tokenizer: Tokenizer
) -> TextState:
    """The state in a file, for `generate`; nothing is compiled.

    Args:
      path: the file.
      model: the model that is to continue.
      params: its parameters.
      tokenizer: its tokenizer.

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
        step = (
            "" if facts.get("step") is None else f" (it was saved at training step {facts['step']})"
        )
        raise UserError(f"{path}: the state belongs to another model{step}: {differing}")
    if facts["tokenizer"] != tokenizer.fingerprint:
        raise UserError(
            f"{path}: the state belongs to another tokenizer ({facts['tokenizer'][:12]} in the "
            f"file, {tokenizer.fingerprint[:12]} here): its tokens mean something else"
        )
    _require_shapes(tensors, model.config, path)
    if where := _not_finite(tensors):
        raise UserError(f"{path}: the state cannot be continued: {where}")
    return TextState(
        memory=MMRecState(**{name: jnp.asarray(tensors[name]) for name in _MEMORY}),
        logits=tensors["logits"],
        seen=tensors["seen"],
        draws=facts["draws"],
        tail=tuple(tensors["tail"].tolist()),
        pending=facts["pending"],
    )


def _require_shapes(tensors: Tensors, config: MMRecConfig, path: str | os.PathLike[str]) -> None:
    memory = jax.eval_shape(lambda: zero_state(config, 1))
    expected = {
        name: (getattr(memory, name).shape, getattr(memory, name).dtype) for name in _MEMORY
    }
    expected["logits"] = ((1, config.vocab_size), np.dtype(np.float32))
    expected["seen"] = ((1, config.vocab_size), np.dtype(bool))
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
    """Which values are NaN or infinite, in words; empty if none is."""
    names = {"h": "the short-term memory h", "m": "the long-term memory M"}
    for name, described in names.items():
        for layer, values in enumerate(tensors[name]):
            if not np.isfinite(values).all():
                return f"{described} of layer {layer} holds {_worst(values)}"
    if not np.isfinite(tensors["logits"]).all():
        return f"the logits hold {_worst(tensors['logits'])}"
    return ""


def _worst(values: np.ndarray) -> str:
    return "NaN" if np.isnan(values).any() else "infinity"
