"""Read files of signals in blocks: arrays, columns and WAV. Values stay as they are: none is clipped or scaled."""
