"""Is the retrieval any good: the metrics, the search by brute force, and the job that compares with baselines."""
