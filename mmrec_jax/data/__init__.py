"""From text, or from a synthetic task, to batches and evaluation layouts.

Reading order: `document`, `formats`, `sources`, `tokenizer`, `tokenizer_cache`, `token_store`,
`windows`, `batch`, `packing`, `lanes`, `train_iterator`, `pipeline`, `evaluation`, `dataset`,
`text_dataset`; then `conversation`, `chat_template`, `chat_encoder` and `instructions`; then
`tasks`; then `mixture`, `long_text` and `stream`. Everything here is NumPy on the host; no device
is touched.
"""
