"""What perplexity does not say of a trained model: context length, recall, needles in a haystack.

Everything is drawn at random from a seed or read from a file: nothing is downloaded. Reading order:
`loss_by_position`, `reader`, `symbols`, `first_place`, `recall`, `needle`, `picture`, `record`.
"""
