import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmrec_jax.optim.hessian import hutchinson
from mmrec_jax.optim.moments import with_moments_in
from mmrec_jax.optim.sophia import refreshed, scale_by_sophia, sophia, sophia_metrics


def test_metrics_describe_the_step():
    optimizer = scale_by_sophia(b1=0.0, b2=0.0, gamma=1.0, eps=1e-3)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    gradient = {"a": jnp.array([1.0, 5.0]), "b": jnp.array([0.0, -1.0])}
    hessian = {"a": jnp.array([2.0, -4.0]), "b": jnp.array([-4.0, 0.0])}
    start = optimizer.init(params)
    updates, state = optimizer.update(gradient, start, hessian=hessian)
    np.testing.assert_array_equal(updates["a"], [0.5, 1.0])
    np.testing.assert_array_equal(updates["b"], [0.0, -1.0])
    names = ("unclipped", "update_rms", "h_norm", "h_nonpositive", "skipped")
    expected = dict(zip(names, (0.5, 0.75, 6.0, 0.75, 0), strict=True))
    one = sophia_metrics((optax.EmptyState(), {"inner": state}))
    assert one == {f"sophia_{name}": x for name, x in expected.items()}
    two = sophia_metrics((state, {"inner": start}))
    assert two == {
        **{f"sophia_0_{name}": x for name, x in expected.items()},
        **{f"sophia_1_{name}": 0 for name in expected},
    }
    assert sophia_metrics(optax.adam(1.0).init(params)) == {}


def _one_refresh(optimizer, params, gradient, hessian):
    state = jax.jit(optimizer.init)(params)
    return jax.jit(optimizer.update)(gradient, state, params, hessian=hessian)


@pytest.fixture
def problem(rng):
    """Parameters, a gradient and an estimate under which some coordinates are clipped."""
    shapes = {"kernel": (5, 4), "scale": (6,)}
    draws = [{name: rng.normal(size=x) for name, x in shapes.items()} for _ in range(3)]
    start, gradient, estimate = jax.tree.map(jnp.float32, draws)
    return start, jax.tree.map(lambda g: 0.3 * g, gradient), jax.tree.map(lambda h: h + 1, estimate)


def test_hyperparameters_can_be_injected(problem):
    options = {"learning_rate": 0.1, "gamma": 0.7, "b2": 0.5}
    expected, state = _one_refresh(sophia(**options), *problem)
    actual, injected = _one_refresh(optax.inject_hyperparams(sophia)(**options), *problem)
    for pair in ((actual, expected), (injected.inner_state, state)):
        chex.assert_trees_all_close(*pair, rtol=1e-5, atol=1e-6)


_MASK = {"kernel": True, "scale": False}
_SHARED = {
    "masked": lambda inner: optax.masked(inner, _MASK),
    "masked with its estimate": lambda inner: optax.masked(
        inner, _MASK, mask_compatible_extra_args=True
    ),
    "beside another": lambda inner: optax.multi_transform(
        {True: inner, False: optax.identity()}, _MASK
    ),
}


@pytest.mark.parametrize("wrap", _SHARED.values(), ids=_SHARED)
def test_it_can_have_a_part_of_the_parameters(problem, wrap):
    inner = sophia(0.1, gamma=0.7, b2=0.5)
    updates, _ = _one_refresh(wrap(inner), *problem)
    alone, _ = _one_refresh(inner, *({"kernel": tree["kernel"]} for tree in problem))
    np.testing.assert_array_equal(updates["kernel"], alone["kernel"])
    np.testing.assert_array_equal(updates["scale"], problem[1]["scale"])


_KEPT = {
    **_SHARED,
    "in bfloat16": lambda inner: with_moments_in(
        optax.chain(optax.clip_by_global_norm(1.0), inner), "bfloat16"
    ),
}


