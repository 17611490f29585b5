"""Scores to pages: leaderboard, breakdowns, listening examples and figures."""
