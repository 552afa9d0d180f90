"""Optimizers, schedules and masks."""
