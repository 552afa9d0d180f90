"""One update: the only place where gradients are taken."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from mmrec_jax.models import sequence
from mmrec_jax.models.api import LanguageModel, Output, Params, State, Training
from mmrec_jax.models.logits import by_chunks
from mmrec_jax.objectives.api import LOSS, Batch, Objective
from mmrec_jax.objectives.cross_entropy import token_nll
from mmrec_jax.optim.rounding import apply_updates
from mmrec_jax.optim.sophia import refreshed, sophia_metrics
from mmrec_jax.train.batch_split import join_states, split_batch, split_state
from mmrec_jax.train.estimator import Estimator
from mmrec_jax.train.state import TrainState, joined, named_key, parted
from mmrec_jax.train.state_passing import pass_states
from mmrec_jax.typing import Array

Metrics = dict[str, Array]
Sums = dict[str, dict[str, Array]]  # of each objective
Trained = tuple[Params, dict[str, Params]]  # of the model, and of the objectives
Schedule = Callable[[Array], float | Array]  # of the updates done
Step = Callable[..., tuple[TrainState, Metrics]]

# The estimator's key is `fold_in(key of the step, this)`, and so are those of rounding parameters
# and of what objectives draw, and of the rows that begin from passed states: no microbatch has
# those numbers.
_ESTIMATOR, _ROUNDING, _DRAWS, _PASSING = (2**32 - n for n in range(1, 5))


class Factors(NamedTuple):
    """What differs between the stages of a run in one program, by the number of the stage."""

    lr: Sequence[float]  # of every update
    weights: Mapping[str, Sequence[Schedule]]  # of each objective, instead of its own


def make_train_step(
    optimizer: optax.GradientTransformation,
    objectives: Mapping[str, Objective],
    accumulate: int = 1,
    state_passing: Schedule | None = None,
    factors: Factors | None = None,
) -> Step:
    """A pure step `(model, state, batch) -> (state, metrics)`.

    With `factors` it takes one argument more, an int32 scalar: the number of the stage.

    The batch is split into `accumulate` microbatches whose gradients add up to exactly the
    gradient of the whole batch: every objective is divided by its count over the whole batch.

    Where the state has a `carried` part, each row begins from the model's state that the same row
    left behind (under the parameters of that step). It is a constant here: no gradient flows
    through the border of a batch (truncated backpropagation through time). With `state_passing`, a
    share of the rows by the updates done, only so many do (`state_passing.py`).

    Metrics, scalars: those of the objectives, `loss` (what is minimised, where no objective calls
    one of its own so, as cross-entropy does), `tokens` (read, padding not counted), `grad_norm`
    (before clipping), those of Sophia (`optim/sophia.py`), and the model's averaged over
    microbatches.
    """
    orthogonal = {name for name, each in objectives.items() if each.orthogonal}

    def step(
        model: LanguageModel, state: TrainState, batch: Batch, stage: Array | int = 0
    ) -> tuple[TrainState, Metrics]:
        key, before, batch = _begin(model, state, batch, state_passing)
        draws = jax.random.fold_in(key, _DRAWS)
        drawn = {
            name: objective.draw(named_key(draws, name), model, batch, before)
            for name, objective in objectives.items()
        }
        counts = {
            name: objective.count(model, batch | drawn[name], before)
            for name, objective in objectives.items()
        }
        weights = {name: objective.weight(state.step) for name, objective in objectives.items()}
        if factors is not None:
            for name in weights:
                each = [weight(state.step) for weight in factors.weights[name]]
                weights[name] = jnp.asarray(each)[stage]

        # Of all microbatches: arguments, since a function by device may not close over arrays.
        common = model, (state.params, state.objectives), weights, counts, key, state.step

        def one(
            common: Any, micro: Batch, drawn: dict[str, Batch], carried: State, index: Array
        ) -> tuple[tuple[tuple[Trained, ...], Sums, Metrics], State]:
            model, all_trained, weights, counts, key, number = common
            own_key = sequence.own_key(jax.random.fold_in(key, index))
            training = Training(own_key, number)

            def terms(trained: Trained) -> tuple[tuple[Array, Array], tuple[Sums, Metrics, State]]:
                params, own = trained
                segment_ids = micro["segment_ids"]
                continues = model.continues(segment_ids, carried)
                asked = {
                    name: objective.probe(own.get(name, {}), micro | drawn[name], continues)
                    for name, objective in objectives.items()
                }
                output = model.apply(
                    params,
                    micro["inputs"],
                    carried,
                    segment_ids,
                    training=training,
                    probes={name: probe for name, probe in asked.items() if probe is not None},
                )

                def reread(segment_ids: Array) -> Output:
                    still = jax.lax.stop_gradient(params)
                    return model.apply(still, micro["inputs"], None, segment_ids, training=training)

                sums = {
                    name: objective.sums(
                        own.get(name, {}),
                        output._replace(captured=output.captured.get(name, {})),
                        micro | drawn[name],
                        continues,
                        reread,
                    )
                    for name, objective in objectives.items()
                }
                losses = {name: weights[name] * sums[name][LOSS] / counts[name] for name in sums}
                main = [loss for name, loss in losses.items() if name not in orthogonal]
                side = [loss for name, loss in losses.items() if name in orthogonal]
                left = None if carried is None else output.state
                return (_total(main), _total(side)), (sums, output.metrics, left)

            gradients, (sums, metrics, left) = _gradients(
                terms, all_trained, apart=bool(orthogonal)
            )
            return (sequence.total(gradients), sequence.total(sums), metrics), left

        compute, read = one, batch
        if (devices := sequence.mesh_parts()) > 1:
            tokens, copies = PartitionSpec(None, sequence.SEQUENCE), PartitionSpec()
            compute = sequence.by_device(one, copies, tokens, copies, copies, copies)
            read = _dealt(batch, model, devices)
        if accumulate == 1:
            whole, carried = compute(common, read, drawn, before, jnp.zeros((), jnp.int32))
        else:
            micros = (
                split_batch(read, accumulate),
                split_batch(drawn, accumulate),
                split_state(before, model.state_batch_axes, accumulate),
                jnp.arange(accumulate, dtype=jnp.int32),
            )
            shapes, _ = jax.eval_shape(compute, common, *jax.tree.map(lambda x: x[0], micros))
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

            def add(total: Any, inputs: tuple[Batch, Any, State, Array]) -> tuple[Any, State]:
                share, carried = compute(common, *inputs)
                return jax.tree.map(jnp.add, total, share), carried

            whole, stacked = jax.lax.scan(add, zeros, micros)
            carried = join_states(stacked, model.state_batch_axes)
        parts, sums, model_metrics = whole
        # The projection is not linear: it takes the gradients of the whole batch.
        gradients = joined(*(parts[0] if len(parts) == 1 else _add_orthogonal(*parts)))
        trained = joined(state.params, state.objectives)
        updates, opt_state = optimizer.update(gradients, state.opt_state, trained)
        if factors is not None:  # every optimizer ends with the learning rate
            factor = jnp.asarray(factors.lr)[stage]
            updates = jax.tree.map(lambda x: (factor * x).astype(x.dtype), updates)
        rounding = jax.random.fold_in(key, _ROUNDING)
        params, own = parted(apply_updates(trained, updates, rounding))
        losses = [weights[name] * sums[name][LOSS] / counts[name] for name in sums]
        metrics = {"loss": _total(losses)}
        metrics |= {name: value / accumulate for name, value in model_metrics.items()}
        for name, objective in objectives.items():
            metrics |= objective.metrics(sums[name], counts[name])
        metrics |= {
            "grad_norm": optax.tree.norm(gradients),
            "tokens": jnp.sum(batch["segment_ids"] > 0),
            **sophia_metrics(opt_state),
        }
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            objectives=own,
            opt_state=opt_state,
            carried=carried,
        )
        return state, metrics

    return step


def make_refresh(
    estimator: Estimator, b2: float, state_passing: Schedule | None = None
) -> Callable[[LanguageModel, TrainState, Batch], TrainState]:
    """A pure `(model, state, batch) -> state` that refreshes Sophia's curvature, whose decay is b2.

    The step after it reads the same batch. They are two programs, since one that does both has the
    gradients and the estimate in memory at once.
    """

    def refresh(model: LanguageModel, state: TrainState, batch: Batch) -> TrainState:
        key, before, batch = _begin(model, state, batch, state_passing)
        own_key = jax.random.fold_in(key, _ESTIMATOR)
        curvature = estimator(own_key, model, state.params, batch, before)
        # The estimate is of the main loss, which the objectives' own parameters are not in.
        zeros = jax.tree.map(jnp.zeros_like, state.objectives)
        opt_state = refreshed(state.opt_state, joined(curvature, zeros), b2)
        return dataclasses.replace(state, opt_state=opt_state)

    return refresh


def _begin(
    model: LanguageModel, state: TrainState, batch: Batch, state_passing: Schedule | None
) -> tuple[Array, State, Batch]:
    """The key of a step, the states that its rows begin from, and the batch as it is read."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    if state_passing is None:
        return key, state.carried, batch
    chosen = jax.random.fold_in(key, _PASSING)
    return key, *pass_states(chosen, model, state_passing(state.step), state.carried, batch)


