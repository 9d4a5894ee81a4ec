"""A report as people read it: the same lines and tables in the terminal and on the page."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.evaluate.failures import Failure
from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import LABELLED, OTHERS
from retrieval.gallery import Row, Table, Tile, write_html
from retrieval.images.decode import encode_png

MOST_CLASSES = 20
"""Labels in a table: the worst; JSON has them all."""
MISSING = "–"


def score_tables(report: Report) -> list[Table]:
    """The scores beside the baselines', and, with labels, the model's for each label."""
    names = {"dim": "dims", **(LABELLED if report.model.labelled else {}), **OTHERS}
    copies = f"{len(report.model.copy_ranks):,} distorted copies"
    asked = f"{len(report.model.labelled.rows):,} queries and {copies}" if report.model.labelled else copies
    found = [
        Table(
            f"{asked}, {report.pictures.indexed:,} pictures searched",
            ["codes", *headings(names, report.k)],
            [[scores.name, *format_cells(scores.to_json(), names)] for scores in report.scores],
        )
    ]
    if classes := report.classes():
        names = {"queries": "queries", **LABELLED}
        worst = f"The {MOST_CLASSES} worst of {len(classes):,} labels" if len(classes) > MOST_CLASSES else "By label"
        found.append(
            Table(
                f"{worst}, by the model",
                ["label", *headings(names, report.k)],
                [[row["label"], *format_cells(row, names)] for row in classes[:MOST_CLASSES]],
            )
        )
    return found


def headings(names: Mapping[str, str], k: int) -> list[str]:
    """The columns' names."""
    return [name.format(k=k) for name in names.values()]


def format_cells(values: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """The named values: shares to four digits, ranks to one below 1,000, counts whole."""
    shown = []
    for name in names:
        value = values[name]
        if value is None or math.isnan(value):
            shown.append(MISSING)
        elif isinstance(value, int):
            shown.append(f"{value:,}")
        else:
            shown.append(f"{value:.4f}" if not name.endswith("rank") else f"{value:,.{1 if value < 1000 else 0}f}")
    return shown


def summary_lines(report: Report) -> list[str]:
    """The verdict, and what the columns mean."""
    k, labelled, engine = report.k, report.model.labelled, report.engine
    said = [report.verdict]
    if labelled is not None:
        said.append(
            f"P@{k}: share of the {k} nearest that carry the query's label. recall@{k}: queries with one at least."
            " mAP and R-precision: over the whole ranking."
        )
        if alone := int(labelled.alone.sum()):
            said.append(f"{alone:,} queries have a label that no other picture carries; they count in P@{k} only.")
    said.append(
        "Copies found: the original is the copy's nearest picture; median rank: its place among all of them. Effective"
        " rank: how many dimensions the codes use."
    )
    if engine is not None:
        said.append(
            f"The {engine.engine} engine gave {engine.recall:.4f} of the true {k} nearest of {engine.queries:,} queries"
            f" among {engine.points:,} points."
        )
    return said


def write_report(path: Path, report: Report) -> None:
    """The report as a self-contained page, the worst queries with their pictures below the numbers."""
    shown = f"Below the numbers: the {len(report.worst)} worst queries, the worst first."
    verdict, *explained = summary_lines(report)
    title = verdict[0].upper() + verdict[1:]
    write_html(
        path, [failure_row(report, case) for case in report.worst], title, [*explained, shown], score_tables(report)
    )


def failure_row(report: Report, case: Failure) -> Row:
    """A bad query as the gallery shows it."""
    entries = report.pictures.entries
    asked = entries[case.row]
    hits = [
        Tile(entry.read, float(distance), entry.source, entry.key, entry.label)
        for entry, distance in zip((entries[hit] for hit in case.hits), case.distances, strict=True)
    ]
    where = asked.name
    if case.copy is not None:
        copy = encode_png(case.copy)
        return Row(where, lambda: copy, hits, note=f"a distorted copy; its original is in place {case.copy_rank:,}")
    note = f"P@{report.k} {case.p_at_k:.2f}, average precision {case.average_precision:.4f}"
    return Row(where, asked.read, hits, asked.label, note=note)
