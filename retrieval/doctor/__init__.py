"""What is wrong, and how to mend it: one small function for each check, and nothing is changed by any of them."""
