"""How a machine sounds: its normal running, its faults, the room and the microphone. machine_sounds.py writes the files."""
