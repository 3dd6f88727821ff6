"""The whole app on a stage: what tests of it stand on. Not part of the package."""
