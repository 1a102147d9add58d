"""The steps of an export, one file each: a pure function from what came before to a frozen result and a report."""
