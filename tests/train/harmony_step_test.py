import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.models.mmrec.model import MMRecLM, forward
from mmrec_jax.objectives.vowel_harmony import HarmonyObjective
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_eval_step, make_train_step
from mmrec_jax.turkish.vowel_table import VowelTable
from tests.small_run import small_model

_MODEL = MMRecLM(small_model(gate="none", memory="none", num_layers=1))
_V = _MODEL.config.vocab_size
_RECORDER = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda gradient, _, params: (jax.tree.map(jnp.zeros_like, params), gradient),
)
_WEIGHT = 0.7


def _objective(weight):
    rng = np.random.default_rng(1)
    table = VowelTable(
        continues=rng.random(_V) < 0.8,
        first=rng.integers(0, 7, _V).astype(np.int32),
        sets=rng.random(_V) < 0.7,
        last=rng.integers(0, 9, _V).astype(np.int32),
    )
    return HarmonyObjective(table, _V, weight)


@pytest.fixture(scope="module")
def batch():
    """Rows of uneven length, so that a mean of means would be far off."""
    rng = np.random.default_rng(0)
    real = np.arange(12) < np.array([12, 1, 2, 12, 3, 12, 1, 7])[:, None]
    tokens = rng.integers(0, _V, (2, *real.shape))
    return {
        "inputs": jnp.asarray(np.where(real, tokens[0], 0), jnp.int32),
        "targets": jnp.asarray(np.where(real, tokens[1], 0), jnp.int32),
        "segment_ids": jnp.asarray(real, jnp.int32),
        "weights": jnp.asarray(rng.choice([0.0, 0.5, 2.0], real.shape) * real, jnp.float32),
    }


@pytest.fixture(scope="module")
def start():
    return jax.jit(lambda: initial_state(_MODEL, _RECORDER, seed=0))()


def _step(start, batch, harmony, accumulate=1):
    step = jax.jit(make_train_step(_MODEL, _RECORDER, accumulate, harmony=harmony))
    after, metrics = step(start, batch)
    return after.opt_state, metrics


@pytest.fixture(scope="module")
def trained(start, batch):
    return _step(start, batch, _objective(_WEIGHT))


def test_the_gradient_is_that_of_loss_and_weighted_objective(start, batch, trained):
    """Both means written out here, over the whole batch."""
    objective = _objective(_WEIGHT)

    def total(params):
        logits, _, _ = forward(_MODEL, params, batch["inputs"], None, batch["segment_ids"])
        log_p = jax.nn.log_softmax(logits)
        nats = -jnp.take_along_axis(log_p, batch["targets"][..., None], axis=-1)[..., 0]
        loss = jnp.sum(nats * batch["weights"]) / jnp.sum(batch["weights"])
        places = objective.places(logits, batch)
        harmony = jnp.sum(places["vowel_harmony"]) / jnp.sum(places["counted"])
        return loss + _WEIGHT * harmony, harmony

    (value, harmony), expected = jax.jit(jax.value_and_grad(total, has_aux=True))(start.params)
    gradient, metrics = trained
    np.testing.assert_allclose(metrics["vowel_harmony"], harmony, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"] + _WEIGHT * harmony, value, rtol=1e-5)
    assert 0.1 < float(harmony) < 0.9
    assert 0 < float(metrics["word_continuing"]) < 1
    for (path, e), a in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(gradient), strict=True
    ):
        atol = 1e-5 * float(jnp.max(jnp.abs(e)))
        np.testing.assert_allclose(a, e, rtol=0, atol=atol, err_msg=str(path))


def test_micro_batches_change_nothing(start, batch, trained):
    gradient, metrics = _step(start, batch, _objective(_WEIGHT), accumulate=4)
    expected, whole = trained
    for name in ("loss", "vowel_harmony", "word_continuing"):
        np.testing.assert_allclose(metrics[name], whole[name], rtol=1e-5, err_msg=name)
    for a, e in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * float(jnp.max(jnp.abs(e))))


def test_the_evaluation_step_measures_the_same(start, batch, trained):
    step = jax.jit(make_eval_step(_MODEL, _objective(0.0)))
    tokens, _ = step(start.params, batch, None)
    count = float(jnp.sum(tokens["counted"]))
    for name in ("vowel_harmony", "word_continuing"):
        mean = float(jnp.sum(tokens[name])) / count
        np.testing.assert_allclose(mean, trained[1][name], rtol=1e-5)
