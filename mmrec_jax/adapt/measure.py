"""Models of an adaptation as they are trained, and what is measured of them."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

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
from mmrec_jax.inference.generate import generate
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.mesh import abstract_on, distribute, make_mesh, process_local, shardings
from mmrec_jax.train.setup import build_model, first_params, with_vocabulary
from mmrec_jax.tree import map_named, named_leaves


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model that is ready: a frozen base, however it is stored, and the adapters on it."""

    config: Config
    model: LanguageModel
    params: Params
    tokenizer: Tokenizer
    mesh: Mesh


def open_run(config: Config) -> Opened:
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

    def start(model: LanguageModel, given: Mapping[str, Any]) -> Params:
        params = model.init(jax.random.key(config.train.seed))
        return map_named(lambda name, leaf: given.get(name, leaf).astype(leaf.dtype), params)

    shapes = jax.eval_shape(start, model, given)
    where = shardings(shapes, model.partition_specs(shapes), mesh)
    places = named_leaves(abstract_on(shapes, where))
    given = {name: distribute(leaf, places[name].sharding) for name, leaf in given.items()}
    params = jax.jit(start, out_shardings=where)(model, given)
    return Opened(config, model, params, origin.tokenizer, mesh)


def measure(
    opened: Opened, texts: Mapping[str, Sequence[Document]], how: EvaluationConfig
) -> dict[str, Any]:
    """Bits per byte of texts by their names, their tokens and bytes; the speed on the last one.

    Rows of `how.seq_len` tokens are read apart, `how.batch_size` of them at once.
    """
    train = dataclasses.replace(opened.config.train, batch_size=how.batch_size, accumulate=1)
    data = dataclasses.replace(opened.config.data, seq_len=how.seq_len)
    config = dataclasses.replace(opened.config, train=train, data=data)
    found: dict[str, Any] = {}
    for name, documents in texts.items():
        store = TokenStore.from_documents(documents, opened.tokenizer)
        dataset = TextDataset(data, opened.tokenizer, (), store)
        request = EvaluationRequest(
            opened.model, opened.params, dataset, config, {}, opened.mesh, step=0
        )
        begun = time.perf_counter()
        metrics = loss(request).metrics
        seconds = time.perf_counter() - begun  # the first text's have the compiler's in them
        found[name] = {key: metrics[key] for key in ("bits_per_byte", "tokens")}
        found[name]["bytes"] = sum(len(document.text.encode()) for document in documents)
        found["tokens_per_second"] = metrics["tokens"] / seconds
    return found


def continuations(opened: Opened, prompts: Sequence[str], tokens: int, seed: int) -> list[str]:
    """What the model writes after each prompt."""
    model, params = process_local((opened.model, opened.params))
    return [
        generate(model, params, opened.tokenizer, prompt, max_tokens=tokens, seed=seed)[0]
        for prompt in prompts
    ]


def task_scores(opened: Opened, how: EvaluationConfig) -> dict[str, float]:
    """The metrics of the tasks of lm-evaluation-harness that `how` names, by task and metric.

    Raises:
      UserError: it is not installed, or a task's data cannot be read.
    """
    from mmrec_jax.evaluation.harness import HarnessModel, evaluate  # an extra

    model, params = process_local((opened.model, opened.params))
    length = getattr(opened.config.model, "max_length", None)
    read = model, params, opened.tokenizer
    asked = HarnessModel(read, batch_size=how.batch_size, max_length=length)
    _, record = evaluate(asked, how.tasks, limit=how.limit)
    return {
        f"{task} {metric.partition(',')[0]}": value
        for task, metrics in record["results"].items()
        for metric, value in metrics.items()
        if isinstance(value, float) and "stderr" not in metric
    }
