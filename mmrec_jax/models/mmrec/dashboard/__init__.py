"""What the memories of MM-Rec do: measured, summarised, drawn."""
