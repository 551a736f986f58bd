"""Define the front end of each kind of item: a file each, named after the modality, with a class `FrontEnd`."""
