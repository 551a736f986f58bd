"""Look at the embeddings of a finished job: maps of two columns, how far to trust them, pictures, and nearest neighbours."""
