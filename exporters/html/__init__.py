"""Reports as single HTML files: a page, drawings in SVG, the report of a bundle. Needs no toolchain."""
