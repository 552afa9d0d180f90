"""What the memories do: measured on text, as numbers, a table and a picture."""
