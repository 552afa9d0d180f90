"""Synthetic tasks: examples drawn at random, answers known exactly, nothing to download.

Reading order: `task`, `alphabet`, the tasks (`modular`, `parity`, `mqar`, `induction`, `k_hop`,
`needle`), `registry`, `training`, `scoring`, `task_dataset`.
"""
