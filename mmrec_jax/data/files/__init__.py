"""The user's own files: from patterns to documents or records, in bounded memory.

Reading order: `paths`, `compression`, `text`, `records`, `json_values`, `csv_rows`, `tables`,
`hub`, `reading`. Nothing here imports JAX.
"""
