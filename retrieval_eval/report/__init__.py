"""Showing results: the terminal's leaderboard."""
