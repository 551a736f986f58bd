"""Items: from an image, a sound, a table row or a tensor to rows of the model's input tensor."""
