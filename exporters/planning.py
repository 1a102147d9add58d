"""The resolved plan of an export: its first two steps done, so that layouts and configurations are the real ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from device_profiles.loader import load_profile
from exporters.quantise.variant import Method, check_method
from exporters.request import ExportRequest, reduced
from exporters.steps import budget as budget_step
from exporters.steps import capture
from exporters.targets import find_target
from exporters.tools import versions
from exporters.validate import check_request
from tamiyo_runtime.contracts.export_plan import SCHEMA, ExportPlan, PlannedVariant
from tamiyo_runtime.contracts.plan import Layout


def planned(
    request: ExportRequest,
    target: str,
    out: Path,
    *,
    run: str,
    run_sha256: str,
    smoke: bool = False,
    strict: bool = False,
    overwrite: bool = False,
) -> ExportPlan:
    """What `exporters.pipeline.export` would do with the same arguments, found without converting anything.

    Raises what the first two steps of an export raise: InputError, IncompatibleError, BudgetError.
    """
    recipe = find_target(target)
    profile = load_profile(recipe.profile)
    limits = profile.budget() if request.budget is None else request.budget
    if smoke:
        request = reduced(request)
    check_request(request)
    check_method(Method(request.quantise), recipe)
    captured, _ = capture.run(request)
    budgeted, estimated = budget_step.run(captured, profile, limits, recipe)
    every = tuple(item.id for item in budgeted.captured.configurations)
    return ExportPlan(
        schema=SCHEMA,
        run=run,
        run_sha256=run_sha256,
        out=str(out),
        target=target,
        profile=f"{profile.id} r{profile.revision}",
        profile_sha256=profile.sha256,
        variants=tuple(
            PlannedVariant(
                id=item.id,
                format=item.format,
                precision=item.precision,
                layout=item.layout,
                configurations=budgeted.choice.wholes if item.layout is Layout.WHOLE else every,
            )
            for item in budgeted.target.variants
        ),
        groups=budgeted.captured.network.groups,
        estimate=estimated.message,
        budget=limits,
        accuracy_floor=request.accuracy_floor,
        quantise=request.quantise,
        version=request.version,
        calibration_samples=len(request.calibration),
        calibration_sha256=hashlib.sha256(np.ascontiguousarray(request.calibration).tobytes()).hexdigest(),
        test_samples=len(request.test_inputs),
        options=dict(recipe.options),
        tools=versions(None if recipe.compiler is None else (recipe.compiler.program, recipe.compiler.version())),
        smoke=smoke,
        strict=strict,
        overwrite=overwrite,
    )
