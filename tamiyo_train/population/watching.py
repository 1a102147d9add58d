"""The governor's judgement of losses, for all lanes at once: `governor.judge`, step by step, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tamiyo_train.config import Limits

Tensor = torch.Tensor


@dataclass(slots=True)
class Watches:
    """What the governor remembers of N lanes: ``losses`` (N, window), NaN where there is none yet; ``above`` (N,)."""

    losses: Tensor
    above: Tensor

    @staticmethod
    def fresh(lanes: int, limits: Limits, device: torch.device) -> Watches:
        """Nothing remembered."""
        return Watches(
            losses=torch.full((lanes, limits.window), torch.nan, device=device, dtype=torch.float64),
            above=torch.zeros(lanes, dtype=torch.int64, device=device),
        )

    def forget(self, lanes: Tensor) -> None:
        """Start afresh in some lanes, (N,) bool."""
        self.losses[lanes] = torch.nan
        self.above[lanes] = 0

    def judge(self, losses: Tensor, limits: Limits) -> Tensor:
        """Take in the losses of a window (W, N); which lanes panic, (N,) bool: not finite, or a lasting spike."""
        finite = losses.isfinite().all(0)
        panics = ~finite
        everything = torch.cat([self.losses.nan_to_num(torch.inf).t(), losses.double()])
        rises = everything - everything.cummin(0).values
        if not bool((rises[len(self.losses[0]) :] > limits.sigmas * limits.sigma_floor).any() | (self.above > 0).any()):
            # A mean is no lower than the lowest: no step lies far enough above it, so all are remembered.
            self.losses = torch.where(finite[:, None], everything[-self.losses.shape[1] :].t(), self.losses)
            self.losses = torch.where(self.losses.isinf(), torch.nan, self.losses)
            return panics
        for loss in losses.double():
            known = ~self.losses.isnan()
            count = known.sum(1)
            values = torch.where(known, self.losses, 0.0)
            mean = values.sum(1) / count.clamp_min(1)
            spread = torch.where(known, (self.losses - mean[:, None]).square(), 0.0).sum(1) / count.clamp_min(1)
            limit = mean + limits.sigmas * spread.sqrt().clamp_min(limits.sigma_floor)
            far = (count >= limits.warm) & (loss > limit)
            self.above = torch.where(far, self.above + 1, 0)
            panics |= self.above >= limits.patience
            shifted = torch.cat([self.losses[:, 1:], loss[:, None]], 1)
            self.losses = torch.where((far | ~finite)[:, None], self.losses, shifted)
        return panics
