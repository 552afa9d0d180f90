"""What a model is worth: losses, tasks, probes."""
