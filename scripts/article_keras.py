"""The article's autoencoder by its own recipe: the row with which scripts/bench_article compares the others.

Nathan Hubens, "Build a simple Image Retrieval System with an Autoencoder" (2018): the network of its notebook, a code
of 4×4×8 numbers, trained for 2 epochs by Adam on the mean squared error in batches of 32. Runs in .venv-bench, which
contains Keras and none of our packages.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from article_worker import peak_bytes, serve

EPOCHS, BATCH, PREDICT_BATCH = 2, 32, 512
BACKEND = "tensorflow"
"""The fastest of Keras' backends at this. Of 9,600 images, 2 epochs in turn on two shared cores, it trained in 6 to
10 s and encoded 29,000 a second; JAX took 13 s and encoded 12,000; PyTorch took 8 s once and over 60 s three times,
and encoded 10,000."""


def main() -> int:
    """Train on ../train.npy, u8[n, 28, 28, 1]; write the codes train.npy and test.npy, f32[n, 128], and serve."""
    started = time.perf_counter()
    os.environ.update(KERAS_BACKEND=BACKEND, TF_CPP_MIN_LOG_LEVEL="3")
    import keras

    keras.utils.set_random_seed(0)
    images = load_scaled(Path("../train.npy"))
    autoencoder, encoder = networks()
    fitting = time.perf_counter()
    autoencoder.fit(images, images, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    ended = time.perf_counter()
    peak = peak_bytes()
    for name, part in (("train", images), ("test", load_scaled(Path("../test.npy")))):
        codes = encoder.predict(part, batch_size=PREDICT_BATCH, verbose=0)
        np.save(f"{name}.npy", codes.reshape(len(part), -1))
    report = {"train_seconds": ended - fitting, "command_seconds": ended - started, "peak_bytes": peak}
    serve(report, lambda: encoder.predict(images, batch_size=PREDICT_BATCH, verbose=0))
    return 0


def load_scaled(file: Path) -> Any:
    """The images of a file, as f32 in [0, 1]."""
    return np.load(file).astype(np.float32) / 255


def networks() -> tuple[Any, Any]:
    """The whole autoencoder, compiled, and its encoder: f32[b, 28, 28, 1] → f32[b, 4, 4, 8]."""
    import keras
    from keras import layers

    def convolution(channels: int, padding: str = "same", activation: str = "relu") -> Any:
        return layers.Conv2D(channels, 3, padding=padding, activation=activation)

    images = x = keras.Input((28, 28, 1))
    for channels in (16, 8, 8):
        x = layers.MaxPooling2D(2, padding="same")(convolution(channels)(x))
    codes = x
    for channels, padding in ((8, "same"), (8, "same"), (16, "valid")):
        x = layers.UpSampling2D(2)(convolution(channels, padding)(x))
    autoencoder = keras.Model(images, convolution(1, activation="sigmoid")(x))
    autoencoder.compile(optimizer="adam", loss="mse")
    return autoencoder, keras.Model(images, codes)


if __name__ == "__main__":
    sys.exit(main())
