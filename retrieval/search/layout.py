"""A two-dimensional layout of embeddings, for the map: neighbours stay together.

t-SNE (van der Maaten & Hinton 2008) with the repulsion computed on a grid by FFT (Linderman et al. 2019, doi
10.1038/s41592-018-0308-4). It needs NumPy only; docs/decisions/0038 has the libraries that were looked at.
"""

import io
import os
import sys

import numpy as np

from retrieval.schema.arrays import Float, Float32, Int
from retrieval.util.neighbours import find_neighbours

NEIGHBOURS = 15
PERPLEXITY = 7.0
"""Effective number of neighbours that an image is kept near to."""
ITERATIONS, EARLY = 300, 75
"""Steps of the descent; during the early ones neighbours attract each other EXAGGERATED times as much."""
EXAGGERATED = 12.0
FEW = 300
"""Points that are compared with each other, in a millisecond; more are put on a grid."""
CELLS = 150
"""Cells of the grid along an edge, at most; a cell is at least 1 wide, the width of the kernel."""


def lay_out(codes: Float32[np.ndarray, "n d"], iterations: int = ITERATIONS) -> Float32[np.ndarray, "n 2"]:
    """Positions within [0, 1], of equal scale in both directions; the same for the same embeddings."""
    n = len(codes)
    if n < 3:
        return np.linspace(0, 1, 2 * n, dtype=np.float32).reshape(n, 2)
    ends, weights = find_affinities(codes, min(NEIGHBOURS, n - 1))
    centred = codes - codes.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    at = (centred @ axes).astype(np.float64)
    if at.shape[1] < 2:
        at = np.concatenate([at, np.zeros((n, 1))], axis=1)
    at *= 1e-2 / max(float(at[:, 0].std()), 1e-9)
    speed, gains, rate = np.zeros_like(at), np.ones_like(at), n / 16
    for step in range(iterations):
        early = step < min(EARLY, iterations // 4)
        force = (EXAGGERATED if early else 1) * attract(at, ends, weights) - repel(at)
        gains = np.where(np.sign(force) != np.sign(speed), gains + 0.2, np.maximum(gains * 0.8, 0.01))
        speed = (0.5 if early else 0.8) * speed - 4 * rate * gains * force
        at += speed
        at -= at.mean(axis=0)
    low = at.min(axis=0)
    found: np.ndarray = ((at - low) / max(float(np.ptp(at, axis=0).max()), 1e-9)).astype(np.float32)
    return found


def find_affinities(
    codes: Float32[np.ndarray, "n d"], k: int
) -> tuple[Int[np.ndarray, "2 e"], Float[np.ndarray, " e"]]:
    """Pairs of rows that attract each other, and how much; the weights' sum is 1.

    Each row's weights fall with the squared distance so that their entropy is that of PERPLEXITY equal ones.
    """
    rows, apart = find_neighbours(codes, k)
    squares = (apart / np.maximum(apart[:, -1:], 1e-9)) ** 2
    squares -= squares[:, :1]
    target = np.log(min(PERPLEXITY, k / 2 + 0.5))
    low, high = np.full(len(codes), 1e-3), np.full(len(codes), 1e3)
    for _ in range(30):
        sharp = np.sqrt(low * high)
        shares = np.exp(-squares * sharp[:, None])
        shares /= shares.sum(axis=1, keepdims=True)
        flat = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1) > target
        low, high = np.where(flat, sharp, low), np.where(flat, high, sharp)
    one, other, weights = np.repeat(np.arange(len(codes)), k), rows.ravel(), shares.ravel()
    return np.stack([np.append(one, other), np.append(other, one)]), np.tile(weights, 2) / (2 * weights.sum())


def attract(
    at: Float[np.ndarray, "n 2"], ends: Int[np.ndarray, "2 e"], weights: Float[np.ndarray, " e"]
) -> Float[np.ndarray, "n 2"]:
    """The force towards each point's neighbours, negated: the gradient's first part."""
    apart = at[ends[0]] - at[ends[1]]
    pull = weights / (1 + np.einsum("ij,ij->i", apart, apart))
    return np.stack([np.bincount(ends[0], pull * apart[:, axis], len(at)) for axis in (0, 1)], axis=1)


def repel(at: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The force away from all points, on a grid: a point is shared among the four nodes around it, and read there.

    For FEW points, the sum over all pairs: there a grid's errors are larger than the force.
    """
    if len(at) <= FEW:
        apart = at[:, None] - at[None]
        near = 1 / (1 + np.einsum("ijk,ijk->ij", apart, apart))
        np.fill_diagonal(near, 0)
        return np.asarray(np.einsum("ijk,ij->ik", apart, near**2) / near.sum())
    low, span = at.min(axis=0), float(np.ptp(at, axis=0).max())
    width = max(span / CELLS, min(1.0, span / 40), 1e-6)
    size = int(span / width) + 2
    place = (at - low) / width
    cell = place.astype(np.int64)
    part = place - cell
    steps = ((0, 0), (0, 1), (1, 0), (1, 1))
    nodes = np.stack([(cell[:, 0] + dx) * size + cell[:, 1] + dy for dx, dy in steps], axis=1)
    shares = np.stack(
        [np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1]) for dx, dy in steps], axis=1
    )  # linear in both directions
    charges = np.stack(
        [
            np.bincount(nodes.ravel(), (shares * each[:, None]).ravel(), size * size)
            for each in (np.ones(len(at)), at[:, 0], at[:, 1])
        ]
    ).reshape(3, size, size)
    wide = 1 << (2 * size - 1).bit_length()
    along = np.minimum(np.arange(wide), wide - np.arange(wide)) * width
    kernel = 1 / (1 + along[:, None] ** 2 + along[None, :] ** 2)
    spectra = np.fft.rfft2(charges, s=(wide, wide))
    squared, once = np.fft.rfft2(kernel**2), np.fft.rfft2(kernel)
    fields = np.fft.irfft2(np.concatenate([spectra * squared, spectra[:1] * once]), s=(wide, wide))
    read = (fields[:, :size, :size].reshape(4, -1)[:, nodes] * shares).sum(axis=2)
    total = max(float(read[3].sum()) - len(at), 1e-9)
    return np.asarray((at * read[0][:, None] - read[1:3].T) / total)


def main() -> None:
    """Read embeddings (`.npy`) from stdin and write their layout to stdout, in a process that yields to others."""
    if hasattr(os, "nice"):
        os.nice(5)
    codes = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    answer = io.BytesIO()  # NumPy cannot write an array into a buffered pipe
    np.save(answer, lay_out(codes), allow_pickle=False)
    sys.stdout.buffer.write(answer.getvalue())


if __name__ == "__main__":
    main()
