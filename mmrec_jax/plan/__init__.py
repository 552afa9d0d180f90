"""What a training step takes on devices that need not be here."""
