"""Conversations as the data of a run: `records`, `files`, `encoder`, `examples`, `dataset`."""
