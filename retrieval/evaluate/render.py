"""A report for people: the same sentences and tables for the terminal and the HTML page."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.evaluate.failures import Failure
from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import LABELLED, OTHERS
from retrieval.gallery.page import write_html
from retrieval.gallery.rows import Row, Table, Tile, format_nearness
from retrieval.images.decode import encode_png
from retrieval.util.wording import count_of

MOST_CLASSES = 20
"""Maximum number of labels in the table, worst first; JSON has all."""
MISSING = "–"


def score_tables(report: Report) -> list[Table]:
    """The scores of the model and the baselines; with labels, also the model's scores for each label."""
    names = {"dim": "dims", **(LABELLED if report.model.labelled else {}), **OTHERS}
    copies = count_of(len(report.model.copy_ranks), "distorted copy", "distorted copies")
    asked = copies
    if report.model.labelled:
        asked = f"{count_of(len(report.model.labelled.rows), 'query', 'queries')} and {copies}"
    found = [
        Table(
            f"{asked}, {count_of(report.data.indexed, 'image')} searched",
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
    """Column headings."""
    return [name.format(k=k) for name in names.values()]


def format_cells(values: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Format the named values: shares with four decimals, ranks with one below 1,000, counts as integers."""
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
    """The verdict, and what the columns mean, a sentence or two per line."""
    k, labelled, engine = report.k, report.model.labelled, report.engine
    said = [str(report.verdict)]
    if labelled is not None:
        said.append(
            f"P@{k}: share of the {k} nearest images that carry the query's label. recall@{k}: share of queries with at"
            " least one. mAP and R-precision: over the whole ranking."
        )
        if alone := int(labelled.alone.sum()):
            said.append(f"Only P@{k} counts {count_of(alone, 'query', 'queries')} whose label no other image carries.")
    said.append(
        "Copies found: share of distorted copies whose nearest image is the original. Median rank: of the originals"
        " among all images. Effective rank: how many dimensions the embeddings use."
    )
    if engine is not None:
        said.append(
            f"The {engine.engine} engine returned {engine.recall:.4f} of the true {k} nearest of "
            f"{count_of(engine.queries, 'query', 'queries')} among {count_of(engine.points, 'point')}."
        )
    return said


def write_report(path: Path, report: Report) -> None:
    """Write the report as a self-contained HTML page, with the images of the worst queries below the tables."""
    verdict, *explained = summary_lines(report)
    rows = [failure_row(report, case) for case in report.worst]
    worst = f"The {len(rows)} worst queries, worst first; hits nearest first, with their distance" if rows else ""
    notes = [f"{verdict[0].upper()}{verdict[1:]}.", *explained]
    write_html(path, rows, "Evaluation", notes, score_tables(report), worst)


def failure_row(report: Report, case: Failure) -> Row:
    """A failure as a row of the gallery."""
    entries = report.data.entries
    asked = entries[case.row]
    hits = [
        Tile(entry.read, entry.name, format_nearness(float(distance)), entry.label, rank)
        for rank, (entry, distance) in enumerate(
            zip((entries[hit] for hit in case.hits), case.distances, strict=True), start=1
        )
    ]
    if case.copy is not None:
        copy = encode_png(case.copy)
        fact = f"its original has rank {case.copy_rank:,}"
        return Row(Tile(lambda: copy, asked.name, "distorted copy", facts=[fact]), hits)
    facts = [f"P@{report.k} {case.p_at_k:.2f}", f"average precision {case.average_precision:.4f}"]
    return Row(Tile(asked.read, asked.name, "query", asked.label, facts=facts), hits)
