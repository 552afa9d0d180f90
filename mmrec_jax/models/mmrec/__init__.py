"""MM-Rec: a nonlinear recurrent short-term memory and a long-term memory written by the delta rule."""
