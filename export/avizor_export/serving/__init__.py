"""How a model is to be served: settings, their options, and the text of config.pbtxt."""
