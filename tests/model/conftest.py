"""The small trained model of `tests.train`, for these tests too."""

from tests.train.conftest import encoder, images, often, saved, trained, weights  # noqa: F401 - fixtures
