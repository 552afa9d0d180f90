"""Attention: a decoder as Llama has it, without a state: what MM-Rec is compared with."""
