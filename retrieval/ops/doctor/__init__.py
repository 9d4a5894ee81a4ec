"""What is wrong, and how to fix it: one small function for each check, none of which changes anything."""
