"""Conversations as the data of a run."""
