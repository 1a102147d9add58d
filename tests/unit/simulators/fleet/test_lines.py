from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.fleet.lines import line_of, lines_of

TEXT = '''# a comment
name = "orchard"
note = """
[devices]
count = 7
"""
list = [
  1, # ] not yet
  2,
]
field.plan = "ttn"

[[gateways]]
x_m = 1
[[gateways]]
x_m = 2

[[devices]]   # the first ]]
name = "soil"
placement = { kind = "disc", radius_m = 1 }
[devices.battery]
"capacity_mah" = 1
[[devices]]
name = "leaf"
[devices.workload]
a.b = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("name", 2),
        ("note", 3),
        ("list", 7),
        ("field", 11),
        ("field.plan", 11),
        ("gateways", 13),
        ("gateways[0].x_m", 14),
        ("gateways[1]", 15),
        ("gateways[1].x_m", 16),
        ("devices[0]", 18),
        ("devices[0].name", 19),
        ("devices[0].placement.radius_m", 20),
        ("devices[0].battery", 21),
        ("devices[0].battery.capacity_mah", 22),
        ("devices[1].name", 24),
        ("devices[1].workload.a.b", 26),
        ("devices[1].workload.missing", 25),
        ("devices[1].battery.voltage_v", 23),
        ("nothing", None),
    ],
)
def test_a_value_is_found_on_the_line_it_was_written_on(path: str, line: int | None) -> None:
    assert line_of(TEXT, path) == line


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lines_end_where_toml_has_them_end(ends: str) -> None:
    text = ends.join(["# \u2028 \x85 are no ends", 'a = "\u2029"', "", "b = [", "  1,", "]", "c = 1"])
    tomllib.loads(text)
    assert lines_of(text) == {"a": 2, "b": 4, "c": 7}


keys = st.sampled_from(["a", "b", "c d", "e.f", "count", 'quo"ted'])
scalars = st.one_of(st.integers(0, 9), st.booleans(), st.sampled_from(["text", "[not.a.table]", "x = 1", "a # b", "]"]))
tables = st.dictionaries(keys, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4)
documents = st.dictionaries(keys, st.one_of(tables, st.lists(tables, min_size=1, max_size=3)), min_size=1, max_size=4)


def written(document: dict[str, Any], breaks: str) -> tuple[str, dict[str, int]]:
    """A document as TOML, with the line that each table and key was written on."""
    rows: list[str] = []
    expected: dict[str, int] = {}

    def value(item: Any) -> str:
        if isinstance(item, list):
            return "[" + breaks + f",{breaks}".join(value(one) for one in item) + breaks + "]"
        if isinstance(item, bool):
            return str(item).lower()
        return str(item) if isinstance(item, int) else "'''" + breaks + item + "'''"

    def put(line: str, path: str) -> None:
        expected.setdefault(path, sum(row.count("\n") + 1 for row in rows) + 1)
        rows.append(line)

    def quoted(key: str) -> str:
        return "'" + key + "'"

    for key, part in document.items():
        for number, table in enumerate(part if isinstance(part, list) else [part]):
            many = isinstance(part, list)
            path = f"{key}[{number}]" if many else key
            put(f"[[{quoted(key)}]]" if many else f"[{quoted(key)}]", path)
            for name, item in table.items():
                put(f"{quoted(name)} = {value(item)}", f"{path}.{name}")
            rows.append("# [a]")
    return "\n".join(rows) + "\n", expected


@given(documents, st.sampled_from(["", " ", "\n"]))
def test_every_table_and_key_of_any_document_is_found(document: dict[str, Any], breaks: str) -> None:
    text, expected = written(document, breaks)
    tomllib.loads(text)
    found = lines_of(text)
    assert {path: found.get(path) for path in expected} == expected
