"""Training: arrays in, weights and numbers out. Nothing here opens an image file."""

from retrieval.train.loop import Progress, Recipe, Trained, default_recipe, train

__all__ = ["Progress", "Recipe", "Trained", "default_recipe", "train"]
