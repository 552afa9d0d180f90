"""A pretrained model learns a language: stages from the tokenizer to the report."""
