"""Model families: one folder each, behind the protocol of `api.py`."""
