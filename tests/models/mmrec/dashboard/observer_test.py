"""Every quantity against the float64 model, on rows of different lengths, read in chunks."""

import jax
import numpy as np
import pytest

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
    return config, jax.device_get(params["blocks"]), found, layers


def _close(actual, expected, rtol=2e-4):
    np.testing.assert_allclose(np.asarray(actual, float), expected, rtol=rtol, atol=1e-6)


def _counts(x, edges):
    return np.histogram(np.clip(x, edges[0], edges[-1] * (1 - 1e-9)), edges)[0]


def test_decays_and_their_half_lives(observed):
    config, blocks, found, layers = observed
    summary = found.record
    edges = summary["half_life_edges"]
    for layer, seen in zip(summary["layers"], layers, strict=True):
        _close(layer["gamma_half_life"], np.log(0.5) / np.log(seen["gamma"]).mean(axis=0))
        counts = _counts(np.log(0.5) / np.log(seen["gamma"]), edges)
        assert np.abs(counts - layer["gamma_histogram"]).sum() <= 2  # one may lie on a border
        if config.memory == "none":
            assert "alpha_half_life" not in layer
            continue
        _close(layer["alpha_half_life"], np.log(0.5) / np.log(seen["alpha"]).mean(axis=0))
        counts = _counts(np.log(0.5) / np.log(seen["alpha"]), edges)
        assert np.abs(counts - layer["alpha_histogram"]).sum() <= 2
    if not config.use_dpg:  # a constant decay: that of its bias
        lost = np.log1p(np.exp(-np.float64(blocks["b_gamma"][0])))
        _close(summary["layers"][0]["gamma_half_life"], np.log(2) / lost)


def test_saturation_of_the_gate(observed):
    config, blocks, found, layers = observed
    summary = found.record
    for number, (layer, seen) in enumerate(zip(summary["layers"], layers, strict=True)):
        if config.gate == "none":
            assert "gate_low" not in layer
            continue
        _close(layer["gate_low"], np.mean(seen["gate"] < 0.1))
        _close(layer["gate_high"], np.mean(seen["gate"] > 1.9))
        assert (
            np.abs(_counts(seen["gate"], summary["gate_edges"]) - layer["gate_histogram"]).sum() < 3
        )
        if config.gate == "state":
            w = blocks["w_g"][number]
            _close(layer["gate_weight"], np.sqrt(np.mean(w**2)))
            _close(layer["gate_weight_max"], np.abs(w).max())
    if config.gate == "state":
        assert 0 < summary["layers"][0]["gate_low"] < 1


def test_states_by_position(observed):
    config, _, found, layers = observed
    summary = found.record
    position = np.concatenate([np.arange(1, length + 1) for length in _LENGTHS])
    assert summary["positions"] == [1, 2, 4, 8]
    assert summary["tokens"] == sum(_LENGTHS)
    for layer, seen in zip(summary["layers"], layers, strict=True):
        for index, first in enumerate(summary["positions"]):
            here = (position >= first) & (position < 2 * first)
            _close(layer["state_rms"][index], np.sqrt(np.mean(seen["h"][here] ** 2)))
            if config.memory != "none":
                square = np.mean(np.sum(seen["m"][here] ** 2, axis=(2, 3)), axis=0)
                _close(np.array(layer["memory_norm"])[:, index], np.sqrt(square))
        n = seen["h"] / np.sqrt(np.mean(seen["h"] ** 2, axis=1, keepdims=True) + 1e-6)
        _close(layer["state_variance"], np.mean(np.var(n, axis=0)))


def test_writes_and_ranks(observed):
    config, _, found, layers = observed
    summary = found.record
    if config.memory == "none":
        assert "effective_rank" not in summary["layers"][0]
        assert summary["memory_size"] is None
        return
    for layer, seen in zip(summary["layers"], layers, strict=True):
        _close(layer["write_strength"], seen["beta"].mean(axis=0))
        counts = _counts(seen["beta"], summary["write_edges"])
        assert np.abs(counts - layer["write_histogram"]).sum() <= 2
        # From the eigenvalues of M^T M, not its singular values.
        eigen = np.linalg.eigvalsh(np.einsum("bhsk,bhsj->bhkj", seen["last_m"], seen["last_m"]))
        singular = np.sqrt(np.maximum(eigen, 0))
        share = singular / singular.sum(axis=-1, keepdims=True)
        entropy = -np.sum(np.where(share > 0, share * np.log(np.maximum(share, 1e-300)), 0), -1)
        _close(layer["effective_rank"], np.exp(entropy).mean(axis=0), rtol=1e-3)


def test_what_is_logged_printed_and_drawn(observed, tmp_path):
    config, _, found, _ = observed
    always = {"gamma_half_life", "state_rms", "state_variance"}
    memory = {"alpha_half_life", "write_strength", "effective_rank", "memory_norm"}
    gate = {"state": {"gate_saturation", "gate_weight"}, "input": {"gate_saturation"}}
    expected = always | (memory if config.H else set()) | gate.get(config.gate, set())
    assert found.scalars.keys() == expected
    assert all(np.isfinite(list(found.scalars.values())))
    layers = found.record["layers"]
    half_lives = [layer["gamma_half_life"] for layer in layers]
    _close(found.scalars["gamma_half_life"], np.median(half_lives))
    assert len(found.histograms) == (3 if config.H else 1) * config.num_layers
    edges, counts = found.histograms["gamma_log2_half_life/layer_1"]
    assert counts.sum() == sum(_LENGTHS) * config.E
    assert len(edges) == len(counts) + 1
    table = found.table.splitlines()
    assert len(table) == 1 + config.num_layers
    assert len({len(line) for line in table}) == 1
    assert ("rank M" in table[0]) == bool(config.H)
    if config.gate != "input":
        found.draw("small", tmp_path / "picture.png")
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_newton_is_reported_where_it_solves():
    config = small_model.config(scan="sequential", memory="none")
    params = small_model.random_parameters(config)
    tokens = np.asarray(small_model.random_tokens())
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
