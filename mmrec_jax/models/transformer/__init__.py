"""Pretrained decoders: Qwen3, Qwen2, Llama 2 and 3, SmolLM2, in Hugging Face's layout and ours."""
