"""What is minimised: one file each, behind the protocol of `api.py`."""
