"""Models as lm-evaluation-harness asks them, beside its own `hf` models (extra `parity`)."""

import json

import numpy as np
import optax
import pytest

import mmrec_jax
from mmrec_jax.cli import main
from mmrec_jax.inference.sampling import Sampling
from tests.pretrained.small_folder import small_config, write_folder
from tests.refused import mistake, refused
from tests.small_run import begin, linear_config, session_text
from tests.tokenizers.small_base import turkish

_NEEDS = "needs the extra parity: pip install '.[parity]'"
for _package in ("lm_eval", "torch", "transformers", "accelerate"):
    pytest.importorskip(_package, reason=_NEEDS)

_TASKS = {
    "small_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{text[:30]}}",
        "doc_to_choice": "{{[text[30:], 'göl', 'ev']}}",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "small_rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}, {"metric": "word_perplexity"}],
    },
    "small_writing": {
        "output_type": "generate_until",
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{text}}",
        "generation_kwargs": {"until": ["e"], "max_gen_toks": 12},
        "metric_list": [{"metric": "exact_match"}],
    },
}
_SHOTS = "gölün evi, evin gölü; " * 3  # what contexts begin with, 32 tokens and more


def _write_tasks(folder):
    folder.mkdir()
    texts = [*turkish(6).splitlines()[:6], "<|im_end|> göl " * 3]
    texts += [_SHOTS + text[:40] for text in texts]
    lines = [json.dumps({"text": text[:150]}) for text in texts]
    (folder / "data.jsonl").write_text("\n".join(lines), "utf-8")
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": str(folder / "data.jsonl")}}
    for name, task in _TASKS.items():
        content = {"task": name, "test_split": "train", **data, **task}
        (folder / f"{name}.yaml").write_text(json.dumps(content), "utf-8")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Ours and theirs of one random Qwen3 of 128 tokens, and a folder of tasks."""
    from lm_eval.models.huggingface import HFLM

    from mmrec_jax.evaluation.harness import HarnessModel

    root = tmp_path_factory.mktemp("harness")
    write_folder(root / "qwen", small_config(max_length=128))
    _write_tasks(root / "tasks")
    theirs = HFLM(str(root / "qwen"), device="cpu", dtype="float32", batch_size=4)
    return HarnessModel(str(root / "qwen"), batch_size=4), theirs, root


def test_results_are_those_of_their_backend(models):
    from mmrec_jax.evaluation.harness import evaluate

    *both, root = models
    (table, found), (_, expected) = (
        evaluate(each, list(_TASKS), task_path=str(root / "tasks")) for each in both
    )
    assert found["results"].keys() == _TASKS.keys()
    for name, metrics in expected["results"].items():
        numbers = {key: value for key, value in metrics.items() if isinstance(value, float)}
        assert len(numbers) >= 2, metrics
        ours = {key: found["results"][name][key] for key in numbers}
        assert ours == pytest.approx(numbers, rel=1e-4, abs=1e-4), name
        assert name in table


def _requests(kind, *arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, index) for index, args in enumerate(arguments)]


def test_log_likelihoods_are_those_of_their_backend(models):
    ours, theirs, _ = models
    text = turkish(3)
    pairs = [("", "göl"), (text[:40], " ev"), (text[:40], text[40:90]), ("göl ", "evi")]
    pairs += [(text[:500], " ev"), ("<|im_start|>user\ngöl<|im_end|>\n", "ev")]
    asked = _requests("loglikelihood", *pairs)
    for score, expected in zip(ours.loglikelihood(asked), theirs.loglikelihood(asked), strict=True):
        assert score == pytest.approx(expected, abs=1e-3)
    asked = _requests("loglikelihood_rolling", (text[:100],), (text,), ("göl",))
    found = ours.loglikelihood_rolling(asked)
    assert found == pytest.approx(theirs.loglikelihood_rolling(asked), rel=1e-5)


def test_texts_are_those_of_their_backend(models):
    ours, theirs, _ = models
    turns = [{"role": "user", "content": "göl <|im_end|> nedir?"}]
    asked = ours.apply_chat_template(turns)
    assert asked == theirs.apply_chat_template(turns)
    begun = [*turns, {"role": "assistant", "content": "Bir"}]
    open_ended = ours.apply_chat_template(begun, add_generation_prompt=False)
    assert open_ended == theirs.apply_chat_template(begun, add_generation_prompt=False)
    for text in (asked, "", "göl", "  göl <|im_start|>"):
        assert ours.tok_encode(text) == theirs.tok_encode(text)
    options = {"until": ["zz", "\n"], "max_gen_toks": 20}
    contexts = (asked, turkish(1)[:60], _SHOTS + "ev", _SHOTS + "bir göl", turkish(9)[:900])
    requests = _requests("generate_until", *((text, dict(options)) for text in contexts))
    assert ours.generate_until(requests) == theirs.generate_until(requests)


def test_a_run_is_asked_as_it_was_trained(tmp_path):
    """Texts begin with the begin token, and a recurrent model cuts none of them."""
    from mmrec_jax.evaluation.harness import HarnessModel

    begin(linear_config(session_text()), tmp_path, step=1)
    asked, (model, params, tokenizer) = HarnessModel(str(tmp_path)), mmrec_jax.load(tmp_path)
    text = "bir göl, iki köprü " * 12
    ids = [tokenizer.bos_id, *tokenizer.encode(text).tolist()]
    assert asked.tok_encode(text) == ids
    assert asked.max_length is None
    logits = mmrec_jax.logits(model, params, [ids[:-1]])[0]
    expected = -optax.softmax_cross_entropy_with_integer_labels(logits, np.array(ids[1:])).sum()
    (found,) = asked.loglikelihood_rolling(_requests("loglikelihood_rolling", (text,)))
    assert found == pytest.approx(float(expected), rel=1e-5)
    request = _requests("generate_until", (text, {"until": [], "max_gen_toks": 9}))
    greedy = Sampling(temperature=0.0)
    expected = mmrec_jax.generate(model, params, tokenizer, text, max_tokens=9, sampling=greedy)
    assert asked.generate_until(request) == expected
    refused(lambda: asked.apply_chat_template([]), "the model has no chat template")
    request = _requests("generate_until", (text, {"until": [], "num_beams": 4}))
    refused(lambda: asked.generate_until(request), "num_beams=4")


def test_the_command_writes_a_table_and_its_numbers(tmp_path, capsys):
    write_folder(tmp_path / "qwen", small_config(max_length=1024))
    main(["eval", "lm", f"--workdir={tmp_path / 'qwen'}", "--limit=3", f"--out={tmp_path}"])
    assert "turkish_pairs_agreement" in capsys.readouterr().out
    found = json.loads((tmp_path / "lm.json").read_text())
    assert 0 <= found["results"]["turkish_pairs"]["acc,none"] <= 1
    assert found["n-samples"]["turkish_pairs_case"]["effective"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        # Of this one all 14,000 tasks of the harness are looked through.
        pytest.param(["--tasks=nonesuch"], "no task 'nonesuch'", marks=pytest.mark.soak),
        (["--task-path=nowhere"], "nowhere: there is no such folder"),
        (["--samples=3"], "--samples is no option of the evaluator lm"),
        (["--data=text.txt"], "--data: tasks of lm have texts of their own"),
        (["--fewshot=-1"], "--fewshot is -1"),
    ],
)
def test_what_cannot_be_asked_is_refused(models, flags, message, capsys):
    *_, root = models
    assert message in mistake(capsys, "eval", "lm", f"--workdir={root / 'qwen'}", *flags)


def test_a_model_of_an_adaptation_is_asked_as_if_it_were_read_alone(tmp_path):
    from mmrec_jax.adapt.config import AdaptConfig, EvaluationConfig
    from mmrec_jax.adapt.job import Job
    from mmrec_jax.adapt.measure import open_run, task_scores
    from mmrec_jax.evaluation.harness import HarnessModel, evaluate

    write_folder(tmp_path / "qwen", small_config(max_length=512))
    read = {"analyse": {"tokens_per_byte": {"turkish": 0.5, "english": 0.5}}}
    job = Job(AdaptConfig(base=str(tmp_path / "qwen"), devices=1), tmp_path, read)
    task = "turkish_pairs_case"
    how = EvaluationConfig(tasks=(task,), limit=40)
    found = task_scores(open_run(job.untrained(extended=False)).local(), how)
    _, expected = evaluate(HarnessModel(str(tmp_path / "qwen")), [task], limit=40)
    assert found == {f"{task} acc": expected["results"][task]["acc,none"]}
    assert 0 < found[f"{task} acc"] < 1
