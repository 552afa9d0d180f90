"""Measurements; `README.md` in this folder says how to run each and what came out."""
