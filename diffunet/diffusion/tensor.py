"""`Tensor` for the formulas, which import no torch: plans read the names in their registries.

To run, a formula needs nothing of torch but the tensor it is given: `t.log()`, not `torch.log(t)`.
Whoever calls the formulas (`process`, `denoiser`) checks shapes.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor as Tensor
else:
    Tensor = Any