def _dealt(batch: Batch, model: LanguageModel, devices: int) -> Batch:
    """The tokens of each row in the order in which the devices that share it have them."""
    length = batch["inputs"].shape[1]
    block = model.config.row_block(length // devices)
    assert block is not None  # as the mesh's checks have it
    order = sequence.order(length, devices, block)
    return jax.tree.map(lambda x: x[:, order], batch)


def make_eval_step(
    objectives: Mapping[str, Objective] | None = None,
) -> Callable[[LanguageModel, Params, Batch, State], tuple[dict[str, Any], State]]:
    """A pure step `(model, params, batch, model_state) -> (tokens, model_state)`.

    `tokens` says of every position [B, T], whatever its weight: `nll`, float32, -log p(target) in
    nats, and `right`, bool, whether the target is the most likely token; and under `means`, of each
    objective, what `Objective.positions` gives.
    """

    def step(
        model: LanguageModel, params: Params, batch: Batch, model_state: State
    ) -> tuple[dict[str, Any], State]:
        output = model.apply(params, batch["inputs"], model_state, batch["segment_ids"])
        targets = batch["targets"]
        _, tokens = by_chunks(_scores, output, targets)
        means: dict[str, tuple[Array, Array]] = {}
        for objective in (objectives or {}).values():
            means |= objective.positions(output, batch)
        return {**tokens, "means": means}, output.state

    return step


def _scores(logits: Array, targets: Array) -> tuple[Array, dict[str, Array]]:
    """Of every token, by chunks; nothing is summed."""
    right = jnp.argmax(logits, axis=-1) == targets
    return jnp.zeros(()), {"nll": token_nll(logits, targets), "right": right}


def _gradients(
    terms: Callable[[Trained], tuple[tuple[Array, Array], Any]], trained: Trained, *, apart: bool
) -> tuple[tuple[Trained, ...], Any]:
    """The gradient of the sum of both terms, or with `apart` that of each."""
    if not apart:

        def total(trained: Trained) -> tuple[Array, Any]:
            (main, _), others = terms(trained)
            return main, others

        (_, others), gradients = jax.value_and_grad(total, has_aux=True)(trained)
        return (gradients,), others
    losses, pullback, others = jax.vjp(terms, trained, has_aux=True)
    first, second = losses  # of one dtype each, under x64 not always the same
    (main,) = pullback((jnp.ones_like(first), jnp.zeros_like(second)))
    (side,) = pullback((jnp.zeros_like(first), jnp.ones_like(second)))
    return (main, side), others


def _total(losses: list[Array]) -> Array:
    return sum(losses[1:], start=losses[0]) if losses else jnp.zeros(())


def _add_orthogonal(main: Trained, side: Trained) -> Trained:
    """`main + side` without the component of `side` along `main`, over the whole tree.

    To first order a step of plain gradient descent along the result changes the main loss as much
    as one along `main` alone. Clipping, momentum and Adam's scaling void that guarantee.
    """
    inner = _inner_product(main, side) / jnp.maximum(
        _inner_product(main, main), jnp.finfo(jnp.float32).tiny
    )
    return jax.tree.map(lambda m, a: m + a - (inner * m).astype(m.dtype), main, side)


def _inner_product(x: Trained, y: Trained) -> Array:
    products = jax.tree.map(
        lambda a, b: jnp.vdot(*(v.astype(jnp.promote_types(v.dtype, jnp.float32)) for v in (a, b))),
        x,
        y,
    )
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))
