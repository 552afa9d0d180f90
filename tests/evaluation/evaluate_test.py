import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.document import Document
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation.evaluate import evaluate, perplexity
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.train.step import make_eval_step
from tests.small_run import enlarged_parameters, small_model

_TEXTS = ["Işık ve göl.", "ağaç", "a", "Köprünün altından çok sular aktı; çiçekler açtı."]
_ROW = 16
_MODEL = MMRecLM(small_model(vocab_size=258, gate="none", memory="decay"))


@pytest.fixture(scope="module")
def store():
    documents = [Document(str(i), text) for i, text in enumerate(_TEXTS)]
    return TokenStore.from_documents(documents, ByteTokenizer())


@pytest.fixture(scope="module")
def params():
    return enlarged_parameters(_MODEL)


@pytest.fixture(scope="module")
def nats(params):
    """Nats of every predicted token of each document, by the text itself: no store, no batches."""

    @jax.jit
    def log_p(tokens, segment_ids):
        logits, _, _ = _MODEL.apply({"params": params}, tokens[None], None, segment_ids[None])
        return jax.nn.log_softmax(logits[0])

    def read(ids, targets):
        padded = np.zeros(64, np.int32)
        padded[: len(ids)] = ids
        table = np.asarray(
            log_p(jnp.asarray(padded), jnp.asarray(np.arange(64) < len(ids), jnp.int32)), np.float64
        )
        return [-table[i, target] for i, target in enumerate(targets)]

    def one(text, window):
        ids = [256, *text.encode("utf-8"), 257]
        for i in range(0, len(ids) - 1, window):
            end = min(i + window, len(ids) - 1)
            yield from read(ids[i:end], ids[i + 1 : end + 1])

    return {
        carry: [x for text in _TEXTS for x in one(text, 10_000 if carry else _ROW)]
        for carry in (True, False)
    }


def _evaluate(store, params, *, carry, batch_size=2, devices=1, seq_len=_ROW, **options):
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("data",))
    step = jax.jit(make_eval_step(_MODEL))
    sizes = {"batch_size": batch_size, "seq_len": seq_len, "carry": carry}
    return evaluate(step, params, _MODEL.config, store, mesh, **sizes, **options)


@pytest.mark.parametrize("carry", [True, False])
def test_every_number_is_that_of_the_definition(store, params, nats, carry):
    result = _evaluate(store, params, carry=carry)
    total, text = sum(nats[carry]), "".join(_TEXTS)
    assert result["tokens"] == len(nats[carry]) == len(text.encode()) + len(_TEXTS)
    np.testing.assert_allclose(result["loss"], total / result["tokens"], rtol=1e-6)
    np.testing.assert_allclose(result["perplexity"], math.exp(result["loss"]), rtol=1e-9)
    bits = total / math.log(2)
    np.testing.assert_allclose(result["bits_per_byte"], bits / len(text.encode()), rtol=1e-6)
    np.testing.assert_allclose(result["bits_per_character"], bits / len(text), rtol=1e-6)


def test_carried_state_and_rows_apart_differ(nats):
    assert abs(sum(nats[True]) - sum(nats[False])) > 1e-2


@pytest.mark.parametrize("carry", [True, False])
def test_batch_size_padding_and_devices_change_nothing(store, params, carry):
    expected = _evaluate(store, params, carry=carry)
    for batch_size, devices in ((1, 1), (8, 8)):
        result = _evaluate(store, params, carry=carry, batch_size=batch_size, devices=devices)
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, rtol=1e-6, err_msg=name)


def test_with_carried_state_the_row_length_changes_nothing(store, params):
    expected = _evaluate(store, params, carry=True)["bits_per_byte"]
    other = _evaluate(store, params, carry=True, seq_len=5)["bits_per_byte"]
    np.testing.assert_allclose(other, expected, rtol=1e-6)


def test_part_of_a_split_has_no_bits_per_byte(store, params):
    part = _evaluate(store, params, carry=True, max_batches=1)
    assert set(part) == {"loss", "perplexity", "tokens"}
    assert part["tokens"] == 2 * _ROW
    assert "bits_per_byte" in _evaluate(store, params, carry=True, max_batches=100)


def test_perplexity_overflows_to_infinity():
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == math.inf
