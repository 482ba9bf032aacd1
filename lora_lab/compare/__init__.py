"""Runs side by side: read from their folders alone, judged against the noise of the seeds, shown on one page."""
