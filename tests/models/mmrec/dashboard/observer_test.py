"""Every quantity against the float64 model, on rows of different lengths, read in chunks."""

import jax
import numpy as np
import pytest

from mmrec_jax.curves import draw_panels
from mmrec_jax.models.mmrec.dashboard import observer as q
from mmrec_jax.models.mmrec.family import MMRec
from tests.models.mmrec import small_model
from tests.models.mmrec.dashboard.numpy_observer import watch

_LENGTHS = (11, 6)
_VARIANTS = {
    "state-delta": {},
    "input-decay": {"gate": "input", "memory": "decay", "use_dpg": False},
    "none-none": {"gate": "none", "memory": "none", "use_hem": False},
}


@pytest.fixture(scope="module", params=_VARIANTS)
def observed(request):
    """A model's dashboard, and what each layer of it saw in float64, all rows end to end."""
    config = small_model.config(time_chunk=4, **_VARIANTS[request.param])
    params = small_model.random_parameters(config)
    if "w_g" in params["blocks"]:
        params["blocks"]["w_g"] = params["blocks"]["w_g"] * 4  # some gates are saturated
    tokens = np.asarray(small_model.random_tokens(shape=(2, max(_LENGTHS))))
    segment_ids = np.int32(np.arange(max(_LENGTHS)) < np.array(_LENGTHS)[:, None])
    found = MMRec(config).dashboard(params, {"inputs": tokens, "segment_ids": segment_ids})
    rows = [row[:length] for row, length in zip(tokens, _LENGTHS, strict=True)]
    seen = watch(config, params, rows)
    layers = [
        {name: np.concatenate([row[layer][name] for row in seen]) for name in seen[0][layer]}
        | {"last_m": np.stack([row[layer]["m"][-1] for row in seen])}
        for layer in range(config.num_layers)
    ]
    pairs = list(zip(found.record["layers"], layers, strict=True))
    return config, jax.device_get(params["blocks"]), found, pairs


def _close(actual, expected, rtol=2e-4):
    np.testing.assert_allclose(np.asarray(actual, float), expected, rtol=rtol, atol=1e-6)


def _assert_counts(found, x, edges):
    counts = np.histogram(np.clip(x, edges[0], edges[-1] * (1 - 1e-9)), edges)[0]
    assert np.abs(counts - found).sum() <= 2  # one may lie on a border


def test_decays_and_their_half_lives(observed):
    config, blocks, found, pairs = observed
    for layer, seen in pairs:
        for name in ("gamma", "alpha") if config.H else ("gamma",):
            _close(layer[f"{name}_half_life"], np.log(0.5) / np.log(seen[name]).mean(axis=0))
            half_lives, edges = np.log(0.5) / np.log(seen[name]), found.record["half_life_edges"]
            _assert_counts(layer[f"{name}_histogram"], half_lives, edges)
        assert ("alpha_half_life" in layer) == (config.H > 0)
    if not config.use_dpg:  # a constant decay: that of its bias
        lost = np.log1p(np.exp(-np.float64(blocks["b_gamma"][0])))
        _close(pairs[0][0]["gamma_half_life"], np.log(2) / lost)


def test_saturation_of_the_gate(observed):
    config, blocks, found, pairs = observed
    for number, (layer, seen) in enumerate(pairs):
        assert ("gate_low" in layer) == (config.gate != "none")
        if config.gate == "none":
            continue
        _close(layer["gate_low"], np.mean(seen["gate"] < 0.1))
        _close(layer["gate_high"], np.mean(seen["gate"] > 1.9))
        _assert_counts(layer["gate_histogram"], seen["gate"], found.record["gate_edges"])
        if config.gate == "state":
            w = blocks["w_g"][number]
            _close(layer["gate_weight"], np.sqrt(np.mean(w**2)))
            _close(layer["gate_weight_max"], np.abs(w).max())
            assert 0 < max(layer["gate_low"] for layer, _ in pairs) < 1


def test_states_by_position(observed):
    config, _, found, pairs = observed
    position = np.concatenate([np.arange(1, length + 1) for length in _LENGTHS])
    assert found.record["positions"] == [1, 2, 4, 8]
    assert found.record["tokens"] == sum(_LENGTHS)
    for layer, seen in pairs:
        for index, first in enumerate(found.record["positions"]):
            here = (position >= first) & (position < 2 * first)
            _close(layer["state_rms"][index], np.sqrt(np.mean(seen["h"][here] ** 2)))
            if config.H:
                square = np.mean(np.sum(seen["m"][here] ** 2, axis=(2, 3)), axis=0)
                _close(np.array(layer["memory_norm"])[:, index], np.sqrt(square))
        n = seen["h"] / np.sqrt(np.mean(seen["h"] ** 2, axis=1, keepdims=True) + 1e-6)
        _close(layer["state_variance"], np.mean(np.var(n, axis=0)))


