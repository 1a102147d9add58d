"""What ships and what every part shares: plain data, the standard library only.

One module a subject; import from the module, not from here, so that a reader sees where a name lives.
"""
