"""Sum up a job in one HTML file that opens without a network."""
