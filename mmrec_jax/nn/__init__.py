"""The model: scans, memories, blocks. Imports nothing above it."""
