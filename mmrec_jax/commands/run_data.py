"""What a trained run is evaluated on: files of `--data`, its own validation split, or its task."""

import argparse
import dataclasses
from pathlib import Path

from mmrec_jax.config import Config
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.document import Document
from mmrec_jax.data.files.paths import file_kind, split_pattern
from mmrec_jax.data.files.reading import Reading, read_documents, require_text
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.mesh import one_device


def on_task(config: Config, options: argparse.Namespace) -> bool:
    """Whether the run is evaluated on its task."""
    if "task" not in config.data.evaluators:
        return False
    if options.data is not None:
        raise UserError(
            f'--data: {options.workdir} was trained on the task "{config.data.source}" and knows '
            "no text; leave it out"
        )
    return True


def holds_conversations(config: Config, options: argparse.Namespace) -> bool:
    """Whether the run was trained on conversations, and --data may be files of such."""
    if config.data.prompt_style != "chat":
        return False
    parts = split_pattern(options.data, "--data")
    return not all(file_kind(Path(part)) == "text" for part in parts)


def run_text(options: argparse.Namespace, config: Config) -> tuple[str, list[Document]]:
    """What to call the text, and its documents: of `--data`, or the run's validation split."""
    if options.data is not None:
        reading = Reading(options.documents, options.field)
        documents = list(read_documents(options.data, "--data", reading))
        return options.data, require_text(documents, options.data, "--data")
    name = f"the run's validation split ({config.data.source})"
    return name, config.data.validation_documents(config)


def scored_at(config: Config, lengths: tuple[int, ...], sequences: int | None = None) -> Config:
    """`config` with a task of these lengths, and `sequences` of each (None: as before)."""
    count = config.data.eval_sequences if sequences is None else sequences
    data = dataclasses.replace(config.data, eval_lengths=lengths, eval_sequences=count)
    return dataclasses.replace(config, data=data)


def on_one_device(
    model: LanguageModel,
    params: Params,
    data: Dataset,
    config: Config,
    *,
    rows: int,
    carry: bool = False,
) -> EvaluationRequest:
    """A request to evaluate all of the data, `rows` at a time."""
    train = dataclasses.replace(
        config.train, batch_size=rows, accumulate=1, eval_batches=None, eval_carry=carry
    )
    return EvaluationRequest(
        model, params, data, dataclasses.replace(config, train=train), {}, one_device(), 0
    )


def as_validation(config: Config, store: TokenStore, tokenizer: Tokenizer) -> TextDataset:
    """Some text as the validation split of a run's data."""
    return TextDataset(config.data, tokenizer, (store,), store)
