"""Re-index: a new collection beside the live one, checked, swapped in in one step, and back."""
