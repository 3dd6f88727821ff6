"""Pages in Debian's Chromium, driven by playwright-core from npm."""
