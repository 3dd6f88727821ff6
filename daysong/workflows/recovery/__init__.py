"""After a restore from a backup: what is removed again, and how work goes on."""
