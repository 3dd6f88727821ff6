"""A whole daysong for tests, with shared helpers. Not part of the package."""
