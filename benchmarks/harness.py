"""Models as lm-evaluation-harness asks them: beside its `hf` backend, and what shared states save.

    python -m benchmarks.harness --folder exported [--limit 4]
    python -m benchmarks.harness

With a folder of `transformers` (extra `parity`): the greatest difference from the `hf` backend on
minimal pairs, whole texts and what is written. Without: seconds of CPU of scoring the four answers
to each of some questions behind common examples, with states shared and with each text read alone,
for an untrained recurrent model and a transformer of the sizes of `tiny`.
"""

import argparse
import time
from collections.abc import Sequence
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
from mmrec_jax.turkish.minimal_pairs import CATEGORIES, minimal_pairs

_EXAMPLES, _QUESTION, _ANSWER = 384, 64, 8  # tokens
_QUESTIONS, _ANSWERS = 8, 4
_WRITTEN = 16  # tokens after each beginning


def shared_and_apart(model: LanguageModel, params: Params, *, examples: int) -> tuple[float, float]:
    """Seconds of CPU with states shared, and where no two contexts begin alike."""
    rng = np.random.default_rng(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(2, model.config.vocab_size, count).tolist())

    common = ids(examples)
    asked = [
        Continuation(context, ids(_ANSWER))
        for context in [common + ids(_QUESTION) for _ in range(_QUESTIONS)]
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
    """A row for each model, with examples before the questions and without."""
    models = {"MM-Rec": SIZES["tiny"], "transformer": TransformerConfig(vocab_size=5000)}
    names = ["model", "tokens before all questions", "shared, s", "apart, s", "times"]
    print("\n".join(header(names)))
    for name, config in models.items():
        model = config.build()
        params = jax.jit(model.init)(jax.random.key(0))
        for examples in (_EXAMPLES, 0):
            shared, apart = shared_and_apart(model, params, examples=examples)
            times = f"{apart / shared:.1f}"
            print(row([name, str(examples), f"{shared:.2f}", f"{apart:.2f}", times]), flush=True)


def scores(folder: str, limit: int) -> None:
    """The greatest difference from the `hf` backend, for each kind of request."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from mmrec_jax.evaluation.harness import HarnessModel

    pairs = [pair for category in CATEGORIES for pair in minimal_pairs(category)[:limit]]
    held_out = [x.text for x in treebank_documents() if fixed_split(x.name) == "validation"]
    asked: dict[str, list[tuple[Any, ...]]] = {
        "loglikelihood": [("", text) for x in pairs for text in (x.right, x.wrong)],
        "loglikelihood_rolling": [(text[:400],) for text in held_out[:limit]],
        "generate_until": [
            (x.right[:60], {"until": ["\n"], "max_gen_toks": _WRITTEN}) for x in pairs[:limit]
        ],
    }
    models = {
        "hf": HFLM(folder, device="cpu", dtype="float32", batch_size=4),
        "mmrec": HarnessModel(folder, batch_size=4),
    }
    found: dict[str, dict[str, list[Any]]] = {}
    for name, model in models.items():
        for kind, arguments in asked.items():
            requests = [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]
            begin = time.process_time()
            found.setdefault(kind, {})[name] = getattr(model, kind)(requests)
            print(f"{name} {kind}: {time.process_time() - begin:.0f} s of CPU", flush=True)
    print("\n".join(header(["requests", "number", "greatest difference"])))
    for kind, each in found.items():
        if kind == "generate_until":
            differing = sum(x != y for x, y in zip(each["hf"], each["mmrec"], strict=True))
            said = f"{differing} texts"
        else:
            gaps = np.abs(np.array(each["hf"], float) - np.array(each["mmrec"], float))
            said = f"{gaps.max():.1e} nats of {np.abs(np.array(each['hf'], float)).max():.0f}"
        print(row([kind, str(len(asked[kind])), said]))
    right = [
        [x[0] > y[0] for x, y in zip(each[::2], each[1::2], strict=True)]
        for each in found["loglikelihood"].values()
    ]
    print(f"pairs right: {[sum(each) for each in right]} of {len(pairs)}")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="of transformers, of a decoder of which both know")
    parser.add_argument("--limit", type=int, default=4, help="pairs of each category, texts")
    options = parser.parse_args()
    if options.folder:
        scores(options.folder, options.limit)
    else:
        speed()


if __name__ == "__main__":
    main()
