"""Rows of one batch that come and go, against each text written alone."""

import numpy as np
import pytest

from mmrec_jax.inference import decode
from mmrec_jax.inference.generate import stream
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.rereading import with_state
from mmrec_jax.inference.sampling import Sampling
from tests.families import small

_IDS = np.int32(258)
_SOAK = [pytest.param(name, marks=pytest.mark.soak) for name in ("mmrec", "attention")]
_NAMES = ["gru", "transformer", *_SOAK]
_SETTINGS = [
    {"sampling": Sampling(temperature=0.0), "seed": 0},
    {"sampling": Sampling(temperature=3.0, top_p=0.9), "seed": 4},
    {"sampling": Sampling(temperature=2.0, top_k=30, repetition_penalty=1.3), "seed": 5},
]


@pytest.mark.parametrize("name", _NAMES)
def test_rows_are_written_as_each_would_be_alone(name):
    """The last text comes late and is long: others' room grows; then its row is another's."""
    model, params = small(name)
    prompts = [np.arange(count) % 250 for count in (3, 20, 70)]
    texts = [prefill(model, params, prompt) for prompt in prompts]
    expected = [
        [int(tokens[0]) for tokens, _ in stream(model, params, text, max_tokens=12, **setting)]
        for text, setting in zip(texts, _SETTINGS, strict=True)
    ]
    model = with_state(model)
    drawn = [[], [], []]

    def begun(which):
        return decode.begin_rows(model, texts[which], [0], ends=(), **_SETTINGS[which])

    def step(count, *written):
        nonlocal rows
        for _ in range(count):
            tokens, rows = decode.step(model, params, rows, _IDS)
            for row, which in enumerate(written):
                drawn[which].append(int(tokens.tokens[row]))

    rows = decode.take_rows(model, [begun(0)], [0], 3)
    step(5, 0)
    rows = decode.take_rows(model, [rows, begun(2)], [3, 0], 3)
    step(5, 2, 0)
    rows = decode.take_rows(model, [rows, begun(1)], [1, 3], 3)
    step(2, 0, 1)
    rows = decode.take_rows(model, [rows], [1], 1)
    step(10, 1)
    assert drawn[0] == expected[0]
    assert drawn[1] == expected[1]
    assert drawn[2] == expected[2][:5]


def test_log_probabilities_are_those_of_the_model_alone():
    """Whatever temperature and truncation do; ids that are padding have none."""
    model, params = small("gru")
    text = prefill(model, params, np.arange(9))
    options = {"sampling": Sampling(temperature=40.0, top_k=9), "seed": 0, "ends": ()}
    rows = decode.begin_rows(model, text, range(4), **options)
    logits = text.logits[0, :200].astype(np.float64)
    expected = logits - np.log(np.sum(np.exp(logits - logits.max()))) - logits.max()
    values, ids = decode.top_logprobs(rows, np.int32(200), 5)
    np.testing.assert_array_equal(ids[2], np.argsort(-expected)[:5])
    np.testing.assert_allclose(values[2], np.sort(expected)[::-1][:5], rtol=1e-4, atol=1e-4)
    drawn, _ = decode.step(model, params, rows, np.int32(200))
    assert len(set(drawn.tokens.tolist())) > 1
    np.testing.assert_allclose(drawn.logprobs, expected[drawn.tokens], rtol=1e-4, atol=1e-4)
