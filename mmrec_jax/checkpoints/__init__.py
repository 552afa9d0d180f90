"""Run folders: saving, restoring, exporting, merging."""
