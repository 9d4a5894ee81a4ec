"""Is there something to learn from, is it being learned, and is it time to stop."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int, UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import Autoencoder, Params

MIN_IMAGES = 32
"""Fewer say nothing about variance."""
HELD_OUT = 1000
HELD_OUT_SHARE = 20
"""One image in twenty is held out, at most HELD_OUT, and none when that would be too few to say anything."""
FEWEST_HELD_OUT = 64
PATIENCE = 10
"""Rounds without a better held-out loss after which a run is stopped."""
DEAD = 0.02
"""A dimension is dead when its standard deviation is less than this, or than this share of the liveliest one's."""
FAIR_STEPS = 300
"""A run this long must reconstruct better than the mean image does; a shorter one is told so."""


def check_data(images: UInt8[np.ndarray, "n h w c"]) -> None:
    """Raise TrainingError for data from which nothing can be learned."""
    if len(images) < MIN_IMAGES:
        raise TrainingError(f"{len(images)} images to train on, but at least {MIN_IMAGES} are needed", hint="add more")
    if (images == images[0]).all():
        raise TrainingError(
            f"all {len(images)} images are the same: there is nothing to learn",
            hint="check the source",
        )


def split_held_out(n: int, seed: int) -> tuple[Int[np.ndarray, " learned"], Int[np.ndarray, " held"]]:
    """Rows to learn from and rows to judge by, in order; none of the latter for a small collection."""
    count = min(HELD_OUT, n // HELD_OUT_SHARE)
    order = np.random.default_rng([seed, n]).permutation(n)
    count = count if count >= FEWEST_HELD_OUT else 0
    return np.sort(order[count:]), np.sort(order[:count])


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What the codes of some clean images say about a model.

    dead: share of dimensions that hardly vary · error, mean_error: mean squared error of the reconstruction, and of
    the images' mean, pixels in [0,1].
    """

    dead: float
    error: float
    mean_error: float

    def numbers(self) -> dict[str, float]:
        """The same by the names that a user reads."""
        return {
            "dead_dimensions": self.dead,
            "reconstruction_error": self.error,
            "mean_image_error": self.mean_error,
        }

    def check(self, steps: int) -> list[str]:
        """What to tell about a run of so many steps; raises TrainingError when it has collapsed."""
        if self.dead > 0.5:
            raise TrainingError(
                f"the code has collapsed: {self.dead:.0%} of its dimensions hardly vary; nothing was saved",
                hint="try a smaller --dim, another --objective, or more varied images",
            )
        warnings = []
        if self.dead:
            warnings.append(f"{self.dead:.0%} of the code's dimensions hardly vary; try a smaller --dim")
        if self.error >= self.mean_error:
            what = (
                f"the reconstruction's error ({self.error:.4f}) is no better than the mean image's"
                f" ({self.mean_error:.4f}) after {steps} steps"
            )
            if steps < FAIR_STEPS:
                warnings.append(f"{what}; try more --epochs or a longer --time-budget")
            else:
                raise TrainingError(
                    f"{what}; nothing was saved",
                    hint="try a larger --dim, --preset base, or images that have something in common",
                )
        return warnings


def diagnose(graph: nnx.GraphDef[Autoencoder], state: Params, images: UInt8[np.ndarray, "n h w c"]) -> Diagnostics:
    """The health of a finished model on some images in [0,255].

    Its codes are looked at as training shaped them: at length 1 a constant code would look alive.
    """

    @jax.jit
    def look(state: Params, batch: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(graph, state)
        model.eval()
        learned = model.encoder.features(batch) @ model.decoder.turn_back[...]
        return learned, jax.nn.sigmoid(model.decoder(model.encoder(batch)))

    clean = images.astype(np.float32) / 255
    learned, decoded = map(np.asarray, look(state, clean))
    spread = learned.std(axis=0)
    return Diagnostics(
        dead=float((spread <= DEAD * max(1, spread.max())).mean()),
        error=float(((decoded - clean) ** 2).mean()),
        mean_error=float(((clean - clean.mean(axis=0)) ** 2).mean()),
    )


@jax.jit(static_argnums=0)
def recompute_batch_stats(graph: nnx.GraphDef[Autoencoder], state: Params, images: jax.Array) -> Params:
    """The state with the norm layers' statistics as they are on these clean images u8[B,H,W,C]."""
    model = nnx.merge(graph, state, copy=True)
    model.train()
    model.encoder(images.astype(jnp.float32) / 255)
    return nnx.state(model)
