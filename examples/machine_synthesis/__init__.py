"""Synthesise the sound of machines: normal operation, faults, room and microphone. machine_sounds.py writes the files."""
