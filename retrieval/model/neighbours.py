"""Exact nearest neighbours on the devices that JAX sees, if they are faster than this machine's cores.

Each device compares its share of the queries with all codes. It selects a few more candidates than are asked for, by
products in float32. Their distances are computed again in float64, as in `util.neighbours`, which also answers the few
queries for which rounding leaves it open whether a candidate was missed.
"""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.schema.arrays import Bool, Float, Int, Num
from retrieval.util import neighbours as on_cores
from retrieval.util.neighbours import Neighbours, PreparedCodes, rank_exactly
from retrieval.util.reporting import ReportCount, ignore

if TYPE_CHECKING:
    import jax

WORTH = 10**10
"""Pairs of query and code from which it pays to import JAX, which takes a second: ten seconds of a core."""
SPARE = 8
"""Candidates beyond k and the query itself."""
TABLE = 2**27
"""Distances that a device computes at a time: 512 MB."""
QUERIES = 1024
"""Queries of a device at a time, at most."""
MEMBERS = 64
"""Columns in a group."""


def find_neighbours(
    codes: Num[np.ndarray, "n d"],
    k: int,
    queries: Num[np.ndarray, "q d"] | None = None,
    report: ReportCount = ignore,
) -> Neighbours:
    """As `util.neighbours.find_neighbours`: on several devices or an accelerator if JAX sees any, else on the cores."""
    if len(codes) * len(codes if queries is None else queries) >= WORTH and (devices := list_devices()):
        return find_on_devices(codes, k, queries, report, devices)
    return on_cores.find_neighbours(codes, k, queries, report)


def list_devices() -> "list[jax.Device]":
    """The devices of this process; none if JAX sees but one CPU, on which NumPy is faster (docs/decisions/0030)."""
    import jax

    devices = jax.local_devices()
    return devices if len(devices) > 1 or devices[0].platform != "cpu" else []


def find_on_devices(
    codes: Num[np.ndarray, "n d"],
    k: int,
    queries: Num[np.ndarray, "q d"] | None,
    report: ReportCount,
    devices: "list[jax.Device]",
) -> Neighbours:
    """As `find_neighbours`, the queries shared among the devices."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    wanted, groups = k + 1 + SPARE, -(-len(codes) // MEMBERS)
    if groups < wanted:  # too few codes to choose among
        return on_cores.find_neighbours(codes, k, queries, report)
    prepared, asked = PreparedCodes(codes), codes if queries is None else queries
    mesh = Mesh(np.array(devices), ("devices",))
    shared, whole = NamedSharding(mesh, PartitionSpec("devices")), NamedSharding(mesh, PartitionSpec())
    padded = np.pad(prepared.factors, ((0, groups * MEMBERS - len(codes)), (0, 0)))
    padded[len(codes) :, -1] = np.inf
    table = jax.device_put(padded, whole)
    select, size = compile_select(wanted), len(devices) * max(1, min(QUERIES, TABLE // len(padded)))
    rows = np.empty((len(asked), k), np.int64)
    distances = np.empty((len(asked), k), np.result_type(codes, asked, np.float32))
    for start in range(0, len(asked), size):
        part = np.arange(start, min(start + size, len(asked)))
        factors, slack = prepared.expand(asked[part])
        block = jax.device_put(np.pad(factors, ((0, size - len(part)), (0, 0)), constant_values=1), shared)
        values, columns = (np.array(each)[: len(part)] for each in select(block, table))
        if queries is None:
            values[columns == part[:, None]] = np.inf
        sure = np.partition(values, k - 1, axis=1)[:, k - 1] + 2 * slack < np.where(
            np.isfinite(values), values, -np.inf
        ).max(axis=1)
        query, place = np.nonzero(np.isfinite(values))
        rows[part], distances[part] = rank_exactly(codes, asked[part], query, columns[query, place], k)
        if not sure.all():
            doubted = part[~sure]
            rows[doubted], distances[doubted] = search_again(prepared, asked, doubted, k, own=queries is None)
        report(int(part[-1]) + 1, len(asked))
    return Neighbours(rows, distances)


def search_again(
    prepared: PreparedCodes, asked: Num[np.ndarray, "q d"], rows: Int[np.ndarray, " m"], k: int, *, own: bool
) -> tuple[Int[np.ndarray, "m k"], Float[np.ndarray, "m k"]]:
    """The neighbours of some of the queries, on the cores."""
    found = on_cores.find_neighbours(prepared, k + own, asked[rows])
    if not own:
        return found
    itself: Bool[np.ndarray, "m k1"] = found.rows == rows[:, None]
    itself[:, -1] |= ~itself.any(axis=1)  # among more equal ones than there is room for
    return found.rows[~itself].reshape(-1, k), found.distances[~itself].reshape(-1, k)


@functools.cache
def compile_select(wanted: int) -> Any:
    """A function of factors of queries and of codes → the values and columns of each query's least products."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def select(queries: jax.Array, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        products = jnp.matmul(queries, codes.T, precision=jax.lax.Precision.HIGHEST)
        grouped = products.reshape(len(queries), MEMBERS, -1)
        _, group = jax.lax.top_k(-grouped.min(axis=1), wanted)
        members = jnp.take_along_axis(grouped, group[:, None], axis=2).reshape(len(queries), -1)
        values, place = jax.lax.top_k(-members, wanted)
        column = jnp.take_along_axis(group, place % wanted, axis=1) + place // wanted * grouped.shape[2]
        return -values, column

    return select
