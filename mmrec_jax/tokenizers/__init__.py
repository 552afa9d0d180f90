"""Existing byte-level BPE tokenizers: extended by a language, measured, and their embeddings."""
