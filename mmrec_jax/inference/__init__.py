"""Text from a model: prefill, generation, chat, saved states."""
