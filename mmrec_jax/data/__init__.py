"""From text, or from a synthetic task, to batches and evaluation layouts.

Reading order: `document`, `files`, `sources`; `token_store`, `chunks`, `batch`, `packing`,
`mixture`, `train_iterator`, `pipeline`, `evaluation`, `dataset`, `text_dataset`; then `prepare`,
`conversations` and `tasks`. Everything here is NumPy on the host;
no device is touched.
"""