@pytest.mark.parametrize("wrap", _KEPT.values(), ids=_KEPT)
def test_an_update_of_a_refreshed_state_is_the_one_with_the_estimate(problem, wrap):
    """In bfloat16 but for the update itself, whose curvature has been rounded."""
    optimizer, (params, gradient, hessian) = wrap(sophia(0.1, gamma=0.7, b2=0.5)), problem
    _, state = _one_refresh(optimizer, *problem)
    expected = jax.jit(optimizer.update)(gradient, state, params, hessian=hessian)
    state = jax.jit(refreshed)(state, hessian, 0.5)
    actual = jax.jit(optimizer.update)(gradient, state, params)
    rtol = 1e-6 if wrap in _SHARED.values() else 2**-6
    chex.assert_trees_all_close(actual, expected, rtol=rtol)
    for name in ("h_norm", "h_nonpositive", "skipped"):
        assert (
            sophia_metrics(actual[1])[f"sophia_{name}"]
            == sophia_metrics(expected[1])[f"sophia_{name}"]
        )
    of_h = [jax.tree.leaves(optax.tree.get(x, "h")) for x in (state, expected[1])]
    chex.assert_trees_all_equal(*of_h)


def test_multi_steps_take_the_estimate_of_the_last_micro_step_alone(problem):
    params, gradient, hessian = problem
    inner = scale_by_sophia(gamma=0.7, b2=0.5)
    expected, state = _one_refresh(inner, *problem)
    wrapped = optax.MultiSteps(inner, 2)
    for given, h in (((None, hessian), state.h), ((hessian, None), inner.init(params).h)):
        outer = wrapped.init(params)
        first, outer = wrapped.update(gradient, outer, params, hessian=given[0])
        last, outer = wrapped.update(gradient, outer, params, hessian=given[1])
        assert not any(np.any(np.asarray(x)) for x in jax.tree.leaves(first))
        chex.assert_trees_all_equal(outer.inner_opt_state.h, h)
        if given[1] is not None:
            chex.assert_trees_all_close(last, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [sophia(0.1), optax.inject_hyperparams(scale_by_sophia)(b1=0.9)],
    ids=["plain", "injected"],
)
def test_updates_have_the_dtypes_of_gradients_and_averages_are_float32_at_least(
    problem, dtype, optimizer
):
    """In a scan, which refuses a state whose dtypes change; beside a parameter that is float32."""
    with jax.enable_x64(dtype == "float64"):
        dtypes = {"kernel": jnp.dtype(dtype), "scale": jnp.dtype("float32")}
        params, gradient, hessian = (
            {name: tree[name].astype(dtypes[name]) for name in dtypes} for tree in problem
        )

        def step(carry, refresh):
            params, state = carry
            updates, state = jax.lax.cond(
                refresh,
                lambda: optimizer.update(gradient, state, params, hessian=hessian),
                lambda: optimizer.update(gradient, state, params),
            )
            assert {name: x.dtype for name, x in updates.items()} == dtypes
            return (optax.apply_updates(params, updates), state), None

        begin = (params, jax.jit(optimizer.init)(params))
        _, state = jax.jit(lambda c: jax.lax.scan(step, c, jnp.arange(3) % 2 == 0)[0])(begin)
        wide = {name: jnp.promote_types(x, jnp.float32) for name, x in dtypes.items()}
        found = [x.dtype for x in jax.tree.leaves(state) if x.ndim]
        assert found == 2 * list(wide.values())


def test_the_state_has_the_sharding_of_the_parameters_on_explicit_axes():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))
    split = NamedSharding(mesh, PartitionSpec(None, "x", None))
    optimizer = sophia(0.1)
    with jax.set_mesh(mesh):
        params = {"kernel": jnp.ones((2, 8, 4), jnp.float16, out_sharding=split)}
        state = optimizer.init(params)
        assert state[0].h["kernel"].sharding.spec == split.spec
        types = [
            jax.tree.map(jax.typeof, x)
            for x in (
                state,
                jax.jit(optimizer.init)(params),
                optimizer.update(params, state, params, hessian=params)[1],
                jax.jit(optimizer.update)(params, state, params, hessian=params)[1],
            )
        ]
    assert types[0] == types[1] == types[2] == types[3]


def test_the_state_can_be_planned_and_mapped_without_numbers():
    params = {"kernel": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)}
    optimizer = sophia(optax.linear_schedule(1.0, 0.0, 9))
    abstract = jax.eval_shape(optimizer.init, params)
    marked = optax.tree.map_params(optimizer, lambda _: True, abstract, transform_non_params=id)
    assert marked[0].m == marked[0].h == {"kernel": True}
    assert marked[0].count is not True


