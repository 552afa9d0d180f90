"""Turkish: letters, vowel harmony, phonology, morphology, and metrics of text."""
