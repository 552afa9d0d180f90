"""What the memories of MM-Rec do: half-lives, gates, norms and ranks, from rows of text."""
