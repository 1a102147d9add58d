"""A loaded bundle in the terms of the loop: everything that does not change while it runs, worked out once.

When another bundle takes its place in a running session, it is this that is exchanged.
"""

from __future__ import annotations

from tamiyo_runtime.advice import Adviser
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.fitting import limits_that_fit
from tamiyo_runtime.governor import Limits
from tamiyo_runtime.monitors import Monitors, MonitorSettings
from tamiyo_runtime.observer import Observer
from tamiyo_runtime.options import Options
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.summary import Tally


class Deployment:
    """See the module's description. ``watchful`` None: no monitors.

    ``tally`` counts what ran under this bundle, and under limits that were not changed meanwhile.
    ``cut_stretch``: of each option, how much longer than estimated the rest of its chain may take at worst, at rated
    speed; infinite where nothing can be left out on the way.
    """

    def __init__(
        self,
        manifest: Manifest,
        executor: Executor,
        policy: Policy | None,
        *,
        period_s: float,
        in_real_time: bool,
        watchful: MonitorSettings | None = None,
    ) -> None:
        runnables = executor.runnables
        self.manifest, self.executor = manifest, executor
        self.names = tuple(runnable.configuration for runnable in runnables)
        self.costs = tuple(runnable.cost for runnable in runnables)
        self.options = Options.of(runnables, manifest.configurations, manifest.profile, period_s=period_s)
        self.observer = Observer(manifest, executor.variant, period_s=period_s)
        self.adviser = Adviser(policy, in_real_time=in_real_time) if policy is not None else None
        self.monitors = Monitors.of(manifest, executor.variant, watchful) if watchful is not None else None
        self.tally = Tally(self.names)
        self.cut_stretch = tuple(
            item.latency_worst_ms / cost.latency_ms.value if cost.latency_ms.value > 0 else 1.0
            for item, cost in zip(self.options.items, self.costs, strict=True)
        )

    def limits(self, budget: Budget | None, *, margin: float, dwell_s: float) -> Limits:
        """Limits under a budget, None for the bundle's own; raises BudgetError when not even the bare host fits."""
        return limits_that_fit(
            budget or self.manifest.budget, self.options, self.manifest, margin=margin, dwell_ms=dwell_s * 1e3
        )

    def count_afresh(self) -> Tally:
        """Start the counts again, as other limits hold; returns the old ones.

        What failed stays counted here: no limits are an excuse for it, and it does not run, so fail, a second time.
        """
        counted, self.tally = self.tally, Tally(self.names)
        self.tally.failures, counted.failures = counted.failures, 0
        return counted

    def close(self) -> None:
        """Let go of the policy's thread."""
        if self.adviser is not None:
            self.adviser.close()
