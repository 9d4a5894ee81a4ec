"""Evaluation: retrieval metrics, exact search by brute force, and the job that compares a model with baselines."""
