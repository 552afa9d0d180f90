"""Files of any size and form, as chunks of whole records, as documents.

Reading order: `chunk`, `refusals`, `source`; then `text_chunk`, `json_record`, `json_chunk`; then
`compression`, `byte_window`, `record_file`. Nothing here imports JAX: worker processes import it.
"""
