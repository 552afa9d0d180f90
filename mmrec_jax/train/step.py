"""One update: the only place where gradients are taken."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmrec_jax.config import AdapterConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.model import MMRecLM, forward
from mmrec_jax.models.mmrec.state import MMRecState, layout, zero_state
from mmrec_jax.objectives.cross_entropy import token_nats, weighted_nats
from mmrec_jax.objectives.vowel_harmony import HarmonyObjective
from mmrec_jax.optim.sophia import sophia_metrics
from mmrec_jax.train.estimator import Estimator
from mmrec_jax.train.micro_batches import join_states, split_batch, split_state
from mmrec_jax.train.noise import Noise
from mmrec_jax.train.reading import Read, read_batch
from mmrec_jax.train.state import TrainState
from mmrec_jax.typing import Array

Batch = dict[str, Array]  # [B, T] each: `data/batch.py`
Metrics = dict[str, Array]
Gradients = Any
Carried = MMRecState | None

# The estimator's key is `fold_in(key of the step, this)`: no micro-batch has that number.
_ESTIMATOR = 2**32 - 1
# The key of a micro-batch's noise is `fold_in(key of the micro-batch, this)`; its own is dropout's.
_NOISE = 1

# Metrics of which each micro-batch has its share; of the others the mean is taken.
_SUMMED = ("loss", "uboo", "vowel_harmony", "word_continuing")


def make_train_step(
    model: MMRecLM,
    optimizer: optax.GradientTransformation,
    accumulate: int = 1,
    estimator: Estimator | None = None,
    *,
    adapters: AdapterConfig | None = None,
    noise: Noise | None = None,
    harmony: HarmonyObjective | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """A pure step `(state, batch) -> (state, metrics)`.

    The batch is split into `accumulate` micro-batches whose gradients add up to exactly the
    gradient of the whole batch: every term is divided by its total weight over the whole batch.

    Where the state has a `carried` part, each row begins from the model's state that the same row
    left behind (under the parameters of that step). It is a constant here: no gradient flows
    through the border of a batch (truncated backpropagation through time).

    With an `estimator` the step refreshes the curvature of a second-order optimizer, at the
    parameters before the update. A run has two such steps, a plain one and one that refreshes,
    rather than one with a condition, whose memory every step would pay for.

    Where the state has a `base`, its `params` are adapters of it, put in as `adapters` says: they
    alone have gradients. `noise` perturbs the embedded tokens here and nowhere else.
    With `harmony` its objective is added to the loss with its weight. It counts as part of the main
    loss where the auxiliary one is made orthogonal to that.

    Metrics, scalars: `loss` (sum of weight x nats / sum of weights), `tokens` (read, padding not
    counted), `grad_norm` (before clipping), those of Sophia (`optim/sophia.py`), with `harmony` the
    means over its places `vowel_harmony` and `word_continuing`, and the model's intermediates
    averaged over micro-batches.
    """
    config = model.config
    adapters = adapters or AdapterConfig()

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        totals = _totals(config, batch, state.carried, harmony)

        def one(
            micro: Batch, carried: Carried, index: Array
        ) -> tuple[tuple[tuple[Gradients, ...], Metrics], Carried]:
            micro_key = jax.random.fold_in(key, index)
            perturb = None
            if noise is not None:
                perturb = noise(jax.random.fold_in(micro_key, _NOISE), state.step, micro)

            def read(params: Any) -> Read:
                dropout = config.dropout or adapters.dropout
                return read_batch(
                    model,
                    adapters,
                    params,
                    state.base,
                    micro,
                    carried,
                    dropout_key=micro_key if dropout else None,
                    perturb=perturb,
                )

            return _gradients(config, read, state.params, micro, carried, totals, harmony)

        if accumulate == 1:
            (parts, metrics), carried = one(batch, state.carried, jnp.zeros((), jnp.int32))
        else:
            micros = (
                split_batch(batch, accumulate),
                split_state(state.carried, accumulate),
                jnp.arange(accumulate, dtype=jnp.int32),
            )
            shapes, _ = jax.eval_shape(one, *jax.tree.map(lambda x: x[0], micros))
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

            def add(total: Any, inputs: tuple[Batch, Carried, Array]) -> tuple[Any, Carried]:
                share, carried = one(*inputs)
                return jax.tree.map(jnp.add, total, share), carried

            (parts, metrics), stacked = jax.lax.scan(add, zeros, micros)
            carried = join_states(stacked)
            shares = {name: value / accumulate for name, value in metrics.items()}
            metrics = shares | {name: metrics[name] for name in _SUMMED if name in metrics}
        # The projection is not linear: it takes the gradients of the whole batch.
        gradients = parts[0] if len(parts) == 1 else _add_orthogonal(*parts)
        extra = {}
        if estimator is not None:
            estimator_key = jax.random.fold_in(key, _ESTIMATOR)
            extra["hessian"] = estimator(
                estimator_key, state.params, state.base, batch, state.carried
            )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"grad_norm": optax.tree.norm(gradients), "tokens": totals["tokens"]}
        metrics |= sophia_metrics(opt_state)
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, opt_state=opt_state, carried=carried
        )
        return state, metrics

    return step


def make_eval_step(
    model: MMRecLM, harmony: HarmonyObjective | None = None
) -> Callable[[Any, Batch, Any], tuple[dict[str, Array], Any]]:
    """A pure step `(params, batch, model_state) -> (tokens, model_state)`.

    `tokens` says of every place [B, T], whatever its weight: `nats`, float32, -log p(target), and
    `right`, bool, whether the target is the most likely token. With `harmony` also, of its
    objective, `counted`, bool, `vowel_harmony` and `word_continuing`, float32, 0 where not counted.
    """

    def step(params: Any, batch: Batch, model_state: Any) -> tuple[dict[str, Array], Any]:
        logits, model_state, _ = forward(
            model, params, batch["inputs"], model_state, batch["segment_ids"]
        )
        targets = batch["targets"]
        right = jnp.argmax(logits, axis=-1) == targets
        tokens = {"nats": token_nats(logits, targets), "right": right}
        if harmony is not None:
            tokens |= harmony.places(logits, batch)
        return tokens, model_state

    return step


def _totals(
    config: MMRecConfig, batch: Batch, carried: Carried, harmony: HarmonyObjective | None
) -> dict[str, Array]:
    """What each term's sum over the whole batch is divided by, known before any forward pass."""
    segment_ids = batch["segment_ids"]
    rows, length = segment_ids.shape
    before = zero_state(config, rows) if carried is None else carried
    where = layout(segment_ids, before, length)
    predictable = jnp.sum(where.real & ~where.start)
    weight = jnp.sum(batch["weights"])
    counted = 0 if harmony is None else jnp.sum(harmony.counted(batch)[0])
    return {
        "loss": jnp.where(weight > 0, weight, 1),  # a batch in which nothing counts has loss 0
        "uboo": jnp.maximum(predictable, 1),
        "counted": jnp.maximum(counted, 1),
        "tokens": jnp.sum(where.real),
    }


