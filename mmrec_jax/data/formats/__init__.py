"""Files of any size and form: files -> chunks of whole records -> documents.

Reading order: `chunk`, `refusals`, `source`, `documents`, `paths`. Text and JSON: `compression`,
`byte_window`, `byte_chunk`, `text_chunk`, `json_record`, `json_chunk`, `record_file`,
`json_scanner`, `json_array_file`. Other forms: `value_chunk`, `column`, `parquet_file`,
`arrow_file`, `huggingface`, `example_proto`, `array_record_file`, `tfds`, `tfds_writer`. Nothing
here imports JAX: worker processes import it.
"""