def test_writes_and_ranks(observed):
    config, _, found, pairs = observed
    for layer, seen in pairs:
        assert ("effective_rank" in layer) == (config.H > 0)
        if not config.H:
            continue
        _close(layer["write_strength"], seen["beta"].mean(axis=0))
        _assert_counts(layer["write_histogram"], seen["beta"], found.record["write_edges"])
        # From the eigenvalues of M^T M, not its singular values.
        eigen = np.linalg.eigvalsh(np.einsum("bhsk,bhsj->bhkj", seen["last_m"], seen["last_m"]))
        singular = np.sqrt(np.maximum(eigen, 0))
        share = singular / singular.sum(axis=-1, keepdims=True)
        entropy = -np.sum(np.where(share > 0, share * np.log(np.maximum(share, 1e-300)), 0), -1)
        _close(layer["effective_rank"], np.exp(entropy).mean(axis=0), rtol=1e-3)


def test_what_is_logged_printed_and_drawn(observed, tmp_path):
    config, _, found, pairs = observed
    always = {"gamma_half_life", "state_rms", "state_variance"}
    memory = {"alpha_half_life", "write_strength", "effective_rank", "memory_norm"}
    gate = {"state": {"gate_saturation", "gate_weight"}, "input": {"gate_saturation"}}
    expected = always | (memory if config.H else set()) | gate.get(config.gate, set())
    assert found.scalars.keys() == expected
    assert all(np.isfinite(list(found.scalars.values())))
    _close(found.scalars["gamma_half_life"], np.median([x["gamma_half_life"] for x, _ in pairs]))
    table = found.table.splitlines()
    assert len(table) == 1 + config.num_layers
    assert len({len(line) for line in table}) == 1
    assert ("rank M" in table[0]) == bool(config.H)
    if config.gate == "state":  # which has every panel
        draw_panels(found.panels, "small", tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_newton_is_reported_where_it_solves():
    config = small_model.config(scan="sequential", memory="none")
    params, tokens = small_model.random_parameters(config), np.asarray(small_model.random_tokens())
    batch = {"inputs": tokens, "segment_ids": np.ones(tokens.shape, np.int32)}
    stepped, solved = (
        MMRec(config).dashboard(params, batch, thorough=thorough).record["layers"][0]
        for thorough in (False, True)
    )
    assert stepped["newton_iterations"] == 0
    assert solved["newton_iterations"] >= 2
    assert 0 <= solved["newton_residual"] < 1e-5
    assert solved["newton_fell_back"] == 0
    _close(stepped["state_rms"], solved["state_rms"])


def test_the_half_life_of_a_constant_decay_is_known():
    tokens = np.float64([0.25, 1.0, 7.5, 512.0, 1e6])
    decay = 2.0 ** (-1 / tokens)
    logits = np.float32(np.log(decay) - np.log1p(-decay))
    np.testing.assert_allclose(q.half_life(q.forgetting(logits)), tokens, rtol=1e-5)
    assert q.half_life(np.array([0.0, np.log(2.0)])).tolist() == [np.inf, 1.0]


def test_the_effective_rank_of_known_matrices(rng):
    def rotated(values):
        left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (6, 4))
        diagonal = np.zeros((6, 4))
        np.fill_diagonal(diagonal, values)
        return left @ diagonal @ right

    cases = {
        1.0: [3.0, 0, 0, 0],
        2.0: [0.1, 0.1, 0, 0],
        4.0: [5.0, 5.0, 5.0, 5.0],
        2**1.75: [4.0, 2.0, 1.0, 1.0],  # shares 1/2, 1/4, 1/8, 1/8: 1.75 bits
        0.0: [0.0, 0, 0, 0],
    }
    ranks = q.effective_rank(np.stack([rotated(values) for values in cases.values()]))
    np.testing.assert_allclose(ranks, list(cases), rtol=1e-9)
    assert np.isnan(q.effective_rank(np.array([[np.nan, 1.0], [0.0, 1.0]])))


def test_histograms_count_every_number_once(rng):
    x = rng.uniform(-2.9, 16.9, (3, 20, 10))
    expected = [np.histogram(layer, q.LOG2_HALF_LIFE_EDGES)[0] for layer in x]
    np.testing.assert_array_equal(q.histogram(x, q.LOG2_HALF_LIFE_EDGES), expected)
    outside = q.histogram(np.array([[-np.inf, -9, 99, np.inf]]), q.WRITE_EDGES)[0]
    assert (outside[0], outside[-1], outside.sum()) == (2, 2, 4)
