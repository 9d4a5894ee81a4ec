"""For whoever runs it: the history of jobs, and what is wrong and how to fix it."""
