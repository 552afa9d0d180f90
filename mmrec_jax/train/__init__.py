"""The training loop and what it needs: the one place where data, model and optimizer meet."""
