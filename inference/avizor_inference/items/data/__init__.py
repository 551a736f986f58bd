"""Read files of a user's data as raw items: folders of files, tables, arrays."""
