"""Types of arrays that say their shapes, without importing jaxtyping, which takes a tenth of a cold search.

Type checkers, and tests that check shapes as the program runs, see jaxtyping's own.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Float32 as Float32
    from jaxtyping import Int as Int
    from jaxtyping import Num as Num
    from jaxtyping import UInt8 as UInt8
    from jaxtyping import UInt64 as UInt64
else:

    class Unchecked:
        """The array's type by itself: `Float32[np.ndarray, "n d"]` is `np.ndarray`."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Float32 = Int = Num = UInt8 = UInt64 = Unchecked
