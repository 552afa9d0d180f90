"""MM-Rec: a nonlinear short-term memory, and a long-term memory written by the delta rule."""
