"""Pretrained models in the layouts of others: Hugging Face folders and Hub ids, GGUF files."""
