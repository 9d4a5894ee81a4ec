"""What a user chooses training by, by name; apart from the code behind the names, so that to ask takes no JAX."""

from dataclasses import dataclass
from typing import Literal

from retrieval.errors import UsageError

Objective = Literal["reconstruction", "denoising", "invariant"]
"""The image from itself · the clean image from a distorted view · that, and one code for two views."""

Preset = Literal["tiny", "small", "base"]
"""Size of the network and length of the training."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Processes that train one model together, and which of them this one is.

    coordinator: HOST:PORT where process 0 listens and the others find it · processes: how many, at least 2 ·
    process: this one's number, from 0. Raises UsageError for values that cannot be meant.
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
