"""YAML with limits first and marks second: read it, find a place in it, splice it.

Nothing else in the product parses a user's YAML.  Two reasons: a pushed file can
crash or stall a stock loader (deep brackets, alias bombs), and a file that a
person wrote must come back byte for byte, save for the one line we own.  So the
text is read from the parser's events, under limits, and is never dumped again: a
patch is a splice at the parser's marks, read back and proved with ``jsonpatch``.

    source    bytes to text: size, encoding, line breaks
    scalars   what a scalar means, and how a new one is written
    nodes     the light tree with its marks
    scan      text to trees, under limits
    values    trees to plain values, aliases and merges unfolded
    documents spans, lines, ``read``
    splice    one operation to one span of new text; ``layout`` measures, ``locate`` finds
    edit      ``patch`` and ``replace``, all or nothing, with the proof

Whatever cannot be done without doubt is an ``Invalid``; its code is one of
``alias``, ``merge``, ``duplicate-key``, ``template``, ``encoding``, ``limits``,
``syntax``, ``not-scalar``, ``verify`` and ``path``.
It knows nothing of Kubernetes objects, services or rollouts.
"""

from .documents import Document, read
from .edit import patch, replace

__all__ = ["Document", "patch", "read", "replace"]
