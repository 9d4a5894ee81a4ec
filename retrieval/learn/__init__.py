"""The `train` job: images of some sources in, a saved model out."""

from retrieval.learn.job import learn
from retrieval.learn.options import Options
from retrieval.learn.pictures import PIXEL_BUDGET

__all__ = ["PIXEL_BUDGET", "Options", "learn"]