def test_each_of_the_two_steps_is_compiled_once_whatever_else_it_is_given(problem):
    params, gradient, hessian = problem
    optimizer = sophia(optax.linear_schedule(1.0, 0.0, 9), mask=_MASK)
    update = jax.jit(optimizer.update)
    state = optimizer.init(params)
    for _ in range(3):
        for extra in ({"hessian": hessian}, {}):
            updates, state = update(gradient, state, params, value=1.0, other=params, **extra)
            params = optax.apply_updates(params, updates)
    assert update._cache_size() == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_estimate_that_is_not_finite_is_skipped_and_counted(problem, value):
    """Whole: what is finite of it comes from the same broken pass."""
    params, gradient, hessian = problem
    optimizer = scale_by_sophia(gamma=0.7, b2=0.5)
    broken = {**hessian, "scale": hessian["scale"].at[2].set(value)}
    update = jax.jit(optimizer.update)
    _, state = update(gradient, optimizer.init(params), params, hessian=hessian)
    updates, after = update(gradient, state, params, hessian=broken)
    expected, without = update(gradient, state, params)
    chex.assert_trees_all_equal(updates, expected)
    chex.assert_trees_all_equal(after, without._replace(skipped=jnp.int32(1)))
    _, again = update(gradient, after, params, hessian=hessian)
    assert int(sophia_metrics(again)["sophia_skipped"]) == 1
    assert np.any(np.asarray(again.h["scale"] != after.h["scale"]))


def test_apply_if_finite_still_judges_the_gradient_alone(problem):
    params, gradient, hessian = problem
    optimizer = optax.apply_if_finite(sophia(0.1), 3)
    broken = [jax.tree.map(lambda x: x * jnp.nan, tree) for tree in (gradient, hessian)]
    updates, state = _one_refresh(optimizer, params, gradient, broken[1])
    assert int(state.total_notfinite) == 0
    assert int(sophia_metrics(state)["sophia_skipped"]) == 1
    assert any(np.any(np.asarray(x)) for x in jax.tree.leaves(updates))
    updates, state = _one_refresh(optimizer, params, *broken)
    assert int(state.total_notfinite) == 1
    assert not any(np.any(np.asarray(x)) for x in jax.tree.leaves((updates, state.inner_state)))


@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (5, 1), (1, 5, 4)])
def test_an_estimate_of_another_shape_is_refused_by_name(problem, shape):
    with pytest.raises(ValueError, match="kernel"):
        _one_refresh(sophia(0.1), *problem[:2], {**problem[2], "kernel": jnp.ones(shape)})


def _distance(params, goal):
    apart = jax.tree.map(lambda x, y: jnp.sum(jnp.square(x - y)), params, goal)
    return sum(jax.tree.leaves(apart))


def _rosenbrock(params, _):
    x, y = params["x"]
    return jnp.square(1 - x) + 100 * jnp.square(y - jnp.square(x))


_PROBLEMS = {
    "parabola": (_distance, {"x": [-1.0, 10.0, 1.0]}, {"x": [0.0, 1.0, 2.0]}),
    "rosenbrock": (_rosenbrock, {"x": [-1.0, 0.0]}, {"x": [1.0, 1.0]}),
    "tree": (
        _distance,
        {"vector": [0.0, 0.0], "matrix": [[0.0, 1.0], [2.0, 3.0]]},
        {"vector": [1.0, -1.0], "matrix": [[3.0, -2.0], [1.0, 4.0]]},
    ),
}


@pytest.mark.parametrize(("loss", "start", "goal"), _PROBLEMS.values(), ids=_PROBLEMS)
def test_it_converges(loss, start, goal):
    """Through the estimator, on convex and curved problems, to the minimum itself."""
    optimizer = sophia(2e-2, b1=0.9, b2=0.99, gamma=0.05, weight_decay=0.0)
    batch = {"weights": jnp.ones((1, 1))}
    params, goal = ({name: jnp.asarray(x) for name, x in tree.items()} for tree in (start, goal))

    def value(params, _):
        return loss(params, goal)

    def update(carry, t):
        params, state = carry
        gradient, key = jax.grad(value)(params, batch), jax.random.fold_in(jax.random.key(0), t)
        hessian = hutchinson(key, value, params, batch)
        updates, state = optimizer.update(gradient, state, params, hessian=hessian)
        return (optax.apply_updates(params, updates), state), None

    begin = (params, optimizer.init(params))
    (params, _), _ = jax.jit(lambda c: jax.lax.scan(update, c, jnp.arange(20_000)))(begin)
    chex.assert_trees_all_close(params, goal, rtol=0.01, atol=0.01)
