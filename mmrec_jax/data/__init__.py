"""From text, or from a synthetic task, to batches and evaluation layouts.

Reading order: `document`, `formats`, `sources`, `token_store`,
`windows`, `batch`, `packing`, `packed_stream`, `lanes`, `train_iterator`, `pipeline`, `evaluation`,
`dataset`, `text_dataset`; then `mixture`, `long_text`, `process_memory`, `worker_process`,
`quality`, `stream` and `prepared`; then `conversations`; then `tasks`. Everything here is NumPy on the host; no device is touched.
"""