def _gradients(
    config: MMRecConfig,
    read: Callable[[Any], Read],
    params: Any,
    batch: Batch,
    carried: Carried,
    totals: dict[str, Array],
    harmony: HarmonyObjective | None,
) -> tuple[tuple[tuple[Gradients, ...], Metrics], Carried]:
    """This micro-batch's share of the gradient and of each metric, and the state it leaves.

    The gradient is that of the total loss, or with `uboo_orthogonal` those of the main and of the
    weighted auxiliary loss. The state is None if none was carried in.
    """

    def terms(params: Any) -> tuple[tuple[Array, Array], tuple[Metrics, Carried]]:
        logits, after, intermediates = read(params)
        nats = weighted_nats(logits, batch["targets"], batch["weights"])
        loss = nats / totals["loss"]
        metrics = dict(intermediates)
        main = loss
        if harmony is not None:
            places = harmony.places(logits, batch)
            for name in ("vowel_harmony", "word_continuing"):
                metrics[name] = jnp.sum(places[name]) / totals["counted"]
            main = loss + harmony.weight * metrics["vowel_harmony"]
        uboo = jnp.zeros(())
        if config.use_uboo:
            uboo = metrics["uboo"] * metrics.pop("uboo_tokens") / totals["uboo"]
            metrics["uboo"] = uboo
        left = None if carried is None else after
        return (main, config.lambda_p * uboo), (metrics | {"loss": loss}, left)

    if not (config.use_uboo and config.uboo_orthogonal):

        def total(params: Any) -> tuple[Array, tuple[Metrics, Carried]]:
            values, others = terms(params)
            return sum(values[1:], start=values[0]), others

        (_, (metrics, left)), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return ((gradients,), metrics), left

    _, pullback, (metrics, left) = jax.vjp(terms, params, has_aux=True)
    one, zero = jnp.ones(()), jnp.zeros(())
    (main,), (auxiliary,) = pullback((one, zero)), pullback((zero, one))
    return ((main, auxiliary), metrics), left


def _add_orthogonal(main: Gradients, auxiliary: Gradients) -> Gradients:
    """`main + auxiliary` without the auxiliary's component along `main`, over the whole tree.

    To first order a step of plain gradient descent along the result changes the main loss as much
    as one along `main` alone. Clipping, momentum and Adam's scaling void that guarantee.
    """
    inner = _inner_product(main, auxiliary) / jnp.maximum(
        _inner_product(main, main), jnp.finfo(jnp.float32).tiny
    )
    return jax.tree.map(lambda m, a: m + a - (inner * m).astype(m.dtype), main, auxiliary)


def _inner_product(x: Gradients, y: Gradients) -> Array:
    products = jax.tree.map(
        lambda a, b: jnp.vdot(a.astype(jnp.float32), b.astype(jnp.float32)), x, y
    )
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))
