"""Measurements; `README.md` in this folder says how to run each and what came out."""

import mmrec_jax  # noqa: F401  (its XLA flags, before anything here starts JAX)
