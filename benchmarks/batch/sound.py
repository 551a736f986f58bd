"""Say what the clips of the benchmark are, and what its models take."""

from __future__ import annotations

from avizor_inference.items.input_spec import AudioInput
from avizor_inference.items.kinds.sound_front_ends import LogMelFrontEnd

# Clips are like those of the Free Spoken Digit Dataset: 8 kHz, mono, 16 bits, and as long as one window of the models (0.99 s).
RATE = 8000
SAMPLES = 512 + 95 * 78
LOG_MEL = LogMelFrontEnd(n_fft=512, hop_length=78, n_mels=64)
SOUND = AudioInput(
    sample_rate=RATE,
    window_samples=SAMPLES,
    hop_samples=SAMPLES,
    front_end=LOG_MEL,
)
PATCH = (1, 64, 96)
CLASSIFIER, AUTOENCODER = "r18", "ae"
