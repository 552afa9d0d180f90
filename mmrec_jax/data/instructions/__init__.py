"""Prompts and responses as the data of a run.

Reading order: `record`, `treebank_pairs`, `conversation_sources`, `template_choice`,
`example_store`, `instruction_dataset`; before them `conversation`, `chat_template` and
`chat_encoder` in the folder above.
"""
