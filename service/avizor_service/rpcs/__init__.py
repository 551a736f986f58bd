"""The RPCs of avizor.v1, one file each: from a request to its answer."""
