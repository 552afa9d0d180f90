"""Models as lm-evaluation-harness asks them, and its tasks (extra `lm-eval`).

`mmrec eval lm` runs tasks; `python -m mmrec_jax.evaluation` is the harness's own command, which
then knows `--model mmrec --model_args workdir=...` and the tasks of this package.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mmrec_jax.checkpoints.load import read_model
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.continuations import Continuation, score_continuations, shared_beginnings
from mmrec_jax.inference.chat import chat_encoder, response_ends
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.serve.engine import Engine, Request
from mmrec_jax.tokenizers.chat_template import LEARN, LEARNT, MARKED_TEXT, PART, end_of
from mmrec_jax.tokenizers.conversation import Message
from mmrec_jax.tokenizers.tokenizer import Tokenizer

try:
    import datasets
    from lm_eval import simple_evaluate, utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs
    from lm_eval.tasks import TaskManager
except ModuleNotFoundError as error:
    raise UserError(
        f"lm-evaluation-harness is needed ({error}): pip install 'mmrec_jax[lm-eval]'"
    ) from None

TASKS = Path(__file__).parent / "turkish_pairs"
_SAMPLED = ("temperature", "top_k", "top_p", "repetition_penalty")
_DRAWN = 256  # tokens of a generation of which its task does not say how many


@register_model("mmrec")
class HarnessModel(TemplateLM):
    """A model of any family.

    A text begins with the begin token where the model was trained so: every run's; of a pretrained
    model where its tokenizer says it. Of a model with a chat template the names of control tokens
    in a text are these tokens, as with `transformers`.

    Attributes:
      step: of the run that the model is read from.
    """

    def __init__(
        self,
        workdir: str | tuple[LanguageModel, Params, Tokenizer],
        step: str = "best",
        batch_size: int | str = 8,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """Reads the model, or takes one that is in memory: on one device, or all of it on each.

        Args:
          workdir: a run's folder, a Hugging Face folder or Hub id, a GGUF file; or what was read.
          step: of a run.
          batch_size: rows that are read or written at once.
          max_length: tokens that a text is cut to on its left; None: as the config says of a model
            that is read here, which of a recurrent one is never.
          add_bos_token: whether a text begins with the begin token; None: as it was trained.
          device: not looked at, as JAX chooses it; what the harness gives to every model.
          max_batch_size: not looked at either: `batch_size` is no "auto".

        Raises:
          UserError: there is no such model, it knows no text, or the batch size is no number.
        """
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise UserError(f"batch_size is {batch_size!r}; it must be a number, at least 1")
        if isinstance(workdir, str):
            found = read_model(workdir, step)
            found.require_text()
            self.step = found.step
            max_length = max_length or getattr(found.model, "max_length", None)
            workdir = found.model.build(), found.params, found.tokenizer
        self._model, self._params, self._ids = workdir
        self.batch_size, self.max_length = int(batch_size), max_length
        self._begins = self._ids.begins_prompts if add_bos_token is None else add_bos_token
        self._ends = self._ids.ends
        self._controls: dict[str, int] = {}  # the longest name first
        if self._ids.chat_template is not None:
            self._ends = response_ends(chat_encoder(self._ids))
            names = {self._ids.id_to_piece(index): index for index in self._ids.control_ids}
            self._controls = dict(sorted(names.items(), key=lambda each: -len(each[0])))

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self._ids.eos_id

    @property
    def prefix_token_id(self) -> int:
        """The token that a continuation of nothing follows."""
        return self._ids.bos_id

    @property
    def tokenizer_name(self) -> str:
        """Of the tokenizer with its template."""
        template = hashlib.sha256((self.chat_template(True) or "").encode()).hexdigest()
        return f"{self._ids.fingerprint}-{template}"

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """The ids of a text, after the begin token if texts begin with it, or as is said."""
        ids: list[int] = []
        names = "|".join(map(re.escape, self._controls))
        for part in re.split(f"({names})", string) if names else [string]:
            if part in self._controls:
                ids.append(self._controls[part])
            elif part:
                ids += self._ids.encode(part, continues=bool(ids)).tolist()
        bos = self._ids.bos_id
        begins = self._begins if add_special_tokens is None else add_special_tokens
        written = ids[:1] == [bos]
        if bos == self._ids.eos_id:  # there is no begin token: a template begins with another one
            written = bool(ids) and ids[0] in self._ids.control_ids
        return [bos, *ids] if begins and not written else ids

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The source of the model's template."""
        found = self._ids.chat_template
        return found.source if chat_template and found else None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as its template writes it, the last message open or answered next."""
        template = self._ids.chat_template
        if template is None:
            raise UserError("the model has no chat template: ask without one")
        messages = [Message(each["role"], each["content"]) for each in chat_history]  # type: ignore[arg-type]
        bos, eos = map(self._ids.id_to_piece, (self._ids.bos_id, self._ids.eos_id))
        text = template.render(messages, ask=add_generation_prompt, bos_token=bos, eos_token=eos)
        if not add_generation_prompt:
            text = "".join(text.partition(end_of(len(messages) - 1))[:2])
        text = MARKED_TEXT.sub(lambda found: found["text"], text)
        return re.sub(f"[{LEARN}{LEARNT}{PART}]", "", text)

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, Sequence[int], Sequence[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[tuple[float, bool]]:
        asked = [
            Continuation(self._with_room(context, len(tokens) - 1), tuple(tokens))
            for _, context, tokens in requests
        ]
        return score_continuations(self._model, self._params, asked, batch_size=self.batch_size)

    def _with_room(self, context: Sequence[int], count: int) -> tuple[int, ...]:
        """Without what is on its left more than `max_length` together with `count` tokens."""
        room = len(context) if self.max_length is None else self.max_length - count
        if room < 1:
            raise UserError(
                f"{count:,} tokens leave no room for a context: the model's max_length is "
                f"{self.max_length:,}"
            )
        return tuple(context[-room:])

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Log-likelihoods of whole texts, in disjoint windows if they exceed `max_length`."""
        windows = []
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            found = utils.get_rolling_token_windows(
                ids, self.prefix_token_id, self.max_length or max(1, len(ids)), context_len=1
            )
            windows += [(owner, *utils.make_disjoint_window(each)) for each in found]
        totals = [0.0] * len(requests)
        scores = self._loglikelihood_tokens(windows)
        for (owner, *_), (logprob, _) in zip(windows, scores, strict=True):
            totals[owner] += logprob
        return totals

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to a stop string or the end of the text.

        Raises:
          UserError: a request asks for what there is not, or leaves no room for its context.
        """
        texts: dict[int, tuple[int, ...]] = {}
        options = []
        for index, request in enumerate(requests):
            options.append(_generation_options(request.args[1]))
            ids = self.tok_encode(request.args[0]) or [self.prefix_token_id]
            texts[index] = self._with_room(ids, options[-1]["max_tokens"])
        asked: dict[int, Request] = {}
        for prefix, members in shared_beginnings({i: ids[:-1] for i, ids in texts.items()}):
            before = None
            if prefix:
                before = prefill(self._model, self._params, np.array(prefix, np.int32))
            for index in sorted(members, key=lambda index: -len(texts[index])):
                rest = np.array(texts[index][len(prefix) :], np.int32)
                asked[index] = Request(
                    rest, ends=self._ends, before=before, seed=index, **options[index]
                )
        most = {"slots": self.batch_size, "most_waiting": len(texts)}
        engine = Engine(self._model, self._params, self._ids, **most)
        written, order = [""] * len(texts), list(asked)
        bar = tqdm(total=len(texts), unit=" texts", leave=False)
        with contextlib.closing(engine), bar:
            engine.start()
            for delta in engine.write(list(asked.values())):
                written[order[delta.sample]] += delta.text
                bar.update(bool(delta.finish))
        return written


def find_tasks(tasks: Sequence[str], task_path: str | None = None) -> TaskManager:
    """What knows these tasks of the harness, of this package or of a folder.

    Raises:
      UserError: there is no such folder or task.
    """
    if task_path is not None and not Path(task_path).is_dir():
        raise UserError(f"{task_path}: there is no such folder of tasks")
    folders: list[str | Path] = [TASKS, *([task_path] if task_path else [])]
    manager = TaskManager(include_path=folders, include_defaults=False)
    if not set(tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=folders)  # its own are many
    if missing := sorted(set(tasks) - set(manager.all_tasks)):
        raise UserError(
            f"lm-evaluation-harness has no task {missing[0]!r} ({len(manager.all_tasks):,} names: "
            "`lm-eval ls tasks`); a folder of other tasks is named with task_path"
        )
    return manager


def evaluate(
    model: HarnessModel,
    tasks: Sequence[str],
    *,
    task_path: str | None = None,
    limit: int | None = None,
    fewshot: int | None = None,
    chat: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Runs tasks, groups or tags of the harness, of this package or of a folder.

    Args:
      model: what is asked.
      tasks: their names.
      task_path: a folder of tasks more.
      limit: documents of each task, from its first; None: all.
      fewshot: examples before each question; None: as a task says.
      chat: whether questions are asked as the model's chat template has them.

    Returns:
      The harness's table, and its numbers, fit for JSON.

    Raises:
      UserError: there is no such folder or task, or its data cannot be read (most tasks get theirs
        from the Hub).
    """
    manager = find_tasks(tasks, task_path)
    try:
        loaded = manager.load(list(tasks))
    except Exception as error:  # whatever the task's own code and the libraries of its data raise
        raise UserError(
            f"tasks {','.join(tasks)}: their data cannot be read ({type(error).__name__}: {error})"
        ) from error
    # It would fork for standard errors by bootstrap, which a process with JAX's threads must not.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    children = {name for names in loaded.get("group_map", {}).values() for name in names}
    every = {**loaded.get("groups", {}), **loaded["tasks"]}
    results = simple_evaluate(
        model=model,
        tasks=[each for name, each in every.items() if name not in children],
        task_manager=manager,
        limit=limit,
        num_fewshot=fewshot,
        apply_chat_template=chat,
        log_samples=False,
    )
    names = ("results", "groups", "n-shot", "n-samples", "versions", "higher_is_better")
    return utils.make_table(results), {name: results[name] for name in names if name in results}


