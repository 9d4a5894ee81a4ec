"""What a user chooses training by, by name; apart from the code behind the names, so that to ask takes no JAX."""

from typing import Literal

Objective = Literal["reconstruction", "denoising", "invariant"]
"""The image from itself · the clean image from a distorted view · that, and one code for two views."""

Preset = Literal["tiny", "small", "base"]
"""Size of the network and length of the training."""
