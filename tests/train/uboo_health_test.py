"""UBOO at its default weight slows the state down a little; it must not collapse it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.models.mmrec.loops import OPTIMISED
from tests.small_step import build

pytestmark = pytest.mark.soak
STEPS = 200
MODEL = MMRecConfig(
    vocab_size=258,
    model_dim=32,
    num_layers=2,
    num_memories=2,
    context=64,
    remat="none",
).build()


@pytest.fixture(scope="module")
def batches():
    data = TreebankConfig(seq_len=64)
    store = TokenStore.from_documents(data.load("train")[:400], ByteTokenizer())
    iterator = TextDataset(data, ByteTokenizer(), (store,), None).batches(8)
    return [next(iterator) for _ in range(STEPS)]


def train(batches, **uboo):
    objectives = build(MODEL, uboo=UBOOConfig(**uboo))
    optimizer = build_optimizer(OptimConfig(lr=1e-2, warmup_steps=10), STEPS, MODEL.decays)
    state = jax.jit(lambda: initial_state(MODEL, objectives, optimizer, 0))()
    step = make_train_step(optimizer, objectives)
    step = jax.jit(step, donate_argnums=1, compiler_options=OPTIMISED)  # many steps
    history = []
    for batch in batches:
        state, metrics = step(MODEL, state, jax.tree.map(jnp.asarray, batch))
        history.append(metrics)
    last = jax.device_get(history[-10:])
    return {name: np.mean([m[name] for m in last]) for name in last[0]}


@pytest.fixture(scope="module")
def probe(batches):
    """UBOO as a pure measurement: the state is what the main loss makes of it."""
    return train(batches, isolate=True)


@pytest.fixture(scope="module")
def default(batches):
    return train(batches)


def test_the_prediction_comes_up_to_no_change(default):
    """A state that hardly moves would make `no change` unbeatable and the skill very negative.

    It begins at about -50; after these steps it was between -0.1 and 0.2 for six orders of data.
    """
    assert default["uboo_skill"] > -0.5, default


def test_the_state_still_varies_between_tokens(default, probe):
    """It does slow down: 0.4 of the probe's variance after 300 steps, 0.87 after 600."""
    assert default["uboo_variance"] > 0.2 * probe["uboo_variance"], (default, probe)


def test_the_main_loss_does_not_pay_for_it(default, probe):
    assert default["loss"] < probe["loss"] + 0.05, (default, probe)


def test_a_heavy_weight_would_be_seen(batches, probe):
    """The measurements above can fail: at 300 times the weight the state stands still."""
    heavy = train(batches[:80], weight=30.0)
    assert heavy["uboo_variance"] < 0.15 * probe["uboo_variance"], (heavy, probe)
