"""The kinds of data: each is a group of settings that opens what it describes."""
