"""`retrieval doctor`: what is wrong and how to fix it, one function for each check. No check changes anything."""
