"""Where samples come from. Importing the modules files the built-in sources in the registry."""

from tamiyo_runtime.sources import bundled, folder, generator, mqtt, serial, stdin, table, tcp
from tamiyo_runtime.sources.base import Intake, Sample, Source, Stream, length_of, open_source, sources

__all__ = [
    "Intake",
    "Sample",
    "Source",
    "Stream",
    "bundled",
    "folder",
    "generator",
    "length_of",
    "mqtt",
    "open_source",
    "serial",
    "sources",
    "stdin",
    "table",
    "tcp",
]
