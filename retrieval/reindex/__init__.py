"""Re-index: fill a new collection beside the live one, check it, swap it in in one step, and roll back."""
