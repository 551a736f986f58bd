"""Publication: the files of a version, its model card, and the one rename that makes it visible."""
