"""The switches of a block: fused projections and the dynamic decay."""

import jax.numpy as jnp
import numpy as np

from mmrec_jax.models.mmrec.layers import projection_widths
from tests.models.mmrec.loops import relative_error
from tests.models.mmrec.small_model import config, forward, random_parameters, random_tokens


def test_fused_projection_equals_separate_ones():
    """The same numbers from the same weights, `fused` cut into columns; gate="input" has all."""
    fused, separate = config(gate="input"), config(gate="input", use_hem=False)
    params, tokens = random_parameters(fused), random_tokens()
    matrix = params["blocks"]["project"]["fused"]["kernel"]
    pieces, begin = {}, 0
    for name, width in projection_widths(fused).items():
        pieces[name] = {"kernel": matrix[..., begin : begin + width]}
        begin += width
    assert begin == matrix.shape[-1]
    cut = params | {"blocks": params["blocks"] | {"project": pieces}}
    logits, state, _ = forward(fused)(params, tokens)
    cut_logits, cut_state, _ = forward(separate)(cut, tokens)
    assert relative_error(cut_logits, logits) <= 1e-5
    assert relative_error(cut_state.h, state.h) <= 1e-5
    assert relative_error(cut_state.m, state.m) <= 1e-5


def test_projection_widths_follow_the_variant():
    full = {"z": 6, "v": 10, "g": 16, "q": 6, "k": 6, "beta": 2, "alpha": 2}
    assert projection_widths(config()) == full
    assert projection_widths(config(gate="input")) == full | {"i": 6}
    assert projection_widths(config(memory="none")) == {"z": 6, "g": 6}


def test_constant_decay_is_the_dynamic_one_without_its_last_matrix():
    on, off = config(), config(use_dpg=False)
    params, tokens = random_parameters(on), random_tokens()
    blocks = params["blocks"]
    kernel = jnp.zeros_like(blocks["dpg_up"]["kernel"])
    silenced = params | {"blocks": blocks | {"dpg_up": {"kernel": kernel}}}
    without = {name: x for name, x in blocks.items() if name not in ("dpg_up", "dpg_down")}
    dynamic = forward(on)(silenced, tokens)[0]
    constant = forward(off)(params | {"blocks": without}, tokens)[0]
    np.testing.assert_array_equal(dynamic, constant)
    assert relative_error(forward(on)(params, tokens)[0], constant) > 0.01
