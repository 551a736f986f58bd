"""Turn items (an image, a sound, a table row or a tensor) into rows of the model's input tensor."""
