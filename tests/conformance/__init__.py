"""The official Convex clients against a server process."""
