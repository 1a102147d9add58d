"""A calibrated profile as a file: the one that calibration started from, with the rates, the interval and the check."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

from device_profiles.calibrate import DISPATCH, OPERATOR, Calibration, Rate
from device_profiles.figures import Basis
from device_profiles.points import SECTION as POINTS
from device_profiles.schema import parse_profile
from device_profiles.sections import SECTIONS
from tamiyo_runtime.contracts.runs import Machine

_SOURCE = "runs"
_MARK = "Calibrated "
_SCALARS = ("schema", "id", "revision", "title", "notes")
_MICROSECONDS = frozenset({DISPATCH, OPERATOR})


def rewrite(raw: bytes, calibration: Calibration, *, machine: Machine, when: str, identity: str | None = None) -> bytes:
    """The profile file ``raw`` after calibration, as TOML that the strict reader has accepted; comments are lost.

    ``when``: when the runs were measured. ``identity``: another id for the profile, None keeps it.
    """
    document: dict[str, Any] = tomllib.loads(raw.decode())
    count, held = len(calibration.predictions), len(calibration.held_out)
    where = f"{machine.device}, {machine.interpreter} {machine.interpreter_version}, {machine.system}"
    document["id"] = identity or document["id"]
    document["revision"] = int(document["revision"]) + 1
    paragraphs = [part for part in document["notes"].split("\n\n") if not part.strip().startswith(_MARK)]
    told = f"{_MARK}with the medians of {count - held} graphs, {where}, {when}; {held} more were kept out."
    wrapped = textwrap.fill(told, 98, break_on_hyphens=False, break_long_words=False)
    document["notes"] = "\n\n".join(part.strip() for part in [*paragraphs, wrapped])
    sources = {name: data for name, data in document["sources"].items() if name != _SOURCE}
    document["sources"] = {
        **sources,
        _SOURCE: {"basis": str(Basis.CALIBRATED), "text": f"{count - held} runs on {where}, {when}"},
    }
    for rate in calibration.rates.values():
        _put(document, rate.name, _figure(rate))
    for precision, (depth, width) in calibration.lanes.items():
        for key, size in (("depth", depth), ("width", width)):
            _put(document, f"kernels.{precision}.{key}", _interval(size, size, size, "1"))
    error = calibration.relative_error
    _put(document, "model.relative_error", _interval(error, error * 0.8, error * 1.25, "1"))
    block = {
        "against": f"{held} graphs of a probe kit kept out of the fit, p50 on {where}, {when}",
        "figure": "latency",
        "rows": held,
        "mean_error": round(calibration.mean_error, 4),
        "worst_error": round(calibration.worst.error, 4),
        "held_out": True,
        "note": f"{calibration.coverage:.1%} of them inside the stated interval, a factor of {1 + error:.3g}; "
        f"worst {calibration.worst.id}",
    }
    others = [item for item in document.get("validation", []) if item["figure"] != "latency"]
    document["validation"] = [*others, block]
    _drop_unused_sources(document)
    text = _toml(document).encode()
    parse_profile(tomllib.loads(text.decode()), sha256="", path=f"calibrated {document['id']}")
    return text


def _figure(rate: Rate) -> dict[str, Any]:
    if rate.name in _MICROSECONDS:
        return _clamped(rate.name, rate.value, rate.low, rate.high, "us")
    unit = "ns" if rate.name.endswith(".window") else "ns/MAC" if "ns/MAC" in _rule(rate.name) else "ns/B"
    return _clamped(rate.name, rate.value * 1e3, rate.low * 1e3, rate.high * 1e3, unit)


def _clamped(name: str, value: float, low: float, high: float, unit: str) -> dict[str, Any]:
    least, most = _rule(name)[unit]
    value, low, high = (min(max(item, least), most) for item in (value, low, high))
    return _interval(value, low, high, unit)


def _rule(name: str) -> Mapping[str, tuple[float, float]]:
    section, _, key = name.rpartition(".")
    return SECTIONS[section][key].units


def _interval(value: float, low: float, high: float, unit: str) -> dict[str, Any]:
    value, low, high = (float(f"{item:.4g}") for item in (value, low, high))
    return {"value": value, "low": min(low, value), "high": max(high, value), "unit": unit, "source": _SOURCE}


def _put(document: dict[str, Any], name: str, figure: Mapping[str, Any]) -> None:
    *path, key = name.split(".")
    table = document
    for part in path:
        table = table.setdefault(part, {})
    table[key] = dict(figure)


def _drop_unused_sources(document: dict[str, Any]) -> None:
    cited: set[str] = set()

    def walk(table: Mapping[str, Any]) -> None:
        for value in table.values():
            if isinstance(value, Mapping):
                cited.update([value["source"]] if isinstance(value.get("source"), str) else [])
                walk(value)

    walk({key: value for key, value in document.items() if key != "sources"})
    document["sources"] = {name: data for name, data in document["sources"].items() if name in cited}


def _toml(document: Mapping[str, Any]) -> str:
    """As profiles are written: scalars, [export], [sources.*], sections of inline tables, [[validation]]."""
    lines = [f"{key} = {_value(document[key], long=key == 'notes')}" for key in _SCALARS]
    lines += ["", "[export]", *_pairs(document["export"]), ""]
    for name, data in document["sources"].items():
        lines += [f"[sources.{_key(name)}]", *_pairs(data)]
    for section in SECTIONS:
        table: Any = document
        for part in section.split("."):
            table = table.get(part, {}) if isinstance(table, Mapping) else {}
        if table:
            lines += ["", f"[{section}]", *_pairs({key: table[key] for key in SECTIONS[section] if key in table})]
    for name, point in document.get(POINTS, {}).items():
        lines += ["", f"[{POINTS}.{_key(name)}]", *_pairs(point)]
    for block in document["validation"]:
        lines += ["", "[[validation]]", *_pairs(block)]
    return "\n".join(lines) + "\n"


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any, *, long: bool = False) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        escaped = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        return '"""\n' + escaped[1:-1].replace("\\n", "\n") + '"""' if long else escaped
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
