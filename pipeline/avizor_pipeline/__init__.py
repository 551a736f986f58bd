"""The batch pipeline: stream a dataset through models in bounded memory."""
