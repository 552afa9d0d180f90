"""What a document must be to be trained on: clean, long enough, in the language, and new.

Reading order: `cleaning`, `language`, `document_filter`, `shingles`, `minhash`, `key_table`,
`duplicates`.
"""
