"""Scanner PC: plan runs, check the set-up, show the images locked to the scanner, and write BIDS events as they happen."""
