"""Models of other kinds, to compare with; never a part of the library."""
