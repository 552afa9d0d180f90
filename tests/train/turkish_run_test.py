"""The Turkish parts in a whole run: what they write, and what they weigh."""

from mmrec_jax.evaluation.samples import beginnings
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.writer import read_metrics
from tests.small_run import linear_config, session_text

_RUN = {"train__steps": 2, "train__eval_every": 2, "turkish__suffix_weight": 2.0}


def test_objective_and_scores_are_logged(tmp_path):
    asked = {"objectives__vowel_harmony__weight": 0.5, "turkish__scored_samples": 1}
    assert run(linear_config(session_text(), **_RUN, **asked), tmp_path) == 0
    metrics = {line["split"]: line for line in read_metrics(tmp_path / "metrics.jsonl")}
    for split, name in (
        ("train", "vowel_harmony"),
        ("train", "word_continuing"),
        ("validation", "vowel_harmony"),
        ("turkish", "vowel_harmony_score"),
    ):
        least = 0 if split == "turkish" else 1e-6  # of a model that writes no words
        assert least <= metrics[split][name] <= 1


def test_training_tokens_have_weights_and_beginnings_go_on_where_the_document_does(tmp_path):
    text = tmp_path / "suffixes.txt"
    line = "evlerde göllerin yolları uzundu ve denizden beyaz kuşlar geldi, "
    text.write_text("\n\n".join(2 * line + str(n) for n in range(60)), "utf-8")
    prepared = set_up(linear_config(text, **_RUN), tmp_path / "run", fresh=False)
    batch = next(prepared.batches)
    assert set(batch["weights"].ravel().tolist()) <= {0.0, 1.0, 2.0}
    assert {1.0, 2.0} <= set(batch["weights"].ravel().tolist())
    assert ((batch["weights"] > 0) == (batch["segment_ids"] > 0)).all()

    store, tokenizer = prepared.data.validation, prepared.data.tokenizer
    assert store.weights is None
    borders = zip(store.offsets[:-1], store.offsets[1:], strict=True)
    texts = [tokenizer.decode(store.tokens[a + 1 : b - 1]) for a, b in borders]
    pairs = beginnings(store, tokenizer, 2, 20)
    assert pairs
    for prompt, rest in pairs:
        assert any(text.startswith(prompt + rest) for text in texts)
        assert len(prompt.split(" ")) == 8
        assert 18 <= len(rest.encode()) <= 20
    assert not beginnings(store, tokenizer, 0, 20)
