"""Is the retrieval any good: the metrics, the search by brute force, and the job that compares with baselines."""

from retrieval.evaluate.job import evaluate
from retrieval.evaluate.metrics import average_precision, effective_rank, precision_at_k, r_precision, recall_at_k
from retrieval.evaluate.ranking import nearest, ranks
from retrieval.evaluate.report import Report

__all__ = [
    "Report",
    "average_precision",
    "effective_rank",
    "evaluate",
    "nearest",
    "precision_at_k",
    "r_precision",
    "ranks",
    "recall_at_k",
]
