"""For operators: the history of jobs, `doctor`, and the export of a collection."""