def turkish_pairs(category: str, **_: Any) -> dict[str, datasets.Dataset]:
    """The data of a task of this package: right sentences, and the same with one wrong word."""
    lines = (TASKS / f"{category}.jsonl").read_text("utf-8").splitlines()
    return {"test": datasets.Dataset.from_list([*map(json.loads, lines)])}


def _generation_options(given: dict[str, Any]) -> dict[str, Any]:
    """What the engine is asked, of the harness's options."""
    kwargs: Mapping[str, Any] = normalize_gen_kwargs(given, _DRAWN)
    known = {*_SAMPLED, "do_sample", "until", "max_gen_toks"}
    # What is 1, on or off is left as the harness's own models have it: beams, a cache, ...
    others = {k: v for k, v in kwargs.items() if k not in known and v not in (None, 0, 1)}
    if others:
        name, value = next(iter(others.items()))
        raise UserError(f"a task asks for {name}={value!r}, which these models have not")
    sampled = {name: kwargs[name] for name in _SAMPLED if name in kwargs}
    sampling = Sampling(**{"temperature": 0.0, "top_p": 1.0, **sampled})
    stops = [stop for stop in kwargs["until"] if stop]
    return {"sampling": sampling, "stops": stops, "max_tokens": kwargs["max_gen_toks"]}
