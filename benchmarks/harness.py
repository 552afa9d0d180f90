"""Models as lm-evaluation-harness asks them: beside its `hf` backend, and what shared states save.

    python -m benchmarks.harness --folder exported [--limit 4]
    python -m benchmarks.harness

With a folder of `transformers` (extra `parity`): the results of minimal pairs, whole texts and what
is written, beside those of the `hf` backend. Without: seconds of CPU of scoring the four answers to
each of some questions, with states shared and with each text read alone, for an untrained recurrent
model and a transformer of the sizes of `tiny`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.markdown import header, row
from mmrec_jax.data.split import fixed_split
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.evaluation.continuations import Continuation, score_continuations
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.models.transformer.config import TransformerConfig

_SHAPES = (384, 64), (0, 256), (0, 64)  # tokens of common examples, and of each question
_ANSWER = 8  # tokens
_QUESTIONS, _ANSWERS = 8, 4
_TASKS: dict[str, dict[str, Any]] = {
    "whole_texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [
            {"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")
        ],
    },
    "writing": {
        "output_type": "generate_until",
        "doc_to_text": "{{text[:60]}}",
        "doc_to_target": "{{text[60:120]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16},
        "metric_list": [{"metric": "chrf"}, {"metric": "exact_match"}],
    },
}


def shared_and_apart(
    model: LanguageModel, params: Params, *, examples: int, question: int
) -> tuple[float, float]:
    """Seconds of CPU with states shared, and where no two contexts begin alike."""
    rng = np.random.default_rng(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(2, model.config.vocab_size, count).tolist())

    common = ids(examples)
    asked = [
        Continuation(context, ids(_ANSWER))
        for context in [common + ids(question) for _ in range(_QUESTIONS)]
        for _ in range(_ANSWERS)
    ]
    apart = [
        Continuation((2 + index, *each.context[1:]), each.tokens)
        for index, each in enumerate(asked)
    ]

    def seconds(some: Sequence[Continuation]) -> float:
        score_continuations(model, params, some)  # compiles
        begin = time.process_time()
        score_continuations(model, params, some)
        return time.process_time() - begin

    return seconds(asked), seconds(apart)


def speed() -> None:
    """A row for each model and shape of the questions."""
    models = {"MM-Rec": SIZES["tiny"], "transformer": TransformerConfig(vocab_size=5000)}
    names = ["model", "tokens of examples", "of a question", "shared, s", "apart, s", "times"]
    print("\n".join(header(names)))
    for name, config in models.items():
        model = config.build()
        params = jax.jit(model.init)(jax.random.key(0))
        for examples, question in _SHAPES:
            shared, apart = shared_and_apart(model, params, examples=examples, question=question)
            entries = [f"{shared:.2f}", f"{apart:.2f}", f"{apart / shared:.1f}"]
            print(row([name, str(examples), str(question), *entries]), flush=True)


def scores(folder: str, limit: int) -> None:
    """Results of three tasks beside those of the `hf` backend, in float32 and in float64."""
    from lm_eval.models.huggingface import HFLM

    from mmrec_jax.evaluation.harness import HarnessModel, evaluate

    models = {
        f"hf, {dtype}": HFLM(folder, device="cpu", dtype=dtype, batch_size=4)
        for dtype in ("float64", "float32")
    }
    models["mmrec"] = HarnessModel(folder, batch_size=4)
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as tasks:
        _write_tasks(Path(tasks))
        names = ["turkish_pairs", *_TASKS]
        for name, model in models.items():
            begin = time.process_time()
            _, record = evaluate(model, names, task_path=tasks, limit=limit)
            print(f"{name}: {time.process_time() - begin:.0f} s of CPU", flush=True)
            for task, metrics in record["results"].items():
                for metric, value in metrics.items():
                    if isinstance(value, float):
                        found.setdefault((task, metric), []).append(value)
    print("\n".join(header(["task", "metric", *models, "mmrec / hf, float32 - 1"])))
    for (task, metric), values in found.items():
        gap = values[2] / values[1] - 1 if values[1] else values[2]
        print(row([task, metric, *(f"{x:.7g}" for x in values), f"{gap:.1e}"]))


def _write_tasks(folder: Path) -> None:
    """Tasks over the first 400 characters of documents that are never trained on."""
    texts = [x.text[:400] for x in treebank_documents() if fixed_split(x.name) == "validation"]
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    source = {"dataset_path": "json", "dataset_kwargs": {"data_files": str(data)}}
    for name, task in _TASKS.items():
        content = json.dumps({"task": name, "test_split": "train", **source, **task})
        (folder / f"{name}.yaml").write_text(content, "utf-8")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="of transformers, of a decoder of which both know")
    parser.add_argument("--limit", type=int, default=8, help="of each task")
    options = parser.parse_args()
    if options.folder:
        scores(options.folder, options.limit)
    else:
        speed()


if __name__ == "__main__":
    main()
