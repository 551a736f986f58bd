"""Frame what goes between the gateway and the process that draws.

A request is its size, and a pickle of a map and the description of its item: the gateway alone writes there. An answer is
PNG or ERROR, its size, and the picture or the text of an error.
"""

from __future__ import annotations

import struct

SIZE, HEAD = struct.Struct("<Q"), struct.Struct("<cQ")
PNG, ERROR = b"P", b"E"
