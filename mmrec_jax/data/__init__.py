"""From text to batches: documents, tokenizers, packed rows and evaluation layouts.

Reading order: `document`, `sources`, `tokenizer`, `tokenizer_cache`, `token_store`, `windows`,
`batch`, `packing`, `pipeline`, `evaluation`. Everything here is NumPy on the host; no device is
touched.
"""
