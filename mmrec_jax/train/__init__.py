"""The training loop and what it needs: only here data, model and optimizer meet."""
