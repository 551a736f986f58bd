"""Draw explanations as PNG. Needs matplotlib: `pip install 'avizor[pictures]'`."""
