"""Adam and AdamW whose weight decay acts only where there is a gradient."""

from collections.abc import Callable
from typing import Any

import torch


class _DecayWhereLearned:
    """Before torch's Adam: the weight decay, of the elements whose gradient is not exactly zero.

    What has no part in a batch is not to be moved by it: the value encoder's channel of the other
    objects where samples have one object, a reduction of the memory that was not chosen. Adam adds
    the decay to the gradient and divides the sum by its own size, so that decay alone moves a
    weight by the whole learning rate a step, however small it is.

    Nothing waits for the device. In half precision, GradScaler.unscale_ comes first.
    """

    decoupled = False  # from the gradient, as in AdamW

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        decays = [group["weight_decay"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                self._decay(group)
                group["weight_decay"] = 0.0  # torch's own decays everything
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay

    def _decay(self, group: dict[str, Any]) -> None:
        learned = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not learned or not group["weight_decay"]:
            return
        gradients = [parameter.grad for parameter in learned]
        used = [torch.ne(gradient, 0, out=torch.empty_like(gradient)) for gradient in gradients]
        if not self.decoupled:
            torch._foreach_addcmul_(gradients, learned, used, value=group["weight_decay"])
            return
        overflown = getattr(self, "found_inf", None)  # GradScaler: this step will move nothing
        if overflown is not None:
            torch._foreach_mul_(used, 1 - overflown.reshape(()))
        torch._foreach_addcmul_(learned, learned, used, value=-group["lr"] * group["weight_decay"])


class Adam(_DecayWhereLearned, torch.optim.Adam):
    """torch.optim.Adam, fused; the decay joins the gradient."""


class AdamW(_DecayWhereLearned, torch.optim.AdamW):
    """torch.optim.AdamW, fused; the decay is apart from the gradient."""

    decoupled = True
