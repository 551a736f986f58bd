"""Write the files of a version and its model card, and make the version visible by one rename."""
