"""Models of an adaptation as they are trained, and what is measured of them."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mmrec_jax.adapt.config import EvaluationConfig
from mmrec_jax.checkpoints.load import continued_values, load_base, with_base_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.data.document import Document
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.dora.base import base_converter
from mmrec_jax.evaluation.perplexity import loss
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.train.assembly import build_model, first_params, with_vocabulary
from mmrec_jax.train.mesh import abstract_on, distribute, make_mesh, shardings
from mmrec_jax.train.state import initial_params
from mmrec_jax.tree import named_leaves


def open_run(config: Config) -> EvaluationRequest:
    """The model that a run of `config` begins with: `adapters.init_from` says with which adapters.

    Raises:
      UserError: as the run.
    """
    mesh = make_mesh(config)
    origin = load_base(config, Workdir(Path()), None)
    assert origin is not None  # every stage has a base
    config = with_base_model(config, origin.model)
    base = origin.read(mesh, base_converter(config.adapters))
    family = with_vocabulary(config, origin.tokenizer)
    model = build_model(config, family, mesh, base.params, steps=1)
    given = first_params(config, family, base.params)
    given |= continued_values(config.adapters, model, base)
    start = functools.partial(initial_params, seed=config.train.seed)
    shapes = jax.eval_shape(start, model, given)
    where = shardings(shapes, model.partition_specs(shapes), mesh)
    places = named_leaves(abstract_on(shapes, where))
    given = {name: distribute(leaf, places[name].sharding) for name, leaf in given.items()}
    params = jax.jit(start, out_shardings=where)(model, given)
    data = TextDataset(config.data, origin.tokenizer, (), None)
    return EvaluationRequest(model, params, data, config, {}, mesh, step=0)


def measure(
    opened: EvaluationRequest, texts: Mapping[str, Sequence[Document]], how: EvaluationConfig
) -> dict[str, Any]:
    """Bits per byte of texts by their names, their tokens and bytes; the speed on the last one.

    Rows of `how.seq_len` tokens are read apart, `how.batch_size` of them at once.
    """
    train = dataclasses.replace(opened.config.train, batch_size=how.batch_size, accumulate=1)
    data = dataclasses.replace(opened.config.data, seq_len=how.seq_len)
    config = dataclasses.replace(opened.config, train=train, data=data)
    found: dict[str, Any] = {}
    for name, documents in texts.items():
        tokenizer = opened.data.tokenizer
        store = TokenStore.from_documents(documents, tokenizer)
        dataset = TextDataset(data, tokenizer, (), store)
        begun = time.perf_counter()
        metrics = loss(dataclasses.replace(opened, data=dataset, config=config)).metrics
        seconds = time.perf_counter() - begun  # the first text's have the compiler's in them
        found[name] = {key: metrics[key] for key in ("bits_per_byte", "tokens")}
        found[name]["bytes"] = sum(len(document.text.encode()) for document in documents)
        found["tokens_per_second"] = metrics["tokens"] / seconds
    return found


def task_scores(opened: EvaluationRequest, how: EvaluationConfig) -> dict[str, float]:
    """The metrics of the tasks of lm-evaluation-harness that `how` names, by task and metric.

    `opened` is `local`.

    Raises:
      UserError: it is not installed, or a task's data cannot be read.
    """
    from mmrec_jax.evaluation.harness import HarnessModel, evaluate  # an extra

    length = getattr(opened.config.model, "max_length", None)
    read = opened.model, opened.params, opened.data.tokenizer
    asked = HarnessModel(read, batch_size=how.batch_size, max_length=length)
    _, record = evaluate(asked, how.tasks, limit=how.limit)
    return {
        f"{task} {metric.partition(',')[0]}": value
        for task, metrics in record["results"].items()
        for metric, value in metrics.items()
        if isinstance(value, float) and "stderr" not in metric
    }
