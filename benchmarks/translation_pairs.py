"""A training set and a held-out set of sentence pairs, always the same ones of a file."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mmrec_jax.data.conversations.dataset import read_conversations
from mmrec_jax.data.kinds.instructions import RecordFields
from mmrec_jax.data.split import hash_share
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import Conversation


def write_pairs(
    pattern: str, fields: tuple[str, str], train: int, held_out: int, folder: Path
) -> tuple[Path, Path]:
    """Writes the two sets as JSON lines of `prompt` and `completion`.

    Pairs are ordered by a hash of the prompt, so that all responses to one stand together: the
    first ones are held out, those after them are trained on, and no prompt is in both.

    Args:
      pattern: the files.
      fields: which hold the prompt and the response.
      train: pairs to train on.
      held_out: pairs to hold out, or a few more where the last prompt has several responses.
      folder: where to write; it is made if needed.

    Returns:
      The paths of the training and of the held-out pairs.

    Raises:
      UserError: the files are broken or have too few pairs.
    """
    pairs = read_conversations(pattern, RecordFields(*fields), "--pairs")
    pairs.sort(key=lambda pair: (hash_share(pair.prompt), pair.prompt))
    while held_out < len(pairs) and pairs[held_out].prompt == pairs[held_out - 1].prompt:
        held_out += 1
    if len(pairs) < held_out + train:
        raise UserError(
            f"--pairs {pattern} has {len(pairs):,} pairs; {held_out:,} to hold out and {train:,} "
            "to train on are asked for"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return (
        _write(folder / f"pairs_{train}", pairs[held_out : held_out + train]),
        _write(folder / f"held_out_{held_out}", pairs[:held_out]),
    )


def _write(path: Path, pairs: Sequence[Conversation]) -> Path:
    """The name says what is in the file, since runs are known by names (`run_log.py`)."""
    content = _lines(pairs).encode()
    path = path.with_name(f"{path.name}_{hashlib.sha256(content).hexdigest()[:8]}.jsonl")
    path.write_bytes(content)
    return path


def _lines(pairs: Sequence[Conversation]) -> str:
    rows = ({"prompt": pair.prompt, "completion": pair.response} for pair in pairs)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
