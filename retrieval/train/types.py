"""Choices of training by name, apart from the code behind them, so that the command line need not import JAX."""

from dataclasses import dataclass
from typing import Literal

from retrieval.errors import UsageError

Objective = Literal["reconstruction", "denoising", "invariant"]
"""The training loss.

reconstruction: reconstruct the image
denoising: reconstruct the undistorted image from a distorted view
invariant: the same, with VICReg's terms on the embeddings of two views
"""

Preset = Literal["tiny", "small", "base"]
"""Size of the network and length of the training."""


TrunkChoice = Literal["auto", "none", "photos"]
"""What a model sees: the pixels alone, or the features of a network that has seen photographs; auto: what
suits the images.
"""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The processes that train one model together.

    coordinator: HOST:PORT at which process 0 listens
    processes: number of processes, at least 2
    process: number of this process, from 0
    Raises UsageError for a value out of range.
    """

    coordinator: str
    processes: int
    process: int

    def __post_init__(self) -> None:
        host, _, port = self.coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise UsageError(
                f"must be HOST:PORT, process 0's host and a free port there, not {self.coordinator}",
                option="coordinator",
            )
        if self.processes < 2:
            raise UsageError(
                f"must be 2 or more, not {self.processes}", option="processes", hint="leave it out to train with one"
            )
        if not 0 <= self.process < self.processes:
            raise UsageError(
                f"must be from 0 to {self.processes - 1} for {self.processes} processes, not {self.process}",
                option="process",
            )

    def __str__(self) -> str:
        return f"process {self.process} of {self.processes}"
