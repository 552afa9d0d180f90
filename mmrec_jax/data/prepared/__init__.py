"""Text that was tokenised once, in files that a run maps into memory.

Writing (`mmrec data prepare`): `settings`, `encoded_chunk`, `worker`, `worker_pool`,
`memory`, `memory_watch`, `tally`, `shard_writer`, `journal`, `step_writer`, `manifest`,
`output_folder`, `preparation`.
Reading (`data.source="prepared"`): `shard_tokens`, `prepared_store`, `prepared_dataset`.
`mmrec data report`: `report`, `report_picture`.
"""
