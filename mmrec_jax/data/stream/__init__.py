"""Files of any size as batches, read and tokenised on the way in a fixed amount of memory.

Reading order: `layout` (which shard reads what), `chunk_walk`, `blocks`, `plan`, `spans`, `shard`,
`group` (some shards together), `task` and `worker` (a process with one group), `piece_queue`
(what the training process has of it), `budget`, `stream_batches`, `stream_iterator`; `opening`,
`stream_text`, `stream_dataset`.

A worker must not import jax: an interpreter with it costs 300 MB and seconds.
"""
