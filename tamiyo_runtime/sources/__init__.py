"""Where samples come from. Importing the modules files the built-in sources in the registry."""

from tamiyo_runtime.sources import bundled, folder
from tamiyo_runtime.sources.base import Sample, Source, open_source, sources

__all__ = ["Sample", "Source", "bundled", "folder", "open_source", "sources"]
