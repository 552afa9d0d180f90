"""Text that was tokenised once, in files that a run maps into memory.

Writing (`mmrec data prepare`): `settings`, `encoded_chunk`, `worker`, `worker_pool`, `memory`,
`tally`, `shard_writer`, `journal`, `manifest`, `output_folder`, `preparation`.
Reading (`data.source="prepared"`): `manifest`, `shard_tokens`, `prepared_store`,
`prepared_dataset`; `report`, `report_picture` (`mmrec data report`).
"""
