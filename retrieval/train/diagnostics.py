"""Checks of the training data, of the trained model, and the split into training and held-out images."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int, UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import Autoencoder, Params
from retrieval.util.wording import count_of

MIN_IMAGES = 32
"""Fewer images are too few to estimate variances."""
HELD_OUT = 1000
HELD_OUT_SHARE = 20
"""One image in twenty is held out, at most HELD_OUT, and none if that would be fewer than FEWEST_HELD_OUT."""
FEWEST_HELD_OUT = 64
PATIENCE = 10
"""Number of rounds without a better held-out loss after which training stops."""
DEAD = 0.02
"""A dimension is dead if its standard deviation is at most this, or at most this share of the largest one."""
FAIR_STEPS = 300
"""A run of this many steps fails if it reconstructs no better than the mean image; a shorter one gets a warning."""


def check_data(images: UInt8[np.ndarray, "n h w c"]) -> None:
    """Raise TrainingError for fewer than MIN_IMAGES images, and for images that are all the same."""
    if len(images) < MIN_IMAGES:
        raise TrainingError(
            f"{count_of(len(images), 'image')} to train on, but at least {MIN_IMAGES} are needed", hint="add more"
        )
    if (images == images[0]).all():
        raise TrainingError(
            f"all {len(images)} images are the same, so there is nothing to learn",
            hint="check the source",
        )


def split_held_out(n: int, seed: int) -> tuple[Int[np.ndarray, " learned"], Int[np.ndarray, " held"]]:
    """Split n rows at random into training and held-out rows, each in order; few images have no held-out rows."""
    count = min(HELD_OUT, n // HELD_OUT_SHARE)
    order = np.random.default_rng([seed, n]).permutation(n)
    count = count if count >= FEWEST_HELD_OUT else 0
    return np.sort(order[count:]), np.sort(order[:count])


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Measurements of a trained model on some undistorted images.

    dead: share of the embedding's dimensions that hardly vary, in [0, 1]
    error: mean squared error of the reconstruction, pixels in [0, 1]
    mean_error: mean squared error of the mean image, pixels in [0, 1]
    """

    dead: float
    error: float
    mean_error: float

    @classmethod
    def of(
        cls,
        features: Float[np.ndarray, "n d"],
        drawn: Float[np.ndarray, "n h w c"],
        clean: Float[np.ndarray, "n h w c"],
    ) -> "Diagnostics":
        """Measure embeddings before they are scaled to length 1, which would hide that they are constant.

        drawn: the reconstructions of the images `clean`, both in [0, 1]
        """
        deviations = features.std(axis=0)
        return cls(
            dead=float((deviations <= DEAD * max(1, deviations.max())).mean()),
            error=float(((drawn - clean) ** 2).mean()),
            mean_error=float(((clean - clean.mean(axis=0)) ** 2).mean()),
        )

    def numbers(self) -> dict[str, float]:
        """The measurements by the names that they have in the model's metrics."""
        return {
            "dead_dimensions": self.dead,
            "reconstruction_error": self.error,
            "mean_image_error": self.mean_error,
        }

    def check(self, steps: int, *, fatal: bool = True) -> list[str]:
        """Warnings for the user; raises TrainingError when the embedding has collapsed.

        steps: length of the run
        fatal: the embedding was learned by reconstruction: raise TrainingError also when a run of FAIR_STEPS does not
            reconstruct
        """
        if self.dead > 0.5:
            raise TrainingError(
                f"the embedding has collapsed: {self.dead:.0%} of its dimensions hardly vary; nothing was saved",
                hint="try a smaller --dim, another --objective, or more varied images",
            )
        warnings = []
        if self.dead:
            warnings.append(f"{self.dead:.0%} of the embedding's dimensions hardly vary; try a smaller --dim")
        if self.error >= self.mean_error:
            what = (
                f"the reconstruction error ({self.error:.4f}) is no better than the mean image's"
                f" ({self.mean_error:.4f})"
            )
            if not fatal:
                warnings.append(f"{what}, so outliers by reconstruction tell little; more images may help")
            elif steps < FAIR_STEPS:
                warnings.append(f"{what} after {steps} steps; try more --epochs or a longer --time-budget")
            else:
                raise TrainingError(
                    f"{what} after {steps} steps; nothing was saved",
                    hint="try a larger --dim, --preset base, or images that have something in common",
                )
        return warnings


def measure(graph: nnx.GraphDef[Autoencoder], state: Params, images: UInt8[np.ndarray, "n h w c"]) -> Diagnostics:
    """Measure a trained model on some images u8[n, h, w, c] in [0, 255]."""

    @jax.jit
    def forward(state: Params, batch: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(graph, state)
        model.eval()
        unwhitened = model.encoder.features(batch) @ model.decoder.turn_back[...]
        return unwhitened, jax.nn.sigmoid(model.decoder(model.encoder(batch)))

    clean = images.astype(np.float32) / 255
    unwhitened, decoded = map(np.asarray, forward(state, clean))
    return Diagnostics.of(unwhitened, decoded, clean)


@jax.jit(static_argnums=0)
def recompute_batch_stats(graph: nnx.GraphDef[Autoencoder], state: Params, images: jax.Array) -> Params:
    """The state with batch statistics recomputed on these undistorted images u8[B,H,W,C]."""
    model = nnx.merge(graph, state, copy=True)
    model.train()
    model.encoder(images.astype(jnp.float32) / 255)
    return nnx.state(model)
