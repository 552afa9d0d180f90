"""MM-Rec (Multi-Memory Recurrence): language models whose context is a state of fixed size."""
