"""Tasks from a user's own files: `read_task` reads one, `formats` names what can be read, `format_of` tells which."""

from tamiyo_train.tasks.files import har, idx, mnist_json, table, text, wfdb  # noqa: F401  (they register themselves)
from tamiyo_train.tasks.files.base import Format, format_of, formats, read_task

__all__ = ["Format", "format_of", "formats", "read_task"]
