"""Hold `avizor serve --workers N`: several processes that are one gateway to those who call it."""
