"""Analysis server: from BIDS events and BOLD to a tested answer across images and subjects, and a report."""
