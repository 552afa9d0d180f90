"""Synthetic tasks: examples drawn at random, answers known exactly, nothing to download.

Reading order: `task`, `parity`, `registry`, `training`, `scoring`, `task_dataset`.
"""
