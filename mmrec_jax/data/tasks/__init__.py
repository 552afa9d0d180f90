"""Synthetic tasks (`data/kinds/tasks.py`) as the data of a run."""
