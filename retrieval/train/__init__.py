"""Training: arrays in, weights and numbers out. Nothing here opens an image file."""

from retrieval.train.distort import Distortion, default_distortion, views
from retrieval.train.loop import Progress, Trained, train
from retrieval.train.objective import Objective
from retrieval.train.recipe import Preset, Recipe, default_preset, default_recipe
from retrieval.train.resume import Line, forget
from retrieval.train.step import hardware

__all__ = [
    "Distortion",
    "Line",
    "Objective",
    "Preset",
    "Progress",
    "Recipe",
    "Trained",
    "default_distortion",
    "default_preset",
    "default_recipe",
    "forget",
    "hardware",
    "train",
    "views",
]
